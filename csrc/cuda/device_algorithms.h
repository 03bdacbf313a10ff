// Algorithms over whole arrays that launchers call: CUB's on a device, the standard library's under emulation.
// Temporary memory is torch's, on the stream that the caller computes on.
#pragma once

#include "cuda/launch.h"

#if defined(GNNKIT_EMULATE)
#include <numeric>
#else
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#endif

namespace gnnkit {

// Bits that distinguish the values [0, count).
inline int bits_for(int64_t count) {
  int bits = 0;
  while (bits < 63 && (int64_t{1} << bits) < count) ++bits;
  return bits;
}

// Sorts pairs by the lowest `bits` bits of their keys, which have no others; pairs of equal keys keep their order.
template <typename Key, typename Value>
void sort_pairs(const Key* keys, Key* sorted_keys, const Value* values, Value* sorted_values, int64_t count, int bits,
                const Tensor& like, [[maybe_unused]] Stream stream) {
  if (count == 0) return;
#if defined(GNNKIT_EMULATE)
  static_cast<void>(like);
  static_cast<void>(bits);
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return keys[a] < keys[b]; });
  for (int64_t i = 0; i < count; ++i) {
    sorted_keys[i] = keys[order[static_cast<size_t>(i)]];
    sorted_values[i] = values[order[static_cast<size_t>(i)]];
  }
#else
  size_t bytes = 0;
  const auto run = [&](void* temporary) {
    check_cuda(cub::DeviceRadixSort::SortPairs(temporary, bytes, keys, sorted_keys, values, sorted_values, count, 0,
                                               std::max(bits, 1), stream),
               "radix sort");
  };
  run(nullptr);
  const Tensor temporary = scratch(static_cast<int64_t>(bytes), like);
  run(temporary.mutable_data_ptr());
#endif
}

// sums[i] = values[0] + ... + values[i - 1]; may be the same array.
template <typename Value>
void exclusive_sum(const Value* values, Value* sums, int64_t count, const Tensor& like,
                   [[maybe_unused]] Stream stream) {
  if (count == 0) return;
#if defined(GNNKIT_EMULATE)
  static_cast<void>(like);
  std::exclusive_scan(values, values + count, sums, Value(0));
#else
  size_t bytes = 0;
  const auto run = [&](void* temporary) {
    check_cuda(cub::DeviceScan::ExclusiveSum(temporary, bytes, values, sums, count, stream), "exclusive sum");
  };
  run(nullptr);
  const Tensor temporary = scratch(static_cast<int64_t>(bytes), like);
  run(temporary.mutable_data_ptr());
#endif
}

}  // namespace gnnkit
