// How launchers set out to walk over the rows of a graph.
#pragma once

#include "cuda/launch.h"
#include "cuda/row_walk.cuh"

namespace gnnkit {

// For one head and one tile, with as many lanes as `features` need.
template <typename I>
device::Walk<I> walk_over(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, int64_t num_nodes,
                          int64_t features) {
  const device::Rows<I> rows{read<I>(rowptr), rowptr.size(0) - 1, col.size(0), device::kLongRow};
  device::Walk<I> walk{rows, read<I>(col), read<I>(edge_id), num_nodes, 1, 1, device::kFewestLanes};
  while (walk.group_lanes < kWarp && walk.group_lanes < features) walk.group_lanes *= 2;
  return walk;
}

template <typename I>
dim3 grid_of_tasks(const device::Walk<I>& walk) {
  return blocks_for_threads(walk.tasks() * walk.group_lanes);
}

template <typename I>
dim3 grid_of_slots(const device::Walk<I>& walk) {
  return blocks_for_threads((walk.tasks() - walk.row_tasks()) * walk.group_lanes);
}

}  // namespace gnnkit
