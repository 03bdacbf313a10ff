// A graph that changes edge by edge, with the balanced Forman curvature of every edge kept up to date.
//
// An edge {a, b} that comes or goes touches the curvature of two kinds of edges. Those at a or b get another degree and
// other neighbours: they are looked at anew. An edge (i, j) with i next to a alone and j next to b alone gains or loses
// the 4-cycle i - a - b - j, and nothing else: its counts are mended from those of the cycles over a and over b.
#pragma once

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "cpu/balanced_forman.h"

namespace gnnkit {

class NeighbourSets {
 public:
  explicit NeighbourSets(int64_t nodes) : node_(static_cast<size_t>(nodes)), edge_(static_cast<size_t>(nodes)) {}

  const int32_t* begin(int64_t u) const { return node_[u].data(); }
  const int32_t* end(int64_t u) const { return node_[u].data() + node_[u].size(); }
  int64_t degree(int64_t u) const { return static_cast<int64_t>(node_[u].size()); }
  int64_t neighbour(int64_t u, int64_t place) const { return node_[u][place]; }
  int64_t edge(int64_t u, int64_t place) const { return edge_[u][place]; }

  void insert(int64_t u, int64_t v, int64_t edge) {
    const int64_t at = std::lower_bound(begin(u), end(u), v) - begin(u);
    node_[u].insert(node_[u].begin() + at, static_cast<int32_t>(v));
    edge_[u].insert(edge_[u].begin() + at, edge);
  }

  void erase(int64_t u, int64_t v) {
    const int64_t at = std::lower_bound(begin(u), end(u), v) - begin(u);
    node_[u].erase(node_[u].begin() + at);
    edge_[u].erase(edge_[u].begin() + at);
  }

 private:
  std::vector<std::vector<int32_t>> node_;
  std::vector<std::vector<int64_t>> edge_;
};

struct CurvedEdge {
  int64_t u = 0;  // u < v
  int64_t v = 0;
  LocalCycles cycles;
  double curvature = 0.0;
};

// `Changed` is called with the number of each edge that has another curvature than before, or is new.
template <typename Changed>
class CurvedGraph {
 public:
  CurvedGraph(int64_t nodes, Changed changed) : rows(nodes), around(nodes), changed_(std::move(changed)) {}

  NeighbourSets rows;
  Surroundings around;

  const CurvedEdge& edge(int64_t number) const { return edges_[number]; }

  // An edge of the graph to begin with; measure() follows when all are there.
  void start_with(int64_t u, int64_t v) { insert(u, v); }

  void measure() {
    for (int64_t i = 0; i < static_cast<int64_t>(nodes()); ++i) look_at_edges_of(i, true);
  }

  int64_t add(int64_t u, int64_t v) {
    mend_across(u, v, true);
    const int64_t number = insert(std::min(u, v), std::max(u, v));
    look_at_edges_of(u, false);
    look_at_edges_of(v, false);
    return number;
  }

  void remove(int64_t number) {
    const int64_t u = edges_[number].u, v = edges_[number].v;
    rows.erase(u, v);
    rows.erase(v, u);
    free_.push_back(number);
    mend_across(u, v, false);
    look_at_edges_of(u, false);
    look_at_edges_of(v, false);
  }

 private:
  size_t nodes() const { return around.side.size(); }

  int64_t insert(int64_t u, int64_t v) {
    int64_t number = static_cast<int64_t>(edges_.size());
    if (free_.empty()) {
      edges_.emplace_back();
    } else {
      number = free_.back();
      free_.pop_back();
    }
    edges_[number] = {u, v, {}, std::numeric_limits<double>::quiet_NaN()};
    rows.insert(u, v, number);
    rows.insert(v, u, number);
    return number;
  }

  void set(int64_t number, const LocalCycles& cycles) {
    CurvedEdge& edge = edges_[number];
    edge.cycles = cycles;
    const double curvature = balanced_forman(rows.degree(edge.u), rows.degree(edge.v), cycles);
    if (curvature == edge.curvature) return;
    edge.curvature = curvature;
    changed_(number);
  }

