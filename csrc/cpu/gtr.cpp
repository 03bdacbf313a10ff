// Greedy choice of the edges that lower the total resistance of a graph most. Every step is one pass over two dense
// matrices per component: it brings them up to date, and finds the best pair of each row on the way.
#include <cmath>

#include "common/topology.h"
#include "cpu/simple_rows.h"

namespace gnnkit {

namespace {

constexpr double kTie = 1e-9;
constexpr int64_t kRows = 16;  // per chunk, whatever the number of threads

// One component, its nodes numbered from 0.
class Component {
 public:
  Component(const double* resistance, const double* square, std::vector<std::vector<int64_t>> neighbors)
      : size_(static_cast<int64_t>(neighbors.size())),
        p_(resistance, resistance + size_ * size_),
        s_(square, square + size_ * size_),
        neighbors_(std::move(neighbors)),
        row_best_(static_cast<size_t>(size_)) {
    for (int64_t i = 0; i < size_; ++i) {
      diagonal_p_.push_back(p_[i * size_ + i]);
      diagonal_s_.push_back(s_[i * size_ + i]);
    }
    over_rows([&](Row& row, int64_t i) { row_best_[i] = search(row, i); });
    choose();
  }

  // n B^2 / (1 + R) of the best pair; -1 where no pair is left.
  double best() const { return best_; }
  std::pair<int64_t, int64_t> pair() const { return pair_; }

  void add_best() {
    const auto [s, t] = pair_;
    neighbors_[s].push_back(t);
    neighbors_[t].push_back(s);
    std::vector<double> v(static_cast<size_t>(size_)), w(v.size());
    for (int64_t i = 0; i < size_; ++i) v[i] = p_[s * size_ + i] - p_[t * size_ + i];
    const double scale = 1 / (1 + v[s] - v[t]);
    double length = 0;
    for (const double entry : v) length += entry * entry;
    // With z = P v, S - (z v' + v z') / (1 + R) + (v' v) v v' / (1 + R)^2 = S - v w' - w v'.
    over_rows([&](Row&, int64_t i) {
      double sum = 0;
      for (int64_t j = 0; j < size_; ++j) sum += p_[i * size_ + j] * v[j];
      w[i] = scale * (sum - scale * length / 2 * v[i]);
    });
    for (int64_t i = 0; i < size_; ++i) {
      diagonal_p_[i] -= scale * v[i] * v[i];
      diagonal_s_[i] -= v[i] * w[i] + w[i] * v[i];
    }
    over_rows([&](Row& row, int64_t i) {
      double* p = p_.data() + i * size_;
      double* square = s_.data() + i * size_;
      const double from_p = scale * v[i], from_v = v[i], from_w = w[i];
      for (int64_t j = 0; j < size_; ++j) {
        p[j] -= from_p * v[j];
        square[j] -= from_v * w[j] + from_w * v[j];
      }
      row_best_[i] = search(row, i);
    });
    choose();
  }

 private:
  struct Row {
    std::vector<double> gain;
  };

  template <typename Run>
  void over_rows(const Run& run) {
    parallel_with_scratch<Row>((size_ + kRows - 1) / kRows, [&](Row& row, int64_t chunk) {
      for (int64_t i = chunk * kRows; i < std::min(size_, (chunk + 1) * kRows); ++i) run(row, i);
    });
  }

  // Gains of node i with all later nodes; -1 where they are joined. Returns the largest.
  double search(Row& row, int64_t i) const {
    row.gain.resize(static_cast<size_t>(size_));
    const double* p = p_.data() + i * size_;
    const double* square = s_.data() + i * size_;
    const double own_p = diagonal_p_[i] + 1, own_s = diagonal_s_[i], count = static_cast<double>(size_);
    for (int64_t j = i + 1; j < size_; ++j)
      row.gain[j] = count * (own_s + diagonal_s_[j] - 2 * square[j]) / (own_p + diagonal_p_[j] - 2 * p[j]);
    for (const int64_t j : neighbors_[i]) row.gain[j] = -1;
    double most = -1;
    for (int64_t j = i + 1; j < size_; ++j) most = row.gain[j] > most ? row.gain[j] : most;
    return most;
  }

