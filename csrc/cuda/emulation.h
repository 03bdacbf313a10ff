// CUDA's execution model on the host: the names that kernels use, so that their very source runs in the tests of a
// machine without a GPU. Threads of a block are fibers that run until they wait for one another; the scheduler lies in
// emulation.cpp. Slow, but strict: it reports what a device leaves undefined or answers with a hang.
//
//   - a barrier that some threads never reach, and warp operations whose masks disagree, name lanes that have exited,
//     or read from lanes outside of the mask: an error instead of a hang;
//   - shared memory is filled with 0xFF (NaN) before every block, and every array is an allocation of its own, so that
//     AddressSanitizer sees each access beyond it;
//   - threads and blocks run in an order that GNNKIT_EMULATION_SEED permutes, so that missing synchronisation shows.
//
// Blocks run one after the other: a kernel in which one block waits for another hangs here as it may on a device.
#pragma once

#include <math.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_in = 1, unsigned y_in = 1, unsigned z_in = 1) : x(x_in), y(y_in), z(z_in) {}
};

#define GNNKIT_BUILTIN extern constinit thread_local __attribute__((tls_model("initial-exec")))
GNNKIT_BUILTIN uint3 threadIdx;
GNNKIT_BUILTIN uint3 blockIdx;
GNNKIT_BUILTIN dim3 blockDim;
GNNKIT_BUILTIN dim3 gridDim;
#undef GNNKIT_BUILTIN

namespace gnnkit::emulation {

enum class Collective { kShuffle, kBallot, kSync };

// Runs `thread` once for every thread of the grid.
struct Launch {
  const char* name;
  dim3 grid;
  dim3 block;
  uint64_t shared_bytes;
};
void run(const Launch& launch, void (*thread)(void*), void* argument);

// Ends the launch with an error that names the kernel, the block and the thread.
[[noreturn]] void fail(const char* what);
// Waits for all threads of the block; returns how many of them gave a non-zero value.
int block_barrier(bool value);
// Waits for the lanes in `mask`. Returns the payload of lane `source` for a shuffle, the lanes whose payload is not
// zero for a ballot.
uint64_t warp_collective(Collective operation, unsigned mask, uint64_t payload, int source);
int lane();
// Lets other threads run first, now and then: an atomic operation is where they meet.
void interleave();
void* shared_array(const void* site, uint64_t bytes);
void* dynamic_shared();

template <typename... Parameters, typename... Arguments>
void launch(const char* name, dim3 grid, dim3 block, uint64_t shared_bytes, void (*kernel)(Parameters...),
            Arguments... arguments) {
  auto thread = [&] { kernel(arguments...); };
  run({name, grid, block, shared_bytes}, [](void* call) { (*static_cast<decltype(thread)*>(call))(); }, &thread);
}

// Every declaration, in every instance of a template, has its own type of `Site`.
template <typename T, typename Site>
T* shared(uint64_t count, Site) {
  static const char site = 0;
  return static_cast<T*>(shared_array(&site, count * sizeof(T)));
}

template <typename T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "CUDA shuffles integers and floats of 4 and 8 bytes");
  uint64_t payload = 0;
  std::memcpy(&payload, &value, sizeof(T));
  payload = warp_collective(Collective::kShuffle, mask, payload, source);
  std::memcpy(&value, &payload, sizeof(T));
  return value;
}

// The one place where read, change and write of an atomic operation happen: blocks and threads share an OS thread.
template <typename T, typename Change>
T exchange(T* address, Change&& change) {
  interleave();
  const T old = *address;
  *address = change(old);
  return old;
}

}  // namespace gnnkit::emulation

#define GNNKIT_SHARED(type, name, count) \
  type* const name = ::gnnkit::emulation::shared<type>(static_cast<uint64_t>(count), [] {})
#define GNNKIT_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::gnnkit::emulation::dynamic_shared())

