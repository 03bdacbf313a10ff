// Transport between random walks on graphs whose edges have lengths: exact, and smoothed by entropy.
#include <cmath>

#include "cpu/dense_transport.h"
#include "cpu/walk_pair.h"

namespace gnnkit {

namespace {

// Masses are rounded to whole numbers of this many parts of the whole, far below what a float64 cost resolves.
constexpr double kParts = static_cast<double>(int64_t{1} << 50);

struct WalkInput : EdgesInput {
  Tensor length, share, stays;
  WalkGraph walks{};

  WalkInput(const Tensor& rowptr, const Tensor& col, const Tensor& length_in, const Tensor& share_in,
            const Tensor& ends, const Tensor& stays_in)
      : EdgesInput(rowptr, col, ends), length(dense(length_in)), share(dense(share_in)), stays(dense(stays_in)) {
    for (const Tensor* values : {&length, &share})
      STD_TORCH_CHECK(values->dim() == 1 && values->size(0) == entries() && values->scalar_type() == ScalarType::Double,
                      "lengths and shares must be one float64 number per position of col");
    STD_TORCH_CHECK(stays.dim() == 1 && stays.size(0) == edges() && stays.scalar_type() == ScalarType::Double,
                    "the share that stays must be one float64 number per edge");
    walks = {graph, read<double>(length), read<double>(share), nullptr};
    check_values();
    find_distances();
  }

  int64_t entries() const { return col.size(0); }
  double stays_at(int64_t edge) const { return read<double>(stays)[edge]; }

  // The searches of all nodes of both walks, each of about their neighbours' size, before each edge.
  std::vector<int64_t> steps_before() const {
    std::vector<int64_t> before(static_cast<size_t>(edges() + 1), 0);
    for (int64_t e = 0; e < edges(); ++e) {
      const int64_t from = graph.degree(u(e));
      const int64_t to = graph.degree(v(e));
      before[e + 1] = before[e] + 64 * (from + to) + from * to;
    }
    return before;
  }

 private:
  // A table of all distances, where it takes no more memory than the edges, or hardly any, saves all further searches.
  void find_distances() {
    constexpr int64_t kSmallTable = 1 << 16;
    constexpr int64_t kNumbersPerEntry = 8;
    const int64_t nodes = graph.num_nodes;
    const int64_t most = std::max(kSmallTable, kNumbersPerEntry * entries());
    if (nodes == 0 || nodes > most / nodes) return;
    distances_.resize(static_cast<size_t>(nodes * nodes));
    parallel_over_rows(graph.rowptr, nodes, nodes, [&](int64_t begin, int64_t end) {
      WalkPair search;
      for (int64_t node = begin; node < end; ++node)
        search.distances_from(walks, node, distances_.data() + node * nodes);
    });
    walks.distances = distances_.data();
  }

  void check_values() const {
    bool valid = true;
    for (int64_t p = 0; p < entries(); ++p)
      valid &= std::isfinite(walks.length[p]) && walks.length[p] > 0 && walks.share[p] >= 0;
    for (int64_t node = 0; node < graph.num_nodes; ++node) {
      double sum = 0;
      for (int64_t p = graph.rowptr[node]; p < graph.rowptr[node + 1]; ++p) sum += walks.share[p];
      valid &= graph.degree(node) == 0 || std::abs(sum - 1) < 1e-9;
    }
    for (int64_t e = 0; e < edges(); ++e) valid &= stays_at(e) >= 0 && stays_at(e) <= 1;
    STD_TORCH_CHECK(valid,
                    "lengths must be finite and positive, the shares of each node's neighbours must add up to 1, "
                    "and what stays must lie in [0, 1]");
  }

  std::vector<double> distances_;
};

// Whole numbers of parts. Rounding is made up for where there is most.
std::vector<int64_t> parts_of(const std::vector<double>& mass, int64_t total) {
  std::vector<int64_t> parts;
  for (const double value : mass) parts.push_back(std::llround(value * kParts));
  const int64_t sum = std::accumulate(parts.begin(), parts.end(), int64_t{0});
  int64_t& most = *std::max_element(parts.begin(), parts.end());
  most = std::max<int64_t>(most + total - sum, 0);
  return parts;
}

struct ExactScratch {
  WalkPair pair;
  DenseTransport transport;

