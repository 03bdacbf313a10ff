// Sets of nodes that random walks from random roots visit.
#include "cpu/node_sets.h"

namespace gnnkit {

namespace {

// Walks that go side by side: what one waits for in memory, the others do not.
constexpr int64_t kTogether = 64;

template <typename I>
struct RootedWalks {
  DrawnGraph<I> graph;
  const double* cumulative;
  int64_t num_roots;
  int64_t length;
  uint64_t seed;
};

template <typename I>
int64_t root(const RootedWalks<I>& in, double chance) {
  if (in.cumulative == nullptr) return below(chance, in.graph.nodes);
  const double* const end = in.cumulative + in.graph.nodes;
  const double* const at = std::upper_bound(in.cumulative, end, chance * *(end - 1));
  return std::min<int64_t>(at - in.cumulative, in.graph.nodes - 1);
}

struct Walker {
  int64_t at;
  int64_t chosen;                // place of the next edge; -1 where there is none
  std::array<double, 2> chance;  // of two steps, the even one first
};

using Walkers = std::array<Walker, kTogether>;

// The walks [begin, end), at most kTogether of them.
template <typename I>
bool walk_together(const RootedWalks<I>& in, uint64_t set, int64_t begin, int64_t end, Walkers& walkers,
                   std::vector<int64_t>& visited) {
  const DrawnGraph<I>& graph = in.graph;
  const int64_t size = end - begin;
  for (int64_t w = 0; w < size; ++w) {
    Walker& walker = walkers[w];
    walker.chance = drawn_numbers(in.seed, set, static_cast<uint32_t>(begin + w), 0);
    walker.at = root(in, walker.chance[0]);
    prefetch(graph.rowptr + walker.at);
    visited.push_back(walker.at);
  }
  for (int64_t step = 1; step <= in.length; ++step) {
    for (int64_t w = 0; w < size; ++w) {
      Walker& walker = walkers[w];
      if (step % 2 == 0) walker.chance = drawn_numbers(in.seed, set, static_cast<uint32_t>(begin + w), step);
      const int64_t degree = graph.degree(walker.at);
      if (degree < 0) return false;
      walker.chosen = degree == 0 ? -1 : below(walker.chance[step % 2], degree);
      if (degree > 0) prefetch(graph.col + graph.rowptr[walker.at] + walker.chosen);
    }
    for (int64_t w = 0; w < size; ++w) {
      Walker& walker = walkers[w];
      if (walker.chosen < 0) continue;
      walker.at = graph.source(walker.at, walker.chosen);
      if (walker.at < 0) return false;
      prefetch(graph.rowptr + walker.at);
      visited.push_back(walker.at);
    }
  }
  return true;
}

void check_cumulative(const OptionalTensor& cumulative, int64_t nodes) {
  if (!cumulative.has_value()) return;
  STD_TORCH_CHECK(
      cumulative->scalar_type() == ScalarType::Double && cumulative->dim() == 1 && cumulative->size(0) == nodes,
      "cumulative weights must be one float64 number per node");
  const double total = nodes > 0 ? read<double>(*cumulative)[nodes - 1] : 0;
  STD_TORCH_CHECK(nodes == 0 || (total > 0 && std::isfinite(total)),
                  "the sum of all weights must be positive and finite");
}

std::tuple<Tensor, Tensor> walk_sets(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& cumulative_in,
                                     int64_t num_roots, int64_t length, int64_t first, int64_t count, int64_t seed) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in);
  const OptionalTensor cumulative = dense(cumulative_in);
  check_structure(rowptr, col, std::nullopt);
  const int64_t nodes = rowptr.size(0) - 1;
  check_cumulative(cumulative, nodes);
  STD_TORCH_CHECK(num_roots >= 1 && num_roots <= kMostDraws, "num_roots must lie in [1, 2^31]");
  STD_TORCH_CHECK(length >= 0 && length < kMostDraws, "length must lie in [0, 2^31)");
  STD_TORCH_CHECK(num_roots <= kMostDraws / (length + 1), "a set is of at most 2^31 draws");
  const int64_t draws = num_roots * (length + 1);
  check_draws(nodes, draws, first, count);
  std::tuple<Tensor, Tensor> out;
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    const RootedWalks<I> in{drawn_graph<I>(rowptr, col), read<double>(cumulative), num_roots, length,
                            static_cast<uint64_t>(seed)};
    out = drawn_sets<Walkers>(col, nodes, count, draws,
                              [&](Walkers& walkers, int64_t set, std::vector<int64_t>& visited) {
                                for (int64_t w = 0; w < num_roots; w += kTogether) {
                                  const int64_t end = std::min(num_roots, w + kTogether);
                                  if (!walk_together(in, static_cast<uint64_t>(first + set), w, end, walkers, visited))
                                    return false;
                                }
                                return true;
                              });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("walk_sets", TORCH_BOX(&walk_sets)); }

}  // namespace gnnkit
