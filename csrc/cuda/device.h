// The language of the kernels: CUDA itself under nvcc, or its emulation on the host (GNNKIT_EMULATE). Free of LibTorch.
//
// Kernels are plain CUDA but for shared memory, which has a macro so that the emulation can watch over it:
//   GNNKIT_SHARED(float, tile, 256)        instead of  __shared__ float tile[256]
//   GNNKIT_DYNAMIC_SHARED(float, scratch)  instead of  extern __shared__ float scratch[]
#pragma once

#include "common/types.h"

#if defined(GNNKIT_EMULATE)

#include "cuda/emulation.h"

#else

#include <cuda_runtime.h>

#include <cstdint>

#define GNNKIT_SHARED(type, name, count) __shared__ type name[count]
// One aligned symbol for every type: a template may not declare one name with two types.
#define GNNKIT_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char gnnkit_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(gnnkit_dynamic_shared)

// What Python could not check without reading the device: a wrong value must not become a stray memory access.
#define GNNKIT_DEVICE_CHECK(condition) \
  do {                                 \
    if (!(condition)) __trap();        \
  } while (false)

#endif

namespace gnnkit {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr int kBlock = 256;  // threads of a block, where a kernel has no reason for another number

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ float widen(BFloat16 value) {
  return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}

template <typename T>
__device__ __forceinline__ T narrow(Accumulate<T> value) {
  return value;
}
template <>
__device__ __forceinline__ BFloat16 narrow<BFloat16>(float value) {
  const unsigned bits = __float_as_uint(value);
  // To nearest, ties to even; a NaN keeps a set mantissa bit, which the rounding could carry away.
  if (value != value) return BFloat16{static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return BFloat16{static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}

// Division of numbers that are not negative. That of 64 bits is a long routine on a device, and seldom needed.
struct Quotient {
  int64_t whole;
  int64_t rest;
};
__device__ __forceinline__ Quotient divide(int64_t value, int64_t divisor) {
  if (((value | divisor) >> 32) == 0) {
    const auto small = static_cast<uint32_t>(value), by = static_cast<uint32_t>(divisor);
    return {static_cast<int64_t>(small / by), static_cast<int64_t>(small % by)};
  }
  return {value / divisor, value % divisor};
}

// N consecutive elements that one instruction loads or stores; the address must be a multiple of their size.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T lane[N];
};

template <typename I>
__device__ __forceinline__ int64_t row_of_position(const I* rowptr, int64_t num_rows, int64_t position) {
  // The last row that starts at or before the position: rows without positions before it are passed over.
  int64_t low = 0;
  int64_t high = num_rows;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (static_cast<int64_t>(rowptr[middle]) <= position) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// The sum over the lanes of a warp, the same bits in each; all lanes must call it.
template <typename A>
__device__ __forceinline__ A warp_sum(A value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

}  // namespace gnnkit
