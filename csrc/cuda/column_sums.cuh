// Sums over all rows of a matrix, in the order that sums of rows of one segment have.
#pragma once

#include "cuda/row_reduction.h"

namespace gnnkit {

// The boundaries of one segment that holds all rows.
template <typename I>
__global__ void __launch_bounds__(kWarp) whole_segment(const I rows, I* const ptr) {
  if (threadIdx.x < 2) ptr[threadIdx.x] = threadIdx.x == 0 ? I(0) : rows;
}

template <typename T, typename Out>
void sum_columns(const T* values, Out* out, int64_t rows, int64_t width, const Tensor& like, Stream stream) {
  const Tensor ptr = scratch(2 * static_cast<int64_t>(sizeof(int64_t)), like);
  GNNKIT_LAUNCH(whole_segment<int64_t>, dim3(1), kWarp, 0, stream, rows, write<int64_t>(ptr));
  SpmmArgs<T, int64_t> args{};
  args.rowptr = read<int64_t>(ptr);
  args.x = values;
  args.num_edges = rows;
  args.width = width;
  sum_rows(args, out, {1, rows}, like, stream);
}

// The sum over the first dimension in another shape, float32 or float64.
inline Tensor sum_of_partials(const Tensor& partials, const std::vector<int64_t>& shape, Stream stream) {
  Tensor out = empty(shape, partials);
  if (out.numel() == 0) return out;
  if (partials.size(0) == 0) {
    torch::stable::zero_(out);
    return out;
  }
  dispatch_wide(partials, [&](auto value) {
    using T = decltype(value);
    sum_columns(read<T>(partials), write<T>(out), partials.size(0), out.numel(), partials, stream);
  });
  return out;
}

}  // namespace gnnkit
