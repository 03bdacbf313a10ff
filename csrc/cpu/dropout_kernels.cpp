// Bias, activation, dropout and residual in one pass over a range of elements, and the gradient of that.
#include "common/philox.h"
#include "cpu/kernels.h"
#include "cpu/math.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

using Words = Vector<uint64_t, 8>;  // 32-bit words in 64-bit lanes, where their products fit

// Products of the low halves of the lanes. The compiler cannot know that the high halves are zero.
inline Words multiply(Words value, uint64_t constant) {
#if defined(__AVX512F__)
  // With a mask of all lanes: the form without one hands GCC a deliberately uninitialised vector, which it warns of.
  const __m512i factor = _mm512_set1_epi64(static_cast<long long>(constant));
  return bit_cast<Words>(_mm512_maskz_mul_epu32(0xFF, bit_cast<__m512i>(value), factor));
#elif defined(__AVX2__)
  const __m256i factor = _mm256_set1_epi64x(static_cast<long long>(constant));
  Vector<uint64_t, 4> halves[2];
  std::memcpy(halves, &value, sizeof(value));
  for (auto& half : halves) half = bit_cast<Vector<uint64_t, 4>>(_mm256_mul_epu32(bit_cast<__m256i>(half), factor));
  return bit_cast<Words>(halves);
#else
  return value * constant;
#endif
}

// Writes m / (1 - p), zero or `scale`, of the 64 elements of one group.
template <typename A>
inline void fill_group(uint64_t seed, int64_t group, uint32_t threshold, A scale, A* mask) {
  using Bits = std::conditional_t<sizeof(A) == 4, uint32_t, uint64_t>;
  const uint64_t low = 0xFFFFFFFFu;
  for (int part = 0; part < 2; ++part) {
    const uint64_t first = static_cast<uint64_t>(group) * philox::kBlocksInGroup + static_cast<uint64_t>(part) * 8;
    const Words counter = Words{0, 1, 2, 3, 4, 5, 6, 7} + first;
    Words word[4] = {counter & low, counter >> 32, Words{}, Words{}};
    uint32_t key0 = static_cast<uint32_t>(seed);
    uint32_t key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < philox::kRounds; ++round) {
      const Words product0 = multiply(word[0], philox::kMultiplier0);
      const Words product1 = multiply(word[2], philox::kMultiplier1);
      word[0] = (product1 >> 32) ^ word[1] ^ static_cast<uint64_t>(key0);
      word[2] = (product0 >> 32) ^ word[3] ^ static_cast<uint64_t>(key1);
      word[1] = product1 & low;
      word[3] = product0 & low;
      key0 += philox::kWeyl0;
      key1 += philox::kWeyl1;
    }
    for (int w = 0; w < 4; ++w) {
      const auto keep = __builtin_convertvector(word[w] >= static_cast<uint64_t>(threshold), Vector<Bits, 8>);
      store<8>(mask + w * philox::kBlocksInGroup + part * 8, bit_cast<Vector<A, 8>>(keep & bit_cast<Bits>(scale)));
    }
  }
}

constexpr int64_t kWindow = 1024;  // elements whose mask is held at once; a multiple of philox::kGroup

// Calls visit(begin, end, mask) for pieces of [begin, end) that lie in one row, with their part of the mask.
template <typename T, typename Visit>
inline void for_each_piece(const EpilogueArgs<T>& args, int64_t begin, int64_t end, Visit&& visit) {
  using A = Accumulate<T>;
  A mask[kWindow];
  const bool drops = args.p > 0.0;
  const uint32_t threshold = philox::drop_threshold(args.p);
  const A scale = static_cast<A>(args.p < 1.0 ? 1.0 / (1.0 - args.p) : 0.0);
  for (int64_t start = begin; start < end;) {
    const int64_t window = start / kWindow * kWindow;
    const int64_t stop = window + kWindow < end ? window + kWindow : end;
    if (drops) {
      for (int64_t group = start / philox::kGroup; group * philox::kGroup < stop; ++group)
        fill_group<A>(args.seed, group, threshold, scale, mask + group * philox::kGroup - window);
    }
    while (start < stop) {
      const int64_t row_end = (start / args.width + 1) * args.width;
      const int64_t piece_end = row_end < stop ? row_end : stop;
      visit(start, piece_end, mask + (start - window));
      start = piece_end;
    }
  }
}

