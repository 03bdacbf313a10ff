#include "cpu/neighbour_transport.h"

#include "cpu/simple_rows.h"

namespace gnnkit {

namespace {

// Looking up one by one costs about this many steps of a scan.
constexpr int64_t kLookup = 8;

bool have_common_neighbour(const Neighbours& graph, int64_t a, int64_t b) {
  if (graph.degree(a) > graph.degree(b)) std::swap(a, b);
  if (graph.degree(b) > kLookup * graph.degree(a))
    return std::any_of(graph.begin(a), graph.end(a), [&](int64_t node) { return graph.has(b, node); });
  const int64_t* p = graph.begin(a);
  const int64_t* q = graph.begin(b);
  while (p != graph.end(a) && q != graph.end(b)) {
    if (*p == *q) return true;
    *p < *q ? ++p : ++q;
  }
  return false;
}

}  // namespace

EdgesInput::EdgesInput(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& ends_in)
    : rowptr(dense(rowptr_in)), col(dense(col_in)), ends(dense(ends_in)) {
  STD_TORCH_CHECK(ends.dim() == 2 && ends.size(0) == 2 && ends.scalar_type() == ScalarType::Long,
                  "the edges must be [2, M] of int64");
  const SimpleRows rows = checked_simple_rows(rowptr, col);
  graph = {rows.rowptr, rows.col, rows.nodes};
  check_range(read<int64_t>(ends), 2 * edges(), graph.num_nodes);
  bool joined = true;
  for (int64_t e = 0; e < edges(); ++e) joined &= graph.has(u(e), v(e));
  STD_TORCH_CHECK(joined, "the ends of each edge must be neighbours in the graph");
}

void NeighbourTransport::Side::clear() {
  node.clear();
  mass.clear();
  potential.clear();
}

void NeighbourTransport::Side::add(int64_t at, int64_t amount) {
  node.push_back(at);
  mass.push_back(amount);
  potential.push_back(0);
}

// Of both walks together, what one has more than the other at each node. Every node of either is a neighbour of one of
// the ends: each end is a neighbour of the other.
void NeighbourTransport::set_masses(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness) {
  sources_.clear();
  targets_.clear();
  staying_.clear();
  const int64_t common = std::lcm(graph.degree(u), graph.degree(v));
  const int64_t at_end = common * laziness.stays;
  const int64_t from_u = common / graph.degree(u) * (laziness.of - laziness.stays);
  const int64_t from_v = common / graph.degree(v) * (laziness.of - laziness.stays);
  const int64_t* p = graph.begin(u);
  const int64_t* q = graph.begin(v);
  while (p != graph.end(u) || q != graph.end(v)) {
    int64_t node = p == graph.end(u) ? *q : *p;
    if (q != graph.end(v)) node = std::min(node, *q);
    int64_t has = node == u ? at_end : 0;
    int64_t wants = node == v ? at_end : 0;
    for (; p != graph.end(u) && *p == node; ++p) has += from_u;
    for (; q != graph.end(v) && *q == node; ++q) wants += from_v;
    if (std::min(has, wants) > 0) staying_.push_back({node, node, std::min(has, wants)});
    if (has > wants) sources_.add(node, has - wants);
    if (wants > has) targets_.add(node, wants - has);
  }
}

void NeighbourTransport::find_adjacent_pairs(const Neighbours& graph) {
  pairs_.clear();
  target_at_.reset(graph.num_nodes);
  for (const int64_t node : targets_.node) target_at_.add(node);
  for (int64_t source = 0; source < sources_.size(); ++source) {
    const int64_t node = sources_.node[source];
    if (graph.degree(node) > kLookup * targets_.size()) {
      for (int64_t target = 0; target < targets_.size(); ++target)
        if (graph.adjacent(node, targets_.node[target])) pairs_.push_back({source, target, 0, -1});
      continue;
    }
    for (const int64_t* other = graph.begin(node); other != graph.end(node); ++other) {
      const int64_t target = target_at_.find(*other);
      if (target >= 0) pairs_.push_back({source, target, 0, -1});
    }
  }
}

// The arcs between tight pairs, by way of further nodes where these are not adjacent.
void NeighbourTransport::build_network(const Neighbours& graph) {
  network_.reset(sources_.size() + targets_.size());
  for (int64_t source = 0; source < sources_.size(); ++source) network_.balance[source] = sources_.mass[source];
  for (int64_t target = 0; target < targets_.size(); ++target)
    network_.balance[target_node(target)] = -targets_.mass[target];
  for (AdjacentPair& pair : pairs_) {
    pair.arc = -1;
    if (targets_.potential[pair.target] - sources_.potential[pair.source] != 1) continue;
    pair.arc = network_.add_arc(pair.source, target_node(pair.target), pair.flow);
    network_.balance[pair.source] -= pair.flow;
    network_.balance[target_node(pair.target)] += pair.flow;
  }
  join_by_middles(graph, 0);
  join_by_middles(graph, 1);
  join_by_edge();
}

// Joins sources of a potential to the targets two above it, all at least at distance 2, that share a neighbour.
void NeighbourTransport::join_by_middles(const Neighbours& graph, int64_t potential) {
  from_.clear();
  to_.clear();
  int64_t from_steps = 0;
  int64_t to_steps = 0;
  for (int64_t source = 0; source < sources_.size(); ++source) {
    if (sources_.potential[source] != potential) continue;
    from_.push_back(source);
    from_steps += graph.degree(sources_.node[source]);
  }
  for (int64_t target = 0; target < targets_.size(); ++target) {
    if (targets_.potential[target] != potential + 2) continue;
    to_.push_back(target);
    to_steps += graph.degree(targets_.node[target]);
  }
  if (from_.empty() || to_.empty()) return;

  // Middles are looked for on the side with fewer neighbours, and made where the other side has them too.
  const bool from_first = from_steps <= to_steps;
  const auto join = [&](bool is_source, int64_t member, int64_t middle) {
    if (is_source) {
      network_.add_arc(member, middle, 0);
    } else {
      network_.add_arc(middle, target_node(member), 0);
    }
  };
  const auto node_of = [&](bool is_source, int64_t member) {
    return is_source ? sources_.node[member] : targets_.node[member];
  };
  middles_.clear();
  middle_at_.reset(graph.num_nodes);
  for (const int64_t member : from_first ? from_ : to_) {
    const int64_t node = node_of(from_first, member);
    for (const int64_t* other = graph.begin(node); other != graph.end(node); ++other) {
      if (middle_at_.find(*other) >= 0) continue;
      middle_at_.add(*other);
      middles_.push_back(*other);
    }
  }
  middle_node_.assign(middles_.size(), -1);
  const auto join_second = [&](int64_t member, int64_t middle) {
    if (middle_node_[middle] < 0) middle_node_[middle] = network_.add_node();
    join(!from_first, member, middle_node_[middle]);
  };
  for (const int64_t member : from_first ? to_ : from_) {
    const int64_t node = node_of(!from_first, member);
    if (graph.degree(node) > kLookup * middle_at_.size()) {
      for (size_t middle = 0; middle < middles_.size(); ++middle)
        if (graph.adjacent(node, middles_[middle])) join_second(member, static_cast<int64_t>(middle));
      continue;
    }
    for (const int64_t* other = graph.begin(node); other != graph.end(node); ++other)
      if (middle_at_.find(*other) >= 0) join_second(member, middle_at_.find(*other));
  }
  for (const int64_t member : from_first ? from_ : to_) {
    const int64_t node = node_of(from_first, member);
    for (const int64_t* other = graph.begin(node); other != graph.end(node); ++other)
      if (middle_node_[middle_at_.find(*other)] >= 0) join(from_first, member, middle_node_[middle_at_.find(*other)]);
  }
}

// Three steps above a source, every target is tight: the way along the edge is never longer.
void NeighbourTransport::join_by_edge() {
  int64_t edge = -1;
  for (int64_t source = 0; source < sources_.size(); ++source) {
    if (sources_.potential[source] != 0) continue;
    for (int64_t target = 0; target < targets_.size() && edge < 0; ++target)
      if (targets_.potential[target] == 3) edge = network_.add_node();
    if (edge < 0) return;
    network_.add_arc(source, edge, 0);
  }
  for (int64_t target = 0; edge >= 0 && target < targets_.size(); ++target)
    if (targets_.potential[target] == 3) network_.add_arc(edge, target_node(target), 0);
}

int64_t NeighbourTransport::send() {
  const int64_t sent = network_.send();
  for (AdjacentPair& pair : pairs_)
    if (pair.arc >= 0) pair.flow = network_.flow(pair.arc);
  return sent;
}

void NeighbourTransport::raise_potentials() {
  for (int64_t source = 0; source < sources_.size(); ++source)
    if (!network_.reached(source)) ++sources_.potential[source];
  for (int64_t target = 0; target < targets_.size(); ++target)
    if (!network_.reached(target_node(target))) ++targets_.potential[target];
}

int64_t NeighbourTransport::cost(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness) {
  if (graph.degree(u) == 1) return cost_at_leaf(graph.degree(v), laziness);
  if (graph.degree(v) == 1) return cost_at_leaf(graph.degree(u), laziness);
  return solve(graph, u, v, laziness);
}

// All ways lead through the leaf's only neighbour: what goes to or from the leaf takes one step there, and what goes to
// each of the others one step on from there.
int64_t NeighbourTransport::cost_at_leaf(int64_t degree, Laziness laziness) {
  const int64_t moves = laziness.of - laziness.stays;
  return std::abs(laziness.stays * degree - moves) + (degree - 1) * moves;
}

// Leaves the masses and potentials of a cheapest transport, and its flow between adjacent nodes.
int64_t NeighbourTransport::solve(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness) {
  set_masses(graph, u, v, laziness);
  int64_t left = std::accumulate(sources_.mass.begin(), sources_.mass.end(), int64_t{0});
  pairs_.clear();
  if (left == 0) return 0;
  find_adjacent_pairs(graph);
  std::fill(targets_.potential.begin(), targets_.potential.end(), 1);
  int64_t total = 0;
  for (int64_t distance = 1; distance <= 2 && left > 0; ++distance) {
    build_network(graph);
    const int64_t sent = send();
    total += distance * sent;
    left -= sent;
    if (left > 0) raise_potentials();
  }
  return total + 3 * left;
}

void NeighbourTransport::plan(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness,
                              std::vector<Shipment>& out) {
  solve(graph, u, v, laziness);
  build_network(graph);
  const int64_t first_middle = sources_.size() + targets_.size();
  send();
  out.insert(out.end(), staying_.begin(), staying_.end());
  for (const AdjacentPair& pair : pairs_)
    if (pair.flow > 0) out.push_back({sources_.node[pair.source], targets_.node[pair.target], pair.flow});
  for (int64_t middle = first_middle; middle < network_.nodes(); ++middle) unravel(middle, out);
}

// Which source sends to which target through a middle makes no difference: they are all equally far apart.
void NeighbourTransport::unravel(int64_t middle, std::vector<Shipment>& out) {
  into_.clear();
  out_of_.clear();
  network_.visit_arcs(middle, [&](int64_t other, int64_t flow_in, int64_t flow_out) {
    if (flow_in > 0) into_.push_back({sources_.node[other], 0, flow_in});
    if (flow_out > 0) out_of_.push_back({0, targets_.node[other - sources_.size()], flow_out});
  });
  size_t p = 0;
  size_t q = 0;
  while (p < into_.size() && q < out_of_.size()) {
    const int64_t mass = std::min(into_[p].mass, out_of_[q].mass);
    out.push_back({into_[p].source, out_of_[q].target, mass});
    if ((into_[p].mass -= mass) == 0) ++p;
    if ((out_of_[q].mass -= mass) == 0) ++q;
  }
}

bool NeighbourTransport::is_tight(const Neighbours& graph, int64_t source, int64_t target) const {
  switch (targets_.potential[target] - sources_.potential[source]) {
    case 1:
      return graph.adjacent(sources_.node[source], targets_.node[target]);
    case 2:
      return have_common_neighbour(graph, sources_.node[source], targets_.node[target]);
    case 3:
      return true;
    default:
      return false;
  }
}

// No pair can do better than the smaller of its two masses times its distance: pairs are tried from the largest such
// bound on, until one reaches a bound that no other exceeds.
Shipment NeighbourTransport::widest(const Neighbours& graph, int64_t u, int64_t v, Laziness laziness) {
  solve(graph, u, v, laziness);
  build_network(graph);
  send();
  const auto bound_of = [&](int64_t source, int64_t target) {
    const int64_t distance = targets_.potential[target] - sources_.potential[source];
    return distance <= 0 ? 0 : distance * std::min(sources_.mass[source], targets_.mass[target]);
  };
  Shipment best{u, v, 0};
  int64_t best_value = 0;
  int64_t below = std::numeric_limits<int64_t>::max();
  while (true) {
    int64_t bound = 0;
    for (int64_t source = 0; source < sources_.size(); ++source)
      for (int64_t target = 0; target < targets_.size(); ++target)
        if (const int64_t value = bound_of(source, target); value < below) bound = std::max(bound, value);
    if (bound == 0 || bound < best_value) return best;
    bool reached = false;
    for (int64_t source = 0; source < sources_.size() && !reached; ++source) {
      for (int64_t target = 0; target < targets_.size() && !reached; ++target) {
        if (bound_of(source, target) != bound || !is_tight(graph, source, target)) continue;
        const int64_t distance = targets_.potential[target] - sources_.potential[source];
        const int64_t mass = network_.most_between(target_node(target), source, bound / distance);
        const Shipment found{sources_.node[source], targets_.node[target], mass};
        reached = distance * mass == bound;
        if (distance * mass < best_value) continue;
        const bool smaller = std::pair(found.source, found.target) < std::pair(best.source, best.target);
        if (distance * mass > best_value || smaller) best = found;
        best_value = distance * mass;
      }
    }
    below = bound;
  }
}

}  // namespace gnnkit
