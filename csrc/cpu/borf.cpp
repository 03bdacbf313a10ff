// Batch Ollivier-Ricci flow: where curvature is lowest, an edge joins what mass moves between; the most curved edges
// go.
#include <numeric>

#include "cpu/neighbour_transport.h"

namespace gnnkit {

namespace {

using Pair = std::pair<int64_t, int64_t>;

// The graph of one batch. Edges are in lexicographic order, the smaller end first; curvature stays with its edge.
class CurvedGraph {
 public:
  CurvedGraph(std::vector<Pair> edges, int64_t num_nodes)
      : num_nodes_(num_nodes),
        edges_(std::move(edges)),
        curvature_(edges_.size(), 0),
        is_known_(edges_.size(), 0),
        touched_(static_cast<size_t>(num_nodes), 0) {
    find_neighbours();
  }

  int64_t size() const { return static_cast<int64_t>(edges_.size()); }
  const std::vector<Pair>& edges() const { return edges_; }
  double curvature(int64_t edge) const { return curvature_[edge]; }

  void measure();
  // The pairs that the transport along these edges is widest between.
  std::vector<Pair> widest(const std::vector<int64_t>& edges) const;
  // Returns whether anything has changed. Pairs that are there already, or doubled, are passed over.
  bool change(std::vector<Pair> added, const std::vector<int64_t>& removed);

 private:
  Neighbours neighbours() const { return {rowptr_.data(), col_.data(), num_nodes_}; }
  void find_neighbours();
  void forget_near(const std::vector<Pair>& changed);
  std::vector<int64_t> steps_before(const std::vector<int64_t>& edges) const;

  int64_t num_nodes_;
  std::vector<Pair> edges_;
  std::vector<double> curvature_;
  std::vector<char> is_known_;
  std::vector<char> touched_;
  std::vector<int64_t> rowptr_;
  std::vector<int64_t> col_;
};

void CurvedGraph::find_neighbours() {
  rowptr_.assign(static_cast<size_t>(num_nodes_ + 1), 0);
  for (const auto& [u, v] : edges_) {
    ++rowptr_[u + 1];
    ++rowptr_[v + 1];
  }
  std::partial_sum(rowptr_.begin(), rowptr_.end(), rowptr_.begin());
  col_.resize(2 * edges_.size());
  std::vector<int64_t> next(rowptr_.begin(), rowptr_.end() - 1);
  // Smaller neighbours first, each kind in ascending order: all come in order.
  for (const auto& [u, v] : edges_) col_[next[v]++] = u;
  for (const auto& [u, v] : edges_) col_[next[u]++] = v;
}

std::vector<int64_t> CurvedGraph::steps_before(const std::vector<int64_t>& edges) const {
  const Neighbours graph = neighbours();
  std::vector<int64_t> around(static_cast<size_t>(num_nodes_), 0);
  for (const auto& [u, v] : edges_) {
    around[u] += graph.degree(v);
    around[v] += graph.degree(u);
  }
  std::vector<int64_t> before(1, 0);
  for (const int64_t edge : edges)
    before.push_back(before.back() + around[edges_[edge].first] + around[edges_[edge].second]);
  return before;
}

void CurvedGraph::measure() {
  std::vector<int64_t> unknown;
  for (int64_t edge = 0; edge < size(); ++edge)
    if (!is_known_[edge]) unknown.push_back(edge);
  const Neighbours graph = neighbours();
  parallel_over_work<NeighbourTransport>(steps_before(unknown), [&](NeighbourTransport& transport, int64_t place) {
    const auto [u, v] = edges_[unknown[place]];
    const int64_t units = NeighbourTransport::units(graph, u, v, {});
    const int64_t gain = units - transport.cost(graph, u, v, {});
    // In lowest terms, equal fractions are equal numbers.
    const int64_t divisor = std::gcd(gain, units);
    curvature_[unknown[place]] = static_cast<double>(gain / divisor) / static_cast<double>(units / divisor);
  });
  std::fill(is_known_.begin(), is_known_.end(), 1);
}

std::vector<Pair> CurvedGraph::widest(const std::vector<int64_t>& edges) const {
  std::vector<Pair> found(edges.size());
  const Neighbours graph = neighbours();
  parallel_over_work<NeighbourTransport>(steps_before(edges), [&](NeighbourTransport& transport, int64_t place) {
    const auto [u, v] = edges_[edges[place]];
    const Shipment widest = transport.widest(graph, u, v, {});
    found[place] = {std::min(widest.source, widest.target), std::max(widest.source, widest.target)};
  });
  return found;
}

bool CurvedGraph::change(std::vector<Pair> added, const std::vector<int64_t>& removed) {
  std::sort(added.begin(), added.end());
  added.erase(std::unique(added.begin(), added.end()), added.end());
  std::erase_if(added, [&](const Pair& pair) { return std::binary_search(edges_.begin(), edges_.end(), pair); });
  if (added.empty() && removed.empty()) return false;
  std::vector<char> goes(edges_.size(), 0);
  for (const int64_t edge : removed) goes[edge] = 1;
  std::vector<Pair> changed = added;
  for (const int64_t edge : removed) changed.push_back(edges_[edge]);

  std::vector<Pair> edges;
  std::vector<double> curvature;
  std::vector<char> is_known;
  size_t place = 0;
  const auto take_added_before = [&](const Pair* limit) {
    for (; place < added.size() && (limit == nullptr || added[place] < *limit); ++place) {
      edges.push_back(added[place]);
      curvature.push_back(0);
      is_known.push_back(0);
    }
  };
  for (size_t edge = 0; edge < edges_.size(); ++edge) {
    take_added_before(&edges_[edge]);
    if (goes[edge]) continue;
    edges.push_back(edges_[edge]);
    curvature.push_back(curvature_[edge]);
    is_known.push_back(is_known_[edge]);
  }
  take_added_before(nullptr);
  edges_.swap(edges);
  curvature_.swap(curvature);
  is_known_.swap(is_known);
  find_neighbours();
  forget_near(changed);
  return true;
}

// The curvature of an edge is a matter of the neighbours of its ends, and of theirs: a change at a node concerns the
// edges of this node and of its neighbours, no others. (Whoever was a neighbour by a removed edge is an end of it.)
void CurvedGraph::forget_near(const std::vector<Pair>& changed) {
  const Neighbours graph = neighbours();
  std::fill(touched_.begin(), touched_.end(), 0);
  const auto touch = [&](int64_t node) {
    touched_[node] = 1;
    for (const int64_t* other = graph.begin(node); other != graph.end(node); ++other) touched_[*other] = 1;
  };
  for (const auto& [u, v] : changed) {
    touch(u);
    touch(v);
  }
  for (size_t edge = 0; edge < edges_.size(); ++edge)
    if (touched_[edges_[edge].first] || touched_[edges_[edge].second]) is_known_[edge] = 0;
}

// The `count` edges that come first by curvature times `sign`, of equal ones those with the lowest number.
std::vector<int64_t> first_edges(const CurvedGraph& graph, int64_t count, double sign) {
  std::vector<int64_t> order(static_cast<size_t>(graph.size()));
  std::iota(order.begin(), order.end(), 0);
  count = std::min(count, graph.size());
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int64_t a, int64_t b) {
    return std::pair(sign * graph.curvature(a), a) < std::pair(sign * graph.curvature(b), b);
  });
  order.resize(static_cast<size_t>(count));
  return order;
}

