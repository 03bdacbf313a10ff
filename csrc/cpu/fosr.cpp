// Edges that raise the spectral gap of a graph to first order: between the nodes where the second eigenvector is most
// positive and most negative.
#include <cmath>

#include "cpu/eigenpair.h"
#include "cpu/simple_rows.h"

namespace gnnkit {

namespace {

constexpr double kTie = 1e-9;

using Neighbors = std::vector<std::vector<int64_t>>;

// The two nodes that no edge joins with the smallest product of values. For one node, partners come in ascending or in
// descending order of value, so only neighbors are passed over: there is no table of pairs.
class PairSearch {
 public:
  PairSearch(const Neighbors& neighbors, const std::vector<double>& value)
      : neighbors_(neighbors), value_(value), order_(value.size()), mark_(value.size(), -1) {
    for (size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<int64_t>(i);
    std::sort(order_.begin(), order_.end(),
              [&](int64_t a, int64_t b) { return value_[a] != value_[b] ? value_[a] < value_[b] : a < b; });
  }

  // Products that differ by less than `tie` times the largest square are equal, and the lowest pair is taken of them.
  // Nodes are -1 where all are joined.
  std::pair<int64_t, int64_t> find(double tie) {
    const int64_t size = static_cast<int64_t>(value_.size());
    std::vector<double> least(value_.size(), std::numeric_limits<double>::infinity());
    double smallest = std::numeric_limits<double>::infinity(), largest_square = 0;
    for (int64_t u = 0; u < size; ++u) {
      each_partner(u, [&](int64_t v) {
        least[u] = value_[u] * value_[v];
        return false;
      });
      smallest = std::min(smallest, least[u]);
      largest_square = std::max(largest_square, value_[u] * value_[u]);
    }
    const double enough = smallest + tie * largest_square;
    for (int64_t u = 0; u < size; ++u) {
      if (!(least[u] <= enough) || std::isinf(least[u])) continue;
      int64_t lowest = -1;
      each_partner(u, [&](int64_t v) {
        if (value_[u] * value_[v] > enough) return false;
        if (lowest < 0 || v < lowest) lowest = v;
        return true;
      });
      return {std::min(u, lowest), std::max(u, lowest)};
    }
    return {-1, -1};
  }

 private:
  // Calls visit(v) in ascending order of the product, until it returns false.
  template <typename Visit>
  void each_partner(int64_t u, const Visit& visit) {
    for (const int64_t v : neighbors_[u]) mark_[v] = u;
    mark_[u] = u;
    const size_t size = order_.size();
    for (size_t k = 0; k < size; ++k) {
      const int64_t v = order_[value_[u] > 0 ? k : size - 1 - k];
      if (mark_[v] != u && !visit(v)) return;
    }
  }

  const Neighbors& neighbors_;
  const std::vector<double>& value_;
  std::vector<int64_t> order_;
  std::vector<int64_t> mark_;
};

// A connected graph that gets edges.
class Part {
 public:
  Part(std::vector<int64_t> nodes, Neighbors neighbors) : nodes_(std::move(nodes)), neighbors_(std::move(neighbors)) {
    for (const auto& row : neighbors_) edges_ += static_cast<int64_t>(row.size());
  }

  bool full() const {
    const int64_t size = static_cast<int64_t>(nodes_.size());
    return edges_ >= size * (size - 1);
  }

  // Infinite where no edge can be added.
  double gap() {
    if (full()) return std::numeric_limits<double>::infinity();
    if (!known_) solve();
    return gap_;
  }

  std::pair<int64_t, int64_t> add() {
    gap();
    std::vector<double> value = vector_;
    for (size_t i = 0; i < value.size(); ++i) value[i] /= std::sqrt(1.0 + static_cast<double>(neighbors_[i].size()));
    const auto [a, b] = PairSearch(neighbors_, value).find(kTie);
    for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
      std::vector<int64_t>& row = neighbors_[from];
      row.insert(std::lower_bound(row.begin(), row.end(), to), to);
    }
    edges_ += 2;
    known_ = false;
    return {nodes_[a], nodes_[b]};
  }

