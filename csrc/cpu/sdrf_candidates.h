// What edges would do to the curvature of one edge (i, j): all pairs {k, l}, not yet joined, of a node k of the closed
// neighbourhood of i and a node l of that of j.
//
// Neighbours of i alone, of j alone, and of both fall into three classes, and so do the pairs:
// - one alone of either side: one more 4-cycle through each; the gain is one of eight numbers;
// - an end and a neighbour of the other end alone: one more triangle, and fewer 4-cycles; a gain for each such
// neighbour;
// - all others change neither degrees nor cycles at (i, j).
#pragma once

#include <array>

#include "cpu/curved_graph.h"

namespace gnnkit {

class Candidates {
 public:
  explicit Candidates(int64_t nodes) : joined_(static_cast<size_t>(nodes)) {}

  // Calls visit(k, l, gain) for each pair once, in order of k, then l, until it returns false.
  template <typename Graph, typename Visit>
  void visit(Graph& graph, const Visit& visit_pair) {
    std::vector<uint8_t>& side = graph.around.side;
    const auto mark = [&](int64_t node) {
      side[node] ^= Surroundings::kMarked;
      for (const int32_t* x = graph.rows.begin(node); x != graph.rows.end(node); ++x) side[*x] ^= Surroundings::kMarked;
    };
    for (const int32_t k : near_) {
      const uint8_t side_k = side[k];
      mark(k);
      bool on = true;
      for (const int32_t l : far_) {
        const uint8_t side_l = side[l];
        if ((side_l & Surroundings::kMarked) != 0) continue;
        // Two neighbours of both ends are met twice.
        if (side_k == Surroundings::kBoth && side_l == Surroundings::kBoth && k > l) continue;
        on = visit_pair(k, l, gain(graph, k, l, side_k, side_l));
        if (!on) break;
      }
      mark(k);
      if (!on) return;
    }
  }

  // Looks at an edge; leave() comes after the last visit().
  template <typename Graph>
  void enter(Graph& graph, int64_t number) {
    const CurvedEdge& edge = graph.edge(number);
    i_ = edge.u;
    j_ = edge.v;
    graph.around.open(graph.rows, i_);
    const LocalCycles cycles = graph.around.enter(graph.rows, i_, j_);
    list_closed(graph.rows, i_, near_);
    list_closed(graph.rows, j_, far_);
    const int64_t degree_i = graph.rows.degree(i_), degree_j = graph.rows.degree(j_);
    for (int which = 0; which < 8; ++which) {
      LocalCycles after = cycles;
      after.squares += (which & 1) + (which >> 1 & 1);
      after.degeneracy += which >> 2;
      across_[which] = after.degeneracy == 0 ? 0.0 : balanced_forman(degree_i, degree_j, after) - edge.curvature;
    }
    degeneracy_ = cycles.degeneracy;
    const Peak near = peak(graph.around, near_, Surroundings::kNear);
    const Peak far = peak(graph.around, far_, Surroundings::kFar);
    for (const int32_t l : far_) {
      if (graph.around.side[l] != Surroundings::kFar) continue;
      const LocalCycles after = joined(graph, cycles, l, Surroundings::kNear, near, far);
      joined_[l] = balanced_forman(degree_i + 1, degree_j, after) - edge.curvature;
    }
    for (const int32_t k : near_) {
      if (graph.around.side[k] != Surroundings::kNear) continue;
      const LocalCycles after = joined(graph, cycles, k, Surroundings::kFar, far, near);
      joined_[k] = balanced_forman(degree_i, degree_j + 1, after) - edge.curvature;
    }
  }

  template <typename Graph>
  void leave(Graph& graph) {
    graph.around.leave(graph.rows, j_);
    graph.around.close(graph.rows, i_);
  }

 private:
  // The highest count of a class, how many nodes have it, and the next lower one.
  struct Peak {
    int64_t highest = 0;
    int64_t nodes = 0;
    int64_t next = 0;
  };

  static void list_closed(const NeighbourSets& rows, int64_t node, std::vector<int32_t>& out) {
    out.assign(rows.begin(node), rows.end(node));
    out.insert(std::lower_bound(out.begin(), out.end(), node), static_cast<int32_t>(node));
  }

  static Peak peak(const Surroundings& around, const std::vector<int32_t>& nodes, Surroundings::Side alone) {
    Peak out;
    for (const int32_t node : nodes) {
      if (around.side[node] != alone) continue;
      const int64_t count = around.count[node];
      if (count > out.highest) {
        out.next = out.highest;
        out.highest = count;
        out.nodes = 1;
      } else if (count == out.highest) {
        ++out.nodes;
      } else {
        out.next = std::max(out.next, count);
      }
    }
    return out;
  }

  // Cycles at (i, j) once `node`, of the one class, is joined to the end that the other class, `alone`, lies next to.
  template <typename Graph>
  static LocalCycles joined(const Graph& graph, LocalCycles cycles, int64_t node, Surroundings::Side alone,
                            const Peak& others, const Peak& own) {
    int64_t ended = 0;    // nodes whose only cycle went through `node`
    int64_t lowered = 0;  // nodes of the highest count that lose one
    for (const int32_t* x = graph.rows.begin(node); x != graph.rows.end(node); ++x) {
      if (graph.around.side[*x] != alone) continue;
      ended += graph.around.count[*x] == 1;
      lowered += graph.around.count[*x] == others.highest;
    }
    const int64_t count = graph.around.count[node];
    const int64_t left = others.highest - (others.highest > 0 && lowered == others.nodes);
    const int64_t own_left = count == own.highest && own.nodes == 1 ? own.next : own.highest;
    ++cycles.triangles;
    cycles.squares -= ended + (count > 0);
    cycles.degeneracy = std::max(left, own_left);
    return cycles;
  }

  template <typename Graph>
  double gain(const Graph& graph, int64_t k, int64_t l, uint8_t side_k, uint8_t side_l) const {
    if (k == i_) return joined_[l];
    if (l == j_) return joined_[k];
    if (side_k != Surroundings::kNear || side_l != Surroundings::kFar) return 0.0;
    const int64_t over_k = graph.around.count[k], over_l = graph.around.count[l];
    const bool rises = std::max(over_k, over_l) == degeneracy_;
    return across_[(over_k == 0) + 2 * (over_l == 0) + 4 * rises];
  }

  int64_t i_ = 0;
  int64_t j_ = 0;
  int64_t degeneracy_ = 0;
  std::vector<int32_t> near_;     // closed neighbourhood of i, ascending
  std::vector<int32_t> far_;      // of j
  std::vector<double> joined_;    // gain of joining a neighbour of one end alone to the other end
  std::array<double, 8> across_;  // by whether each node gets its first cycle, and whether the degeneracy rises
};

}  // namespace gnnkit
