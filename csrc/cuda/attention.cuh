// Fused attention, forward: logits, running maximum and sum, and what the exponentials weigh, in one pass over the
// edges of a row and in registers.
#pragma once

#include "cuda/attention_parts.cuh"

namespace gnnkit::device {

// What has been seen of a row so far: `total` and `sum` are scaled by exp(-peak).
template <typename A, int kItems>
struct Softmax {
  A peak = minus_infinity<A>();
  A total = 0;
  A sum[kItems] = {};

  __device__ A shift() const { return peak == minus_infinity<A>() ? A(0) : peak; }

  // Makes the maximum at least `top`.
  __device__ void raise(A top) {
    const A before = peak;
    if (top > peak) peak = top;
    const A factor = exp(before - shift());
    total *= factor;
#pragma unroll
    for (int item = 0; item < kItems; ++item) sum[item] *= factor;
  }
};

template <int kItems, typename T, typename I>
__device__ void write_softmax(const AttentionWork<T, I>& args, const Group& group, const Task& task,
                              const Softmax<Accumulate<T>, kItems>& state) {
  using A = Accumulate<T>;
  const int64_t at = task.span.row * args.heads + task.head;
  const A inverse = state.total == A(0) ? A(0) : A(1) / state.total;
  if (task.tile == 0 && group.lane == 0) {
    args.peak[at] = state.shift();
    args.inverse[at] = inverse;
  }
  for_features<kItems>(group, task.tile, args.width, [&](int64_t feature, int item) {
    args.out[at * args.width + feature] = narrow<T>(state.sum[item] * inverse);
  });
}

template <int kItems, typename T, typename I>
__device__ void absorb_edges(const AttentionWork<T, I>& args, const Group& group, const Task& task, const Edges& edges,
                             Softmax<Accumulate<T>, kItems>& state) {
  using A = Accumulate<T>;
  A logit[kEdgesAtOnce];
#pragma unroll
  for (int u = 0; u < kEdgesAtOnce; ++u)
    logit[u] = edges.active[u] ? score_part<kItems>(args, group, task.span.row, edges.node[u], task.head) : A(0);
  if (args.score != Score::kSum) {
#pragma unroll
    for (int u = 0; u < kEdgesAtOnce; ++u) logit[u] = group.sum(logit[u]);
  }
  A top = minus_infinity<A>();
#pragma unroll
  for (int u = 0; u < kEdgesAtOnce; ++u) {
    if (edges.active[u]) logit[u] = finish_logit(args, logit[u], edges.edge[u], task.head).value;
    if (edges.active[u] && logit[u] > top) top = logit[u];
  }
  state.raise(top);
#pragma unroll
  for (int u = 0; u < kEdgesAtOnce; ++u) {
    if (!edges.active[u]) continue;
    const A weight = exp(logit[u] - state.shift());
    const T* v = args.v + (edges.node[u] * args.heads + task.head) * args.width;
    state.total += weight;
    for_features<kItems>(group, task.tile, args.width,
                         [&](int64_t feature, int item) { state.sum[item] += weight * widen(v[feature]); });
  }
}

template <int kItems, typename T, typename I>
__global__ void attention_kernel(AttentionWork<T, I> args) {
  using A = Accumulate<T>;
  for_tasks(args.walk, [&](const Group& group, const Task& task) {
    Softmax<A, kItems> state;
    for_edges(args.walk, group, task.span,
              [&](const Edges& edges) { absorb_edges<kItems>(args, group, task, edges, state); });
    if (!task.active) return;
    if (task.slot < 0) return write_softmax<kItems>(args, group, task, state);
    A* partial = partial_of(args, task.slot, task.head);
    if (task.tile == 0 && group.lane == 0) {
      partial[args.width] = state.peak;
      partial[args.width + 1] = state.total;
    }
    for_features<kItems>(group, task.tile, args.width,
                         [&](int64_t feature, int item) { partial[feature] = state.sum[item]; });
  });
}

// Long rows, from their pieces.
template <int kItems, typename T, typename I>
__global__ void attention_combine_kernel(AttentionWork<T, I> args) {
  using A = Accumulate<T>;
  for_long_rows(args.walk, [&](const Group& group, const Task& task, const SlotList& slots) {
    Softmax<A, kItems> state;
    for (int64_t piece = 0; piece < slots.count; ++piece) {
      const A* partial = partial_of(args, slots.slot(piece), task.head);
      const A peak = partial[args.width];
      state.raise(peak);
      // A piece whose edges are all masked has no maximum, and adds nothing.
      const A factor = exp(peak - state.shift());
      state.total += factor * partial[args.width + 1];
      for_features<kItems>(group, task.tile, args.width,
                           [&](int64_t feature, int item) { state.sum[item] += factor * partial[feature]; });
    }
    write_softmax<kItems>(args, group, task, state);
  });
}

}  // namespace gnnkit::device