  // Least cost; calls visit(source, target, mass) for what is carried.
  template <typename Visit>
  double solve(const WalkInput& input, int64_t e, const Visit& visit) {
    pair.read(input.walks, input.u(e), input.v(e), input.stays_at(e), true);
    if (pair.sources.size() == 0 || pair.targets.size() == 0) return 0;
    const double moving = std::accumulate(pair.sources.mass.begin(), pair.sources.mass.end(), 0.0);
    const int64_t total = std::llround(moving * kParts);
    transport.solve(pair.distance, parts_of(pair.sources.mass, total), parts_of(pair.targets.mass, total));
    double cost = 0;
    for (int64_t source = 0; source < pair.sources.size(); ++source) {
      for (int64_t target = 0; target < pair.targets.size(); ++target) {
        const int64_t flow = transport.flow(source, target);
        if (flow == 0) continue;
        const double mass = static_cast<double>(flow) / kParts;
        cost += mass * pair.distance[source * pair.targets.size() + target];
        visit(pair.sources.node[source], pair.targets.node[target], mass);
      }
    }
    return cost;
  }
};

std::tuple<Tensor, Tensor> ollivier_weighted(const Tensor& rowptr, const Tensor& col, const Tensor& length,
                                             const Tensor& share, const Tensor& ends, const Tensor& stays) {
  const WalkInput input(rowptr, col, length, share, ends, stays);
  const Tensor cost = empty({input.edges()}, input.stays);
  const Tensor distance = empty({input.edges()}, input.stays);
  parallel_over_work<ExactScratch>(input.steps_before(), [&](ExactScratch& scratch, int64_t e) {
    write<double>(cost)[e] = scratch.solve(input, e, [](int64_t, int64_t, double) {});
    write<double>(distance)[e] = scratch.pair.between;
  });
  return {cost, distance};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> ollivier_weighted_plan(const Tensor& rowptr, const Tensor& col,
                                                                  const Tensor& length, const Tensor& share,
                                                                  const Tensor& ends, const Tensor& stays) {
  const WalkInput input(rowptr, col, length, share, ends, stays);
  std::vector<std::vector<RealShipment>> found(static_cast<size_t>(input.edges()));
  parallel_over_work<ExactScratch>(input.steps_before(), [&](ExactScratch& scratch, int64_t e) {
    scratch.solve(input, e,
                  [&](int64_t source, int64_t target, double mass) { found[e].push_back({source, target, mass}); });
    found[e].insert(found[e].end(), scratch.pair.staying.begin(), scratch.pair.staying.end());
  });
  return plan_tensors(found, input.ends, ScalarType::Double);
}

// Sinkhorn's method. Steps scale rows and columns of a plan; potentials, in the log domain, take the scales in before
// these leave the range in which products of them are safe.
struct SmoothScratch {
  static constexpr double kLargestScale = 1e50;

  WalkPair pair;
  std::vector<double> source_potential, target_potential, source_scale, target_scale, plan, missing;

  double solve(const WalkInput& input, int64_t e, double epsilon, int64_t steps, double tolerance) {
    pair.read(input.walks, input.u(e), input.v(e), input.stays_at(e), false);
    const int64_t rows = pair.sources.size();
    const int64_t columns = pair.targets.size();
    source_potential.assign(static_cast<size_t>(rows), 0);
    target_potential.assign(static_cast<size_t>(columns), 0);
    bool is_scaled = false;
    for (int64_t step = 0; step < steps; ++step) {
      const double change = is_scaled ? scale(rows, columns) : fit(rows, columns, epsilon);
      if (is_scaled && !is_safe()) {
        take_in_scales(epsilon);
        is_scaled = false;
      } else if (!is_scaled) {
        set_plan(rows, columns, epsilon);
        is_scaled = true;
      }
      if (step > 0 && change <= tolerance) break;
    }
    if (is_scaled) take_in_scales(epsilon);
    set_plan(rows, columns, epsilon);
    return rounded_cost(rows, columns);
  }

  // One step in the log domain; returns how far columns were from their masses before.
  double fit(int64_t rows, int64_t columns, double epsilon) {
    for (int64_t i = 0; i < rows; ++i)
      source_potential[i] = fitted(pair.sources.mass[i], columns, epsilon,
                                   [&](int64_t j) { return target_potential[j] - pair.distance[i * columns + j]; });
    double change = 0;
    for (int64_t j = 0; j < columns; ++j) {
      const double value = fitted(pair.targets.mass[j], rows, epsilon,
                                  [&](int64_t i) { return source_potential[i] - pair.distance[i * columns + j]; });
      change += pair.targets.mass[j] * std::abs(1 - std::exp((target_potential[j] - value) / epsilon));
      target_potential[j] = value;
    }
    return change;
  }

  // The potential with which the exponentials of a row add up to its mass.
  template <typename Value>
  static double fitted(double mass, int64_t count, double epsilon, const Value& value) {
    double most = -std::numeric_limits<double>::infinity();
    for (int64_t k = 0; k < count; ++k) most = std::max(most, value(k));
    double sum = 0;
    for (int64_t k = 0; k < count; ++k) sum += std::exp((value(k) - most) / epsilon);
    return epsilon * (std::log(mass) - std::log(sum)) - most;
  }

  // The same step as scales of the rows and columns of `plan`.
  double scale(int64_t rows, int64_t columns) {
    missing.assign(static_cast<size_t>(columns), 0);
    for (int64_t i = 0; i < rows; ++i) {
      const double* row = plan.data() + i * columns;
      double sum = 0;
      for (int64_t j = 0; j < columns; ++j) sum += row[j] * target_scale[j];
      source_scale[i] = pair.sources.mass[i] / sum;
      for (int64_t j = 0; j < columns; ++j) missing[j] += source_scale[i] * row[j];
    }
    double change = 0;
    for (int64_t j = 0; j < columns; ++j) {
      change += std::abs(pair.targets.mass[j] - target_scale[j] * missing[j]);
      target_scale[j] = pair.targets.mass[j] / missing[j];
    }
    return change;
  }

  bool is_safe() const {
    const auto in_range = [](double value) { return value > 1 / kLargestScale && value < kLargestScale; };
    return std::all_of(source_scale.begin(), source_scale.end(), in_range) &&
           std::all_of(target_scale.begin(), target_scale.end(), in_range);
  }

  // A scale that is no number any more is left out: the next step in the log domain finds it.
  void take_in_scales(double epsilon) {
    const auto take_in = [&](std::vector<double>& potential, const std::vector<double>& scales) {
      for (size_t k = 0; k < scales.size(); ++k)
        if (scales[k] > 0 && std::isfinite(scales[k])) potential[k] += epsilon * std::log(scales[k]);
    };
    take_in(source_potential, source_scale);
    take_in(target_potential, target_scale);
  }

  void set_plan(int64_t rows, int64_t columns, double epsilon) {
    plan.resize(static_cast<size_t>(rows * columns));
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        plan[i * columns + j] =
            std::exp((source_potential[i] + target_potential[j] - pair.distance[i * columns + j]) / epsilon);
    source_scale.assign(static_cast<size_t>(rows), 1);
    target_scale.assign(static_cast<size_t>(columns), 1);
  }

  // The plan, made to carry exactly the masses (Altschuler et al., 2017): rows and columns that hold too much are
  // scaled down, what is missing then is carried in proportion.
  double rounded_cost(int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < columns; ++j) sum += plan[i * columns + j];
      const double part = sum > pair.sources.mass[i] ? pair.sources.mass[i] / sum : 1;
      for (int64_t j = 0; j < columns; ++j) plan[i * columns + j] *= part;
    }
    missing.assign(static_cast<size_t>(columns), 0);
    double all_missing = 0;
    for (int64_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < rows; ++i) sum += plan[i * columns + j];
      const double part = sum > pair.targets.mass[j] ? pair.targets.mass[j] / sum : 1;
      for (int64_t i = 0; i < rows; ++i) plan[i * columns + j] *= part;
      missing[j] = std::max(0.0, pair.targets.mass[j] - sum * part);
      all_missing += missing[j];
    }
    double cost = 0;
    for (int64_t i = 0; i < rows; ++i) {
      double lacks = pair.sources.mass[i];
      for (int64_t j = 0; j < columns; ++j) lacks -= plan[i * columns + j];
      const double part = all_missing > 0 ? std::max(0.0, lacks) / all_missing : 0;
      for (int64_t j = 0; j < columns; ++j)
        cost += (plan[i * columns + j] + part * missing[j]) * pair.distance[i * columns + j];
    }
    return cost;
  }
};

