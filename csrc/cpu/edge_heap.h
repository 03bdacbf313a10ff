// A binary heap of edges whose keys change: the lowest key on top, and among equal keys the lowest rank.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace gnnkit {

class EdgeHeap {
 public:
  bool empty() const { return entries_.empty(); }

  int64_t top() const { return entries_.front().edge; }

  // Puts an edge in, or gives it another key.
  void put(int64_t edge, double key, int64_t rank) {
    if (static_cast<size_t>(edge) >= place_.size()) place_.resize(static_cast<size_t>(edge) + 1, -1);
    if (place_[edge] < 0) {
      place_[edge] = static_cast<int64_t>(entries_.size());
      entries_.push_back({key, rank, edge});
    } else {
      entries_[place_[edge]].key = key;
      entries_[place_[edge]].rank = rank;
    }
    settle(place_[edge]);
  }

  void erase(int64_t edge) {
    if (static_cast<size_t>(edge) >= place_.size() || place_[edge] < 0) return;
    const int64_t hole = place_[edge];
    const int64_t last = static_cast<int64_t>(entries_.size()) - 1;
    exchange(hole, last);
    entries_.pop_back();
    place_[edge] = -1;
    if (hole != last) settle(hole);
  }

 private:
  struct Entry {
    double key;
    int64_t rank;
    int64_t edge;

    bool operator<(const Entry& other) const { return key != other.key ? key < other.key : rank < other.rank; }
  };

  void settle(int64_t at) {
    while (at > 0 && entries_[at] < entries_[(at - 1) / 2]) {
      exchange(at, (at - 1) / 2);
      at = (at - 1) / 2;
    }
    const int64_t size = static_cast<int64_t>(entries_.size());
    while (true) {
      int64_t lowest = at;
      for (int64_t child = 2 * at + 1; child < std::min(2 * at + 3, size); ++child)
        if (entries_[child] < entries_[lowest]) lowest = child;
      if (lowest == at) return;
      exchange(at, lowest);
      at = lowest;
    }
  }

  void exchange(int64_t a, int64_t b) {
    std::swap(entries_[a], entries_[b]);
    place_[entries_[a].edge] = a;
    place_[entries_[b].edge] = b;
  }

  std::vector<Entry> entries_;
  std::vector<int64_t> place_;  // of each edge among the entries; -1: not in the heap
};

}  // namespace gnnkit
