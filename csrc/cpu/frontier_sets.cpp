// Sets of nodes that a multi-dimensional random walk visits: of the nodes of a frontier, one is chosen in proportion to
// its degree and replaced by one of its neighbours, again and again.
#include "cpu/node_sets.h"

namespace gnnkit {

namespace {

// The walker whose numbers choose the place in the frontier. Those of walker 0 choose the neighbour, so that a frontier
// of one node walks as walker 0 does by itself.
constexpr uint32_t kChooser = 0xFFFFFFFFu;

// Whole weights of places, of which sums of the first ones are found, and changed, in logarithmic time (Fenwick).
class WeightTree {
 public:
  void assign(const std::vector<int64_t>& weight) {
    const int64_t size = static_cast<int64_t>(weight.size());
    sum_.assign(static_cast<size_t>(size + 1), 0);
    total_ = 0;
    for (int64_t i = 1; i <= size; ++i) {
      total_ += weight[i - 1];
      sum_[i] += weight[i - 1];
      const int64_t above = i + (i & -i);
      if (above <= size) sum_[above] += sum_[i];
    }
    top_ = 1;
    while (top_ * 2 <= size) top_ *= 2;
  }

  int64_t total() const { return total_; }

  // The first place whose weight and those before it add up to more than `target`, which is below the total.
  int64_t find(int64_t target) const {
    int64_t place = 0;
    for (int64_t step = top_; step > 0; step /= 2) {
      const int64_t next = place + step;
      if (next >= static_cast<int64_t>(sum_.size()) || sum_[next] > target) continue;
      place = next;
      target -= sum_[next];
    }
    return place;
  }

  void add(int64_t place, int64_t change) {
    total_ += change;
    for (int64_t i = place + 1; i < static_cast<int64_t>(sum_.size()); i += i & -i) sum_[i] += change;
  }

 private:
  std::vector<int64_t> sum_;
  int64_t total_ = 0;
  int64_t top_ = 1;
};

struct Frontier {
  std::vector<int64_t> node;
  std::vector<int64_t> weight;
  WeightTree tree;
};

template <typename I>
struct FrontierWalk {
  DrawnGraph<I> graph;
  int64_t num_nodes;
  int64_t frontier;
  int64_t degree_clip;
  uint64_t seed;

  int64_t weight(int64_t degree) const { return std::min(degree, degree_clip); }
};

template <typename I>
bool roots_of(const FrontierWalk<I>& in, uint64_t set, Frontier& frontier, std::vector<int64_t>& visited) {
  frontier.node.resize(static_cast<size_t>(in.frontier));
  frontier.weight.resize(static_cast<size_t>(in.frontier));
  for (int64_t place = 0; place < in.frontier; ++place) {
    frontier.node[place] = below(drawn_numbers(in.seed, set, static_cast<uint32_t>(place), 0)[0], in.graph.nodes);
    prefetch(in.graph.rowptr + frontier.node[place]);
  }
  for (int64_t place = 0; place < in.frontier; ++place) {
    const int64_t degree = in.graph.degree(frontier.node[place]);
    if (degree < 0) return false;
    frontier.weight[place] = in.weight(degree);
  }
  visited.assign(frontier.node.begin(), frontier.node.end());
  frontier.tree.assign(frontier.weight);
  return true;
}

template <typename I>
bool draw_frontier(const FrontierWalk<I>& in, uint64_t set, Frontier& frontier, std::vector<int64_t>& visited) {
  if (!roots_of(in, set, frontier, visited)) return false;
  std::array<double, 2> chooses = drawn_numbers(in.seed, set, kChooser, 0);
  std::array<double, 2> walks = drawn_numbers(in.seed, set, 0, 0);
  for (int64_t step = 1; step <= in.num_nodes - in.frontier && frontier.tree.total() > 0; ++step) {
    if (step % 2 == 0) {
      chooses = drawn_numbers(in.seed, set, kChooser, step);
      walks = drawn_numbers(in.seed, set, 0, step);
    }
    const int64_t place = frontier.tree.find(below(chooses[step % 2], frontier.tree.total()));
    const int64_t node = frontier.node[place];
    const int64_t chosen = below(walks[step % 2], in.graph.degree(node));
    const int64_t next = in.graph.source(node, chosen);
    if (next < 0) return false;
    const int64_t degree = in.graph.degree(next);
    if (degree < 0) return false;
    frontier.tree.add(place, in.weight(degree) - frontier.weight[place]);
    frontier.weight[place] = in.weight(degree);
    frontier.node[place] = next;
    visited.push_back(next);
  }
  return true;
}

std::tuple<Tensor, Tensor> frontier_sets(const Tensor& rowptr_in, const Tensor& col_in, int64_t num_nodes,
                                         int64_t frontier, int64_t degree_clip, int64_t first, int64_t count,
                                         int64_t seed) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in);
  check_structure(rowptr, col, std::nullopt);
  const int64_t nodes = rowptr.size(0) - 1;
  STD_TORCH_CHECK(frontier >= 1 && frontier <= num_nodes, "frontier must lie in [1, num_nodes]");
  STD_TORCH_CHECK(degree_clip >= 1, "degree_clip must be at least 1");
  check_draws(nodes, num_nodes, first, count);
  // Sums of weights must fit.
  const int64_t most = std::min(degree_clip, INT64_MAX / frontier);
  std::tuple<Tensor, Tensor> out;
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    const FrontierWalk<I> in{drawn_graph<I>(rowptr, col), num_nodes, frontier, most, static_cast<uint64_t>(seed)};
    out = drawn_sets<Frontier>(col, nodes, count, num_nodes,
                               [&](Frontier& scratch, int64_t set, std::vector<int64_t>& visited) {
                                 return draw_frontier(in, static_cast<uint64_t>(first + set), scratch, visited);
                               });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("frontier_sets", TORCH_BOX(&frontier_sets)); }

}  // namespace gnnkit
