// Random sets of nodes, many in one call. Each number that is drawn belongs to a seed, a set, a walker of the set and a
// place in the walker's sequence, so that the sets depend neither on the threads nor on which of them are asked for.
#pragma once

#include <cmath>

#include "common/topology.h"
#include "cpu/counter_random.h"
#include "cpu/launch.h"
#include "cpu/prefetch.h"

namespace gnnkit {

constexpr int64_t kMostWalkers = (int64_t{1} << 32) - 1;
constexpr int64_t kMostDraws = int64_t{1} << 31;  // for a set
constexpr int64_t kMostSets = int64_t{1} << 40;

// Numbers `place` and `place + 1` of a walker, both in [0, 1); `place` is even.
inline std::array<double, 2> drawn_numbers(uint64_t seed, uint64_t set, uint32_t walker, int64_t place) {
  const std::array<uint32_t, 4> word = philox_block(
      seed, {static_cast<uint32_t>(place / 2), walker, static_cast<uint32_t>(set), static_cast<uint32_t>(set >> 32)});
  return {unit_interval(word[0], word[1]), unit_interval(word[2], word[3])};
}

// A whole number below `count`, which is at least 1.
inline int64_t below(double chance, int64_t count) {
  return std::min(static_cast<int64_t>(chance * static_cast<double>(count)), count - 1);
}

// The graph as it was given: rows are checked as they are met, since a draw sees few of them.
template <typename I>
struct DrawnGraph {
  const I* rowptr;
  const I* col;
  int64_t nodes;
  int64_t edges;

  // -1 where the row is none.
  int64_t degree(int64_t node) const {
    const int64_t first = rowptr[node], last = rowptr[node + 1];
    return first >= 0 && first <= last && last <= edges ? last - first : -1;
  }
  // -1 where the source is no node.
  int64_t source(int64_t node, int64_t place) const {
    const int64_t found = col[rowptr[node] + place];
    return found >= 0 && found < nodes ? found : -1;
  }
};

template <typename I>
DrawnGraph<I> drawn_graph(const Tensor& rowptr, const Tensor& col) {
  return {read<I>(rowptr), read<I>(col), rowptr.size(0) - 1, col.size(0)};
}

inline void check_visited(bool valid) {
  STD_TORCH_CHECK(valid,
                  "the graph is not valid: row boundaries must not decrease and must run from 0 to the number of "
                  "edges, and its nodes must lie in [0, number of nodes)");
}

inline void check_draws(int64_t nodes, int64_t draws, int64_t first, int64_t count) {
  STD_TORCH_CHECK(nodes >= 1, "sets are drawn from at least one node");
  STD_TORCH_CHECK(draws <= kMostDraws, "a set is of at most 2^31 draws");
  STD_TORCH_CHECK(first >= 0 && count >= 0 && count <= kMostSets,
                  "first and count must lie in [0, 2^63) and [0, 2^40]");
  STD_TORCH_CHECK(first <= INT64_MAX - count, "sets are numbered below 2^63");
}

constexpr int kDigitBits = 11;
constexpr size_t kShortSet = 256;

// Sorts numbers below `size` and drops what is repeated; `other` is scratch.
inline void sort_distinct(std::vector<int64_t>& value, std::vector<int64_t>& other, int64_t size) {
  if (value.size() < kShortSet) {
    std::sort(value.begin(), value.end());
  } else {
    other.resize(value.size());
    for (int shift = 0; shift < 63 && (size - 1) >> shift > 0; shift += kDigitBits) {
      std::array<int64_t, size_t{1} << kDigitBits> place{};
      const int64_t mask = static_cast<int64_t>(place.size()) - 1;
      for (const int64_t v : value) ++place[v >> shift & mask];
      int64_t total = 0;
      for (int64_t& at : place) at = std::exchange(total, total + at);
      for (const int64_t v : value) other[place[v >> shift & mask]++] = v;
      value.swap(other);
    }
  }
  value.erase(std::unique(value.begin(), value.end()), value.end());
}

// Members of sets that follow one another, found by one thread.
struct FoundSets {
  int64_t first = 0;
  std::vector<int64_t> members;
};

// All members; `ptr`, which holds the size of each of `count` sets after a first entry, becomes where each begins.
inline Tensor joined_sets(const std::vector<FoundSets>& found, int64_t* ptr, int64_t count, const Tensor& like) {
  ptr[0] = 0;
  for (int64_t set = 0; set < count; ++set) ptr[set + 1] += ptr[set];
  const Tensor members = empty({ptr[count]}, like, ScalarType::Long);
  parallel_over_chunks(static_cast<int64_t>(found.size()), [&](int64_t chunk) {
    const std::vector<int64_t>& part = found[chunk].members;
    std::copy(part.begin(), part.end(), write<int64_t>(members) + ptr[found[chunk].first]);
  });
  return members;
}

template <typename Scratch>
struct SetsScratch {
  Scratch own;
  std::vector<int64_t> visited;
  std::vector<int64_t> other;
};

// Members of `count` sets in ascending order, and where those of each begin. `draw(scratch, set, visited)` writes what
// set `first + set` visits, and says whether the graph was one.
template <typename Scratch, typename Draw>
std::tuple<Tensor, Tensor> drawn_sets(const Tensor& like, int64_t nodes, int64_t count, int64_t draws,
                                      const Draw& draw) {
  Tensor set_ptr = empty({count + 1}, like, ScalarType::Long);
  int64_t* const ptr = write<int64_t>(set_ptr);
  const double work = std::min(static_cast<double>(count) * static_cast<double>(draws), 1e15);
  const int64_t chunks = std::max<int64_t>(std::min(count, chunks_for(static_cast<int64_t>(work))), 1);
  std::vector<FoundSets> found(static_cast<size_t>(chunks));
  std::atomic<bool> valid{true};
  parallel_with_scratch<SetsScratch<Scratch>>(chunks, [&](SetsScratch<Scratch>& scratch, int64_t chunk) {
    const int64_t end = share_begin(count, chunk + 1, chunks);
    found[chunk].first = share_begin(count, chunk, chunks);
    for (int64_t set = found[chunk].first; set < end && valid; ++set) {
      scratch.visited.clear();
      if (!draw(scratch.own, set, scratch.visited)) {
        valid = false;
        return;
      }
      sort_distinct(scratch.visited, scratch.other, nodes);
      ptr[set + 1] = static_cast<int64_t>(scratch.visited.size());
      found[chunk].members.insert(found[chunk].members.end(), scratch.visited.begin(), scratch.visited.end());
    }
  });
  check_visited(valid);
  return {joined_sets(found, ptr, count, like), set_ptr};
}

}  // namespace gnnkit
