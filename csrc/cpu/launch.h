// How the boxed operators reach the row kernels: rows split between threads by work, and checks of values.
#pragma once

#include <algorithm>
#include <atomic>

#include "common/dispatch.h"
#include "cpu/kernels.h"

namespace gnnkit {

// Below this many elements touched, starting threads costs more than it saves.
constexpr int64_t kSerialWork = 1 << 14;

// Calls run(chunk) for every chunk in [0, chunks). Threads take chunks as they get free, so that a busy core does not
// hold up the others; which thread runs which chunk must not matter to the result.
template <typename Run>
void parallel_over_chunks(int64_t chunks, const Run& run) {
  if (chunks <= 1) {
    if (chunks == 1) run(int64_t{0});
    return;
  }
  std::atomic<int64_t> next{0};
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), chunks);
  torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      for (int64_t chunk = next++; chunk < chunks; chunk = next++) run(chunk);
    }
  });
}

inline int64_t chunks_for(int64_t work) {
  const int64_t threads = torch::stable::get_num_threads();
  if (threads == 1 || work < kSerialWork) return 1;
  return std::min<int64_t>(threads * 8, std::max<int64_t>(work / (kSerialWork / 4), 1));
}

// Calls run(begin, end) for ranges of rows of nearly equal numbers of edges and rows: one hub must not make a thread
// late. `width` is the number of elements that one edge touches.
template <typename I, typename Run>
void parallel_over_rows(const I* rowptr, int64_t num_rows, int64_t width, const Run& run) {
  if (num_rows == 0) return;
  const int64_t total = static_cast<int64_t>(rowptr[num_rows]) + num_rows;
  const int64_t chunks = chunks_for(total * std::max<int64_t>(width, 1));
  const auto boundary = [&](int64_t chunk) {
    const int64_t target = total / chunks * chunk + total % chunks * chunk / chunks;
    int64_t low = 0;
    int64_t high = num_rows;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (static_cast<int64_t>(rowptr[middle]) + middle < target) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };
  parallel_over_chunks(chunks, [&](int64_t chunk) {
    const int64_t begin = boundary(chunk);
    const int64_t end = chunk + 1 == chunks ? num_rows : boundary(chunk + 1);
    if (begin < end) run(begin, end);
  });
}

// Segment boundaries come straight from callers, and under torch.compile Python cannot read them: checked here too.
template <typename I>
void check_boundaries(const I* ptr, int64_t num_segments, int64_t num_rows) {
  bool sorted = ptr[0] == 0 && static_cast<int64_t>(ptr[num_segments]) == num_rows;
  for (int64_t s = 0; s < num_segments; ++s) sorted &= ptr[s] <= ptr[s + 1];
  STD_TORCH_CHECK(sorted, "segment boundaries must not decrease and must run from 0 to the number of rows");
}

template <typename I>
void check_range(const I* index, int64_t count, int64_t low, int64_t high) {
  bool inside = true;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t value = index[i];
    inside &= value >= low && value < high;
  }
  STD_TORCH_CHECK(inside, "an index lies outside of its range");
}

}  // namespace gnnkit