Tensor borf(const Tensor& ends_in, int64_t num_nodes, int64_t batches, int64_t add, int64_t remove) {
  const Tensor ends = dense(ends_in);
  STD_TORCH_CHECK(ends.dim() == 2 && ends.size(0) == 2 && ends.scalar_type() == ScalarType::Long,
                  "the edges must be [2, M] of int64");
  STD_TORCH_CHECK(num_nodes >= 0 && batches >= 0 && add >= 0 && remove >= 0, "counts must not be negative");
  const int64_t count = ends.size(1);
  check_range(read<int64_t>(ends), 2 * count, num_nodes);
  std::vector<Pair> edges;
  for (int64_t e = 0; e < count; ++e) edges.emplace_back(read<int64_t>(ends)[e], read<int64_t>(ends)[count + e]);
  bool valid = std::adjacent_find(edges.begin(), edges.end(), std::greater_equal<>()) == edges.end();
  for (const auto& [u, v] : edges) valid &= u < v;
  STD_TORCH_CHECK(valid, "the edges must be in lexicographic order, each once, the smaller end first");
  CurvedGraph graph(std::move(edges), num_nodes);
  for (int64_t batch = 0; batch < batches && graph.size() > 0; ++batch) {
    graph.measure();
    const std::vector<Pair> added = graph.widest(first_edges(graph, add, 1));
    if (!graph.change(added, first_edges(graph, remove, -1))) break;
  }
  const Tensor out = empty({2, graph.size()}, ends);
  for (int64_t e = 0; e < graph.size(); ++e) {
    write<int64_t>(out)[e] = graph.edges()[e].first;
    write<int64_t>(out)[graph.size() + e] = graph.edges()[e].second;
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("borf", TORCH_BOX(&borf)); }

}  // namespace gnnkit
