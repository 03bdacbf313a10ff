// Around a stable sort of an index: keys before it, row pointers after it.
#pragma once

#include "cuda/device.h"

namespace gnnkit {

// Keys and the positions they come from. `limit` values are legal; a negative one becomes `limit` where `drops` allows.
template <typename I, typename Key>
__global__ void __launch_bounds__(kBlock)
    index_keys(const I* const index, const int64_t count, const int64_t limit, const int64_t width, const bool drops,
               Key* const keys, Key* const positions) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i >= count) return;
  const int64_t value = index[i];
  GNNKIT_DEVICE_CHECK((drops || value >= 0) && value < limit);
  // With `width` columns an element's key is its place in the result: row times width plus column.
  keys[i] = static_cast<Key>(value < 0 ? limit * width : value * width + divide(i, width).rest);
  positions[i] = static_cast<Key>(i);
}

// ptr[v] = how many keys are less than v, for v in [0, num_values].
template <typename I, typename Key>
__global__ void __launch_bounds__(kBlock)
    row_pointers(const Key* const sorted, const int64_t count, const int64_t num_values, I* const ptr) {
  const int64_t value = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (value > num_values) return;
  int64_t low = 0;
  int64_t high = count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (static_cast<int64_t>(sorted[middle]) < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  ptr[value] = static_cast<I>(low);
}

}  // namespace gnnkit
