// The orthonormal factor of the columns of every segment of rows.
#include <cmath>

#include "cpu/launch.h"

namespace gnnkit {

namespace {

constexpr int kLanes = 8;
constexpr int64_t kMostWidth = 4096;  // that is reckoned with when rows are shared out

// In a fixed order, whatever the segment's place in memory.
double dot(const double* a, const double* b, int64_t count) {
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lane[l] += a[i + l] * b[i + l];
  }
  double sum = 0;
  for (; i < count; ++i) sum += a[i] * b[i];
  for (const double part : lane) sum += part;
  return sum;
}

// Gram and Schmidt, each column twice: the second time removes what rounding has left of the columns before.
void orthonormalise(double* columns, int64_t rows, int64_t width, double tolerance) {
  double largest = 0;
  for (int64_t c = 0; c < width; ++c)
    largest = std::max(largest, std::sqrt(dot(columns + c * rows, columns + c * rows, rows)));
  for (int64_t c = 0; c < width; ++c) {
    double* own = columns + c * rows;
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t before = 0; before < c; ++before) {
        const double* other = columns + before * rows;
        const double share = dot(other, own, rows);
        for (int64_t i = 0; i < rows; ++i) own[i] -= share * other[i];
      }
    }
    const double length = std::sqrt(dot(own, own, rows));
    const bool independent = length > tolerance * largest;
    for (int64_t i = 0; i < rows; ++i) own[i] = independent ? own[i] / length : 0;
  }
}

Tensor orthonormal_columns(const Tensor& x_in, const Tensor& ptr_in, double tolerance) {
  const Tensor x = dense(x_in), ptr = dense(ptr_in);
  STD_TORCH_CHECK(x.dim() == 2 && x.scalar_type() == ScalarType::Double, "x must be float64 [N, K]");
  STD_TORCH_CHECK(ptr.dim() == 1 && ptr.size(0) >= 1 && ptr.scalar_type() == ScalarType::Long,
                  "ptr must be int64 [S + 1]");
  const int64_t segments = ptr.size(0) - 1, width = x.size(1);
  const int64_t* boundary = read<int64_t>(ptr);
  check_boundaries(boundary, segments, x.size(0));
  const Tensor out = empty({x.size(0), width}, x);
  const int64_t reckoned = std::min(width, kMostWidth);
  parallel_over_rows(boundary, segments, reckoned * reckoned, [&](int64_t begin, int64_t end) {
    std::vector<double> columns;
    for (int64_t s = begin; s < end; ++s) {
      const int64_t first = boundary[s], rows = boundary[s + 1] - first;
      columns.resize(static_cast<size_t>(rows * width));
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t c = 0; c < width; ++c) columns[c * rows + i] = read<double>(x)[(first + i) * width + c];
      }
      orthonormalise(columns.data(), rows, width, tolerance);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t c = 0; c < width; ++c) write<double>(out)[(first + i) * width + c] = columns[c * rows + i];
      }
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("orthonormal_columns", TORCH_BOX(&orthonormal_columns));
}

}  // namespace gnnkit
