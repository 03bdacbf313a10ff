// Who works on what, where every row of a graph gathers from its edges.
//
// A group of neighbouring lanes of a warp does one head of one row and holds one tile of its features. Long rows are
// done in pieces, whose partial results a second kernel adds up.
#pragma once

#include "cuda/device.h"
#include "cuda/pieces.cuh"

namespace gnnkit::device {

constexpr int64_t kLongRow = 256;
// Edges whose rows are requested from memory before any of them is used.
constexpr int kEdgesAtOnce = 4;
// With fewer, one read could not hold the indices of kEdgesAtOnce edges.
constexpr int kFewestLanes = 4;

// A graph, or its transpose, and how the work on it is cut.
template <typename I>
struct Walk {
  Rows<I> rows;
  const I* node;      // the other end at each position
  const I* edge;      // the caller's edge at each position; null: the position itself
  int64_t num_nodes;  // at the other end
  int64_t heads;
  int64_t tiles;    // parts that the features of a head are split into
  int group_lanes;  // lanes per group: a power of two

  // One task for each (row, head, tile), then one for each (slot, head, tile).
  __host__ __device__ int64_t row_tasks() const { return rows.num_rows * heads * tiles; }
  __host__ __device__ int64_t tasks() const { return row_tasks() + rows.slots() * heads * tiles; }
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

template <typename I>
__device__ Group own_group(const Walk<I>& walk) {
  return {walk.group_lanes, static_cast<int>(threadIdx.x % walk.group_lanes)};
}

// One head of some edges of a row, for one tile of its features.
struct Task {
  Span span;
  int64_t head = 0;
  int64_t tile = 0;
  int64_t slot = -1;  // where the partial result goes; -1: the span is the whole row
  bool active = false;
};

template <typename I>
__device__ Task take_task(const Walk<I>& walk, int64_t index) {
  Task task;
  if (index >= walk.tasks()) return task;
  const int64_t unit = index / (walk.tiles * walk.heads);
  task.head = index / walk.tiles % walk.heads;
  task.tile = index % walk.tiles;
  if (unit < walk.rows.num_rows) {
    task.span = walk.rows.row(unit);
    task.active = !walk.rows.is_long(task.span);
    if (!task.active) task.span.end = task.span.begin;
  } else {
    task.slot = unit - walk.rows.num_rows;
    task.span = walk.rows.piece(task.slot);
    task.active = task.span.length() > 0;
  }
  return task;
}

// Calls visit(group, task) for the tasks of this thread. All lanes of a warp take part in every call.
template <typename I, typename Visit>
__device__ void for_tasks(const Walk<I>& walk, const Visit& visit) {
  const Group group = own_group(walk);
  const int64_t per_warp = kWarp / group.size;
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * blockDim.x / kWarp;
  for (int64_t first = warp * per_warp; first < walk.tasks(); first += warps * per_warp)
    visit(group, take_task(walk, first + threadIdx.x % kWarp / group.size));
}

// Calls visit(group, task, slots) for the long rows whose first slot falls to this thread.
template <typename I, typename Visit>
__device__ void for_long_rows(const Walk<I>& walk, const Visit& visit) {
  const Group group = own_group(walk);
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / group.size;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x / group.size;
  for (int64_t index = walk.row_tasks() + first; index < walk.tasks(); index += stride) {
    const Task task = take_task(walk, index);
    if (!task.active) continue;
    const SlotList slots = walk.rows.slots_of(walk.rows.row(task.span.row));
    if (task.slot == slots.first) visit(group, task, slots);
  }
}

// kEdgesAtOnce edges of a row; those past its end count for nothing.
struct Edges {
  int64_t node[kEdgesAtOnce];  // the other end
  int64_t edge[kEdgesAtOnce];  // row of the bias
  bool active[kEdgesAtOnce];
};

template <typename I>
__device__ void check_edges(const Walk<I>& walk, const Edges& edges) {
#pragma unroll
  for (int u = 0; u < kEdgesAtOnce; ++u) {
    if (!edges.active[u]) continue;
    GNNKIT_DEVICE_CHECK(edges.node[u] >= 0 && edges.node[u] < walk.num_nodes);
    GNNKIT_DEVICE_CHECK(edges.edge[u] >= 0 && edges.edge[u] < walk.rows.num_entries);
  }
}

// Calls visit(edges) for the edges of a task in ascending order. The lanes of a group read their indices together, and
// all lanes of the warp go on until its longest task is done.
template <typename I, typename Visit>
__device__ void for_edges(const Walk<I>& walk, const Group& group, const Span& span, const Visit& visit) {
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
      own_col = walk.node[own_position];
      if (walk.edge != nullptr) own_edge = walk.edge[own_position];
    }
    Edges edges;
#pragma unroll
    for (int u = 0; u < kEdgesAtOnce; ++u) {
      const int64_t position = span.begin + done + u;
      edges.active[u] = position < span.end;
      edges.node[u] = __shfl_sync(kAllLanes, own_col, within + u, group.size);
      edges.edge[u] = position;
      if (walk.edge != nullptr) edges.edge[u] = __shfl_sync(kAllLanes, own_edge, within + u, group.size);
    }
    check_edges(walk, edges);
    visit(edges);
  }
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

}  // namespace gnnkit::device
