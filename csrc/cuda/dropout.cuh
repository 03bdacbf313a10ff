// Bias, activation, dropout and residual in one pass, and the gradient of that.
#pragma once

#include "common/arguments.h"
#include "common/philox.h"
#include "cuda/device.h"

namespace gnnkit {

struct Words {
  uint32_t word[4];
};

__device__ __forceinline__ Words philox_block(uint64_t seed, uint64_t counter) {
  constexpr auto kMultiplier0 = static_cast<uint32_t>(philox::kMultiplier0);
  constexpr auto kMultiplier1 = static_cast<uint32_t>(philox::kMultiplier1);
  uint32_t word0 = static_cast<uint32_t>(counter), word1 = static_cast<uint32_t>(counter >> 32), word2 = 0, word3 = 0;
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < philox::kRounds; ++round) {
    const uint32_t high0 = __umulhi(kMultiplier0, word0), low0 = kMultiplier0 * word0;
    const uint32_t high1 = __umulhi(kMultiplier1, word2), low1 = kMultiplier1 * word2;
    word0 = high1 ^ word1 ^ key0;
    word2 = high0 ^ word3 ^ key1;
    word1 = low1;
    word3 = low0;
    key0 += philox::kWeyl0;
    key1 += philox::kWeyl1;
  }
  return {{word0, word1, word2, word3}};
}

template <typename A>
__device__ __forceinline__ A activate(A v, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return v < A(0) ? A(0) : v;  // keeps NaN
    case Activation::kGelu:
      return A(0.5) * v * (A(1) + erf(v * A(0.70710678118654752440)));
    case Activation::kSilu:
      return v / (A(1) + exp(-v));
    default:
      return v;
  }
}

template <typename A>
__device__ __forceinline__ A derivative(A v, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return v > A(0) ? A(1) : A(0);
    case Activation::kGelu:
      return A(0.5) * (A(1) + erf(v * A(0.70710678118654752440))) +
             v * exp(A(-0.5) * v * v) * A(0.39894228040143267794);
    case Activation::kSilu: {
      const A s = A(1) / (A(1) + exp(-v));
      return s * (A(1) + v * (A(1) - s));
    }
    default:
      return A(1);
  }
}

// What is the same for all elements.
struct Dropping {
  const int64_t* seed;
  int64_t count;
  double scale;  // 1 / (1 - p)
  uint32_t threshold;
  bool drops;
};

// Calls visit(element, mask) for the four elements whose random numbers are one block's: they lie 16 apart, so that
// lanes that follow one another touch elements that do.
template <typename A, typename Visit>
__device__ __forceinline__ void for_each_masked(const Dropping& dropping, const Visit& visit) {
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const int64_t first = block / philox::kBlocksInGroup * philox::kGroup + block % philox::kBlocksInGroup;
  if (first >= dropping.count) return;
  Words words{};
  if (dropping.drops) words = philox_block(static_cast<uint64_t>(*dropping.seed), static_cast<uint64_t>(block));
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const int64_t element = first + w * philox::kBlocksInGroup;
    const bool keeps = words.word[w] >= dropping.threshold;
    if (element < dropping.count) visit(element, keeps ? static_cast<A>(dropping.scale) : A(0));
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlock) epilogue(const EpilogueArgs<T> args, const Dropping dropping) {
  using A = Accumulate<T>;
  for_each_masked<A>(dropping, [&](int64_t i, A mask) {
    A value = widen(args.x[i]);
    if (args.bias != nullptr) value += widen(args.bias[divide(i, args.width).rest]);
    value = activate(value, args.activation);
    if (dropping.drops) value *= mask;
    if (args.residual != nullptr) value += widen(args.residual[i]);
    args.out[i] = narrow<T>(value);
  });
}

// `upstream`, where it is wanted, gets the gradient before rounding.
template <typename T>
__global__ void __launch_bounds__(kBlock)
    epilogue_backward(const EpilogueArgs<T> args, const Dropping dropping, Accumulate<T>* const upstream) {
  using A = Accumulate<T>;
  for_each_masked<A>(dropping, [&](int64_t i, A mask) {
    A value = widen(args.x[i]);
    if (args.bias != nullptr) value += widen(args.bias[divide(i, args.width).rest]);
    A gradient = widen(args.grad[i]);
    if (dropping.drops) gradient *= mask;
    gradient *= derivative(value, args.activation);
    args.out[i] = narrow<T>(gradient);
    if (upstream != nullptr) upstream[i] = gradient;
  });
}

}  // namespace gnnkit
