// Cheapest transport between the lazy random walks of the two ends of an edge, in whole numbers.
#pragma once

#include <cstdlib>
#include <numeric>

#include "cpu/flow_network.h"
#include "cpu/sparse.h"

namespace gnnkit {

// An undirected graph; neighbours in ascending order.
struct Neighbours {
  const int64_t* rowptr = nullptr;
  const int64_t* col = nullptr;
  int64_t num_nodes = 0;

  int64_t degree(int64_t node) const { return rowptr[node + 1] - rowptr[node]; }
  const int64_t* begin(int64_t node) const { return col + rowptr[node]; }
  const int64_t* end(int64_t node) const { return col + rowptr[node + 1]; }
  bool has(int64_t node, int64_t other) const { return std::binary_search(begin(node), end(node), other); }
  bool adjacent(int64_t a, int64_t b) const { return degree(a) <= degree(b) ? has(a, b) : has(b, a); }
};

// The share of its mass that a walk keeps where it is, as a fraction.
struct Laziness {
  int64_t stays = 0;
  int64_t of = 1;
};

// Mass that is carried from one node to another: in units, or as a share of the whole.
template <typename Mass>
struct ShipmentOf {
  int64_t source;
  int64_t target;
  Mass mass;
};

using Shipment = ShipmentOf<int64_t>;

// Numbers for some nodes of the graph at a time. They grow from use to use, so that the table is never cleared.
class NodeTable {
 public:
  void reset(int64_t num_nodes) {
    if (mark_.empty()) mark_.assign(static_cast<size_t>(num_nodes), -1);
    base_ += count_;
    count_ = 0;
  }

  // The number of a node, -1 where it has none.
  int64_t find(int64_t node) const { return mark_[node] >= base_ ? mark_[node] - base_ : -1; }
  void add(int64_t node) { mark_[node] = base_ + count_++; }
  int64_t size() const { return count_; }

 private:
  std::vector<int64_t> mark_;
  int64_t base_ = 0;
  int64_t count_ = 0;
};

// The transport problem of one edge after another. Mass at the same node stays there. Between the other nodes the
// distance is 1 (adjacent), 2 (a common neighbour) or 3 (by way of the edge). In the primal-dual method the cheapest
// way left therefore costs 1, then 2, then 3, and what costs 3 need not be searched for: two largest flows give the
// cost. Potentials say which pairs a cheapest plan may use: those whose distance is the difference of their potentials.
// Memory is linear in the edges around: pairs at distance 2 are joined by way of their common neighbours.
class NeighbourTransport {
 public:
  // Units that the mass of a walk is counted in, so that all masses are whole.
  static int64_t units(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness) {
    return std::lcm(graph.degree(u), graph.degree(v)) * laziness.of;
  }

  // Least cost of the transport from the walk of u to that of v, which must be adjacent.
  int64_t cost(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness);

  // Appends a cheapest transport from u to v, what stays at its node included.
  void plan(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness, std::vector<Shipment>& out);

  // The pair of nodes with the most mass times distance between them in any cheapest transport from u to v, of several
  // the smallest; `mass` is what it carries then, 0 where nothing moves at all.
  Shipment widest(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness);

 private:
  struct Side {
    std::vector<int64_t> node;
    std::vector<int64_t> mass;
    std::vector<int64_t> potential;

    int64_t size() const { return static_cast<int64_t>(node.size()); }
    void clear();
    void add(int64_t at, int64_t amount);
  };
  struct AdjacentPair {
    int64_t source;  // number among the sources
    int64_t target;  // number among the targets
    int64_t flow;
    int64_t arc;  // in the network; -1: the pair is not tight
  };

  int64_t target_node(int64_t target) const { return sources_.size() + target; }

  static int64_t cost_at_leaf(int64_t degree, Laziness laziness);
  int64_t solve(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness);
  void set_masses(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness);
  void find_adjacent_pairs(const Neighbours& graph);
  void build_network(const Neighbours& graph);
  void join_by_middles(const Neighbours& graph, int64_t potential);
  void join_by_edge();
  int64_t send();
  void raise_potentials();
  bool is_tight(const Neighbours& graph, int64_t source, int64_t target) const;
  void unravel(int64_t middle, std::vector<Shipment>& out);

  Side sources_;
  Side targets_;
  std::vector<Shipment> staying_;
  std::vector<AdjacentPair> pairs_;
  NodeTable target_at_;
  NodeTable middle_at_;
  FlowNetwork network_;
  std::vector<int64_t> from_, to_, middles_, middle_node_;
  std::vector<Shipment> into_, out_of_;
};

// A graph and some of its edges as an operator is given them; checked, so that kernels need not.
struct EdgesInput {
  Tensor rowptr, col, ends;
  Neighbours graph;

  EdgesInput(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& ends_in);

  int64_t edges() const { return ends.size(1); }
  int64_t u(int64_t edge) const { return read<int64_t>(ends)[edge]; }
  int64_t v(int64_t edge) const { return read<int64_t>(ends)[edges() + edge]; }
};

// The plans of all edges one after the other: edge, source, target and mass of each shipment.
template <typename Mass>
std::tuple<Tensor, Tensor, Tensor, Tensor> plan_tensors(const std::vector<std::vector<ShipmentOf<Mass>>>& plans,
                                                        const Tensor& like, ScalarType mass_type) {
  int64_t entries = 0;
  for (const auto& plan : plans) entries += static_cast<int64_t>(plan.size());
  const Tensor edge = empty({entries}, like, ScalarType::Long), source = empty({entries}, like, ScalarType::Long);
  const Tensor target = empty({entries}, like, ScalarType::Long), mass = empty({entries}, like, mass_type);
  int64_t place = 0;
  for (size_t e = 0; e < plans.size(); ++e) {
    for (const auto& shipment : plans[e]) {
      write<int64_t>(edge)[place] = static_cast<int64_t>(e);
      write<int64_t>(source)[place] = shipment.source;
      write<int64_t>(target)[place] = shipment.target;
      write<Mass>(mass)[place++] = shipment.mass;
    }
  }
  return {edge, source, target, mass};
}

}  // namespace gnnkit
