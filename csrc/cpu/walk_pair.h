// Two random walks on a graph with lengths: where their masses are, and how far these are apart.
#pragma once

#include <queue>

#include "cpu/neighbour_transport.h"

namespace gnnkit {

// Of each position in `col` of the graph: how long the edge is, and with which probability a walk takes it.
struct WalkGraph {
  Neighbours graph;
  const double* length;
  const double* share;
  const double* distances;  // between all nodes, [N * N]; null: they are searched for where they are needed
};

using RealShipment = ShipmentOf<double>;

struct Masses {
  std::vector<int64_t> node;
  std::vector<double> mass;
  std::vector<double> to_end;  // length of the edge from the walk's start, 0 there

  int64_t size() const { return static_cast<int64_t>(node.size()); }
  void clear();
  void add(int64_t at, double amount, double far);
};

class WalkPair {
 public:
  Masses sources;
  Masses targets;
  std::vector<RealShipment> staying;
  std::vector<double> distance;  // row after row, [sources * targets]
  double between = 0;            // distance of the two ends

  // Reads the walks of two adjacent nodes, which stay with probability `stays`; what both have at one node stays there
  // and is taken out, if asked to.
  void read(const WalkGraph& walks, int64_t u, int64_t v, double stays, bool take_out_common);

  // Writes how far all nodes are from one, infinity where there is no way.
  void distances_from(const WalkGraph& walks, int64_t start, double* row);

 private:
  struct Label {
    int64_t node;
    double distance;
  };

  void measure(const WalkGraph& walks, double edge_length);
  void look_up(const WalkGraph& walks);
  template <typename Visit>
  void search(const WalkGraph& walks, int64_t start, double radius, const Visit& visit);

  using Entry = std::pair<double, int64_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
  NodeTable met_at_;
  std::vector<int64_t> met_nodes_;
  std::vector<double> met_distance_;
  std::vector<char> is_settled_;
  NodeTable common_at_;
  std::vector<std::vector<Label>> near_targets_;  // of each node near a target: number and distance of the targets
};

}  // namespace gnnkit