  // The lowest pair among the best.
  void choose() {
    best_ = -1;
    for (const double value : row_best_) best_ = std::max(best_, value);
    const double enough = best_ * (1 - kTie);
    for (int64_t i = 0; i < size_ && best_ >= 0; ++i) {
      if (row_best_[i] < enough) continue;
      Row row;
      search(row, i);
      pair_ = {i, i + 1};
      while (row.gain[pair_.second] < enough) ++pair_.second;
      return;
    }
  }

  int64_t size_;
  std::vector<double> p_, s_;
  std::vector<std::vector<int64_t>> neighbors_;
  std::vector<double> row_best_, diagonal_p_, diagonal_s_;
  double best_ = -1;
  std::pair<int64_t, int64_t> pair_;
};

Tensor gtr(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& nodes_in, const Tensor& ptr_in,
           const Tensor& resistance_in, const Tensor& square_in, int64_t num_edges) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), nodes = dense(nodes_in), ptr = dense(ptr_in);
  const Tensor resistance = dense(resistance_in), square = dense(square_in);
  const SimpleRows rows = checked_simple_rows(rowptr, col);
  check_structure(ptr, nodes, std::nullopt);
  STD_TORCH_CHECK(nodes.scalar_type() == ScalarType::Long && resistance.scalar_type() == ScalarType::Double &&
                      square.scalar_type() == ScalarType::Double,
                  "indices must be int64 and matrices float64");
  const int64_t components = ptr.size(0) - 1;
  check_boundaries(read<int64_t>(ptr), components, nodes.size(0));
  check_range(read<int64_t>(nodes), nodes.size(0), rows.nodes);
  std::vector<int64_t> local(static_cast<size_t>(rows.nodes), -1);
  std::vector<Component> parts;
  int64_t offset = 0;
  for (int64_t c = 0; c < components; ++c) {
    const int64_t* members = read<int64_t>(nodes) + read<int64_t>(ptr)[c];
    const int64_t size = read<int64_t>(ptr)[c + 1] - read<int64_t>(ptr)[c];
    STD_TORCH_CHECK(offset + size * size <= std::min(resistance.numel(), square.numel()),
                    "there must be one matrix of each kind per component");
    for (int64_t i = 0; i < size; ++i) local[members[i]] = i;
    std::vector<std::vector<int64_t>> neighbors(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) {
      for (const int64_t* other = rows.begin(members[i]); other != rows.end(members[i]); ++other) {
        const int64_t neighbor = local[*other];
        STD_TORCH_CHECK(neighbor >= 0 && neighbor < size, "an edge leaves its component");
        neighbors[i].push_back(neighbor);
      }
    }
    parts.emplace_back(read<double>(resistance) + offset, read<double>(square) + offset, std::move(neighbors));
    offset += size * size;
  }
  const auto pair_of = [&](int64_t c) {
    const int64_t* members = read<int64_t>(nodes) + read<int64_t>(ptr)[c];
    const auto [a, b] = parts[c].pair();
    return std::pair(std::min(members[a], members[b]), std::max(members[a], members[b]));
  };
  std::vector<int64_t> from, to;
  while (static_cast<int64_t>(from.size()) < num_edges) {
    double best = -1;
    for (const Component& part : parts) best = std::max(best, part.best());
    if (best < 0) break;
    int64_t chosen = -1;
    for (int64_t c = 0; c < components; ++c) {
      if (parts[c].best() < best * (1 - kTie)) continue;
      if (chosen < 0 || pair_of(c) < pair_of(chosen)) chosen = c;
    }
    from.push_back(pair_of(chosen).first);
    to.push_back(pair_of(chosen).second);
    parts[chosen].add_best();
  }
  const int64_t added = static_cast<int64_t>(from.size());
  const Tensor out = empty({2, added}, col);
  std::copy(from.begin(), from.end(), write<int64_t>(out));
  std::copy(to.begin(), to.end(), write<int64_t>(out) + added);
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("gtr", TORCH_BOX(&gtr)); }

}  // namespace gnnkit