 private:
  void solve() {
    std::vector<int64_t> rowptr{0}, col;
    for (const auto& row : neighbors_) {
      col.insert(col.end(), row.begin(), row.end());
      rowptr.push_back(static_cast<int64_t>(col.size()));
    }
    const std::vector<double> ones(col.size(), 1.0);
    vector_.resize(nodes_.size());
    gap_ = EigenSolver({rowptr.data(), col.data(), ones.data(), static_cast<int64_t>(nodes_.size())})
               .solve(vector_.data());
    bool found = std::isfinite(gap_);
    for (const double entry : vector_) found &= std::isfinite(entry);
    STD_TORCH_CHECK(found, "the second eigenvector was not found: its eigenvalue is too close to others");
    known_ = true;
  }

  std::vector<int64_t> nodes_;
  Neighbors neighbors_;
  int64_t edges_ = 0;
  bool known_ = false;
  double gap_ = 0;
  std::vector<double> vector_;
};

struct Input {
  Tensor rowptr;
  Tensor col;
  SimpleRows rows;

  Input(const Tensor& rowptr_in, const Tensor& col_in)
      : rowptr(dense(rowptr_in)), col(dense(col_in)), rows(checked_simple_rows(rowptr, col)) {}

  Neighbors neighbors() const {
    Neighbors out(static_cast<size_t>(rows.nodes));
    for (int64_t i = 0; i < rows.nodes; ++i) out[i].assign(rows.begin(i), rows.end(i));
    return out;
  }
};

// The nodes of each connected component, ascending; components in order of their smallest node.
std::vector<std::vector<int64_t>> components_of(const Neighbors& neighbors) {
  std::vector<std::vector<int64_t>> out;
  std::vector<char> seen(neighbors.size(), 0);
  for (size_t root = 0; root < neighbors.size(); ++root) {
    if (seen[root]) continue;
    seen[root] = 1;
    std::vector<int64_t> members{static_cast<int64_t>(root)};
    for (size_t next = 0; next < members.size(); ++next) {
      for (const int64_t node : neighbors[members[next]]) {
        if (seen[node]) continue;
        seen[node] = 1;
        members.push_back(node);
      }
    }
    std::sort(members.begin(), members.end());
    out.push_back(std::move(members));
  }
  return out;
}

Part part_of(const Neighbors& neighbors, std::vector<int64_t> nodes, std::vector<int64_t>& local) {
  for (size_t i = 0; i < nodes.size(); ++i) local[nodes[i]] = static_cast<int64_t>(i);
  Neighbors inside(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const int64_t node : neighbors[nodes[i]]) inside[i].push_back(local[node]);
    std::sort(inside[i].begin(), inside[i].end());  // edges that were added come last
  }
  return Part(std::move(nodes), std::move(inside));
}

// The second eigenvector of a graph of several components: constant times sqrt(degree) on each, as close to the fixed
// numbers g as it can be, and orthogonal to sqrt(degree).
std::pair<int64_t, int64_t> bridge(const Neighbors& neighbors, const std::vector<std::vector<int64_t>>& components) {
  std::vector<double> value(neighbors.size(), 0.0);
  double all = 0, volume = 0;
  const auto degree = [&](int64_t node) { return static_cast<double>(neighbors[node].size()); };
  for (size_t i = 0; i < neighbors.size(); ++i) {
    all += EigenSolver::start(static_cast<int64_t>(i)) * std::sqrt(degree(i));
    volume += degree(i);
  }
  for (const std::vector<int64_t>& members : components) {
    double part = 0, part_volume = 0;
    for (const int64_t node : members) {
      part += EigenSolver::start(node) * std::sqrt(degree(node));
      part_volume += degree(node);
    }
    if (part_volume == 0) continue;
    for (const int64_t node : members)
      value[node] = (part / part_volume - all / volume) * std::sqrt(degree(node) / (1 + degree(node)));
  }
  return PairSearch(neighbors, value).find(kTie);
}

std::vector<std::pair<int64_t, int64_t>> within_components(const Neighbors& neighbors, int64_t num_edges) {
  std::vector<Part> parts;
  std::vector<int64_t> local(neighbors.size(), -1);
  for (std::vector<int64_t>& nodes : components_of(neighbors)) {
    Part part = part_of(neighbors, std::move(nodes), local);
    if (!part.full()) parts.push_back(std::move(part));
  }
  std::vector<std::pair<int64_t, int64_t>> out;
  while (static_cast<int64_t>(out.size()) < num_edges) {
    double smallest = std::numeric_limits<double>::infinity();
    for (Part& part : parts) smallest = std::min(smallest, part.gap());
    if (std::isinf(smallest)) break;
    for (Part& part : parts) {
      if (part.gap() > smallest * (1 + kTie)) continue;
      out.push_back(part.add());
      break;
    }
  }
  return out;
}

std::vector<std::pair<int64_t, int64_t>> across_components(Neighbors neighbors, int64_t num_edges) {
  std::vector<std::pair<int64_t, int64_t>> out;
  while (static_cast<int64_t>(out.size()) < num_edges) {
    const std::vector<std::vector<int64_t>> components = components_of(neighbors);
    std::vector<std::vector<int64_t>> joined;
    for (const auto& members : components) {
      if (members.size() > 1) joined.push_back(members);
    }
    std::pair<int64_t, int64_t> found{-1, -1};
    if (joined.size() == 1) {
      std::vector<int64_t> local(neighbors.size(), -1);
      Part part = part_of(neighbors, joined[0], local);
      if (!part.full()) found = part.add();
    }
    if (found.first < 0) found = bridge(neighbors, components);
    if (found.first < 0) break;
    neighbors[found.first].push_back(found.second);
    neighbors[found.second].push_back(found.first);
    out.push_back(found);
  }
  return out;
}

Tensor tensor_of(const std::vector<std::pair<int64_t, int64_t>>& pairs, const Tensor& like) {
  const int64_t count = static_cast<int64_t>(pairs.size());
  const Tensor out = empty({2, count}, like);
  for (int64_t k = 0; k < count; ++k) {
    write<int64_t>(out)[k] = pairs[k].first;
    write<int64_t>(out)[count + k] = pairs[k].second;
  }
  return out;
}

Tensor fosr(const Tensor& rowptr, const Tensor& col, int64_t num_edges, bool bridging) {
  const Input input(rowptr, col);
  return tensor_of(
      bridging ? across_components(input.neighbors(), num_edges) : within_components(input.neighbors(), num_edges),
      input.col);
}

Tensor least_product(const Tensor& rowptr, const Tensor& col, const Tensor& value_in, double tie) {
  const Input input(rowptr, col);
  const Tensor value = dense(value_in);
  STD_TORCH_CHECK(value.dim() == 1 && value.size(0) == input.rows.nodes && value.scalar_type() == ScalarType::Double,
                  "there must be one float64 value per node");
  const std::vector<double> values(read<double>(value), read<double>(value) + value.size(0));
  bool numbers = true;
  for (const double entry : values) numbers &= std::isfinite(entry);
  STD_TORCH_CHECK(numbers, "values must be finite");
  const std::pair<int64_t, int64_t> found = PairSearch(input.neighbors(), values).find(tie);
  std::vector<std::pair<int64_t, int64_t>> pairs;
  if (found.first >= 0) pairs.push_back(found);
  return tensor_of(pairs, input.col);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("fosr", TORCH_BOX(&fosr));
  library.impl("least_product", TORCH_BOX(&least_product));
}

}  // namespace gnnkit
