// Sums over the features of each head, and additions weighted by head. Included only by the kernel sources.
#pragma once

#include <utility>

#include "cpu/vec.h"

namespace gnnkit::GNNKIT_ISA {

// Memory that a range of rows works in. Not std::vector: its code would be shared between instruction sets.
template <typename A>
class Scratch {
 public:
  explicit Scratch(int64_t count) : data_(new A[static_cast<uint64_t>(count)]()) {}
  ~Scratch() { delete[] data_; }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  A* take(int64_t count) {
    A* part = data_ + used_;
    used_ += count;
    return part;
  }

 private:
  A* data_;
  int64_t used_ = 0;
};

template <int N, typename A, int... lane>
inline Vector<A, N / 2> fold(Vector<A, N> value, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(value, value, lane...) + __builtin_shufflevector(value, value, (lane + N / 2)...);
}

template <int N, typename A>
inline A add_lanes(Vector<A, N> value) {
  if constexpr (N == 1) {
    return value[0];
  } else if constexpr (N == 2) {
    return value[0] + value[1];
  } else {
    return add_lanes<N / 2, A>(fold<N, A>(value, std::make_integer_sequence<int, N / 2>{}));
  }
}

// Adds to each lane the one that lies `distance` away within its group of 2 * distance lanes.
template <int distance, int N, typename A, int... lane>
inline Vector<A, N> add_across(Vector<A, N> value, std::integer_sequence<int, lane...>) {
  return value + __builtin_shufflevector(value, value, (lane ^ distance)...);
}

// The sums of groups of W lanes, in every lane of the group.
template <int W, int N, typename A>
inline Vector<A, N> group_sums(Vector<A, N> value) {
  if constexpr (W == 1) {
    return value;
  } else {
    return group_sums<W / 2, N, A>(add_across<W / 2, N, A>(value, std::make_integer_sequence<int, N>{}));
  }
}

// Each of N / W numbers in W lanes.
template <int W, int N, typename A, int... lane>
inline Vector<A, N> repeat_lanes(const A* source, std::integer_sequence<int, lane...>) {
  return Vector<A, N>{source[lane / W]...};
}

template <int N, typename A, typename Value>
inline A sum_span(int64_t begin, int64_t end, const Value& value) {
  A total = 0;
  if (end - begin >= N) {
    Vector<A, N> sum = value(TileSize<N>{}, begin);
    for (begin += N; end - begin >= N; begin += N) sum += value(TileSize<N>{}, begin);
    total = add_lanes<N, A>(sum);
  }
  if constexpr (N > 1) {
    if (begin < end) total += sum_span<N / 2, A>(begin, end, value);
  }
  return total;
}

template <int N, typename A, typename Value>
inline void accumulate_span(A weight, int64_t begin, int64_t end, const Value& value, A* sum) {
  for (; end - begin >= N; begin += N)
    store<N>(sum + begin, load<N>(sum + begin) + weight * value(TileSize<N>{}, begin));
  if constexpr (N > 1) {
    if (begin < end) accumulate_span<N / 2, A>(weight, begin, end, value, sum);
  }
}

// Heads narrower than a vector, several in each: returns how many of them have been done.
template <int W, int N, typename A, typename Value>
inline int64_t sum_packed(int64_t heads, const Value& value, A* out) {
  int64_t head = 0;
  for (; head + N / W <= heads; head += N / W) {
    const Vector<A, N> sums = group_sums<W, N, A>(value(TileSize<N>{}, head * W));
    for (int i = 0; i < N / W; ++i) out[head + i] = sums[i * W];
  }
  return head;
}

template <int W, int N, typename A, typename Value>
inline int64_t accumulate_packed(const A* weight, int64_t heads, const Value& value, A* sum) {
  int64_t head = 0;
  for (; head + N / W <= heads; head += N / W) {
    const Vector<A, N> weights = repeat_lanes<W, N, A>(weight + head, std::make_integer_sequence<int, N>{});
    A* target = sum + head * W;
    store<N>(target, load<N>(target) + weights * value(TileSize<N>{}, head * W));
  }
  return head;
}

// Calls visit(lanes, offset) for vectors that cover the heads once each.
template <typename Visit>
[[gnu::always_inline]] inline void for_heads(int64_t heads, const Visit& visit) {
  int64_t head = 0;
  for (; head + 4 <= heads; head += 4) visit(TileSize<4>{}, head);
  for (; head < heads; ++head) visit(TileSize<1>{}, head);
}

// Calls packed(TileSize<W>) where `width` is a W that divides a vector; returns how many heads that has done.
template <int N, typename Packed>
inline int64_t pack_heads(int64_t width, const Packed& packed) {
  if constexpr (N > 1) {
    if (width == 1) return packed(TileSize<1>{});
  }
  if constexpr (N > 2) {
    if (width == 2) return packed(TileSize<2>{});
  }
  if constexpr (N > 4) {
    if (width == 4) return packed(TileSize<4>{});
  }
  if constexpr (N > 8) {
    if (width == 8) return packed(TileSize<8>{});
  }
  return 0;
}

// out[h] = sum of value(lanes, offset) over the `width` elements of head h.
template <int N, typename A, typename Value>
[[gnu::always_inline]] inline void sum_heads(int64_t heads, int64_t width, const Value& value, A* out) {
  int64_t head =
      pack_heads<N>(width, [&](auto packed) { return sum_packed<decltype(packed)::value, N, A>(heads, value, out); });
  for (; head < heads; ++head) out[head] = sum_span<N, A>(head * width, (head + 1) * width, value);
}

// sum[h, f] += weight[h] * value[h, f]
template <int N, typename A, typename Value>
[[gnu::always_inline]] inline void accumulate_heads(const A* weight, int64_t heads, int64_t width, const Value& value,
                                                    A* sum) {
  int64_t head = pack_heads<N>(
      width, [&](auto packed) { return accumulate_packed<decltype(packed)::value, N, A>(weight, heads, value, sum); });
  for (; head < heads; ++head) accumulate_span<N, A>(weight[head], head * width, (head + 1) * width, value, sum);
}

}  // namespace gnnkit::GNNKIT_ISA
