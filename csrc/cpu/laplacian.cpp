// Solutions of Laplacian systems by conjugate gradients, and the second eigenvector of a graph.
#include "cpu/conjugate_gradient.h"
#include "cpu/eigenpair.h"
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

// A graph as an operator is given it.
struct GraphInput {
  Tensor rowptr;
  Tensor col;
  Tensor weight;

  GraphInput(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& weight_in)
      : rowptr(dense(rowptr_in)), col(dense(col_in)), weight(dense(weight_in)) {
    check_structure(rowptr, col, std::nullopt);
    STD_TORCH_CHECK(col.scalar_type() == ScalarType::Long && weight.scalar_type() == ScalarType::Double,
                    "indices must be int64 and weights float64");
    STD_TORCH_CHECK(weight.dim() == 1 && weight.size(0) == col.size(0), "there must be one weight per position");
    check_boundaries(read<int64_t>(rowptr), nodes(), col.size(0));
    check_range(read<int64_t>(col), col.size(0), nodes());
  }

  int64_t nodes() const { return rowptr.size(0) - 1; }
  WeightedGraph graph() const { return {read<int64_t>(rowptr), read<int64_t>(col), read<double>(weight), nodes()}; }
};

template <typename T, int W>
void solve_columns(const WeightedGraph& graph, const Tensor& rhs, double tolerance, int64_t limit, const Tensor& out,
                   int64_t* steps) {
  const LaplacianRows<T> rows(graph);
  BlockSolver<T, W> solver(rows, tolerance, limit);
  const int64_t stride = rhs.size(1);
  for (int64_t first = 0; first < stride; first += W) {
    const int64_t width = std::min<int64_t>(W, stride - first);
    const int64_t taken = solver.solve(read<double>(rhs) + first, write<double>(out) + first, stride, width);
    std::fill_n(steps + first, width, taken);
  }
}

std::tuple<Tensor, Tensor> laplacian_solve(const Tensor& rowptr, const Tensor& col, const Tensor& weight,
                                           const Tensor& rhs_in, double tolerance, int64_t limit, bool single) {
  const GraphInput input(rowptr, col, weight);
  const Tensor rhs = dense(rhs_in);
  STD_TORCH_CHECK(rhs.dim() == 2 && rhs.scalar_type() == ScalarType::Double && rhs.size(0) == input.nodes(),
                  "rhs must be float64 [N, K]");
  const Tensor out = empty({rhs.size(0), rhs.size(1)}, rhs);
  const Tensor steps = empty({rhs.size(1)}, rhs, ScalarType::Long);
  const auto solve = single             ? solve_columns<float, 32>
                     : rhs.size(1) == 1 ? solve_columns<double, 1>
                                        : solve_columns<double, 16>;
  solve(input.graph(), rhs, tolerance, limit, out, write<int64_t>(steps));
  return {out, steps};
}

std::tuple<Tensor, Tensor> second_eigenpair(const Tensor& rowptr, const Tensor& col, const Tensor& weight) {
  const GraphInput input(rowptr, col, weight);
  STD_TORCH_CHECK(input.nodes() >= 2, "the graph must have two nodes at least");
  const Tensor vector = empty({input.nodes()}, input.weight);
  const Tensor value = empty({}, input.weight);
  *write<double>(value) = EigenSolver(input.graph()).solve(write<double>(vector));
  return {value, vector};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("laplacian_solve", TORCH_BOX(&laplacian_solve));
  library.impl("second_eigenpair", TORCH_BOX(&second_eigenpair));
}

}  // namespace gnnkit
