// What one edge and one row contribute to attention, for each way to score an edge. Included only by the kernel
// sources.
#pragma once

#include "cpu/heads.h"
#include "cpu/math.h"
#include "cpu/prefetch.h"
#include "cpu/topology.h"

namespace gnnkit::GNNKIT_ISA {

// How many positions ahead rows are requested from memory.
constexpr int64_t kRowDistance = 12;

// Rows `left` and `right` of the node that `position + kRowDistance` points to.
template <typename A>
inline void prefetch_ahead(const AttentionRowsArgs<A>& args, int64_t position, const A* left, int64_t left_width,
                           const A* right, int64_t right_width) {
  if (position + kRowDistance >= args.topology.num_edges) return;
  const int64_t node = node_at(args.topology, position + kRowDistance);
  prefetch(left + node * left_width, left_width);
  if (right != left) prefetch(right + node * right_width, right_width);
}

template <typename A>
inline A minus_infinity() {
  return -static_cast<A>(__builtin_inf());
}

template <int N, typename A>
inline Vector<A, N> leaky_lanes(Vector<A, N> value, A slope) {
  return value > A(0) ? value : value * slope;
}

template <int N, typename A>
inline Vector<A, N> slope_lanes(Vector<A, N> value, A slope) {
  const Vector<A, N> one = Vector<A, N>{} + A(1);
  return value > A(0) ? one : one * slope;
}

// <left, right> of each head.
template <typename A>
inline void dots(const A* left, const A* right, int64_t heads, int64_t width, A* out) {
  sum_heads<kLanes<A>, A>(
      heads, width,
      [&](auto lanes, int64_t offset) {
        constexpr int N = decltype(lanes)::value;
        return load<N>(left + offset) * load<N>(right + offset);
      },
      out);
}

// sum += weight * row, head by head.
template <typename A>
inline void accumulate(const A* weight, const A* row, int64_t heads, int64_t width, A* sum) {
  accumulate_heads<kLanes<A>, A>(
      weight, heads, width, [&](auto lanes, int64_t offset) { return load<decltype(lanes)::value>(row + offset); },
      sum);
}

template <typename A>
inline const A* bias_of(const AttentionRowsArgs<A>& args, int64_t edge) {
  return args.bias != nullptr ? args.bias + edge * args.bias_heads : nullptr;
}

template <int N, typename A>
inline Vector<A, N> bias_lanes(const AttentionRowsArgs<A>& args, const A* bias, int64_t head) {
  if (args.bias_heads == 1) return Vector<A, N>{} + widen(*bias);
  return load<N>(bias + head);
}

template <Score score, typename A>
inline void logits(const AttentionRowsArgs<A>& args, int64_t heads, int64_t dst, int64_t src, int64_t edge, A* out) {
  const int64_t row = heads * args.score_width;
  const A* q = args.q + dst * row;
  const A* k = args.k + src * row;
  const A parameter = static_cast<A>(args.parameter);
  if constexpr (score == Score::kProduct) {
    dots(q, k, heads, args.score_width, out);
  } else if constexpr (score == Score::kMixed) {
    sum_heads<kLanes<A>, A>(
        heads, args.score_width,
        [&](auto lanes, int64_t offset) {
          constexpr int N = decltype(lanes)::value;
          return load<N>(args.att + offset) * leaky_lanes<N>(load<N>(q + offset) + load<N>(k + offset), parameter);
        },
        out);
  }
  const A* bias = bias_of(args, edge);
  for_heads(heads, [&](auto lanes, int64_t h) {
    constexpr int N = decltype(lanes)::value;
    Vector<A, N> value;
    if constexpr (score == Score::kSum) {
      value = load<N>(q + h) + load<N>(k + h);
    } else {
      value = load<N>(out + h);
    }
    if constexpr (score == Score::kProduct) value *= parameter;
    if (bias != nullptr) value += bias_lanes<N>(args, bias, h);
    // Minus infinity masks an edge: it must stay so for a slope of zero too.
    if constexpr (score == Score::kSum) value = value == minus_infinity<A>() ? value : leaky_lanes<N>(value, parameter);
    store<N>(out + h, value);
  });
}

// Turns the gradient of a logit into that of what the leaky rectifier was given.
template <typename A>
inline void through_rectifier(const AttentionRowsArgs<A>& args, int64_t heads, int64_t dst, int64_t src, int64_t edge,
                              A* gradient) {
  const A* bias = bias_of(args, edge);
  for_heads(heads, [&](auto lanes, int64_t h) {
    constexpr int N = decltype(lanes)::value;
    Vector<A, N> value = load<N>(args.q + dst * heads + h) + load<N>(args.k + src * heads + h);
    if (bias != nullptr) value += bias_lanes<N>(args, bias, h);
    store<N>(gradient + h, load<N>(gradient + h) * slope_lanes<N>(value, static_cast<A>(args.parameter)));
  });
}

// On its own: a loop that the compiler vectorises once.
template <typename A>
[[gnu::noinline]] void exponentials(A* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = exponential(values[i]);
}

template <typename A>
inline void fill(A* values, int64_t count, A value) {
  for (int64_t i = 0; i < count; ++i) values[i] = value;
}

// target[h, f] = scale[h] * sum[h, f]; scale null: the sum itself.
template <typename A>
inline void finish(const A* sum, const A* scale, int64_t heads, int64_t width, A* target) {
  for (int64_t h = 0; h < heads; ++h) {
    const A factor = scale != nullptr ? scale[h] : A(1);
    for (int64_t f = h * width; f < (h + 1) * width; ++f) target[f] = narrow<A>(sum[f] * factor);
  }
}

// What the gradients of the logits give to one end's features: the factor that all edges share comes in here. Without
// edges there is nothing for it to multiply, not even where it is infinite.
template <Score score, typename A>
inline void finish_end(const AttentionRowsArgs<A>& args, int64_t row, const A* sum, A* rows) {
  const int64_t width = args.heads * args.score_width;
  A* target = rows + row * width;
  if (row_begin(args.topology, row) == row_begin(args.topology, row + 1)) return fill(target, width, A(0));
  for (int64_t f = 0; f < width; ++f) {
    A value = sum[f];
    if constexpr (score == Score::kProduct) value *= static_cast<A>(args.parameter);
    if constexpr (score == Score::kMixed) value *= widen(args.att[f]);
    target[f] = narrow<A>(value);
  }
}

// Adds one edge's part of the gradient to the features of one end; `other` holds those of the opposite end.
template <Score score, typename A>
inline void accumulate_end(const AttentionRowsArgs<A>& args, int64_t heads, const A* gradient, const A* own,
                           const A* other, A* sum) {
  if constexpr (score == Score::kProduct) {
    accumulate(gradient, other, heads, args.score_width, sum);
  } else if constexpr (score == Score::kSum) {
    for_heads(heads, [&](auto lanes, int64_t h) {
      constexpr int N = decltype(lanes)::value;
      store<N>(sum + h, load<N>(sum + h) + load<N>(gradient + h));
    });
  } else {
    accumulate_heads<kLanes<A>, A>(
        gradient, heads, args.score_width,
        [&](auto lanes, int64_t offset) {
          constexpr int N = decltype(lanes)::value;
          return slope_lanes<N>(load<N>(own + offset) + load<N>(other + offset), static_cast<A>(args.parameter));
        },
        sum);
  }
}

}  // namespace gnnkit::GNNKIT_ISA
