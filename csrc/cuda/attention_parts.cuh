// Fused attention on a GPU: who works on what, and what one edge contributes.
//
// A group of neighbouring lanes of a warp does one head of one row (a destination; a source, over the transpose) and
// holds one tile of its features. Long rows are done in pieces, whose partial results a second kernel adds up.
#pragma once

#include "common/arguments.h"
#include "cuda/device.h"
#include "cuda/pieces.cuh"

namespace gnnkit::device {

constexpr int64_t kLongRow = 256;
// Edges whose rows are requested from memory before any of them is used.
constexpr int kEdgesAtOnce = 4;
// With fewer, one read could not hold the indices of kEdgesAtOnce edges.
constexpr int kFewestLanes = 4;

// The arguments of a pass, and how its work is cut. Over the transpose, `rows` are the sources.
template <typename T, typename I>
struct AttentionWork : AttentionArgs<T, I> {
  Rows<I> rows;
  Accumulate<T>* partial;  // [slots, heads, partial_width]
  int64_t num_ends;        // nodes that `col` points to
  int64_t partial_width;
  int64_t tiles;    // parts that the features of a head are split into
  int group_lanes;  // lanes per group: a power of two

  // One task for each (row, head, tile), then one for each (slot, head, tile).
  __host__ __device__ int64_t row_tasks() const { return rows.num_rows * this->heads * tiles; }
  __host__ __device__ int64_t tasks() const { return row_tasks() + rows.slots() * this->heads * tiles; }
};

// The lanes that work on one task.
struct Group {
  int size;
  int lane;

