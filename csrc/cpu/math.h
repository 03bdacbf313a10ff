// Elementary functions without branches, so that loops over them vectorise. Included only by the kernel sources.
#pragma once

#include <cmath>

#include "cpu/vec.h"

namespace gnnkit::GNNKIT_ISA {

// e^x within 2 units in the last place: x = n ln 2 + r, a polynomial in r, and n put into the exponent. `Value` is a
// float or a vector of them, `Bits` its bits.
template <typename Value, typename Bits>
inline Value exponential_of(Value x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Value clamped = x < -87.0f ? Value{} - 87.0f : (x > 88.0f ? Value{} + 88.0f : x);
  const Value shifted = clamped * 1.44269504088896341f + kRound;
  const Value n = shifted - kRound;
  const Value r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  Value y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  const Bits exponent = (bit_cast<Bits>(shifted) - bit_cast<uint32_t>(kRound) + 127u) << 23;
  const Value scaled = y * bit_cast<Value>(exponent);
  const Value low = x < -87.0f ? Value{} : scaled;  // what is below the smallest normal number counts as zero
  const Value high = x > 88.0f ? scaled * 1e38f : low;
  return x != x ? x : high;
}
inline float exponential(float x) { return exponential_of<float, uint32_t>(x); }
inline double exponential(double x) { return std::exp(x); }

template <int N>
inline Vector<float, N> exponential_lanes(Vector<float, N> x) {
  return exponential_of<Vector<float, N>, Vector<uint32_t, N>>(x);
}
#if defined(__AVX512F__)
// The same with half the instructions: one that multiplies by 2^n and knows overflow, and a mask for what counts as
// zero. The polynomial is the best of degree 6 for the relative error (3e-9).
template <>
inline Vector<float, 16> exponential_lanes<16>(Vector<float, 16> x) {
  using Value = Vector<float, 16>;
  constexpr float kRound = 12582912.0f;
  const auto lanes = bit_cast<__m512>(x);
  const __mmask16 counts = _mm512_cmp_ps_mask(lanes, _mm512_set1_ps(-87.0f), _CMP_NLT_UQ);  // NaN counts
  // NaN stays. With a mask of all lanes, since GCC 12 warns of _mm512_min_ps itself.
  const auto clamped = bit_cast<Value>(_mm512_mask_min_ps(lanes, 0xffff, _mm512_set1_ps(89.0f), lanes));
  const Value n = clamped * 1.44269504088896341f + kRound - kRound;
  const Value r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  Value y = r * 1.3814535923e-3f + 8.3687454462e-3f;
  y = y * r + 4.1668392718e-2f;
  y = y * r + 1.6666521132e-1f;
  y = y * r + 4.9999994040e-1f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  return bit_cast<Value>(_mm512_maskz_scalef_ps(counts, bit_cast<__m512>(y), bit_cast<__m512>(n)));
}
#endif
template <int N>
inline Vector<double, N> exponential_lanes(Vector<double, N> x) {
  for (int lane = 0; lane < N; ++lane) x[lane] = std::exp(x[lane]);
  return x;
}

// erf(z) by Abramowitz and Stegun 7.1.26, |error| <= 1.5e-7, given exp(-z^2).
inline float error_function(float z, float exp_minus_square) {
  const float magnitude = z < 0 ? -z : z;
  const float t = 1.0f / (1.0f + 0.3275911f * magnitude);
  const float poly =
      t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float value = 1.0f - poly * exp_minus_square;
  return z < 0 ? -value : value;
}
inline double error_function(double z, double) { return std::erf(z); }

template <Activation activation, typename A>
inline A activate(A v) {
  if constexpr (activation == Activation::kRelu) {
    return v < A(0) ? A(0) : v;  // keeps NaN
  } else if constexpr (activation == Activation::kGelu) {
    const A z = v * A(0.70710678118654752440);
    return A(0.5) * v * (A(1) + error_function(z, exponential(-z * z)));
  } else if constexpr (activation == Activation::kSilu) {
    return v / (A(1) + exponential(-v));
  } else {
    return v;
  }
}

template <Activation activation, typename A>
inline A derivative(A v) {
  if constexpr (activation == Activation::kRelu) {
    return v > A(0) ? A(1) : A(0);
  } else if constexpr (activation == Activation::kGelu) {
    const A z = v * A(0.70710678118654752440);
    const A gauss = exponential(-z * z);
    return A(0.5) * (A(1) + error_function(z, gauss)) + v * gauss * A(0.39894228040143267794);
  } else if constexpr (activation == Activation::kSilu) {
    const A s = A(1) / (A(1) + exponential(-v));
    return s * (A(1) + v * (A(1) - s));
  } else {
    return A(1);
  }
}

}  // namespace gnnkit::GNNKIT_ISA
