// Fused attention, backward: both halves compute the weights anew from the maximum and the sum of each destination.
#pragma once

#include "cuda/attention_parts.cuh"

namespace gnnkit::device {

// The weight of each edge, and the gradient to its logit (to what the rectifier was given, where scores are added).
template <typename A>
struct EdgeGradients {
  A weight[kEdgesAtOnce];
  A gradient[kEdgesAtOnce];
};

// `ends(u)` gives the destination and the source of an edge, `delta(dst)` the part of all edges of a destination.
template <int kItems, typename T, typename I, typename Ends, typename Delta>
__device__ EdgeGradients<Accumulate<T>> edge_gradients(const AttentionWork<T, I>& args, const Group& group,
                                                       int64_t head, const Edges& edges, const Ends& ends,
                                                       const Delta& delta) {
  using A = Accumulate<T>;
  EdgeGradients<A> result;
  A inner[kEdgesAtOnce];
  A score[kEdgesAtOnce];
#pragma unroll
  for (int u = 0; u < kEdgesAtOnce; ++u) {
    inner[u] = score[u] = 0;
    if (!edges.active[u]) continue;
    const auto [dst, src] = ends(u);
    score[u] = score_part<kItems>(args, group, dst, src, head);
    inner[u] = dot_part<kItems>(group, args.grad + (dst * args.heads + head) * args.width,
                                args.v + (src * args.heads + head) * args.width, args.width);
  }
#pragma unroll
  for (int u = 0; u < kEdgesAtOnce; ++u) inner[u] = group.sum(inner[u]);
  if (args.score != Score::kSum) {
#pragma unroll
    for (int u = 0; u < kEdgesAtOnce; ++u) score[u] = group.sum(score[u]);
  }
#pragma unroll
  for (int u = 0; u < kEdgesAtOnce; ++u) {
    result.weight[u] = result.gradient[u] = 0;
    if (!edges.active[u]) continue;
    const int64_t at = ends(u).dst * args.heads + head;
    const Logit<A> logit = finish_logit(args, score[u], edges.edge[u], head);
    result.weight[u] = exp(logit.value - args.peak[at]) * args.inverse[at];
    result.gradient[u] = result.weight[u] * (inner[u] - delta(at)) * logit.slope;
  }
  return result;
}

struct Ends {
  int64_t dst;
  int64_t src;
};

// Adds what one edge gives to the features of one end of it; `own` and `other` are the features of both.
template <int kItems, typename T, typename I>
__device__ void add_to_end(const AttentionWork<T, I>& args, const Group& group, const Task& task,
                           Accumulate<T> gradient, const T* own, const T* other, Accumulate<T> (&sum)[kItems]) {
  using A = Accumulate<T>;
  for_features<kItems>(group, task.tile, args.score_width, [&](int64_t feature, int item) {
    if (args.score == Score::kProduct) {
      sum[item] += gradient * widen(other[feature]);
    } else if (args.score == Score::kSum) {
      sum[item] += gradient;
    } else {
      const A before = widen(own[feature]) + widen(other[feature]);
      sum[item] += gradient * (before > A(0) ? A(1) : static_cast<A>(args.parameter));
    }
  });
}

// The factor that all edges share comes in here. Without edges there is nothing for it to multiply, not even where it
// is infinite.
template <typename T, typename I>
__device__ T finish_end(const AttentionWork<T, I>& args, const Task& task, int64_t feature, Accumulate<T> sum) {
  using A = Accumulate<T>;
  if (task.span.length() == 0) return narrow<T>(A(0));
  if (args.score == Score::kProduct) sum *= static_cast<A>(args.parameter);
  if (args.score == Score::kMixed) sum *= widen(args.att[task.head * args.score_width + feature]);
  return narrow<T>(sum);
}

template <int kItems, typename T, typename I>
__device__ void write_dst(const AttentionWork<T, I>& args, const Group& group, const Task& task,
                          const Accumulate<T> (&sum)[kItems], const Accumulate<T> (&att_sum)[kItems]) {
  const int64_t row = (task.span.row * args.heads + task.head) * args.score_width;
  for_features<kItems>(group, task.tile, args.score_width, [&](int64_t feature, int item) {
    args.grad_q[row + feature] = finish_end(args, task, feature, sum[item]);
    if (args.score == Score::kMixed) args.grad_att[row + feature] = att_sum[item];
  });
}

// Gradients to the destinations' features, the biases and (row by row) the mixing weights.
template <int kItems, typename T, typename I>
__global__ void attention_backward_dst_kernel(AttentionWork<T, I> args) {
  using A = Accumulate<T>;
  for_tasks(args.walk, [&](const Group& group, const Task& task) {
    const int64_t at = task.span.row * args.heads + task.head;
    const T* q = args.q + at * args.score_width;
    const A own_delta = group.sum(
        task.active ? dot_part<kItems>(group, args.grad + at * args.width, args.out + at * args.width, args.width)
                    : A(0));
    A sum[kItems] = {};
    A att_sum[kItems] = {};
    for_edges(args.walk, group, task.span, [&](const Edges& edges) {
      const EdgeGradients<A> found = edge_gradients<kItems>(
          args, group, task.head, edges, [&](int u) { return Ends{task.span.row, edges.node[u]}; },
          [&](int64_t) { return own_delta; });
#pragma unroll
      for (int u = 0; u < kEdgesAtOnce; ++u) {
        if (!edges.active[u]) continue;
        const A gradient = found.gradient[u];
        const T* k = args.k + (edges.node[u] * args.heads + task.head) * args.score_width;
        add_to_end<kItems>(args, group, task, gradient, q, k, sum);
        if (args.score == Score::kMixed) {
          for_features<kItems>(group, task.tile, args.score_width, [&](int64_t feature, int item) {
            att_sum[item] += gradient * leaky(widen(q[feature]) + widen(k[feature]), static_cast<A>(args.parameter));
          });
        }
        if (args.grad_bias != nullptr && task.tile == 0 && group.lane == 0)
          args.grad_bias[edges.edge[u] * args.heads + task.head] = narrow<T>(gradient);
      }
    });
    if (!task.active) return;
    // Each piece of a long row has the same.
    if (task.tile == 0 && group.lane == 0) args.delta[at] = own_delta;
    if (task.slot < 0) return write_dst<kItems>(args, group, task, sum, att_sum);
    A* partial = partial_of(args, task.slot, task.head);
    for_features<kItems>(group, task.tile, args.score_width, [&](int64_t feature, int item) {
      partial[feature] = sum[item];
      if (args.score == Score::kMixed) partial[args.score_width + feature] = att_sum[item];
    });
  });
}

template <int kItems, typename T, typename I>
__global__ void attention_backward_dst_combine_kernel(AttentionWork<T, I> args) {
  using A = Accumulate<T>;
  for_long_rows(args.walk, [&](const Group& group, const Task& task, const SlotList& slots) {
    A sum[kItems] = {};
    A att_sum[kItems] = {};
    for (int64_t piece = 0; piece < slots.count; ++piece) {
      const A* partial = partial_of(args, slots.slot(piece), task.head);
      for_features<kItems>(group, task.tile, args.score_width, [&](int64_t feature, int item) {
        sum[item] += partial[feature];
        if (args.score == Score::kMixed) att_sum[item] += partial[args.score_width + feature];
      });
    }
    write_dst<kItems>(args, group, task, sum, att_sum);
  });
}

template <int kItems, typename T, typename I>
__device__ void write_src(const AttentionWork<T, I>& args, const Group& group, const Task& task,
                          const Accumulate<T> (&key_sum)[kItems], const Accumulate<T> (&value_sum)[kItems]) {
  const int64_t at = task.span.row * args.heads + task.head;
  for_features<kItems>(group, task.tile, args.score_width, [&](int64_t feature, int item) {
    args.grad_k[at * args.score_width + feature] = finish_end(args, task, feature, key_sum[item]);
  });
  for_features<kItems>(group, task.tile, args.width, [&](int64_t feature, int item) {
    args.grad_v[at * args.width + feature] = narrow<T>(value_sum[item]);
  });
}

// Gradients to the sources' features and values, over the transposed graph.
template <int kItems, typename T, typename I>
__global__ void attention_backward_src_kernel(AttentionWork<T, I> args) {
  using A = Accumulate<T>;
  for_tasks(args.walk, [&](const Group& group, const Task& task) {
    const T* k = args.k + (task.span.row * args.heads + task.head) * args.score_width;
    A key_sum[kItems] = {};
    A value_sum[kItems] = {};
    for_edges(args.walk, group, task.span, [&](const Edges& edges) {
      const EdgeGradients<A> found = edge_gradients<kItems>(
          args, group, task.head, edges, [&](int u) { return Ends{edges.node[u], task.span.row}; },
          [&](int64_t at) { return args.delta[at]; });
#pragma unroll
      for (int u = 0; u < kEdgesAtOnce; ++u) {
        if (!edges.active[u]) continue;
        const int64_t at = edges.node[u] * args.heads + task.head;
        add_to_end<kItems>(args, group, task, found.gradient[u], k, args.q + at * args.score_width, key_sum);
        const T* grad = args.grad + at * args.width;
        for_features<kItems>(group, task.tile, args.width, [&](int64_t feature, int item) {
          value_sum[item] += found.weight[u] * widen(grad[feature]);
        });
      }
    });
    if (!task.active) return;
    if (task.slot < 0) return write_src<kItems>(args, group, task, key_sum, value_sum);
    A* partial = partial_of(args, task.slot, task.head);
    for_features<kItems>(group, task.tile, args.score_width,
                         [&](int64_t feature, int item) { partial[feature] = key_sum[item]; });
    for_features<kItems>(group, task.tile, args.width,
                         [&](int64_t feature, int item) { partial[args.score_width + feature] = value_sum[item]; });
  });
}

template <int kItems, typename T, typename I>
__global__ void attention_backward_src_combine_kernel(AttentionWork<T, I> args) {
  using A = Accumulate<T>;
  for_long_rows(args.walk, [&](const Group& group, const Task& task, const SlotList& slots) {
    A key_sum[kItems] = {};
    A value_sum[kItems] = {};
    for (int64_t piece = 0; piece < slots.count; ++piece) {
      const A* partial = partial_of(args, slots.slot(piece), task.head);
      for_features<kItems>(group, task.tile, args.score_width,
                           [&](int64_t feature, int item) { key_sum[item] += partial[feature]; });
      for_features<kItems>(group, task.tile, args.width,
                           [&](int64_t feature, int item) { value_sum[item] += partial[args.score_width + feature]; });
    }
    write_src<kItems>(args, group, task, key_sum, value_sum);
  });
}

// Gradient to a bias that all heads of an edge share, one group per edge: the weights once more, rather than a number
// per edge and head in memory.
template <int kItems, typename T, typename I>
__global__ void attention_backward_bias_kernel(AttentionWork<T, I> args) {
  using A = Accumulate<T>;
  const Group group = own_group(args.walk);
  const int64_t groups_per_warp = kWarp / group.size;
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x / group.size * kEdgesAtOnce;
  for (int64_t first = warp * groups_per_warp * kEdgesAtOnce; first < args.walk.rows.num_entries; first += stride) {
    Edges edges;
    int64_t row[kEdgesAtOnce];
#pragma unroll
    for (int u = 0; u < kEdgesAtOnce; ++u) {
      const int64_t position = first + threadIdx.x % kWarp / group.size * kEdgesAtOnce + u;
      edges.active[u] = position < args.walk.rows.num_entries;
      edges.node[u] = edges.active[u] ? static_cast<int64_t>(args.walk.node[position]) : 0;
      edges.edge[u] =
          edges.active[u] && args.walk.edge != nullptr ? static_cast<int64_t>(args.walk.edge[position]) : position;
      row[u] = edges.active[u] ? args.walk.rows.row_of(position) : 0;
    }
    check_edges(args.walk, edges);
    A sum[kEdgesAtOnce] = {};
    for (int64_t head = 0; head < args.heads; ++head) {
      const EdgeGradients<A> found = edge_gradients<kItems>(
          args, group, head, edges, [&](int u) { return Ends{row[u], edges.node[u]}; },
          [&](int64_t at) { return args.delta[at]; });
#pragma unroll
      for (int u = 0; u < kEdgesAtOnce; ++u) sum[u] += found.gradient[u];
    }
#pragma unroll
    for (int u = 0; u < kEdgesAtOnce; ++u) {
      if (edges.active[u] && group.lane == 0) args.grad_bias[edges.edge[u]] = narrow<T>(sum[u]);
    }
  }
}

}  // namespace gnnkit::device
