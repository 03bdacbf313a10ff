// Small kernels around device-wide scans and sorts.
#pragma once

#include "cuda/pieces.cuh"

namespace gnnkit::device {

__device__ inline int64_t own_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

// The row that each entry belongs to.
template <typename I>
__global__ void expand_rows_kernel(Rows<I> rows, I* row_of) {
  const int64_t entry = own_thread();
  if (entry < rows.num_entries) row_of[entry] = static_cast<I>(rows.row_of(entry));
}

template <typename T, typename I>
__global__ void gather_kernel(const T* values, const I* order, int64_t count, T* out) {
  const int64_t at = own_thread();
  if (at < count) out[at] = values[order[at]];
}

template <typename I>
__global__ void convert_kernel(const int64_t* values, int64_t count, I* out) {
  const int64_t at = own_thread();
  if (at < count) out[at] = static_cast<I>(values[at]);
}

// Keys that order entries by row, then by column; and the entries' own numbers.
template <typename I>
__global__ void entry_keys_kernel(Rows<I> rows, const I* col, int64_t num_cols, uint64_t* key, I* entry) {
  const int64_t at = own_thread();
  if (at >= rows.num_entries) return;
  const int64_t column = col[at];
  GNNKIT_DEVICE_CHECK(column >= 0 && column < num_cols);
  key[at] = static_cast<uint64_t>(rows.row_of(at)) * static_cast<uint64_t>(num_cols) + static_cast<uint64_t>(column);
  entry[at] = static_cast<I>(at);
}

}  // namespace gnnkit::device
