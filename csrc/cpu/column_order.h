// Columns of a row in ascending order, by a bitmap over all columns.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace gnnkit {

// Costs one step per column met, and one per 4096 columns between the first and the last of them.
class ColumnOrder {
 public:
  void reserve(int64_t columns) {
    if (!bits_.empty()) return;
    bits_.assign(static_cast<size_t>(columns / 64 + 1), 0);
    full_.assign(static_cast<size_t>(columns / 4096 + 1), 0);
  }

  void add(int64_t column) {
    bits_[column >> 6] |= uint64_t{1} << (column & 63);
    full_[column >> 12] |= uint64_t{1} << ((column >> 6) & 63);
    first_ = std::min(first_, column >> 12);
    last_ = std::max(last_, column >> 12);
  }

  // Calls visit(column) for all that have been added, in ascending order, and forgets them.
  template <typename Visit>
  void drain(const Visit& visit) {
    for (int64_t block = first_; block <= last_; ++block) {
      for (uint64_t& words = full_[block]; words != 0; words &= words - 1) {
        const int64_t word = block * 64 + std::countr_zero(words);
        for (uint64_t& left = bits_[word]; left != 0; left &= left - 1) visit(word * 64 + std::countr_zero(left));
      }
    }
    first_ = INT64_MAX;
    last_ = -1;
  }

 private:
  std::vector<uint64_t> bits_;
  std::vector<uint64_t> full_;  // one bit per word of bits_ that holds any
  int64_t first_ = INT64_MAX;
  int64_t last_ = -1;
};

}  // namespace gnnkit
