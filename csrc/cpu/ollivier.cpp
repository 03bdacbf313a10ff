// Cheapest transport between the random walks of the ends of each edge: what Ollivier-Ricci curvature is made of.
#include "cpu/neighbour_transport.h"

namespace gnnkit {

namespace {

// A cost is at most three times the mass.
constexpr int64_t kMostUnits = std::numeric_limits<int64_t>::max() / 4;

struct LazinessInput {
  const int64_t* stays;
  const int64_t* of;

  Laziness at(int64_t edge) const { return {stays[edge], of[edge]}; }
};

LazinessInput checked_laziness(const Neighbours& graph, const Tensor& ends, const Tensor& stays, const Tensor& of) {
  const int64_t edges = ends.size(1);
  STD_TORCH_CHECK(stays.dim() == 1 && of.dim() == 1 && stays.size(0) == edges && of.size(0) == edges &&
                      stays.scalar_type() == ScalarType::Long && of.scalar_type() == ScalarType::Long,
                  "the share that stays must be two int64 numbers per edge");
  const LazinessInput laziness{read<int64_t>(stays), read<int64_t>(of)};
  const int64_t* u = read<int64_t>(ends);
  bool valid = true;
  for (int64_t edge = 0; edge < edges; ++edge) {
    const auto [part, whole] = laziness.at(edge);
    const int64_t common = std::lcm(graph.degree(u[edge]), graph.degree(u[edges + edge]));
    valid &= part >= 0 && part <= whole && whole >= 1 && whole <= kMostUnits / common;
  }
  STD_TORCH_CHECK(valid,
                  "the share that stays must be a fraction from 0 to 1 whose denominator, times the least common "
                  "multiple of the degrees, fits in 61 bits");
  return laziness;
}

// Steps that look at the neighbours of all neighbours of both ends, before each edge.
std::vector<int64_t> steps_before(const Neighbours& graph, const int64_t* ends, int64_t edges) {
  std::vector<int64_t> around(static_cast<size_t>(graph.num_nodes), 0);
  for (int64_t node = 0; node < graph.num_nodes; ++node)
    for (const int64_t* other = graph.begin(node); other != graph.end(node); ++other)
      around[node] += graph.degree(*other);
  std::vector<int64_t> before(static_cast<size_t>(edges + 1), 0);
  for (int64_t edge = 0; edge < edges; ++edge)
    before[edge + 1] = before[edge] + around[ends[edge]] + around[ends[edges + edge]];
  return before;
}

std::tuple<Tensor, Tensor> ollivier(const Tensor& rowptr, const Tensor& col, const Tensor& ends_in,
                                    const Tensor& stays_in, const Tensor& of_in) {
  const SparseInput input(rowptr, col, std::nullopt, std::nullopt);
  const Tensor ends = dense(ends_in), stays = dense(stays_in), of = dense(of_in);
  const Neighbours graph = checked_neighbours(input, ends);
  const LazinessInput laziness = checked_laziness(graph, ends, stays, of);
  const int64_t edges = ends.size(1);
  const Tensor cost = empty({edges}, ends);
  const Tensor units = empty({edges}, ends);
  const int64_t* u = read<int64_t>(ends);
  const int64_t* v = u + edges;
  int64_t* cost_of = write<int64_t>(cost);
  int64_t* units_of = write<int64_t>(units);
  parallel_over_work<NeighbourTransport>(steps_before(graph, u, edges), [&](NeighbourTransport& transport, int64_t e) {
    cost_of[e] = transport.cost(graph, u[e], v[e], laziness.at(e));
    units_of[e] = NeighbourTransport::units(graph, u[e], v[e], laziness.at(e));
  });
  return {cost, units};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> ollivier_plan(const Tensor& rowptr, const Tensor& col, const Tensor& ends_in,
                                                         const Tensor& stays_in, const Tensor& of_in) {
  const SparseInput input(rowptr, col, std::nullopt, std::nullopt);
  const Tensor ends = dense(ends_in), stays = dense(stays_in), of = dense(of_in);
  const Neighbours graph = checked_neighbours(input, ends);
  const LazinessInput laziness = checked_laziness(graph, ends, stays, of);
  const int64_t edges = ends.size(1);
  const int64_t* u = read<int64_t>(ends);
  const int64_t* v = u + edges;
  const std::vector<int64_t> before = steps_before(graph, u, edges);
  const int64_t chunks = chunks_for(before.back() + edges);
  std::vector<std::vector<Shipment>> found(static_cast<size_t>(chunks));
  std::vector<int64_t> end_of(static_cast<size_t>(edges), 0);  // within the chunk
  parallel_with_scratch<NeighbourTransport>(chunks, [&](NeighbourTransport& transport, int64_t chunk) {
    const int64_t end = row_at_share(before, chunk + 1, chunks);
    for (int64_t e = row_at_share(before, chunk, chunks); e < end; ++e) {
      transport.plan(graph, u[e], v[e], laziness.at(e), found[chunk]);
      end_of[e] = static_cast<int64_t>(found[chunk].size());
    }
  });
  int64_t entries = 0;
  for (const std::vector<Shipment>& part : found) entries += static_cast<int64_t>(part.size());
  const Tensor edge = empty({entries}, ends), source = empty({entries}, ends);
  const Tensor target = empty({entries}, ends), mass = empty({entries}, ends);
  int64_t place = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t end = row_at_share(before, chunk + 1, chunks);
    size_t taken = 0;
    for (int64_t e = row_at_share(before, chunk, chunks); e < end; ++e) {
      for (; taken < static_cast<size_t>(end_of[e]); ++taken, ++place) {
        write<int64_t>(edge)[place] = e;
        write<int64_t>(source)[place] = found[chunk][taken].source;
        write<int64_t>(target)[place] = found[chunk][taken].target;
        write<int64_t>(mass)[place] = found[chunk][taken].mass;
      }
    }
  }
  return {edge, source, target, mass};
}

}  // namespace

Neighbours checked_neighbours(const SparseInput& input, const Tensor& ends) {
  STD_TORCH_CHECK(input.col.scalar_type() == ScalarType::Long && ends.scalar_type() == ScalarType::Long,
                  "the graph and its edges must have int64 indices");
  STD_TORCH_CHECK(ends.dim() == 2 && ends.size(0) == 2, "the edges must be [2, M]");
  const Sparse<float, int64_t> pattern = checked_pattern<float, int64_t>(input, input.rows());
  const Neighbours graph{pattern.rowptr, pattern.col, pattern.rows};
  bool ascending = true;
  for (int64_t node = 0; node < graph.num_nodes; ++node)
    ascending &= std::adjacent_find(graph.begin(node), graph.end(node), std::greater_equal<>()) == graph.end(node);
  STD_TORCH_CHECK(ascending, "the neighbours of each node must be in ascending order, each once");
  const int64_t edges = ends.size(1);
  const int64_t* u = read<int64_t>(ends);
  check_range(u, 2 * edges, graph.num_nodes);
  bool joined = true;
  for (int64_t e = 0; e < edges; ++e)
    joined &= u[e] != u[edges + e] && graph.has(u[e], u[edges + e]) && graph.has(u[edges + e], u[e]);
  STD_TORCH_CHECK(joined, "the ends of each edge must be neighbours of each other in the graph");
  return graph;
}

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("ollivier", TORCH_BOX(&ollivier));
  library.impl("ollivier_plan", TORCH_BOX(&ollivier_plan));
}

}  // namespace gnnkit
