// How scans over packed sequences are split between threads.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/launch.h"

namespace gnnkit {

// Memory of a thread, which a scan overwrites; it begins where a vector of any width may.
template <typename T>
class ScanScratch {
 public:
  T* of(int64_t size) {
    constexpr size_t kBytes = 64, kSpare = kBytes / sizeof(T);
    const size_t wanted = static_cast<size_t>(size) + kSpare;
    if (values_.size() < wanted) values_.resize(wanted);
    const size_t past = reinterpret_cast<uintptr_t>(values_.data()) % kBytes;
    return values_.data() + (kBytes - past) / sizeof(T);
  }

 private:
  std::vector<T> values_;
};

// Calls run(scratch, task) for every group of sequences and block of what is scanned side by side.
template <typename T, typename Run>
void for_each_scan_task(const int64_t* offsets, int64_t sequences, int64_t groups, int64_t blocks, const Run& run) {
  parallel_with_scratch<ScanScratch<T>>(groups * blocks, [&](ScanScratch<T>& scratch, int64_t index) {
    const int64_t group = index / blocks;
    run(scratch, ScanTask{group, row_at_share(offsets, sequences, group, groups),
                          row_at_share(offsets, sequences, group + 1, groups), index % blocks});
  });
}

// Groups of sequences where the results do not depend on them: small ones suit any number of threads.
inline int64_t forward_groups(int64_t tokens, int64_t sequences) {
  return std::max<int64_t>(1, std::min<int64_t>(sequences, tokens / 64));
}

// States that a backward pass keeps of the longest sequence of a task.
inline int64_t checkpoints_of(const int64_t* offsets, const ScanTask& task) {
  int64_t longest = 0;
  for (int64_t s = task.first_sequence; s < task.last_sequence; ++s)
    longest = std::max(longest, offsets[s + 1] - offsets[s]);
  return (longest + kScanTokens - 1) / kScanTokens;
}

}  // namespace gnnkit
