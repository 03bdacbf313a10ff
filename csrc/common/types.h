// Element types of the kernels, free of LibTorch so that one source compiles for every instruction set.
#pragma once

#include <cstdint>

namespace gnnkit {

struct BFloat16 {
  uint16_t bits;
};

template <typename T>
struct AccumulateOf {
  using type = T;
};
template <>
struct AccumulateOf<BFloat16> {
  using type = float;
};
// Sums and extrema of T are held in this type.
template <typename T>
using Accumulate = typename AccumulateOf<T>::type;

// Logit of an edge: scale * <q, k> + bias; leaky(q + k + bias); or <att, leaky(q + k)> + bias.
enum class Score { kProduct, kSum, kMixed };

enum class Activation { kNone, kRelu, kGelu, kSilu };

}  // namespace gnnkit
