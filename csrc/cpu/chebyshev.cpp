// Chebyshev polynomials of a sparse symmetric matrix, applied to a few columns at a time: these stay in the cache from
// one degree to the next. No column depends on another, nor on how many threads there are.
#include "cpu/elimination.h"
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

constexpr int kWidth = 8;

// One row of the columns at hand. Pairs of columns are named as such: left to itself, the compiler makes vectors of
// different entries of the matrix.
typedef double Pair __attribute__((vector_size(2 * sizeof(double))));
struct alignas(64) Row {
  Pair pair[kWidth / 2] = {};

  double& operator[](int64_t c) { return reinterpret_cast<double*>(pair)[c]; }
  double operator[](int64_t c) const { return reinterpret_cast<const double*>(pair)[c]; }
};

// Adds factor * from to each column.
inline void add(Row& sum, double factor, const Row& from) {
  const Pair both = {factor, factor};
  for (int c = 0; c < kWidth / 2; ++c) sum.pair[c] += both * from.pair[c];
}

// Adds a * b column by column.
inline void add(Row& sum, const Row& a, const Row& b) {
  for (int c = 0; c < kWidth / 2; ++c) sum.pair[c] += a.pair[c] * b.pair[c];
}

WeightedGraph checked_matrix(const Tensor& rowptr, const Tensor& col, const Tensor& weight) {
  check_structure(rowptr, col, std::nullopt);
  STD_TORCH_CHECK(col.scalar_type() == ScalarType::Long && weight.scalar_type() == ScalarType::Double,
                  "indices must be int64 and values float64");
  STD_TORCH_CHECK(weight.dim() == 1 && weight.size(0) == col.size(0), "there must be one value per position");
  const int64_t nodes = rowptr.size(0) - 1;
  check_boundaries(read<int64_t>(rowptr), nodes, col.size(0));
  check_range(read<int64_t>(col), col.size(0), nodes);
  return {read<int64_t>(rowptr), read<int64_t>(col), read<double>(weight), nodes};
}

inline Row product(const WeightedGraph& matrix, const std::vector<Row>& x, int64_t i) {
  Row sum;
  for (int64_t p = matrix.rowptr[i]; p < matrix.rowptr[i + 1]; ++p) add(sum, matrix.weight[p], x[matrix.col[p]]);
  return sum;
}

// Two polynomials of neighbouring degrees.
struct Terms {
  std::vector<Row> before;
  std::vector<Row> now;

  // From degree 0, which stands in `now`, to 1; calls visit(row, degree 0, degree 1) on the way.
  template <typename Visit>
  void start(const WeightedGraph& matrix, const Visit& visit) {
    before.swap(now);
    now.resize(before.size());
    for (int64_t i = 0; i < matrix.nodes; ++i) {
      now[i] = product(matrix, before, i);
      visit(i, before[i], now[i]);
    }
  }

  // To the next degree: T_{k+1} = 2 M T_k - T_{k-1}, in place of T_{k-1}.
  template <typename Visit>
  void advance(const WeightedGraph& matrix, const Visit& visit) {
    for (int64_t i = 0; i < matrix.nodes; ++i) {
      const Row sum = product(matrix, now, i);
      for (int c = 0; c < kWidth / 2; ++c) before[i].pair[c] = 2 * sum.pair[c] - before[i].pair[c];
      visit(i, now[i], before[i]);
    }
    before.swap(now);
  }
};

// Takes the component along a vector of length 1 out of each column.
void project_out(const double* vector, std::vector<Row>& columns) {
  Row along;
  for (size_t i = 0; i < columns.size(); ++i) add(along, vector[i], columns[i]);
  for (size_t i = 0; i < columns.size(); ++i) add(columns[i], -vector[i], along);
}