  // From the end of higher degree, as where all edges are looked at. `lower_only`: leaves to each edge's other end what
  // that is to look at.
  void look_at_edges_of(int64_t i, bool lower_only) {
    around.open(rows, i);
    for (int64_t place = 0; place < rows.degree(i); ++place) {
      const int64_t j = rows.neighbour(i, place);
      if (looks_at(i, j)) set(rows.edge(i, place), around.look(rows, i, j));
    }
    around.close(rows, i);
    if (lower_only) return;
    for (int64_t place = 0; place < rows.degree(i); ++place)
      if (!looks_at(i, rows.neighbour(i, place))) look_at_edge(rows.edge(i, place));
  }

  bool looks_at(int64_t i, int64_t j) const {
    return rows.degree(i) != rows.degree(j) ? rows.degree(i) > rows.degree(j) : i > j;
  }

  void look_at_edge(int64_t number) {
    const CurvedEdge& edge = edges_[number];
    const int64_t i = looks_at(edge.u, edge.v) ? edge.u : edge.v;
    around.open(rows, i);
    const LocalCycles cycles = around.look(rows, i, edge.u + edge.v - i);
    around.close(rows, i);
    set(number, cycles);
  }

  // Mends the edges (i, j) with i next to a alone and j next to b alone, where {a, b} is not there: yet, or any more.
  void mend_across(int64_t a, int64_t b, bool adding) {
    if (reach(a) > reach(b)) std::swap(a, b);
    std::vector<uint8_t>& side = around.side;
    around.open(rows, a);
    for (const int32_t* x = rows.begin(b); x != rows.end(b); ++x) side[*x] |= Surroundings::kFar;
    stale_.clear();
    for (const int32_t* i = rows.begin(a); i != rows.end(a); ++i)
      if (side[*i] == Surroundings::kNear) mend_edges_of(*i, adding);
    for (const int32_t* x = rows.begin(b); x != rows.end(b); ++x) side[*x] &= ~Surroundings::kFar;
    around.close(rows, a);
    for (const int64_t number : stale_) look_at_edge(number);
  }

  int64_t reach(int64_t u) const {
    int64_t total = 0;
    for (const int32_t* x = rows.begin(u); x != rows.end(u); ++x) total += rows.degree(*x);
    return total;
  }

  void mend_edges_of(int64_t i, bool adding) {
    std::vector<uint8_t>& side = around.side;
    int64_t next_to_b = 0;
    bool any = false;
    for (const int32_t* j = rows.begin(i); j != rows.end(i); ++j) {
      next_to_b += (side[*j] & Surroundings::kFar) != 0;
      any |= side[*j] == Surroundings::kFar;
    }
    if (!any) return;
    mark_closed(i);
    for (int64_t place = 0; place < rows.degree(i); ++place) {
      const int64_t j = rows.neighbour(i, place);
      if (side[j] == (Surroundings::kFar | Surroundings::kMarked)) mend_edge(rows.edge(i, place), j, next_to_b, adding);
    }
    mark_closed(i);
  }

  void mark_closed(int64_t i) {
    around.side[i] ^= Surroundings::kMarked;
    for (const int32_t* x = rows.begin(i); x != rows.end(i); ++x) around.side[*x] ^= Surroundings::kMarked;
  }

  // Cycles over a go to the neighbours of a that are next to j but not to i, those over b come from the neighbours of b
  // that are next to i but not to j.
  void mend_edge(int64_t number, int64_t j, int64_t next_to_b, bool adding) {
    int64_t over_a = 0;
    int64_t over_b = next_to_b - 1;  // without j
    for (const int32_t* x = rows.begin(j); x != rows.end(j); ++x) {
      const uint8_t mark = around.side[*x];
      over_a += (mark & Surroundings::kNear) != 0 && (mark & Surroundings::kMarked) == 0;
      over_b -= (mark & Surroundings::kFar) != 0 && (mark & Surroundings::kMarked) != 0;
    }
    LocalCycles cycles = edges_[number].cycles;
    const int64_t newly = (over_a == 0) + (over_b == 0);
    const int64_t most = std::max(over_a, over_b) + 1;
    if (adding) {
      cycles.squares += newly;
      cycles.degeneracy = std::max(cycles.degeneracy, most);
    } else if (most < cycles.degeneracy) {
      cycles.squares -= newly;
    } else {
      stale_.push_back(number);
      return;
    }
    set(number, cycles);
  }

  std::vector<CurvedEdge> edges_;
  std::vector<int64_t> free_;   // numbers of edges that are gone
  std::vector<int64_t> stale_;  // edges whose highest count may have fallen
  Changed changed_;
};

}  // namespace gnnkit
