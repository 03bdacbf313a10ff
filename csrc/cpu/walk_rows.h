// What random walks need to know of a graph: the probabilities of a step, and components whose nodes lie together.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "cpu/launch.h"

namespace gnnkit {

// A sparse matrix; columns ascend within a row, each at most once, and no value is 0.
struct WalkRows {
  std::vector<int64_t> start;
  std::vector<int32_t> col;
  std::vector<double> value;
};

// The transpose. Entries of one place are added up, and zeros dropped. Without values, all are 1.
template <typename I>
WalkRows transposed(const int64_t* rowptr, const I* col, const double* value, int64_t nodes) {
  const auto held = [&](int64_t p) { return value == nullptr || value[p] > 0; };
  WalkRows out;
  out.start.assign(static_cast<size_t>(nodes) + 1, 0);
  for (int64_t p = 0; p < rowptr[nodes]; ++p) out.start[col[p] + 1] += held(p);
  for (int64_t j = 0; j < nodes; ++j) out.start[j + 1] += out.start[j];
  out.col.resize(static_cast<size_t>(out.start[nodes]));
  out.value.resize(out.col.size());
  std::vector<int64_t> next(out.start.begin(), out.start.end() - 1);
  for (int64_t i = 0; i < nodes; ++i) {
    for (int64_t p = rowptr[i]; p < rowptr[i + 1]; ++p) {
      if (!held(p)) continue;
      const double added = value == nullptr ? 1.0 : value[p];
      int64_t& place = next[col[p]];
      // Rows are met in ascending order, so that entries of one place follow each other.
      if (place > out.start[col[p]] && out.col[place - 1] == i) {
        out.value[place - 1] += added;
      } else {
        out.col[place] = static_cast<int32_t>(i);
        out.value[place++] = added;
      }
    }
  }
  int64_t size = 0;
  for (int64_t j = 0; j < nodes; ++j) {
    const int64_t first = out.start[j];
    out.start[j] = size;
    for (int64_t p = first; p < next[j]; ++p, ++size) {
      out.col[size] = out.col[p];
      out.value[size] = out.value[p];
    }
  }
  out.start[nodes] = size;
  out.col.resize(static_cast<size_t>(size));
  out.value.resize(static_cast<size_t>(size));
  return out;
}

// Nodes [begin, end) that are joined by edges of either direction, and to no others.
struct WalkComponent {
  int64_t begin;
  int64_t end;
  bool symmetric;  // both directions of every edge have the same weight
};

// The graph with its nodes renumbered, those of a component one after the other and neighbours close to each other.
struct WalkGraph {
  std::vector<int32_t> node;  // as given, by number here
  std::vector<WalkComponent> components;
  WalkRows out;  // row i: the probability P_ij of a step to each j
  WalkRows in;   // row j: the same P_ij, of each i
};

// A graph as an operator is given it. Everything is checked that a kernel relies on.
struct WalkInput {
  Tensor rowptr;
  Tensor col;
  OptionalTensor weight;

  WalkInput(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& weight_in)
      : rowptr(dense(rowptr_in)), col(dense(col_in)), weight(dense(weight_in)) {
    STD_TORCH_CHECK(rowptr.dim() == 1 && rowptr.size(0) >= 1 && col.dim() == 1 &&
                        rowptr.scalar_type() == ScalarType::Long && col.scalar_type() == ScalarType::Long,
                    "rowptr and col must be vectors of int64");
    STD_TORCH_CHECK(nodes() <= std::numeric_limits<int32_t>::max(), "graphs of fewer than 2^31 nodes are served");
    check_boundaries(read<int64_t>(rowptr), nodes(), col.size(0));
    check_range(read<int64_t>(col), col.size(0), nodes());
    if (!weight.has_value()) return;
    STD_TORCH_CHECK(weight->dim() == 1 && weight->scalar_type() == ScalarType::Double && weight->size(0) == col.size(0),
                    "weight must be float64, one number per position");
    double total = 0;
    bool valid = true;
    for (int64_t p = 0; p < col.size(0); ++p) {
      valid &= read<double>(weight)[p] >= 0;
      total += read<double>(weight)[p];
    }
    STD_TORCH_CHECK(valid && std::isfinite(total), "weights must not be negative, and their sum must be finite");
  }

