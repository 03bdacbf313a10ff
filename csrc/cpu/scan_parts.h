// What scans over packed sequences are made of. Included only by the kernel sources.
#pragma once

#include "cpu/math.h"

namespace gnnkit::GNNKIT_ISA {

template <typename T>
constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(T));
template <typename T>
using Lanes = Vector<T, kWidth<T>>;

// log(1 + e^x) = max(x, 0) + 2 artanh(w / (2 + w)) for w = e^-|x|, where w / (2 + w) <= 1/3: seven terms are exact to
// float. Above 20 the sum is x itself.
inline float softplus(float x) {
  const float w = exponential(x < 0 ? x : -x);
  const float q = w / (2.0f + w);
  const float s = q * q;
  float y = s * (1.0f / 13) + 1.0f / 11;
  y = y * s + 1.0f / 9;
  y = y * s + 1.0f / 7;
  y = y * s + 1.0f / 5;
  y = y * s + 1.0f / 3;
  y = (y * s + 1.0f) * (2.0f * q);
  // A NaN must not pass as zero.
  return x > 20.0f ? x : (x < 0 ? y : x + y);
}
inline double softplus(double x) { return x > 20.0 ? x : std::log1p(std::exp(x)); }

template <typename T>
inline T logistic(T x) {
  return T(1) / (T(1) + exponential(-x));
}

// The token at a place of a sequence, in the order in which its tokens are read.
template <typename Args>
inline int64_t token_at(const Args& args, int64_t begin, int64_t end, int64_t place) {
  return args.reverse ? end - 1 - place : begin + place;
}

// Calls visit(TileSize<V>, offset) for tiles of V vectors that cover a row.
template <typename T, typename Visit>
[[gnu::always_inline]] inline void for_each_row_tile(int64_t padded, const Visit& visit) {
  constexpr int kW = kWidth<T>;
  int64_t offset = 0;
  for (; padded - offset >= 4 * kW; offset += 4 * kW) visit(TileSize<4>{}, offset);
  if (padded - offset >= 2 * kW) visit(TileSize<2>{}, offset), offset += 2 * kW;
  if (padded - offset >= kW) visit(TileSize<1>{}, offset);
}

// The sum of the products of two rows in whole vectors.
template <typename T>
inline T dot(const T* left, const T* right, int64_t padded) {
  constexpr int kW = kWidth<T>;
  Lanes<T> total{};
  for (int64_t p = 0; p < padded; p += kW) total += load<kW>(left + p) * load<kW>(right + p);
  return sum_of<kW, T>(total);
}

}  // namespace gnnkit::GNNKIT_ISA
