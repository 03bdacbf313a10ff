// Topology read at either index width, so that kernels need not be compiled once for each. Included only by the kernel
// sources.
#pragma once

#include "cpu/kernels.h"

namespace gnnkit::GNNKIT_ISA {

inline int64_t index_at(const void* values, bool wide, int64_t position) {
  return wide ? static_cast<const int64_t*>(values)[position] : static_cast<const int32_t*>(values)[position];
}

inline int64_t row_begin(const Topology& topology, int64_t row) {
  return index_at(topology.rowptr, topology.wide, row);
}

inline int64_t node_at(const Topology& topology, int64_t position) {
  return index_at(topology.col, topology.wide, position);
}

inline int64_t edge_at(const Topology& topology, int64_t position) {
  return topology.edge_id != nullptr ? index_at(topology.edge_id, topology.wide, position) : position;
}

}  // namespace gnnkit::GNNKIT_ISA
