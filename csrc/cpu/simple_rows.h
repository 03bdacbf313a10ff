// Undirected graphs without self-loops and multi-edges, read from the two tensors of a CSR and checked to be such.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "cpu/launch.h"

namespace gnnkit {

// Neighbours of each node in ascending order. Edges are numbered in order of their lower end, then of the higher one.
struct SimpleRows {
  using Node = int64_t;

  const int64_t* rowptr;
  const int64_t* col;
  int64_t nodes;
  int64_t edges;
  std::vector<int64_t> edge;  // at each position of col

  const int64_t* begin(int64_t node) const { return col + rowptr[node]; }
  const int64_t* end(int64_t node) const { return col + rowptr[node + 1]; }
  int64_t degree(int64_t node) const { return rowptr[node + 1] - rowptr[node]; }
};

// Raises unless every row ascends strictly, holds no self-loop, and every edge stands in the rows of both of its ends.
// The tensors must be contiguous and outlive the result.
inline SimpleRows checked_simple_rows(const Tensor& rowptr_in, const Tensor& col_in) {
  STD_TORCH_CHECK(rowptr_in.dim() == 1 && rowptr_in.size(0) >= 1 && col_in.dim() == 1 &&
                      rowptr_in.scalar_type() == ScalarType::Long && col_in.scalar_type() == ScalarType::Long,
                  "rowptr and col must be vectors of int64");
  const int64_t* rowptr = read<int64_t>(rowptr_in);
  const int64_t* col = read<int64_t>(col_in);
  const int64_t nodes = rowptr_in.size(0) - 1;
  STD_TORCH_CHECK(nodes <= std::numeric_limits<int32_t>::max(), "graphs of fewer than 2^31 nodes are served");
  check_boundaries(rowptr, nodes, col_in.size(0));
  check_range(col, col_in.size(0), nodes);
  SimpleRows rows{rowptr, col, nodes, 0, std::vector<int64_t>(static_cast<size_t>(col_in.size(0)))};
  // Nodes are met in ascending order, so that each finds itself in the rows of its lower neighbours where the last one
  // has left off.
  std::vector<int64_t> next(static_cast<size_t>(nodes));
  bool valid = true;
  for (int64_t u = 0; u < nodes && valid; ++u) {
    next[u] = rowptr[u + 1];
    for (int64_t p = rowptr[u]; p < rowptr[u + 1] && valid; ++p) {
      const int64_t v = col[p];
      valid = v != u && (p == rowptr[u] || col[p - 1] < v);
      if (!valid) break;
      if (v > u) {
        if (next[u] == rowptr[u + 1]) next[u] = p;
        rows.edge[p] = rows.edges++;
      } else {
        valid = next[v] < rowptr[v + 1] && col[next[v]] == u;
        if (valid) rows.edge[p] = rows.edge[next[v]++];
      }
    }
  }
  for (int64_t u = 0; u < nodes && valid; ++u) valid = next[u] == rowptr[u + 1];
  STD_TORCH_CHECK(valid,
                  "rows must ascend and hold both directions of every edge once, and no self-loops; make them with "
                  "gnnkit.geometry.simple_graph.SimpleGraph");
  return rows;
}

}  // namespace gnnkit
