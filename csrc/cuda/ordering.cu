#include "cuda/ordering.h"

#if defined(GNNKIT_EMULATE)
#include <numeric>
#else
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#endif

namespace gnnkit {

namespace {

// Keys ascending, and with each the number of the entry it came from; equal keys in the order of their entries.
template <typename I>
struct Sorted {
  Tensor key;  // uint64 in the memory of int64
  Tensor entry;
};

#if defined(GNNKIT_EMULATE)

void sum_up(const int64_t* counts, int64_t* sums, int64_t count, const Tensor&, Stream) {
  std::partial_sum(counts, counts + count, sums);
}

template <typename I>
Sorted<I> sort_entries(const Tensor& key, const Tensor& entry, int, Stream) {
  const uint64_t* keys = read<uint64_t>(key);
  Sorted<I> sorted{longs(key.size(0), key), empty({key.size(0)}, entry)};
  I* order = write<I>(sorted.entry);
  std::copy_n(read<I>(entry), key.size(0), order);
  std::stable_sort(order, order + key.size(0), [&](I left, I right) { return keys[left] < keys[right]; });
  for (int64_t at = 0; at < key.size(0); ++at) write<uint64_t>(sorted.key)[at] = keys[order[at]];
  return sorted;
}

#else

// Algorithms of CUB are called twice: for the size of their memory, and to run.
template <typename Run>
void with_memory(const Tensor& like, const Run& run) {
  size_t bytes = 0;
  check_cuda(run(nullptr, bytes), "CUB");
  const Tensor memory = scratch(static_cast<int64_t>(bytes), like);
  check_cuda(run(memory.mutable_data_ptr(), bytes), "CUB");
}

void sum_up(const int64_t* counts, int64_t* sums, int64_t count, const Tensor& like, Stream stream) {
  with_memory(like, [&](void* memory, size_t& bytes) {
    return cub::DeviceScan::InclusiveSum(memory, bytes, counts, sums, count, stream);
  });
}

template <typename I>
Sorted<I> sort_entries(const Tensor& key, const Tensor& entry, int bits, Stream stream) {
  Sorted<I> sorted{longs(key.size(0), key), empty({key.size(0)}, entry)};
  with_memory(key, [&](void* memory, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(memory, bytes, read<uint64_t>(key), write<uint64_t>(sorted.key),
                                           read<I>(entry), write<I>(sorted.entry), key.size(0), 0, bits, stream);
  });
  return sorted;
}

#endif

template <typename I>
Sorted<I> sort_matrix(const device::Rows<I>& rows, const Tensor& col, int64_t num_cols, Stream stream) {
  const int64_t entries = col.size(0);
  const Tensor key = longs(entries, col);
  const Tensor entry = empty({entries}, col);
  GNNKIT_LAUNCH((device::entry_keys_kernel<I>), blocks_for_threads(entries), kBlock, 0, stream, rows, read<I>(col),
                num_cols, write<uint64_t>(key), write<I>(entry));
  const auto size = static_cast<unsigned __int128>(rows.num_rows) * static_cast<unsigned __int128>(num_cols);
  STD_TORCH_CHECK(size >> 64 == 0, "a matrix too large to sort");
  int bits = 1;
  while (bits < 64 && size >> bits != 0) ++bits;
  return sort_entries<I>(key, entry, bits, stream);
}

}  // namespace

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
  Tensor boundaries = zero_longs(counts.size(0) + 1, counts);
  if (counts.size(0) > 0) sum_up(read<int64_t>(counts), write<int64_t>(boundaries) + 1, counts.size(0), counts, stream);
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
  return sort_matrix(rows, col, num_cols, stream).entry;
}

template <typename I>
ByColumn order_by_column(const Tensor& col, int64_t num_cols, Stream stream) {
  // One row that holds everything: its boundaries are never read where it is the only one.
  const device::Rows<I> all{nullptr, 1, col.size(0), col.size(0)};
  const Sorted<I> sorted = sort_matrix(all, col, num_cols, stream);
  ByColumn result{empty({num_cols + 1}, col), sorted.entry};
  GNNKIT_LAUNCH((device::key_boundaries_kernel<I>), blocks_for_threads(num_cols + 1), kBlock, 0, stream,
                read<uint64_t>(sorted.key), col.size(0), num_cols, write<I>(result.ptr));
  return result;
}

template Tensor order_within_rows<int32_t>(const device::Rows<int32_t>&, const Tensor&, int64_t, Stream);
template Tensor order_within_rows<int64_t>(const device::Rows<int64_t>&, const Tensor&, int64_t, Stream);
template ByColumn order_by_column<int32_t>(const Tensor&, int64_t, Stream);
template ByColumn order_by_column<int64_t>(const Tensor&, int64_t, Stream);

}  // namespace gnnkit
