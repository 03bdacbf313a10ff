// Gated aggregation: every element is its own, so that a lane gathers for some features of a row and no lane needs
// another. The three passes differ in what they add up and in what they write on the way.
#pragma once

#include "common/arguments.h"
#include "cuda/row_walk.cuh"

namespace gnnkit::device {

// Features that a lane holds.
constexpr int kGateItems = 2;

template <typename A>
__device__ A logistic(A x) {
  return A(1) / (A(1) + exp(-x));
}

// Places in the arrays: of one feature of a row, of a node at the other end, and of an edge.
struct GateEdge {
  int64_t node;
  int64_t edge;
};

template <typename T>
struct GateForward {
  using A = Accumulate<T>;
  using Own = A;
  static constexpr int kSums = 2;
  GateArgs<T> args;

  __device__ Own own(int64_t at) const { return widen(args.a_dst[at]); }
  __device__ void add(const Own& a, const GateEdge& at, A (&sums)[kSums]) const {
    A state = a + widen(args.b_src[at.node]);
    if (args.edge != nullptr) state += widen(args.edge[at.edge]);
    // The gate comes from what is stored: the backward pass sees no more than that.
    const T stored = narrow<T>(state);
    args.state[at.edge] = stored;
    const A gate = logistic(widen(stored));
    sums[0] += gate * widen(args.v_src[at.node]);
    sums[1] += gate;
  }
  __device__ void finish(int64_t at, const A (&sums)[kSums]) const {
    A sum = sums[0];
    if (args.total != nullptr) {
      const A total = sums[1] + static_cast<A>(args.epsilon);
      args.total[at] = total;
      sum /= total;
    }
    args.out[at] = narrow<T>(sum);
  }
};

// Gradients to the edge states and to the destinations' part of them.
template <typename T>
struct GateBackwardDst {
  using A = Accumulate<T>;
  struct Own {
    A grad;
    A mean;
  };
  static constexpr int kSums = 1;
  GateArgs<T> args;

  __device__ Own own(int64_t at) const {
    const A grad = widen(args.grad[at]);
    if (args.total == nullptr) return {grad, A(0)};
    return {grad / args.total[at], widen(args.out[at])};
  }
  __device__ void add(const Own& own, const GateEdge& at, A (&sums)[kSums]) const {
    const A gate = logistic(widen(args.state[at.edge]));
    A gradient = own.grad * (widen(args.v_src[at.node]) - own.mean) * (gate * (A(1) - gate));
    if (args.grad_state != nullptr) gradient += widen(args.grad_state[at.edge]);
    args.grad_edge[at.edge] = narrow<T>(gradient);
    sums[0] += gradient;
  }
  __device__ void finish(int64_t at, const A (&sums)[kSums]) const { args.grad_a[at] = narrow<T>(sums[0]); }
};

// Gradients to the sources, over the transposed graph.
template <typename T>
struct GateBackwardSrc {
  using A = Accumulate<T>;
  struct Own {};
  static constexpr int kSums = 2;
  GateArgs<T> args;

  __device__ Own own(int64_t) const { return {}; }
  __device__ void add(const Own&, const GateEdge& at, A (&sums)[kSums]) const {
    A grad = widen(args.grad[at.node]);
    if (args.total != nullptr) grad /= args.total[at.node];
    sums[0] += widen(args.grad_edge[at.edge]);
    sums[1] += logistic(widen(args.state[at.edge])) * grad;
  }
  __device__ void finish(int64_t at, const A (&sums)[kSums]) const {
    args.grad_b[at] = narrow<T>(sums[0]);
    args.grad_v[at] = narrow<T>(sums[1]);
  }
};

// `partial` is [slots, kSums, width].
template <typename Pass, typename I>
__global__ void gate_kernel(Pass pass, Walk<I> walk, typename Pass::A* partial) {
  using A = typename Pass::A;
  const int64_t width = pass.args.width;
  for_tasks(walk, [&](const Group& group, const Task& task) {
    const int64_t row = task.span.row * width;
    typename Pass::Own own[kGateItems] = {};
    A sums[kGateItems][Pass::kSums] = {};
    if (task.active)
      for_features<kGateItems>(group, task.tile, width,
                               [&](int64_t feature, int item) { own[item] = pass.own(row + feature); });
    for_edges(walk, group, task.span, [&](const Edges& edges) {
#pragma unroll
      for (int u = 0; u < kEdgesAtOnce; ++u) {
        if (!edges.active[u]) continue;
        for_features<kGateItems>(group, task.tile, width, [&](int64_t feature, int item) {
          pass.add(own[item], {edges.node[u] * width + feature, edges.edge[u] * width + feature}, sums[item]);
        });
      }
    });
    if (!task.active) return;
    for_features<kGateItems>(group, task.tile, width, [&](int64_t feature, int item) {
      if (task.slot < 0) return pass.finish(row + feature, sums[item]);
#pragma unroll
      for (int sum = 0; sum < Pass::kSums; ++sum)
        partial[(task.slot * Pass::kSums + sum) * width + feature] = sums[item][sum];
    });
  });
}

// Long rows, from their pieces.
template <typename Pass, typename I>
__global__ void gate_combine_kernel(Pass pass, Walk<I> walk, const typename Pass::A* partial) {
  using A = typename Pass::A;
  const int64_t width = pass.args.width;
  for_long_rows(walk, [&](const Group& group, const Task& task, const SlotList& slots) {
    for_features<kGateItems>(group, task.tile, width, [&](int64_t feature, int) {
      A sums[Pass::kSums] = {};
      for (int64_t piece = 0; piece < slots.count; ++piece) {
#pragma unroll
        for (int sum = 0; sum < Pass::kSums; ++sum)
          sums[sum] += partial[(slots.slot(piece) * Pass::kSums + sum) * width + feature];
      }
      pass.finish(task.span.row * width + feature, sums);
    });
  });
}

}  // namespace gnnkit::device
