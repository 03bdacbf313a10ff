// Several heads of attention in the vectors of one row: sums over each head's features, and numbers per head spread to
// the lanes of its features. Included only by the kernel sources.
#pragma once

#include <utility>

#include "cpu/vec.h"

namespace gnnkit::GNNKIT_ISA {

constexpr int N = kLanes<float>;
using Lanes = Vector<float, N>;

template <int L, int... lane>
inline Vector<float, L / 2> add_neighbours(Vector<float, L> value, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(value, value, (2 * lane)...) +
         __builtin_shufflevector(value, value, (2 * lane + 1)...);
}

template <int... lane>
inline Lanes add_neighbours(Lanes left, Lanes right, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(left, right, (2 * lane)...) + __builtin_shufflevector(left, right, (2 * lane + 1)...);
}

// Halves one vector until `kCount` sums of neighbouring lanes are left.
template <int kCount, int L>
inline Vector<float, kCount> fold_lanes(Vector<float, L> value) {
  if constexpr (L == kCount) {
    return value;
  } else if constexpr (L == 2) {
    return Vector<float, 1>{value[0] + value[1]};
  } else {
    return fold_lanes<kCount, L / 2>(add_neighbours<L>(value, std::make_integer_sequence<int, L / 2>{}));
  }
}

// `kHeads` heads of W features each: how they lie in vectors, and sums and products over them.
template <int W, int kFeatures>
struct HeadBlock {
  static constexpr int kHeads = kFeatures / W;
  static constexpr int kVectors = kFeatures / N;
  static_assert(kFeatures % N == 0 && kFeatures % W == 0);
  // Numbers of all heads lie in kParts vectors of kPart lanes: on short vectors there may be more heads than lanes.
  static constexpr int kPart = kHeads < N ? kHeads : N;
  static constexpr int kParts = kHeads / kPart;

  struct Features {
    Lanes part[kVectors];
  };
  struct PerHead {
    Vector<float, kPart> part[kParts];
  };

  static Features zeros() { return Features{}; }

  static Features load_features(const float* source) {
    Features all;
    for (int j = 0; j < kVectors; ++j) all.part[j] = load<N>(source + j * N);
    return all;
  }

  static void store_features(float* target, const Features& all) {
    for (int j = 0; j < kVectors; ++j) store<N>(target + j * N, all.part[j]);
  }

  static PerHead load_heads(const float* source) {
    PerHead all;
    for (int j = 0; j < kParts; ++j) all.part[j] = load<kPart>(source + j * kPart);
    return all;
  }

  static void store_heads(float* target, const PerHead& all) {
    for (int j = 0; j < kParts; ++j) store<kPart>(target + j * kPart, all.part[j]);
  }

  static PerHead fill(float value) {
    PerHead all;
    for (int j = 0; j < kParts; ++j) all.part[j] = Vector<float, kPart>{} + value;
    return all;
  }

  // Applies `function` to the parts of several numbers per head.
  template <typename Function, typename... Operand>
  static PerHead map(const Function& function, const Operand&... operand) {
    PerHead all;
    for (int j = 0; j < kParts; ++j) all.part[j] = function(operand.part[j]...);
    return all;
  }

  // Sums over the features of each head of value(j), the product in vector j.
  template <typename Value>
  static PerHead sum(const Value& value) {
    constexpr int kVertical = W > N ? W / N : 1;  // vectors of one head
    constexpr int kFolded = kVectors / kVertical;
    Lanes level[kFolded];
    for (int j = 0; j < kFolded; ++j) {
      level[j] = value(j * kVertical);
      for (int i = 1; i < kVertical; ++i) level[j] += value(j * kVertical + i);
    }
    return fold<kFolded, (W > N ? N : W)>(level);
  }

  // Halves `kCount` vectors, in each of which a head takes `kSpan` lanes, until a head takes one.
  template <int kCount, int kSpan>
  static PerHead fold(const Lanes* level) {
    PerHead all;
    if constexpr (kSpan == 1) {
      static_assert(kCount == kParts);
      for (int j = 0; j < kCount; ++j) all.part[j] = level[j];
    } else if constexpr (kCount == 1) {
      all.part[0] = fold_lanes<kHeads, N>(level[0]);
    } else {
      Lanes next[kCount / 2];
      for (int j = 0; j < kCount / 2; ++j)
        next[j] = add_neighbours(level[2 * j], level[2 * j + 1], std::make_integer_sequence<int, N>{});
      return fold<kCount / 2, kSpan / 2>(next);
    }
    return all;
  }

  template <int j, int... lane>
  static Lanes spread_lanes(const PerHead& heads, std::integer_sequence<int, lane...>) {
    constexpr int kFirst = j * N / W;  // head of the vector's first lane
    const Vector<float, kPart>& part = heads.part[kFirst / kPart];
    if constexpr (W >= N) {
      return Lanes{} + part[kFirst % kPart];
    } else if constexpr (kPart == N) {
      return __builtin_shufflevector(part, part, (kFirst % kPart + lane / W)...);
    } else {
      return __builtin_shufflevector(part, part, ((j * N + lane) / W)...);
    }
  }

  // Calls visit(j, weights) for every vector j, with each head's number in the lanes of its features.
  template <typename Visit>
  [[gnu::always_inline]] static void spread(const PerHead& heads, const Visit& visit) {
    spread_all(heads, visit, std::make_integer_sequence<int, kVectors>{});
  }

 private:
  template <typename Visit, int... j>
  [[gnu::always_inline]] static void spread_all(const PerHead& heads, const Visit& visit,
                                                std::integer_sequence<int, j...>) {
    (visit(j, spread_lanes<j>(heads, std::make_integer_sequence<int, N>{})), ...);
  }
};

}  // namespace gnnkit::GNNKIT_ISA