std::tuple<Tensor, Tensor> ollivier_sinkhorn(const Tensor& rowptr, const Tensor& col, const Tensor& length,
                                             const Tensor& share, const Tensor& ends, const Tensor& stays,
                                             double epsilon, int64_t steps, double tolerance) {
  STD_TORCH_CHECK(std::isfinite(epsilon) && epsilon > 0 && steps >= 1 && tolerance >= 0,
                  "epsilon must be positive, with at least one step and a tolerance that is not negative");
  const WalkInput input(rowptr, col, length, share, ends, stays);
  const Tensor cost = empty({input.edges()}, input.stays);
  const Tensor distance = empty({input.edges()}, input.stays);
  parallel_over_work<SmoothScratch>(input.steps_before(), [&](SmoothScratch& scratch, int64_t e) {
    write<double>(cost)[e] = scratch.solve(input, e, epsilon, steps, tolerance);
    write<double>(distance)[e] = scratch.pair.between;
  });
  return {cost, distance};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("ollivier_weighted", TORCH_BOX(&ollivier_weighted));
  library.impl("ollivier_weighted_plan", TORCH_BOX(&ollivier_weighted_plan));
  library.impl("ollivier_sinkhorn", TORCH_BOX(&ollivier_sinkhorn));
}

}  // namespace gnnkit
