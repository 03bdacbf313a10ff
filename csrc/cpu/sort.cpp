// Stable counting sorts. With few values, blocks of positions: each block counts its values; the counts, laid out value
// by value and block by block, become the places where each block writes. With more values than a cache has counters
// for, positions are first dealt out to ranges of values in the same way, then each range is sorted by itself. The
// result is that of the serial sort.
#include "cpu/launch.h"

namespace gnnkit {

namespace {

// Blocks cost one counter per value each, so they must be long compared with the number of values.
int64_t blocks_for(int64_t count, int64_t dim_size) {
  if (count < kSerialWork) return 1;
  const int64_t threads = torch::stable::get_num_threads();
  return std::max<int64_t>(1, std::min<int64_t>({threads, 16, count / std::max<int64_t>(dim_size, 1)}));
}

inline int64_t block_begin(int64_t block, int64_t blocks, int64_t count) {
  return count / blocks * block + std::min<int64_t>(block, count % blocks);
}

template <typename I>
void counting_sort(const I* index, int64_t count, int64_t dim_size, I* ptr, I* perm) {
  const int64_t blocks = blocks_for(count, dim_size);
  const auto boundary = [&](int64_t block) { return block_begin(block, blocks, count); };
  std::vector<std::vector<I>> place(static_cast<size_t>(blocks));
  std::atomic<bool> inside{true};
  parallel_over_chunks(blocks, [&](int64_t block) {
    std::vector<I> counter(static_cast<size_t>(dim_size), I(0));
    for (int64_t position = boundary(block); position < boundary(block + 1); ++position) {
      const int64_t value = index[position];
      if (value < 0 || value >= dim_size) {
        inside = false;
        return;
      }
      ++counter[static_cast<size_t>(value)];
    }
    place[static_cast<size_t>(block)] = std::move(counter);
  });
  STD_TORCH_CHECK(inside, "an index lies outside of [0, dim_size)");
  I total = 0;
  for (int64_t value = 0; value < dim_size; ++value) {
    ptr[value] = total;
    for (auto& counter : place) {
      const I here = counter[static_cast<size_t>(value)];
      counter[static_cast<size_t>(value)] = total;
      total += here;
    }
  }
  ptr[dim_size] = total;
  parallel_over_chunks(blocks, [&](int64_t block) {
    auto& next = place[static_cast<size_t>(block)];
    for (int64_t position = boundary(block); position < boundary(block + 1); ++position)
      perm[next[static_cast<size_t>(index[position])]++] = static_cast<I>(position);
  });
}

// Counters of this many values and the ends of their runs still stay in cache; dealing out first pays beyond it.
constexpr int64_t kCachedValues = 1 << 18;
// A range holds at least this many values, and there are no more ranges than this, each written to in turn.
constexpr int kRangeBits = 12;
constexpr int64_t kMostRanges = 1 << 10;
// A dealt position carries its value, counted from the first of the range, in the bits above these.
constexpr int kPositionBits = 40;

int range_bits(int64_t dim_size) {
  int bits = kRangeBits;
  while (((dim_size - 1) >> bits) >= kMostRanges) ++bits;
  return bits;
}

bool sorts_by_range(int64_t count, int64_t dim_size) {
  return dim_size > kCachedValues && count >= dim_size && count < (int64_t{1} << kPositionBits) &&
         range_bits(dim_size) <= 64 - kPositionBits;
}

// Where each block writes the positions of each range, [ranges][blocks], and the end of the last range.
template <typename I>
std::vector<int64_t> places_of_ranges(const I* index, int64_t count, int64_t dim_size, int bits, int64_t blocks) {
  const int64_t ranges = ((dim_size - 1) >> bits) + 1;
  std::vector<int64_t> place(static_cast<size_t>(ranges * blocks + 1), 0);
  std::atomic<bool> inside{true};
  parallel_over_chunks(blocks, [&](int64_t block) {
    std::vector<int64_t> counter(static_cast<size_t>(ranges), 0);
    for (int64_t p = block_begin(block, blocks, count); p < block_begin(block + 1, blocks, count); ++p) {
      const int64_t value = index[p];
      if (value < 0 || value >= dim_size) {
        inside = false;
        return;
      }
      ++counter[static_cast<size_t>(value >> bits)];
    }
    for (int64_t range = 0; range < ranges; ++range)
      place[static_cast<size_t>(range * blocks + block)] = counter[static_cast<size_t>(range)];
  });
  STD_TORCH_CHECK(inside, "an index lies outside of [0, dim_size)");
  int64_t total = 0;
  for (int64_t& entry : place) {
    const int64_t here = entry;
    entry = total;
    total += here;
  }
  return place;
}

// Sorts the dealt positions of one range, [begin, end), whose values are [first, last).
template <typename I>
void sort_range(const uint64_t* dealt, int64_t begin, int64_t end, int64_t first, int64_t last,
                std::vector<int64_t>& counter, I* ptr, I* perm) {
  counter.assign(static_cast<size_t>(last - first), 0);
  for (int64_t p = begin; p < end; ++p) ++counter[dealt[p] >> kPositionBits];
  int64_t total = begin;
  for (int64_t value = first; value < last; ++value) {
    ptr[value] = static_cast<I>(total);
    const int64_t here = counter[static_cast<size_t>(value - first)];
    counter[static_cast<size_t>(value - first)] = total;
    total += here;
  }
  const uint64_t position = (uint64_t{1} << kPositionBits) - 1;
  for (int64_t p = begin; p < end; ++p)
    perm[counter[dealt[p] >> kPositionBits]++] = static_cast<I>(dealt[p] & position);
}

template <typename I>
void sort_by_range(const I* index, int64_t count, int64_t dim_size, uint64_t* dealt, I* ptr, I* perm) {
  const int bits = range_bits(dim_size);
  const int64_t ranges = ((dim_size - 1) >> bits) + 1;
  const int64_t blocks = chunks_for(count);
  const std::vector<int64_t> place = places_of_ranges(index, count, dim_size, bits, blocks);
  const int64_t low = (int64_t{1} << bits) - 1;
  parallel_over_chunks(blocks, [&](int64_t block) {
    std::vector<int64_t> next(static_cast<size_t>(ranges));
    for (int64_t range = 0; range < ranges; ++range)
      next[static_cast<size_t>(range)] = place[static_cast<size_t>(range * blocks + block)];
    for (int64_t p = block_begin(block, blocks, count); p < block_begin(block + 1, blocks, count); ++p) {
      const int64_t value = index[p];
      dealt[next[static_cast<size_t>(value >> bits)]++] =
          static_cast<uint64_t>(value & low) << kPositionBits | static_cast<uint64_t>(p);
    }
  });
  parallel_with_scratch<std::vector<int64_t>>(ranges, [&](std::vector<int64_t>& counter, int64_t range) {
    sort_range(dealt, place[static_cast<size_t>(range * blocks)], place[static_cast<size_t>((range + 1) * blocks)],
               range << bits, std::min(dim_size, (range + 1) << bits), counter, ptr, perm);
  });
  ptr[dim_size] = static_cast<I>(count);
}

std::tuple<Tensor, Tensor> sort_index(const Tensor& index_in, int64_t dim_size) {
  STD_TORCH_CHECK(index_in.dim() == 1 && dim_size >= 0 && dim_size < INT64_MAX,
                  "index must be a vector, dim_size not negative");
  STD_TORCH_CHECK(index_in.scalar_type() != ScalarType::Int || index_in.size(0) <= INT32_MAX,
                  "positions of so many entries need int64");
  const Tensor index = dense(index_in);
  const int64_t count = index.size(0);
  Tensor ptr = empty({dim_size + 1}, index);
  Tensor perm = empty({count}, index);
  dispatch_index(index, [&](auto integer) {
    using I = decltype(integer);
    if (sorts_by_range(count, dim_size)) {
      const Tensor dealt = empty({count}, index, ScalarType::Long);
      sort_by_range(read<I>(index), count, dim_size, write<uint64_t>(dealt), write<I>(ptr), write<I>(perm));
    } else {
      counting_sort(read<I>(index), count, dim_size, write<I>(ptr), write<I>(perm));
    }
  });
  return {ptr, perm};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("sort_index", TORCH_BOX(&sort_index)); }

}  // namespace gnnkit
