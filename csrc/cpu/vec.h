// Short vectors of the width the instruction set has. Included only by the kernel sources, which are compiled once per
// instruction set, each into a namespace of its own (GNNKIT_ISA), so that no two of them share a function.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "common/types.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace gnnkit::GNNKIT_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename T, int N>
struct VectorOf {
  typedef T type __attribute__((vector_size(sizeof(T) * N)));
};
template <typename T, int N>
using Vector = typename VectorOf<T, N>::type;

template <typename T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Accumulate<T>));

template <typename To, typename From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

template <int N, typename T>
  requires std::is_floating_point_v<T>
inline Vector<T, N> load(const T* source) {
  Vector<T, N> value;
  std::memcpy(&value, source, sizeof(value));
  return value;
}

template <int N>
inline Vector<float, N> load(const BFloat16* source) {
  Vector<uint16_t, N> raw;
  std::memcpy(&raw, source, sizeof(raw));
  return bit_cast<Vector<float, N>>(__builtin_convertvector(raw, Vector<uint32_t, N>) << 16);
}

template <int N, typename T>
  requires std::is_floating_point_v<T>
inline void store(T* target, Vector<T, N> value) {
  std::memcpy(target, &value, sizeof(value));
}

// Rounds to nearest, ties to even; a NaN stays a (quiet) NaN.
template <int N>
inline void store(BFloat16* target, Vector<float, N> value) {
  const auto bits = bit_cast<Vector<uint32_t, N>>(value);
  const Vector<uint32_t, N> rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const auto is_nan = bit_cast<Vector<uint32_t, N>>(value != value);
  const auto narrow = __builtin_convertvector((is_nan & 0x7fc0u) | (~is_nan & rounded), Vector<uint16_t, N>);
  std::memcpy(target, &narrow, sizeof(narrow));
}

// The sum of all lanes.
template <int N, typename T>
inline T sum_of(Vector<T, N> value) {
  if constexpr (N == 1) {
    return value[0];
  } else {
    struct Halves {
      Vector<T, N / 2> low, high;
    };
    const auto halves = bit_cast<Halves>(value);
    return sum_of<N / 2, T>(halves.low + halves.high);
  }
}

inline float widen(float value) { return value; }
inline double widen(double value) { return value; }
inline float widen(BFloat16 value) { return bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

template <typename T>
inline T narrow(Accumulate<T> value) {
  return value;
}
template <>
inline BFloat16 narrow<BFloat16>(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return {static_cast<uint16_t>(value != value ? 0x7fc0u : rounded)};
}

// Terms of a sum that are added up on their own. Rounding errors then grow with this and with the number of blocks, not
// with the length of a hub's row.
constexpr int64_t kSumBlock = 256;

// Calls block(first, last) for the blocks of [begin, end).
template <typename Block>
[[gnu::always_inline]] inline void for_each_sum_block(int64_t begin, int64_t end, const Block& block) {
  for (int64_t first = begin; first < end; first += kSumBlock) {
    const int64_t last = end - first < kSumBlock ? end : first + kSumBlock;
    block(first, last);
  }
}

template <int K, typename V>
[[gnu::always_inline]] inline void add_to(V (&sum)[K], const V (&part)[K]) {
#pragma GCC unroll 8
  for (int k = 0; k < K; ++k) sum[k] += part[k];
}

// Calls visit(integral_constant K, offset) for tiles of K vectors of N lanes that cover [0, width). The last tile
// overlaps the one before where width is no multiple of N, so a visit must be free to repeat.
template <int K>
struct TileSize {
  static constexpr int value = K;
};

// Below the width of a whole vector, a half of it (and so on) fits at most once.
template <int N, typename Visit>
inline void for_narrow_tile(int64_t width, Visit&& visit) {
  if (width >= N) {
    visit(TileSize<1>{}, TileSize<N>{}, 0);
    if (width > N) visit(TileSize<1>{}, TileSize<N>{}, width - N);
  } else if constexpr (N > 1) {
    for_narrow_tile<N / 2>(width, visit);
  }
}

template <int N, typename Visit>
inline void for_each_tile(int64_t width, Visit&& visit) {
  if constexpr (N > 1) {
    if (width < N) return for_narrow_tile<N / 2>(width, visit);
  }
  int64_t offset = 0;
  for (; width - offset >= 8 * N; offset += 8 * N) visit(TileSize<8>{}, TileSize<N>{}, offset);
  if (width - offset >= 4 * N) visit(TileSize<4>{}, TileSize<N>{}, offset), offset += 4 * N;
  if (width - offset >= 2 * N) visit(TileSize<2>{}, TileSize<N>{}, offset), offset += 2 * N;
  if (width - offset >= N) visit(TileSize<1>{}, TileSize<N>{}, offset), offset += N;
  if (offset < width) visit(TileSize<1>{}, TileSize<N>{}, width - N);
}

}  // namespace gnnkit::GNNKIT_ISA