template <Activation activation, bool kMasked, typename T>
inline void forward_piece(const EpilogueArgs<T>& args, int64_t begin, int64_t end, const Accumulate<T>* mask) {
  using A = Accumulate<T>;
  const T* x = args.x + begin;
  const T* bias = args.bias != nullptr ? args.bias + begin % args.width : nullptr;
  const T* residual = args.residual != nullptr ? args.residual + begin : nullptr;
  T* out = args.out + begin;
  const int64_t count = end - begin;
  const auto run = [&](auto with_bias, auto with_residual) {
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) {
      A value = widen(x[j]);
      if constexpr (decltype(with_bias)::value) value += widen(bias[j]);
      value = activate<activation>(value);
      if constexpr (kMasked) value *= mask[j];
      if constexpr (decltype(with_residual)::value) value += widen(residual[j]);
      out[j] = narrow<T>(value);
    }
  };
  if (bias != nullptr) {
    residual != nullptr ? run(std::true_type{}, std::true_type{}) : run(std::true_type{}, std::false_type{});
  } else {
    residual != nullptr ? run(std::false_type{}, std::true_type{}) : run(std::false_type{}, std::false_type{});
  }
}

template <Activation activation, bool kMasked, typename T>
inline void backward_piece(const EpilogueArgs<T>& args, int64_t begin, int64_t end, const Accumulate<T>* mask) {
  using A = Accumulate<T>;
  const int64_t column = begin % args.width;
  const T* x = args.x + begin;
  const T* bias = args.bias != nullptr ? args.bias + column : nullptr;
  const T* grad = args.grad + begin;
  T* out = args.out + begin;
  A* grad_bias = args.grad_bias != nullptr ? args.grad_bias + column : nullptr;
  const int64_t count = end - begin;
  const auto run = [&](auto with_bias) {
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) {
      A value = widen(x[j]);
      if constexpr (decltype(with_bias)::value) value += widen(bias[j]);
      A upstream = widen(grad[j]);
      if constexpr (kMasked) upstream *= mask[j];
      upstream *= derivative<activation>(value);
      if constexpr (decltype(with_bias)::value) grad_bias[j] += upstream;
      out[j] = narrow<T>(upstream);
    }
  };
  bias != nullptr ? run(std::true_type{}) : run(std::false_type{});
}

template <typename Visit>
inline void with_activation(Activation activation, Visit&& visit) {
  switch (activation) {
    case Activation::kRelu:
      return visit(std::integral_constant<Activation, Activation::kRelu>{});
    case Activation::kGelu:
      return visit(std::integral_constant<Activation, Activation::kGelu>{});
    case Activation::kSilu:
      return visit(std::integral_constant<Activation, Activation::kSilu>{});
    default:
      return visit(std::integral_constant<Activation, Activation::kNone>{});
  }
}

}  // namespace

template <typename T>
void epilogue_range(const EpilogueArgs<T>& args, int64_t begin, int64_t end) {
  with_activation(args.activation, [&](auto activation) {
    constexpr Activation kActivation = decltype(activation)::value;
    for_each_piece(args, begin, end, [&](int64_t from, int64_t to, const Accumulate<T>* mask) {
      args.p > 0.0 ? forward_piece<kActivation, true>(args, from, to, mask)
                   : forward_piece<kActivation, false>(args, from, to, mask);
    });
  });
}

template <typename T>
void epilogue_backward_range(const EpilogueArgs<T>& args, int64_t begin, int64_t end) {
  with_activation(args.activation, [&](auto activation) {
    constexpr Activation kActivation = decltype(activation)::value;
    for_each_piece(args, begin, end, [&](int64_t from, int64_t to, const Accumulate<T>* mask) {
      args.p > 0.0 ? backward_piece<kActivation, true>(args, from, to, mask)
                   : backward_piece<kActivation, false>(args, from, to, mask);
    });
  });
}

template void epilogue_range<float>(const EpilogueArgs<float>&, int64_t, int64_t);
template void epilogue_range<double>(const EpilogueArgs<double>&, int64_t, int64_t);
template void epilogue_range<BFloat16>(const EpilogueArgs<BFloat16>&, int64_t, int64_t);
template void epilogue_backward_range<float>(const EpilogueArgs<float>&, int64_t, int64_t);
template void epilogue_backward_range<double>(const EpilogueArgs<double>&, int64_t, int64_t);
template void epilogue_backward_range<BFloat16>(const EpilogueArgs<BFloat16>&, int64_t, int64_t);

}  // namespace gnnkit::GNNKIT_ISA
