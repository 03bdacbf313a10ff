// Gather from one chosen row per element.
#pragma once

#include "cuda/device.h"

namespace gnnkit {

template <typename T, typename I>
__global__ void __launch_bounds__(kBlock) pick_elements(const T* const src, const I* const index, const int64_t count,
                                                        const int64_t width, const int64_t src_rows, T* const out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i >= count) return;
  const int64_t row = index[i];
  GNNKIT_DEVICE_CHECK(row < src_rows);
  out[i] = row >= 0 ? src[row * width + divide(i, width).rest] : T{};
}

}  // namespace gnnkit
