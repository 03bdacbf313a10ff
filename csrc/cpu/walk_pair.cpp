#include "cpu/walk_pair.h"

namespace gnnkit {

void Masses::clear() {
  node.clear();
  mass.clear();
  to_end.clear();
}

void Masses::add(int64_t at, double amount, double far) {
  node.push_back(at);
  mass.push_back(amount);
  to_end.push_back(far);
}

void WalkPair::read(const WalkGraph& walks, int64_t u, int64_t v, double stays, bool take_out_common) {
  const Neighbours& graph = walks.graph;
  sources.clear();
  targets.clear();
  staying.clear();
  int64_t p = graph.rowptr[u];
  int64_t q = graph.rowptr[v];
  const int64_t p_end = graph.rowptr[u + 1];
  const int64_t q_end = graph.rowptr[v + 1];
  double edge_length = 0;
  while (p < p_end || q < q_end) {
    int64_t node = p == p_end ? graph.col[q] : graph.col[p];
    if (q < q_end) node = std::min(node, graph.col[q]);
    double has = node == u ? stays : 0;
    double wants = node == v ? stays : 0;
    double from_u = 0;
    double from_v = 0;
    if (p < p_end && graph.col[p] == node) {
      from_u = walks.length[p];
      has += (1 - stays) * walks.share[p++];
      if (node == v) edge_length = from_u;
    }
    if (q < q_end && graph.col[q] == node) {
      from_v = walks.length[q];
      wants += (1 - stays) * walks.share[q++];
    }
    const double common = take_out_common ? std::min(has, wants) : 0;
    if (common > 0) staying.push_back({node, node, common});
    if (has > common) sources.add(node, has - common, node == u ? 0 : from_u);
    if (wants > common) targets.add(node, wants - common, node == v ? 0 : from_v);
  }
  if (walks.distances != nullptr) {
    look_up(walks);
    between = walks.distances[u * graph.num_nodes + v];
    return;
  }
  measure(walks, edge_length);
  between = edge_length;
  search(walks, u, edge_length, [&](int64_t node, double far, bool is_settled) {
    if (is_settled && node == v) between = std::min(between, far);
  });
}

// No way is longer than the one by the edge, of length a + w + b from a node that is a from one end to a node that is b
// from the other. A search up to a + w / 2 from the former and one up to b + w / 2 from the latter therefore meet: on a
// shortest way, the first node that the one search does not settle is settled by the other. They see far fewer nodes
// than one search for the whole way.
void WalkPair::measure(const WalkGraph& walks, double edge_length) {
  distance.resize(sources.node.size() * targets.node.size());
  for (int64_t source = 0; source < sources.size(); ++source) {
    for (int64_t target = 0; target < targets.size(); ++target) {
      const bool same = sources.node[source] == targets.node[target];
      const double by_edge = sources.to_end[source] + edge_length + targets.to_end[target];
      distance[source * targets.size() + target] = same ? 0 : by_edge;
    }
  }
  const auto radius = [&](double to_end) { return (to_end + 0.5 * edge_length) * (1 + 1e-9); };
  common_at_.reset(walks.graph.num_nodes);
  for (std::vector<Label>& near : near_targets_) near.clear();
  for (int64_t target = 0; target < targets.size(); ++target) {
    search(walks, targets.node[target], radius(targets.to_end[target]), [&](int64_t node, double far, bool is_settled) {
      if (!is_settled) return;
      if (common_at_.find(node) < 0) common_at_.add(node);
      if (near_targets_.size() < static_cast<size_t>(common_at_.size())) near_targets_.emplace_back();
      near_targets_[common_at_.find(node)].push_back({target, far});
    });
  }
  for (int64_t source = 0; source < sources.size(); ++source) {
    double* row = distance.data() + source * targets.size();
    search(walks, sources.node[source], radius(sources.to_end[source]), [&](int64_t node, double far, bool) {
      const int64_t place = common_at_.find(node);
      if (place < 0) return;
      for (const Label& label : near_targets_[place]) row[label.node] = std::min(row[label.node], far + label.distance);
    });
  }
}

void WalkPair::look_up(const WalkGraph& walks) {
  distance.clear();
  for (const int64_t source : sources.node)
    for (const int64_t target : targets.node)
      distance.push_back(walks.distances[source * walks.graph.num_nodes + target]);
}

void WalkPair::distances_from(const WalkGraph& walks, int64_t start, double* row) {
  std::fill(row, row + walks.graph.num_nodes, std::numeric_limits<double>::infinity());
  search(walks, start, std::numeric_limits<double>::infinity(),
         [&](int64_t node, double far, bool) { row[node] = far; });
}

// Calls visit(node, distance, is_settled) for the nodes up to `radius` away, and for those one edge further with the
// length of the shortest way by way of the former, which are not settled.
template <typename Visit>
void WalkPair::search(const WalkGraph& walks, int64_t start, double radius, const Visit& visit) {
  const Neighbours& graph = walks.graph;
  met_at_.reset(graph.num_nodes);
  met_distance_.assign(1, 0.0);
  is_settled_.assign(1, 0);
  std::vector<int64_t>& nodes = met_nodes_;
  nodes.assign(1, start);
  met_at_.add(start);
  queue_.emplace(0.0, start);
  while (!queue_.empty()) {
    const auto [far, node] = queue_.top();
    queue_.pop();
    const int64_t place = met_at_.find(node);
    if (is_settled_[place]) continue;
    is_settled_[place] = 1;
    for (int64_t p = graph.rowptr[node]; p < graph.rowptr[node + 1]; ++p) {
      const double length = far + walks.length[p];
      int64_t other = met_at_.find(graph.col[p]);
      if (other < 0) {
        other = met_at_.size();
        met_at_.add(graph.col[p]);
        nodes.push_back(graph.col[p]);
        met_distance_.push_back(length);
        is_settled_.push_back(0);
      } else if (length < met_distance_[other]) {
        met_distance_[other] = length;
      } else {
        continue;
      }
      if (length <= radius) queue_.emplace(length, graph.col[p]);
    }
  }
  for (size_t place = 0; place < nodes.size(); ++place)
    visit(nodes[place], met_distance_[place], is_settled_[place] != 0);
}

}  // namespace gnnkit