  // The sum over all lanes, in every lane. Every lane of the warp must call it.
  template <typename A>
  __device__ A sum(A value) const {
    for (int distance = size / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
    return value;
  }
};

template <typename T, typename I>
__device__ Group own_group(const AttentionWork<T, I>& args) {
  return {args.group_lanes, static_cast<int>(threadIdx.x % args.group_lanes)};
}

// One head of some edges of a row, for one tile of its features.
struct Task {
  Span span;
  int64_t head = 0;
  int64_t tile = 0;
  int64_t slot = -1;  // where the partial result goes; -1: the span is the whole row
  bool active = false;
};

template <typename T, typename I>
__device__ Task take_task(const AttentionWork<T, I>& args, int64_t index) {
  Task task;
  if (index >= args.tasks()) return task;
  const int64_t unit = index / (args.tiles * args.heads);
  task.head = index / args.tiles % args.heads;
  task.tile = index % args.tiles;
  if (unit < args.rows.num_rows) {
    task.span = args.rows.row(unit);
    task.active = !args.rows.is_long(task.span);
    if (!task.active) task.span.end = task.span.begin;
  } else {
    task.slot = unit - args.rows.num_rows;
    task.span = args.rows.piece(task.slot);
    task.active = task.span.length() > 0;
  }
  return task;
}

// Calls visit(group, task) for the tasks of this thread. All lanes of a warp take part in every call.
template <typename T, typename I, typename Visit>
__device__ void for_tasks(const AttentionWork<T, I>& args, const Visit& visit) {
  const Group group = own_group(args);
  const int64_t per_warp = kWarp / group.size;
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * blockDim.x / kWarp;
  for (int64_t first = warp * per_warp; first < args.tasks(); first += warps * per_warp)
    visit(group, take_task(args, first + threadIdx.x % kWarp / group.size));
}

// Calls visit(group, task, slots) for the long rows whose first slot falls to this thread.
template <typename T, typename I, typename Visit>
__device__ void for_long_rows(const AttentionWork<T, I>& args, const Visit& visit) {
  const Group group = own_group(args);
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / group.size;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x / group.size;
  for (int64_t index = args.row_tasks() + first; index < args.tasks(); index += stride) {
    const Task task = take_task(args, index);
    if (!task.active) continue;
    const SlotList slots = args.rows.slots_of(args.rows.row(task.span.row));
    if (task.slot == slots.first) visit(group, task, slots);
  }
}

// kEdgesAtOnce edges of a row; those past its end count for nothing.
struct Edges {
  int64_t node[kEdgesAtOnce];  // the other end
  int64_t edge[kEdgesAtOnce];  // row of the bias
  bool active[kEdgesAtOnce];
};

template <typename T, typename I>
__device__ void check_edges(const AttentionWork<T, I>& args, const Edges& edges) {
#pragma unroll
  for (int u = 0; u < kEdgesAtOnce; ++u) {
    if (!edges.active[u]) continue;
    GNNKIT_DEVICE_CHECK(edges.node[u] >= 0 && edges.node[u] < args.num_ends);
    GNNKIT_DEVICE_CHECK(edges.edge[u] >= 0 && edges.edge[u] < args.rows.num_entries);
  }
}

// Calls visit(edges) for the edges of a task in ascending order. The lanes of a group read their indices together, and
// all lanes of the warp go on until its longest task is done.
template <typename T, typename I, typename Visit>
__device__ void for_edges(const AttentionWork<T, I>& args, const Group& group, const Span& span, const Visit& visit) {
  int64_t longest = span.length();
  for (int distance = kWarp / 2; distance >= group.size; distance /= 2) {
    const int64_t other = __shfl_xor_sync(kAllLanes, longest, distance);
    longest = other > longest ? other : longest;
  }
  I own_col = 0;
  I own_edge = 0;
  for (int64_t done = 0; done < longest; done += kEdgesAtOnce) {
    const int within = static_cast<int>(done % group.size);
    const int64_t own_position = span.begin + done + group.lane;
    if (within == 0 && own_position < span.end) {
      own_col = args.col[own_position];
      if (args.edge_id != nullptr) own_edge = args.edge_id[own_position];
    }
    Edges edges;
#pragma unroll
    for (int u = 0; u < kEdgesAtOnce; ++u) {
      const int64_t position = span.begin + done + u;
      edges.active[u] = position < span.end;
      edges.node[u] = __shfl_sync(kAllLanes, own_col, within + u, group.size);
      edges.edge[u] = position;
      if (args.edge_id != nullptr) edges.edge[u] = __shfl_sync(kAllLanes, own_edge, within + u, group.size);
    }
    check_edges(args, edges);
    visit(edges);
  }
}

__device__ inline float exponential(float value) { return expf(value); }
__device__ inline double exponential(double value) { return exp(value); }

template <typename A>
__device__ A minus_infinity() {
  return -static_cast<A>(INFINITY);
}

template <typename A>
__device__ A leaky(A value, A slope) {
  return value > A(0) ? value : value * slope;
}

// This lane's part of <left, right> over the features of one head.
template <int kItems, typename T>
__device__ Accumulate<T> dot_part(const Group& group, const T* left, const T* right, int64_t width) {
  Accumulate<T> sum = 0;
  if constexpr (kItems == 1) {
    if (group.lane < width) sum = widen(left[group.lane]) * widen(right[group.lane]);
  } else {
    for (int64_t d = group.lane; d < width; d += group.size) sum += widen(left[d]) * widen(right[d]);
  }
  return sum;
}

// This lane's part of the score between a destination and a source: all of it where scores are added.
template <int kItems, typename T, typename I>
__device__ Accumulate<T> score_part(const AttentionWork<T, I>& args, const Group& group, int64_t dst, int64_t src,
                                    int64_t head) {
  using A = Accumulate<T>;
  const T* q = args.q + (dst * args.heads + head) * args.score_width;
  const T* k = args.k + (src * args.heads + head) * args.score_width;
  if (args.score == Score::kSum) return widen(q[0]) + widen(k[0]);
  if (args.score == Score::kProduct) return dot_part<kItems>(group, q, k, args.score_width);
  const T* att = args.att + head * args.score_width;
  const A slope = static_cast<A>(args.parameter);
  A sum = 0;
  for (int64_t d = group.lane; d < args.score_width; d += group.size)
    sum += widen(att[d]) * leaky(widen(q[d]) + widen(k[d]), slope);
  return sum;
}

template <typename A>
struct Logit {
  A value;
  A slope;  // derivative of the rectifier at what it was given; 1 where there is none
};

// The logit of an edge, from its score.
template <typename T, typename I>
__device__ Logit<Accumulate<T>> finish_logit(const AttentionWork<T, I>& args, Accumulate<T> score, int64_t edge,
                                             int64_t head) {
  using A = Accumulate<T>;
  const A parameter = static_cast<A>(args.parameter);
  if (args.score == Score::kProduct) score *= parameter;
  if (args.bias != nullptr) score += widen(args.bias[edge * args.bias_heads + (args.bias_heads == 1 ? 0 : head)]);
  if (args.score != Score::kSum) return {score, A(1)};
  // Minus infinity masks an edge: it must stay so for a slope of zero too.
  return {score == minus_infinity<A>() ? score : leaky(score, parameter), score > A(0) ? A(1) : parameter};
}

// Calls visit(feature, item) for the features of a tile that this lane holds.
template <int kItems, typename Visit>
__device__ void for_features(const Group& group, int64_t tile, int64_t width, const Visit& visit) {
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int64_t feature = (tile * kItems + item) * group.size + group.lane;
    if (feature < width) visit(feature, item);
  }
}

template <typename T, typename I>
__device__ Accumulate<T>* partial_of(const AttentionWork<T, I>& args, int64_t slot, int64_t head) {
  return args.partial + (slot * args.heads + head) * args.partial_width;
}

}  // namespace gnnkit::device
