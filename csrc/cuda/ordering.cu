#include "cuda/ordering.h"

#include "cuda/device_algorithms.h"
#include "cuda/sort.h"

namespace gnnkit {

void read_back(void* host, const void* device, int64_t bytes, Stream stream) {
#if defined(GNNKIT_EMULATE)
  static_cast<void>(stream);
  std::memcpy(host, device, static_cast<size_t>(bytes));
#else
  check_cuda(cudaMemcpyAsync(host, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream), "copy to host");
  check_cuda(cudaStreamSynchronize(stream), "copy to host");
#endif
}

Tensor boundaries_of(const Tensor& counts, Stream stream) {
  const int64_t count = counts.size(0);
  Tensor boundaries = zero_longs(count + 1, counts);
  GNNKIT_LAUNCH((device::convert_kernel<int64_t>), blocks_for_threads(count), kBlock, 0, stream, read<int64_t>(counts),
                count, write<int64_t>(boundaries));
  exclusive_sum(read<int64_t>(boundaries), write<int64_t>(boundaries), count + 1, counts, stream);
  return boundaries;
}

Structure structure_of(const Tensor& counts, const Tensor& like, Stream stream) {
  const int64_t rows = counts.size(0);
  const Tensor wide = boundaries_of(counts, stream);
  Structure structure{empty({rows + 1}, like), 0};
  read_back(&structure.entries, read<int64_t>(wide) + rows, sizeof(int64_t), stream);
  dispatch_index(like, [&](auto integer) {
    using I = decltype(integer);
    STD_TORCH_CHECK(structure.entries <= std::numeric_limits<I>::max(), "the result has ", structure.entries,
                    " entries, more than its index dtype can count; convert the indices to int64");
    GNNKIT_LAUNCH((device::convert_kernel<I>), blocks_for_threads(rows + 1), kBlock, 0, stream, read<int64_t>(wide),
                  rows + 1, write<I>(structure.rowptr));
  });
  return structure;
}

template <typename I>
Tensor order_within_rows(const device::Rows<I>& rows, const Tensor& col, int64_t num_cols, Stream stream) {
  const int64_t entries = col.size(0);
  const auto places = static_cast<unsigned __int128>(rows.num_rows) * static_cast<unsigned __int128>(num_cols);
  STD_TORCH_CHECK(places >> 63 == 0, "a matrix with too many places to sort its entries");
  const Tensor key = longs(entries, col), sorted_key = longs(entries, col);
  const Tensor entry = empty({entries}, col);
  Tensor order = empty({entries}, col);
  GNNKIT_LAUNCH((device::entry_keys_kernel<I>), blocks_for_threads(entries), kBlock, 0, stream, rows, read<I>(col),
                num_cols, write<uint64_t>(key), write<I>(entry));
  sort_pairs(read<uint64_t>(key), write<uint64_t>(sorted_key), read<I>(entry), write<I>(order), entries,
             bits_for(static_cast<int64_t>(places)), col, stream);
  return order;
}

template Tensor order_within_rows<int32_t>(const device::Rows<int32_t>&, const Tensor&, int64_t, Stream);
template Tensor order_within_rows<int64_t>(const device::Rows<int64_t>&, const Tensor&, int64_t, Stream);

ByColumn order_by_column(const Tensor& col, int64_t num_cols, Stream stream) {
  const Grouping made = group_positions(col, num_cols, 1, false, stream);
  return {in_dtype_of(col, made.ptr), in_dtype_of(col, made.perm)};
}

}  // namespace gnnkit
