// Device-wide scans and stable sorts, and what sparse matrices need of them.
#pragma once

#include "cuda/launch.h"
#include "cuda/ordering.cuh"

namespace gnnkit {

// Waits for the device: only where the size of a result depends on it.
void read_back(void* host, const void* device, int64_t bytes, Stream stream);

// [count + 1]: 0, then the sums of the first counts.
Tensor boundaries_of(const Tensor& counts, Stream stream);

// Boundaries of the rows of a result, and how many entries it has.
struct Structure {
  Tensor rowptr;
  int64_t entries;
};
// From the int64 counts of its rows; an error where the dtype of `like` cannot count the entries.
Structure structure_of(const Tensor& counts, const Tensor& like, Stream stream);

// The entries of a matrix by row, then column, then position.
template <typename I>
Tensor order_within_rows(const device::Rows<I>& rows, const Tensor& col, int64_t num_cols, Stream stream);

// The entries of a matrix by column, then position: boundaries and order.
struct ByColumn {
  Tensor ptr, order;
};
ByColumn order_by_column(const Tensor& col, int64_t num_cols, Stream stream);

template <typename I>
Tensor rows_of_entries(const device::Rows<I>& rows, const Tensor& like, Stream stream) {
  Tensor row = empty({rows.num_entries}, like);
  GNNKIT_LAUNCH((device::expand_rows_kernel<I>), blocks_for_threads(rows.num_entries), kBlock, 0, stream, rows,
                write<I>(row));
  return row;
}

template <typename T, typename I>
Tensor gathered(const Tensor& values, const Tensor& order, Stream stream) {
  Tensor out = empty({order.size(0)}, values);
  GNNKIT_LAUNCH((device::gather_kernel<T, I>), blocks_for_threads(order.size(0)), kBlock, 0, stream, read<T>(values),
                read<I>(order), order.size(0), write<T>(out));
  return out;
}

inline Tensor longs(int64_t count, const Tensor& like) { return empty({count}, like, ScalarType::Long); }

inline Tensor zero_longs(int64_t count, const Tensor& like) {
  Tensor zeros = longs(count, like);
  torch::stable::zero_(zeros);
  return zeros;
}

inline dim3 grid_of_blocks(int64_t blocks) {
  STD_TORCH_CHECK(blocks <= INT32_MAX, "too many elements for one launch");
  return dim3(static_cast<unsigned>(std::max<int64_t>(blocks, 1)));
}

}  // namespace gnnkit
