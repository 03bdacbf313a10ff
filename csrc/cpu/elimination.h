// Gaussian elimination of the nodes of a graph Laplacian: what it costs least to eliminate first, and only as long as
// the graph that remains does not fill up.
#pragma once

#include "cpu/launch.h"

namespace gnnkit {

// An undirected graph with positive weights, both directions of every edge; rows in ascending order.
struct WeightedGraph {
  const int64_t* rowptr;
  const int64_t* col;
  const double* weight;
  int64_t nodes;
};

// Nodes are renumbered by `order`: eliminated ones first, those of the core after them. An eliminated node j stands for
// the equation y[j] = b[j] / pivot[j] + sum over its neighbors k of share * y[k]; all of these come later in the order.
// The last node of a component that is eliminated as a whole has pivot 0: it is grounded.
struct Elimination {
  std::vector<int64_t> order;
  std::vector<int64_t> ptr;
  std::vector<int64_t> neighbor;
  std::vector<double> share;
  std::vector<double> pivot;
  std::vector<int64_t> core_rowptr;
  std::vector<int64_t> core_col;
  std::vector<double> core_weight;

  int64_t eliminated() const { return static_cast<int64_t>(pivot.size()); }
  int64_t core_nodes() const { return static_cast<int64_t>(order.size() - pivot.size()); }
  WeightedGraph core() const { return {core_rowptr.data(), core_col.data(), core_weight.data(), core_nodes()}; }
};

// Eliminates nodes of smallest degree, of equals the one that has had that degree longest, until `remaining nodes *
// degree^2`, what the rest would cost if degrees stayed, is above `effort`; once less than 3 in 10 nodes are left,
// above `late_effort`. It also ends where a third of all pairs are joined: dense matrices do the rest faster. Reads the
// entries above the diagonal.
Elimination eliminate(const WeightedGraph& graph, int64_t effort, int64_t late_effort);

// b[k] += share * b[j], in order; rows [first, last) of columns of a block of `width` columns.
void substitute_forward(const int64_t* ptr, const int64_t* neighbor, const double* share, int64_t eliminated,
                        double* block, int64_t width, int64_t first, int64_t last);

// y[j] += share * y[k], in reverse order.
void substitute_backward(const int64_t* ptr, const int64_t* neighbor, const double* share, int64_t eliminated,
                         double* block, int64_t width, int64_t first, int64_t last);

}  // namespace gnnkit