Tensor chebyshev_filter(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& weight_in, const Tensor& block_in,
                        const Tensor& null_in, int64_t degree, int64_t every) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), weight = dense(weight_in);
  const Tensor block = dense(block_in), null = dense(null_in);
  const WeightedGraph matrix = checked_matrix(rowptr, col, weight);
  STD_TORCH_CHECK(block.dim() == 2 && block.scalar_type() == ScalarType::Double && block.size(0) == matrix.nodes,
                  "block must be float64 [N, B]");
  STD_TORCH_CHECK(null.dim() == 1 && null.scalar_type() == ScalarType::Double && null.size(0) == matrix.nodes,
                  "null must be float64 [N]");
  STD_TORCH_CHECK(degree >= 1 && every >= 1, "degree and every must be at least 1");
  const int64_t columns = block.size(1);
  const Tensor out = empty({matrix.nodes, columns}, block);
  parallel_with_scratch<Terms>((columns + kWidth - 1) / kWidth, [&](Terms& terms, int64_t chunk) {
    const int64_t first = chunk * kWidth, width = std::min<int64_t>(kWidth, columns - first);
    const auto ignore = [](int64_t, const Row&, const Row&) {};
    terms.now.assign(static_cast<size_t>(matrix.nodes), Row{});
    for (int64_t i = 0; i < matrix.nodes; ++i)
      std::copy_n(read<double>(block) + i * columns + first, width, &terms.now[i][0]);
    project_out(read<double>(null), terms.now);
    terms.start(matrix, ignore);
    for (int64_t k = 1; k < degree; ++k) {
      terms.advance(matrix, ignore);
      if (k % every != 0) continue;
      project_out(read<double>(null), terms.before);
      project_out(read<double>(null), terms.now);
    }
    project_out(read<double>(null), terms.now);
    for (int64_t i = 0; i < matrix.nodes; ++i)
      std::copy_n(&terms.now[i][0], width, write<double>(out) + i * columns + first);
  });
  return out;
}

// 2 T_a T_b = T_{a+b} + T_{|a-b|}: scalar products of the columns of T_k and T_{k-1} give the diagonals of T_{2k} and
// T_{2k-1}.
Tensor chebyshev_diagonal(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& weight_in,
                          const Tensor& coefficient_in) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), weight = dense(weight_in);
  const Tensor coefficient = dense(coefficient_in);
  const WeightedGraph matrix = checked_matrix(rowptr, col, weight);
  STD_TORCH_CHECK(coefficient.dim() == 2 && coefficient.scalar_type() == ScalarType::Double && coefficient.size(1) >= 1,
                  "coefficient must be float64 [T, K + 1]");
  const int64_t times = coefficient.size(0), terms_given = coefficient.size(1);
  const Tensor out = empty({matrix.nodes, times}, weight);
  parallel_with_scratch<Terms>((matrix.nodes + kWidth - 1) / kWidth, [&](Terms& terms, int64_t chunk) {
    const int64_t first = chunk * kWidth, width = std::min<int64_t>(kWidth, matrix.nodes - first);
    const auto collect = [&](int64_t k, const Row& value) {
      if (k >= terms_given) return;
      for (int64_t c = 0; c < width; ++c)
        for (int64_t t = 0; t < times; ++t)
          write<double>(out)[(first + c) * times + t] += read<double>(coefficient)[t * terms_given + k] * value[c];
    };
    std::fill_n(write<double>(out) + first * times, width * times, 0.0);
    terms.now.assign(static_cast<size_t>(matrix.nodes), Row{});
    Row diagonal;
    for (int64_t c = 0; c < width; ++c) terms.now[first + c][c] = 1;
    for (int c = 0; c < kWidth; ++c) diagonal[c] = 1;
    collect(0, diagonal);
    for (int64_t k = 1; 2 * k - 1 < terms_given; ++k) {
      Row across, square;
      const auto visit = [&](int64_t, const Row& low, const Row& high) {
        add(across, low, high);
        add(square, high, high);
      };
      if (k == 1) {
        terms.start(matrix, visit);
        diagonal = across;
      } else {
        terms.advance(matrix, visit);
      }
      for (int c = 0; c < kWidth; ++c) {
        across[c] = k == 1 ? across[c] : 2 * across[c] - diagonal[c];
        square[c] = 2 * square[c] - 1;
      }
      collect(2 * k - 1, across);
      collect(2 * k, square);
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("chebyshev_filter", TORCH_BOX(&chebyshev_filter));
  library.impl("chebyshev_diagonal", TORCH_BOX(&chebyshev_diagonal));
}

}  // namespace gnnkit