  int64_t nodes() const { return rowptr.size(0) - 1; }
};

namespace walk_detail {

inline bool same_row(const WalkRows& a, const WalkRows& b, int64_t row) {
  const int64_t begin = a.start[row], other = b.start[row], size = a.start[row + 1] - begin;
  return size == b.start[row + 1] - other &&
         std::equal(a.col.data() + begin, a.col.data() + begin + size, b.col.data() + other) &&
         std::equal(a.value.data() + begin, a.value.data() + begin + size, b.value.data() + other);
}

// Depth first, so that numbers near each other mostly are nodes near each other.
inline void number_component(int32_t root, const WalkRows& out, const WalkRows& in, std::vector<int32_t>& number,
                             std::vector<int32_t>& stack, WalkGraph& graph) {
  WalkComponent found{static_cast<int64_t>(graph.node.size()), 0, true};
  stack.assign(1, root);
  const auto push = [&](const WalkRows& rows, int64_t node) {
    for (int64_t p = rows.start[node + 1] - 1; p >= rows.start[node]; --p) {
      if (number[rows.col[p]] < 0) stack.push_back(rows.col[p]);
    }
  };
  while (!stack.empty()) {
    const int32_t node = stack.back();
    stack.pop_back();
    if (number[node] >= 0) continue;
    number[node] = static_cast<int32_t>(graph.node.size());
    graph.node.push_back(node);
    const bool same = same_row(out, in, node);
    found.symmetric &= same;
    push(out, node);
    if (!same) push(in, node);
  }
  found.end = static_cast<int64_t>(graph.node.size());
  graph.components.push_back(found);
}

}  // namespace walk_detail

// Where `symmetrise` is set, symmetric components hold D^(-1/2) A D^(-1/2) in place of P = D^(-1) A. The two are
// similar by a diagonal matrix, and powers of both have one diagonal. `in` is left empty where all are symmetric.
inline WalkGraph walk_graph(const WalkInput& input, bool symmetrise) {
  const int64_t nodes = input.nodes();
  const WalkRows in =
      transposed(read<int64_t>(input.rowptr), read<int64_t>(input.col), read<double>(input.weight), nodes);
  const WalkRows out = transposed(in.start.data(), in.col.data(), in.value.data(), nodes);
  WalkGraph graph;
  graph.node.reserve(static_cast<size_t>(nodes));
  std::vector<int32_t> number(static_cast<size_t>(nodes), -1), stack;
  for (int64_t root = 0; root < nodes; ++root) {
    if (number[root] < 0) walk_detail::number_component(static_cast<int32_t>(root), out, in, number, stack, graph);
  }
  std::vector<double> degree(static_cast<size_t>(nodes), 0.0);
  for (int64_t i = 0; i < nodes; ++i) {
    for (int64_t p = out.start[i]; p < out.start[i + 1]; ++p) degree[i] += out.value[p];
  }
  bool all_symmetric = symmetrise;
  graph.out.start.assign(1, 0);
  graph.out.start.reserve(static_cast<size_t>(nodes) + 1);
  graph.out.col.reserve(out.col.size());
  graph.out.value.reserve(out.col.size());
  for (const WalkComponent& component : graph.components) {
    const bool by_root = symmetrise && component.symmetric;
    all_symmetric &= component.symmetric;
    for (int64_t i = component.begin; i < component.end; ++i) {
      const int32_t node = graph.node[i];
      for (int64_t p = out.start[node]; p < out.start[node + 1]; ++p) {
        graph.out.col.push_back(number[out.col[p]]);
        // One after the other: the product of two small roots would lose digits.
        graph.out.value.push_back(by_root ? out.value[p] / std::sqrt(degree[node]) / std::sqrt(degree[out.col[p]])
                                          : out.value[p] / degree[node]);
      }
      graph.out.start.push_back(static_cast<int64_t>(graph.out.col.size()));
    }
  }
  if (!all_symmetric)
    graph.in = transposed(graph.out.start.data(), graph.out.col.data(), graph.out.value.data(), nodes);
  return graph;
}

}  // namespace gnnkit
