// The same as WalkBlock for components in which most pairs of nodes are joined, by dense products.
#pragma once

#include "cpu/walk_block.h"

namespace gnnkit {

// The matrix of a component, row by row, [n, n].
struct DenseWalk {
  std::vector<double> value;
  int64_t begin;
  int64_t size;

  DenseWalk(const WalkRows& matrix, const WalkComponent& component)
      : begin(component.begin), size(component.end - component.begin) {
    value.assign(static_cast<size_t>(size * size), 0.0);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t p = matrix.start[begin + i]; p < matrix.start[begin + i + 1]; ++p)
        value[i * size + matrix.col[p] - begin] = matrix.value[p];
    }
  }
};

class DenseWalkBlock {
 public:
  static constexpr int kColumns = 32;

  // Whether a component has so many edges that multiplying its zeros as well takes less time: products of blocks are
  // faster by so much. Small ones are not worth the memory.
  static bool suits(const WalkGraph& graph, const WalkComponent& component) {
    constexpr int64_t kSmall = 96;
    constexpr int64_t kFactor = 4;
    const int64_t size = component.end - component.begin;
    return size > kSmall &&
           size <= kFactor * (graph.out.start[component.end] - graph.out.start[component.begin]) / size;
  }

  // Calls visit(t, before, now) for t in [0, steps], where both counts are the number of nodes.
  template <typename Visit>
  void walk(const DenseWalk& matrix, int64_t first, int64_t last, int64_t steps, const Visit& visit) {
    const int64_t size = matrix.size;
    begin_ = matrix.begin;
    previous_.resize(static_cast<size_t>(size));
    current_.assign(static_cast<size_t>(size), Row{});
    for (int64_t i = first; i < last; ++i) current_[i - begin_].column[i - first] = 1;
    for (int64_t t = 0; t <= steps; ++t) {
      if (t > 0) {
        std::swap(previous_, current_);
        for (int64_t row = 0; row < size; row += kProductRows) {
          ProductArgs<double> args{};
          args.a = &matrix.value[row * size];
          args.a_row = size;
          args.a_depth = 1;
          args.b = previous_[0].column;
          args.b_depth = kColumns;
          args.b_column = 1;
          args.out = current_[row].column;
          args.out_row = kColumns;
          args.rows = std::min(kProductRows, size - row);
          args.depth = size;
          args.columns = kColumns;
          GNNKIT_CALL(product_block, args);
        }
      }
      visit(t, size, size);
    }
  }

  int64_t reached(int64_t n) const { return begin_ + n; }
  const double* previous(int64_t node) const { return previous_[node - begin_].column; }
  const double* current(int64_t node) const { return current_[node - begin_].column; }

 private:
  struct alignas(64) Row {
    double column[kColumns];
  };

  int64_t begin_ = 0;
  std::vector<Row> previous_, current_;
};

}  // namespace gnnkit
