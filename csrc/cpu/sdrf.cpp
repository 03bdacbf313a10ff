// Stochastic discrete Ricci flow (Topping et al., ICLR 2022, Algorithm 1).
#include <cmath>

#include "cpu/edge_heap.h"
#include "cpu/sdrf_candidates.h"
#include "cpu/simple_rows.h"

namespace gnnkit {

namespace {

struct Settings {
  int64_t steps;
  double temperature;
  double bound;
  const double* uniform;  // one number in [0, 1) per step; read where the temperature is finite
};

struct Pair {
  int64_t u = -1;
  int64_t v = -1;
};

// What a step did; ends -1: nothing.
struct Step {
  Pair added;
  Pair removed;
};

class Flow {
 public:
  Flow(const SimpleRows& rows, const Settings& settings)
      : settings_(settings), nodes_(rows.nodes), graph_(rows.nodes, Noted{this}), candidates_(rows.nodes) {
    for (int64_t u = 0; u < rows.nodes; ++u)
      for (const int64_t* v = rows.begin(u); v != rows.end(u); ++v)
        if (u < *v) graph_.start_with(u, *v);
    graph_.measure();
  }

  std::vector<Step> run() {
    std::vector<Step> steps;
    while (static_cast<int64_t>(steps.size()) < settings_.steps && !lowest_.empty()) {
      Step step;
      step.added = choose(static_cast<int64_t>(steps.size()));
      const bool adds = step.added.u >= 0;
      int64_t newest = -1;
      if (adds) {
        adding_ = step.added;
        newest = graph_.add(adding_.u, adding_.v);
        adding_ = {};
      }
      step.removed = remove_highest();
      if (adds) put_highest(newest);
      if (!adds && step.removed.u < 0) break;
      steps.push_back(step);
    }
    return steps;
  }

 private:
  struct Noted {
    Flow* flow;
    void operator()(int64_t number) const { flow->note(number); }
  };

  bool removes() const { return settings_.bound < std::numeric_limits<double>::infinity(); }

  int64_t rank(int64_t number) const { return graph_.edge(number).u * nodes_ + graph_.edge(number).v; }

  void note(int64_t number) {
    const CurvedEdge& edge = graph_.edge(number);
    lowest_.put(number, edge.curvature, rank(number));
    // The edge that a step adds is not what the same step removes.
    if (edge.u != adding_.u || edge.v != adding_.v) put_highest(number);
  }

  void put_highest(int64_t number) {
    if (removes()) highest_.put(number, -graph_.edge(number).curvature, rank(number));
  }

  // The pair to join around the edge of lowest curvature; none: all are joined.
  Pair choose(int64_t step) {
    candidates_.enter(graph_, lowest_.top());
    const Pair chosen = std::isinf(settings_.temperature) ? best() : sampled(settings_.uniform[step]);
    candidates_.leave(graph_);
    return chosen;
  }

  Pair best() {
    Pair best;
    double most = 0.0;
    candidates_.visit(graph_, [&](int64_t k, int64_t l, double gain) {
      if (best.u >= 0 && gain < most) return true;
      const Pair pair = ordered(k, l);
      if (best.u < 0 || gain > most || pair.u < best.u || (pair.u == best.u && pair.v < best.v)) {
        best = pair;
        most = gain;
      }
      return true;
    });
    return best;
  }

  // In proportion to exp(temperature * gain), by the place of a uniform number in the running sum.
  Pair sampled(double uniform) {
    double most = -std::numeric_limits<double>::infinity();
    candidates_.visit(graph_, [&](int64_t, int64_t, double gain) {
      most = std::max(most, gain);
      return true;
    });
    // Neighbouring pairs mostly have the same gain.
    double last_gain = most;
    double last_weight = 1.0;
    const auto weight = [&](double gain) {
      if (gain != last_gain) {
        last_gain = gain;
        last_weight = std::exp(settings_.temperature * (gain - most));
      }
      return last_weight;
    };
    double total = 0.0;
    candidates_.visit(graph_, [&](int64_t, int64_t, double gain) {
      total += weight(gain);
      return true;
    });
    const double target = uniform * total;
    Pair chosen;
    double sum = 0.0;
    candidates_.visit(graph_, [&](int64_t k, int64_t l, double gain) {
      const double share = weight(gain);
      if (share > 0.0) chosen = ordered(k, l);
      sum += share;
      return sum <= target;
    });
    return chosen;
  }

  static Pair ordered(int64_t k, int64_t l) { return k < l ? Pair{k, l} : Pair{l, k}; }

  Pair remove_highest() {
    if (highest_.empty()) return {};
    const int64_t number = highest_.top();
    if (!(graph_.edge(number).curvature > settings_.bound)) return {};
    const Pair removed{graph_.edge(number).u, graph_.edge(number).v};
    lowest_.erase(number);
    highest_.erase(number);
    graph_.remove(number);
    return removed;
  }

  Settings settings_;
  int64_t nodes_;
  EdgeHeap lowest_;
  EdgeHeap highest_;  // by curvature from the highest; holds nothing where no edge is ever removed
  Pair adding_;       // what is being added at the moment
  CurvedGraph<Noted> graph_;
  Candidates candidates_;
};

// One row per step that changed something: the ends of the edge added, then of the one removed; -1 where there is none.
Tensor sdrf(const Tensor& rowptr_in, const Tensor& col_in, int64_t steps, double temperature, double bound,
            const Tensor& uniform_in) {
  STD_TORCH_CHECK(steps >= 0, "the number of steps must not be negative");
  STD_TORCH_CHECK(temperature >= 0.0 && !std::isnan(bound), "temperature and bound must be numbers, the first not < 0");
  STD_TORCH_CHECK(uniform_in.dim() == 1 && uniform_in.scalar_type() == ScalarType::Double,
                  "uniform numbers must be a vector of float64");
  STD_TORCH_CHECK(std::isinf(temperature) || uniform_in.size(0) >= steps, "each step needs a uniform number");
  const Tensor rowptr = dense(rowptr_in);
  const Tensor col = dense(col_in);
  const Tensor uniform = dense(uniform_in);
  const SimpleRows rows = checked_simple_rows(rowptr, col);
  Flow flow(rows, {steps, temperature, bound, read<double>(uniform)});
  const std::vector<Step> done = flow.run();
  const Tensor out = empty({static_cast<int64_t>(done.size()), 4}, col);
  int64_t* row = write<int64_t>(out);
  for (const Step& step : done) {
    for (const int64_t end : {step.added.u, step.added.v, step.removed.u, step.removed.v}) *row++ = end;
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("sdrf", TORCH_BOX(&sdrf)); }

}  // namespace gnnkit
