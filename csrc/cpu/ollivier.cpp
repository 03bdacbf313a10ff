// Cheapest transport between the random walks of the ends of each edge: what Ollivier-Ricci curvature is made of.
#include "cpu/neighbour_transport.h"

namespace gnnkit {

namespace {

// A cost is at most three times the mass.
constexpr int64_t kMostUnits = std::numeric_limits<int64_t>::max() / 4;

// Edges, and the laziness of the walks from the ends of each.
struct LazyInput : EdgesInput {
  Tensor stays, of;

  LazyInput(const Tensor& rowptr, const Tensor& col, const Tensor& ends_in, const Tensor& stays_in, const Tensor& of_in)
      : EdgesInput(rowptr, col, ends_in), stays(dense(stays_in)), of(dense(of_in)) {
    for (const Tensor* part : {&stays, &of})
      STD_TORCH_CHECK(part->dim() == 1 && part->size(0) == edges() && part->scalar_type() == ScalarType::Long,
                      "the share that stays must be two int64 numbers per edge");
    bool valid = true;
    for (int64_t e = 0; e < edges(); ++e) {
      const auto [part, whole] = laziness(e);
      const int64_t common = std::lcm(graph.degree(u(e)), graph.degree(v(e)));
      valid &= part >= 0 && part <= whole && whole >= 1 && whole <= kMostUnits / common;
    }
    STD_TORCH_CHECK(valid,
                    "the share that stays must be a fraction from 0 to 1 whose denominator, times the least "
                    "common multiple of the degrees, fits in 61 bits");
  }

  Laziness laziness(int64_t e) const { return {read<int64_t>(stays)[e], read<int64_t>(of)[e]}; }

  // Steps that look at the neighbours of all neighbours of both ends, before each edge.
  std::vector<int64_t> steps_before() const {
    std::vector<int64_t> around(static_cast<size_t>(graph.num_nodes), 0);
    for (int64_t node = 0; node < graph.num_nodes; ++node)
      for (const int64_t* other = graph.begin(node); other != graph.end(node); ++other)
        around[node] += graph.degree(*other);
    std::vector<int64_t> before(static_cast<size_t>(edges() + 1), 0);
    for (int64_t e = 0; e < edges(); ++e) before[e + 1] = before[e] + around[u(e)] + around[v(e)];
    return before;
  }
};

std::tuple<Tensor, Tensor> ollivier(const Tensor& rowptr, const Tensor& col, const Tensor& ends, const Tensor& stays,
                                    const Tensor& of) {
  const LazyInput input(rowptr, col, ends, stays, of);
  const Tensor cost = empty({input.edges()}, input.ends);
  const Tensor units = empty({input.edges()}, input.ends);
  parallel_over_work<NeighbourTransport>(input.steps_before(), [&](NeighbourTransport& transport, int64_t e) {
    write<int64_t>(cost)[e] = transport.cost(input.graph, input.u(e), input.v(e), input.laziness(e));
    write<int64_t>(units)[e] = NeighbourTransport::units(input.graph, input.u(e), input.v(e), input.laziness(e));
  });
  return {cost, units};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> ollivier_plan(const Tensor& rowptr, const Tensor& col, const Tensor& ends,
                                                         const Tensor& stays, const Tensor& of) {
  const LazyInput input(rowptr, col, ends, stays, of);
  std::vector<std::vector<Shipment>> found(static_cast<size_t>(input.edges()));
  parallel_over_work<NeighbourTransport>(input.steps_before(), [&](NeighbourTransport& transport, int64_t e) {
    transport.plan(input.graph, input.u(e), input.v(e), input.laziness(e), found[e]);
  });
  return plan_tensors(found, input.ends, ScalarType::Long);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("ollivier", TORCH_BOX(&ollivier));
  library.impl("ollivier_plan", TORCH_BOX(&ollivier_plan));
}

}  // namespace gnnkit
