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

}  // namespace gnnkit::GNNKIT_ISA
