// What the kernels of every backend take: raw pointers and sizes, free of LibTorch.
#pragma once

#include "common/types.h"

namespace gnnkit {

// A sparse times dense product. `col` null: position p reads row p of x.
template <typename T, typename I>
struct SpmmArgs {
  const I* rowptr;
  const I* col;
  const I* edge_id;    // row of `weight` at each position; null: the position itself
  const T* weight;     // [E, heads]; null: ones
  int64_t first_edge;  // the edge that `weight` starts with
  const T* x;
  T* out;
  I* arg;              // extremum only: position that attains it
  const I* arg_label;  // null: `arg` holds the position; else what stands for it
  int64_t num_edges;
  int64_t width;
  int64_t heads;
  bool mean;
  bool largest;
};

template <typename T, typename I>
struct SddmmArgs {
  const I* rowptr;
  const I* col;
  const I* edge_id;
  const T* a_dst;
  const T* b_src;
  T* out;  // [E, heads]
  int64_t width;
  int64_t heads;
};

template <typename T, typename I>
struct SegmentArgs {
  const I* ptr;
  const I* perm;  // null: rows are consecutive
  const T* src;
  const T* grad;  // softmax backward only
  T* out;
  int64_t width;
  bool mean;
};

template <typename T>
struct EpilogueArgs {
  const T* x;
  const T* bias;      // [width]; null: none
  const T* residual;  // null: none
  const T* grad;      // backward only
  T* out;
  Accumulate<T>* grad_bias;  // backward only: sums of one block, [width]; null: none
  int64_t width;
  uint64_t seed;
  double p;
  Activation activation;
};

// A pass of attention, but for the graph that it goes over: destinations by destination in the forward pass and the
// first half of the backward pass, source by source in the second half.
template <typename T>
struct AttentionArgs {
  using A = Accumulate<T>;
  const T* q;     // [num_dst, heads, score_width]
  const T* k;     // [num_src, heads, score_width]
  const T* v;     // [num_src, heads, width]
  const T* att;   // [heads, score_width], Score::kMixed only
  const T* bias;  // [E, bias_heads]; null: none
  T* out;         // [num_dst, heads, width]; read by the backward pass
  A* peak;        // [num_dst, heads]: maximum of the logits
  A* inverse;     // [num_dst, heads]: 1 / sum of exp(logit - maximum)
  A* delta;       // [num_dst, heads]: <grad, out>
  const T* grad;  // [num_dst, heads, width]
  T* grad_q;
  T* grad_k;
  T* grad_v;
  T* grad_bias;  // null: not wanted
  A* grad_att;   // one row per destination, to be summed; null: not wanted
  int64_t heads;
  int64_t score_width;
  int64_t width;
  int64_t bias_heads;
  double parameter;  // scale of a product, or slope of the leaky rectifier below zero
  Score score;
};

// A pass of gated aggregation, but for the graph: sums of source rows weighted by gates, which are logistic functions
// of edge states. Destination by destination, or source by source in the second half of the backward pass.
template <typename T>
struct GateArgs {
  using A = Accumulate<T>;
  const T* a_dst;       // [num_dst, width]
  const T* b_src;       // [num_src, width]
  const T* v_src;       // [num_src, width]
  const T* edge;        // [E, width]; null: none
  T* state;             // [E, width]; read by the backward pass
  T* out;               // [num_dst, width]; read by the backward pass
  A* total;             // [num_dst, width]: sum of the gates plus epsilon; null: not normalised
  const T* grad;        // [num_dst, width]
  const T* grad_state;  // [E, width]; null: none
  T* grad_edge;         // [E, width]; read by the second half of the backward pass
  T* grad_a;
  T* grad_b;
  T* grad_v;
  int64_t width;
  double epsilon;
};

// A selective scan over packed sequences: out_t = <C_t, h_t> + D u_t, h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t,
// gated by z. Partial sums of the backward pass come from groups of sequences and blocks of channels whose number
// depends on sizes alone.
template <typename T>
struct ScanArgs {
  const int64_t* offsets;  // [sequences + 1]
  const T* u;              // [tokens, channels]
  const T* delta;          // [tokens, channels]
  const T* a;              // [channels, states]
  const T* b;              // [tokens, states]
  const T* c;              // [tokens, states]
  const T* skip;           // [channels]: D; null: zero
  const T* z;              // [tokens, channels]; null: no gate
  const T* delta_bias;     // [channels]; null: zero
  const T* initial;        // [sequences, channels, states]; null: zero
  T* out;                  // [tokens, channels]
  T* final_state;          // [sequences, channels, states]; null: not wanted
  const T* grad;           // [tokens, channels]
  const T* grad_final;     // [sequences, channels, states]; null: zero
  T* grad_u;
  T* grad_delta;
  T* grad_z;           // null: no gate
  T* grad_initial;     // null: not wanted
  T* grad_b;           // [blocks, tokens, states]
  T* grad_c;           // [blocks, tokens, states]
  T* grad_a;           // [groups, channels, states]
  T* grad_skip;        // [groups, channels]; null: none
  T* grad_delta_bias;  // [groups, channels]; null: none
  int64_t tokens;
  int64_t channels;
  int64_t states;
  bool softplus;
  bool reverse;
};

// State space duality over packed sequences: y_t = h_t C_t + D x_t, h_t = exp(delta_t A) h_{t-1} + delta_t x_t B_t^T,
// for each head on its own; heads that follow one another share a group. Partial sums of the backward pass come from
// parts of the sequences and from the heads of a group, whose number depends on sizes alone.
template <typename T>
struct SsdArgs {
  const int64_t* offsets;  // [sequences + 1]
  const T* x;              // [tokens, heads, width]
  const T* delta;          // [tokens, heads]
  const T* a;              // [heads]
  const T* b;              // [tokens, groups, states]
  const T* c;              // [tokens, groups, states]
  const T* skip;           // [heads]: D; null: zero
  const T* delta_bias;     // [heads]; null: zero
  const T* initial;        // [sequences, heads, width, states]; null: zero
  T* out;                  // [tokens, heads, width]
  T* final_state;          // [sequences, heads, width, states]; null: not wanted
  const T* grad;           // [tokens, heads, width]
  const T* grad_final;     // [sequences, heads, width, states]; null: zero
  T* grad_x;
  T* grad_delta;
  T* grad_initial;     // null: not wanted
  T* grad_b;           // [heads / groups, tokens, groups, states]
  T* grad_c;           // [heads / groups, tokens, groups, states]
  T* grad_a;           // [parts, heads]
  T* grad_skip;        // [parts, heads]; null: none
  T* grad_delta_bias;  // [parts, heads]; null: none
  int64_t tokens;
  int64_t heads;
  int64_t width;
  int64_t groups;
  int64_t states;
  bool softplus;
  bool reverse;
};

// A causal convolution of each channel over packed sequences.
template <typename T>
struct ConvArgs {
  const int64_t* offsets;  // [sequences + 1]
  const T* x;              // [tokens, channels]
  const T* weight;         // [taps, channels]: the last tap is that of the token itself
  const T* bias;           // [channels]; null: zero
  const T* grad;           // [tokens, channels], backward only
  T* out;                  // [tokens, channels]
  T* before;               // backward only: gradient before the activation
  T* grad_weight;          // [parts, taps, channels]
  T* grad_bias;            // [parts, channels]; null: not wanted
  int64_t sequences;
  int64_t tokens;
  int64_t channels;
  int64_t taps;
  bool silu;
  bool reverse;
};

// The gated delta rule over packed sequences: a matrix [keys, values] per head and sequence.
template <typename T>
struct DeltaArgs {
  const int64_t* offsets;  // [sequences + 1]
  const T* q;              // [tokens, heads, keys]
  const T* k;              // [tokens, steps, heads, keys]
  const T* v;              // [tokens, steps, heads, values]
  const T* beta;           // [tokens, steps, heads]
  const T* g;              // [tokens, heads]; null: zero
  const T* initial;        // [sequences, heads, keys, values]; null: zero
  T* out;                  // [tokens, heads, values]
  T* final_state;          // [sequences, heads, keys, values]; null: not wanted
  const T* grad;           // [tokens, heads, values]
  const T* grad_final;     // [sequences, heads, keys, values]; null: zero
  T* grad_q;
  T* grad_k;
  T* grad_v;
  T* grad_beta;
  T* grad_g;        // null: no decay
  T* grad_initial;  // null: not wanted
  int64_t tokens;
  int64_t steps;
  int64_t heads;
  int64_t keys;
  int64_t values;
  T scale;
  bool reverse;
};

// Tokens whose gradients to the weights are added up before those of others join them.
constexpr int64_t kConvTokens = 1024;

// Channels that one task works on.
constexpr int64_t kScanChannels = 32;
// The backward pass keeps the state before every so many tokens, and makes those in between again.
constexpr int64_t kScanTokens = 32;

// A number that is a multiple of the lanes of every vector, and at least as large.
constexpr int64_t in_whole_vectors(int64_t count) { return (count + 15) / 16 * 16; }

}  // namespace gnnkit
