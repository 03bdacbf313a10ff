// The largest scores of each segment. A score becomes an unsigned number of the same order; one selection per segment
// finds the smallest that is kept, and one pass in order of position takes all above it and the first ones equal to it.
#include <algorithm>
#include <cstring>

#include "cpu/launch.h"

namespace gnnkit {

namespace {

// Order of torch.sort: a NaN is larger than all numbers, and both zeros are equal.
template <typename Key, typename Value>
Key ordered(Value value) {
  constexpr Key sign = Key{1} << (sizeof(Key) * 8 - 1);
  if (value != value) return ~Key{0};
  value += Value{0};  // turns the negative zero into the positive one
  Key bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return (bits & sign) != 0 ? ~bits : bits | sign;
}

inline uint32_t key_of(float value) { return ordered<uint32_t>(value); }
inline uint64_t key_of(double value) { return ordered<uint64_t>(value); }

template <typename T>
using KeyOf = decltype(key_of(T{}));

template <typename Key>
struct TopScratch {
  std::vector<Key> key;
  std::vector<Key> selected;
};

// Writes the `count` positions of [begin, end) that are kept, in ascending order; 0 < count < end - begin.
template <typename T, typename I>
void select_segment(const T* score, int64_t begin, int64_t end, int64_t count, TopScratch<KeyOf<T>>& scratch, I* out) {
  auto& key = scratch.key;
  auto& selected = scratch.selected;
  key.clear();
  for (int64_t p = begin; p < end; ++p) key.push_back(key_of(score[p]));
  selected.assign(key.begin(), key.end());
  const auto last = selected.begin() + (count - 1);
  std::nth_element(selected.begin(), last, selected.end(), std::greater<>());
  const auto least = *last;
  const int64_t above = std::count_if(selected.begin(), last, [&](auto other) { return other > least; });
  int64_t equal_left = count - above;
  for (int64_t p = begin; p < end; ++p) {
    const auto here = key[static_cast<size_t>(p - begin)];
    if (here > least || (here == least && equal_left-- > 0)) *out++ = static_cast<I>(p);
  }
}

template <typename I>
int64_t kept_boundaries(const I* ptr, const I* count, int64_t segments, I* kept) {
  int64_t total = 0;
  bool inside = true;
  for (int64_t s = 0; s < segments; ++s) {
    inside &= count[s] >= 0 && count[s] <= ptr[s + 1] - ptr[s];
    kept[s] = static_cast<I>(total);
    total += inside ? static_cast<int64_t>(count[s]) : 0;
  }
  kept[segments] = static_cast<I>(total);
  STD_TORCH_CHECK(inside, "a segment keeps at least none and at most all of its rows");
  return total;
}

std::tuple<Tensor, Tensor> segment_topk(const Tensor& score_in, const Tensor& ptr_in, const Tensor& count_in) {
  STD_TORCH_CHECK(score_in.dim() == 1 && ptr_in.dim() == 1 && ptr_in.size(0) >= 1 && count_in.dim() == 1 &&
                      count_in.size(0) == ptr_in.size(0) - 1,
                  "score must be a vector, ptr one of S + 1 boundaries, count one of S numbers");
  STD_TORCH_CHECK(ptr_in.scalar_type() == count_in.scalar_type(), "ptr and count must have one dtype");
  const Tensor score = wide(score_in), ptr = dense(ptr_in), count = dense(count_in);
  const int64_t segments = count.size(0);
  const Tensor kept = empty({segments + 1}, ptr);
  Tensor position;
  dispatch_index(ptr, [&](auto integer) {
    using I = decltype(integer);
    const I* bounds = read<I>(ptr);
    const I* first = read<I>(kept);
    check_boundaries(bounds, segments, score.size(0));
    position = empty({kept_boundaries(bounds, read<I>(count), segments, write<I>(kept))}, ptr);
    dispatch_wide(score, [&](auto value) {
      using T = decltype(value);
      const int64_t chunks = chunks_for(8 * (score.size(0) + segments));
      parallel_with_scratch<TopScratch<KeyOf<T>>>(chunks, [&](TopScratch<KeyOf<T>>& scratch, int64_t chunk) {
        const int64_t stop = row_at_share(bounds, segments, chunk + 1, chunks);
        for (int64_t s = row_at_share(bounds, segments, chunk, chunks); s < stop; ++s) {
          const int64_t wanted = first[s + 1] - first[s];
          I* out = write<I>(position) + first[s];
          if (wanted == bounds[s + 1] - bounds[s]) {
            for (int64_t p = 0; p < wanted; ++p) out[p] = static_cast<I>(bounds[s] + p);
          } else if (wanted > 0) {
            select_segment(read<T>(score), bounds[s], bounds[s + 1], wanted, scratch, out);
          }
        }
      });
    });
  });
  return {kept, position};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("segment_topk", TORCH_BOX(&segment_topk)); }

}  // namespace gnnkit