#define GNNKIT_DEVICE_CHECK(condition)                                                 \
  do {                                                                                 \
    if (!(condition)) ::gnnkit::emulation::fail("a device check failed: " #condition); \
  } while (false)

inline void __syncthreads() { gnnkit::emulation::block_barrier(false); }
inline int __syncthreads_count(int predicate) { return gnnkit::emulation::block_barrier(predicate != 0); }
inline int __syncthreads_or(int predicate) { return __syncthreads_count(predicate) != 0; }
inline int __syncthreads_and(int predicate) { return __syncthreads_count(predicate == 0) == 0; }
inline void __threadfence() {}
inline void __threadfence_block() {}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) {
  gnnkit::emulation::warp_collective(gnnkit::emulation::Collective::kSync, mask, 0, 0);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  using gnnkit::emulation::Collective;
  return static_cast<unsigned>(
      gnnkit::emulation::warp_collective(Collective::kBallot, mask, predicate != 0 ? 1 : 0, 0));
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate == 0) == 0; }

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int first = gnnkit::emulation::lane() & ~(width - 1);
  return gnnkit::emulation::shuffle(mask, value, first + (source & (width - 1)));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  const int lane = gnnkit::emulation::lane();
  const int source = lane - static_cast<int>(distance);
  return gnnkit::emulation::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  const int lane = gnnkit::emulation::lane();
  const int source = lane + static_cast<int>(distance);
  return gnnkit::emulation::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const int lane = gnnkit::emulation::lane();
  const int source = lane ^ bits;
  return gnnkit::emulation::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source);
}

// The lanes that gave the same value.
template <typename T>
unsigned __match_any_sync(unsigned mask, T value) {
  unsigned peers = 0;
  for (int source = 0; source < 32; ++source) {
    if ((mask >> source & 1u) == 0) continue;
    if (gnnkit::emulation::shuffle(mask, value, source) == value) peers |= 1u << source;
  }
  return peers;
}

// Atomic operations, for the types that CUDA has them for.
#define GNNKIT_ATOMIC(name, type, expression)                                                      \
  inline type name(type* address, type value) {                                                    \
    return gnnkit::emulation::exchange(address, [value](type old) -> type { return expression; }); \
  }
GNNKIT_ATOMIC(atomicAdd, int, static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value)))
GNNKIT_ATOMIC(atomicAdd, unsigned, old + value)
GNNKIT_ATOMIC(atomicAdd, unsigned long long, old + value)
GNNKIT_ATOMIC(atomicAdd, float, old + value)
GNNKIT_ATOMIC(atomicAdd, double, old + value)
GNNKIT_ATOMIC(atomicMin, int, old < value ? old : value)
GNNKIT_ATOMIC(atomicMin, unsigned, old < value ? old : value)
GNNKIT_ATOMIC(atomicMin, long long, old < value ? old : value)
GNNKIT_ATOMIC(atomicMin, unsigned long long, old < value ? old : value)
GNNKIT_ATOMIC(atomicMax, int, old > value ? old : value)
GNNKIT_ATOMIC(atomicMax, unsigned, old > value ? old : value)
GNNKIT_ATOMIC(atomicMax, long long, old > value ? old : value)
GNNKIT_ATOMIC(atomicMax, unsigned long long, old > value ? old : value)
GNNKIT_ATOMIC(atomicExch, int, (static_cast<void>(old), value))
GNNKIT_ATOMIC(atomicExch, unsigned, (static_cast<void>(old), value))
GNNKIT_ATOMIC(atomicExch, unsigned long long, (static_cast<void>(old), value))
GNNKIT_ATOMIC(atomicExch, float, (static_cast<void>(old), value))
GNNKIT_ATOMIC(atomicOr, int, old | value)
GNNKIT_ATOMIC(atomicOr, unsigned, old | value)
GNNKIT_ATOMIC(atomicOr, unsigned long long, old | value)
#undef GNNKIT_ATOMIC

#define GNNKIT_ATOMIC_CAS(type)                                                                           \
  inline type atomicCAS(type* address, type expected, type value) {                                       \
    return gnnkit::emulation::exchange(address, [=](type old) { return old == expected ? value : old; }); \
  }
GNNKIT_ATOMIC_CAS(int)
GNNKIT_ATOMIC_CAS(unsigned)
GNNKIT_ATOMIC_CAS(unsigned long long)
#undef GNNKIT_ATOMIC_CAS

template <typename T>
T __ldg(const T* address) {
  return *address;
}
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
inline int __clz(int value) { return value == 0 ? 32 : __builtin_clz(static_cast<unsigned>(value)); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<uint64_t>(a) * static_cast<uint64_t>(b)) >> 32);
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
