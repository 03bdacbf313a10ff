// Balanced Forman curvature of an edge (Topping et al., ICLR 2022, Definition 1), and the counts that it is made of.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace gnnkit {

struct LocalCycles {
  int64_t triangles = 0;
  int64_t squares = 0;     // neighbours of either end through which a 4-cycle without chords goes
  int64_t degeneracy = 0;  // the most such cycles that go through one of them

  bool operator==(const LocalCycles&) const = default;
};

// The reference adds up in the same order, for the same bits.
inline double balanced_forman(int64_t degree_i, int64_t degree_j, const LocalCycles& cycles) {
  const double small = static_cast<double>(std::min(degree_i, degree_j));
  const double large = static_cast<double>(std::max(degree_i, degree_j));
  if (small <= 1.0) return 0.0;
  const double triangles = static_cast<double>(cycles.triangles);
  const double curvature = 2.0 / small + 2.0 / large - 2.0 + 2.0 * triangles / large + triangles / small;
  if (cycles.squares == 0) return curvature;
  return curvature + static_cast<double>(cycles.squares) / (static_cast<double>(cycles.degeneracy) * large);
}

// Nodes around an edge (i, j). A 4-cycle i - k - w - j without chords has k among the neighbours of i alone, and w
// among those of j alone; `count` holds how many such cycles go through each of these nodes.
class Surroundings {
 public:
  enum Side : uint8_t { kNear = 1, kFar = 2, kBoth = 3, kMarked = 4 };

  explicit Surroundings(int64_t nodes) : side(static_cast<size_t>(nodes), 0), count(static_cast<size_t>(nodes), 0) {}

  std::vector<uint8_t> side;  // kNear: in the closed neighbourhood of i; kFar: in that of j
  std::vector<int32_t> count;
  std::vector<int32_t> touched;  // nodes whose count is not 0

  // Marks the closed neighbourhood of i. Several edges of i can be looked at before it is closed.
  template <typename Rows>
  void open(const Rows& rows, int64_t i) {
    flip(rows, i, kNear);
  }

  template <typename Rows>
  void close(const Rows& rows, int64_t i) {
    flip(rows, i, kNear);
  }

  // Looks at an edge of the open node i; counts and marks of j stay until leave().
  template <typename Rows>
  LocalCycles enter(const Rows& rows, int64_t i, int64_t j) {
    flip(rows, j, kFar);
    LocalCycles cycles;
    cycles.triangles = -1;  // i itself is found on both sides
    for (const auto* w = rows.begin(j); w != rows.end(j); ++w) {
      if (side[*w] == kBoth) ++cycles.triangles;
      if (side[*w] == kFar) count_through(rows, i, *w);
    }
    cycles.squares = static_cast<int64_t>(touched.size());
    for (const int32_t node : touched) cycles.degeneracy = std::max<int64_t>(cycles.degeneracy, count[node]);
    return cycles;
  }

  template <typename Rows>
  void leave(const Rows& rows, int64_t j) {
    for (const int32_t node : touched) count[node] = 0;
    touched.clear();
    flip(rows, j, kFar);
  }

  template <typename Rows>
  LocalCycles look(const Rows& rows, int64_t i, int64_t j) {
    const LocalCycles cycles = enter(rows, i, j);
    leave(rows, j);
    return cycles;
  }

 private:
  template <typename Rows>
  void flip(const Rows& rows, int64_t node, Side mark) {
    side[node] ^= mark;
    for (const auto* x = rows.begin(node); x != rows.end(node); ++x) side[*x] ^= mark;
  }

  // Counts the cycles over w, a neighbour of j alone.
  template <typename Rows>
  void count_through(const Rows& rows, int64_t i, int64_t w) {
    // From so many neighbours on, looking up those of i among them is faster.
    constexpr int64_t kHub = 8;
    int32_t met = 0;
    const auto meet = [&](int64_t k) {
      ++met;
      if (count[k]++ == 0) touched.push_back(static_cast<int32_t>(k));
    };
    if (rows.degree(w) > kHub * rows.degree(i)) {
      for (const auto* k = rows.begin(i); k != rows.end(i); ++k)
        if (side[*k] == kNear && std::binary_search(rows.begin(w), rows.end(w), *k)) meet(*k);
    } else {
      for (const auto* k = rows.begin(w); k != rows.end(w); ++k)
        if (side[*k] == kNear) meet(*k);
    }
    if (met == 0) return;
    count[w] = met;
    touched.push_back(static_cast<int32_t>(w));
  }
};

}  // namespace gnnkit
