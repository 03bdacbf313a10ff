// The second smallest eigenvalue of the normalised Laplacian of a connected graph, and its eigenvector.
#pragma once

#include <cmath>
#include <limits>
#include <optional>

#include "cpu/conjugate_gradient.h"

namespace gnnkit {

// Applies a generalised inverse of the Laplacian; results hold up to a constant.
class LaplacianInverse {
 public:
  explicit LaplacianInverse(const WeightedGraph& graph)
      : eliminated_(eliminate(graph, effort(graph), effort(graph))), core_rows_(eliminated_.core()) {
    place_.resize(eliminated_.order.size());
    const int64_t size = eliminated_.core_nodes();
    if (size == 0) return;
    if (size > kDense) {
      solver_.emplace(core_rows_, kTolerance, kLimit);
      return;
    }
    factorise(size);
  }
  LaplacianInverse(const LaplacianInverse&) = delete;
  LaplacianInverse& operator=(const LaplacianInverse&) = delete;

  // Whether there is a factorisation; else every application iterates.
  bool direct() const { return !solver_.has_value(); }

  void apply(double* x) {
    const int64_t nodes = static_cast<int64_t>(eliminated_.order.size()), first = eliminated_.eliminated();
    for (int64_t i = 0; i < nodes; ++i) place_[i] = x[eliminated_.order[i]];
    substitute_forward(eliminated_.ptr.data(), eliminated_.neighbor.data(), eliminated_.share.data(), first,
                       place_.data(), 1, 0, 1);
    solve_core(place_.data() + first);
    for (int64_t j = 0; j < first; ++j) place_[j] = eliminated_.pivot[j] > 0 ? place_[j] / eliminated_.pivot[j] : 0.0;
    substitute_backward(eliminated_.ptr.data(), eliminated_.neighbor.data(), eliminated_.share.data(), first,
                        place_.data(), 1, 0, 1);
    for (int64_t i = 0; i < nodes; ++i) x[eliminated_.order[i]] = place_[i];
  }

 private:
  static constexpr int64_t kDense = 384;
  static constexpr int64_t kLimit = 20000;
  static constexpr double kTolerance = 1e-13;

  static int64_t effort(const WeightedGraph& graph) { return 32 * (graph.nodes + graph.rowptr[graph.nodes]) + 65536; }

  // Cholesky factor of the core without its last node, which is grounded; lower triangle by rows.
  void factorise(int64_t size) {
    const WeightedGraph core = eliminated_.core();
    const int64_t n = size - 1;
    factor_.assign(static_cast<size_t>(n * n), 0.0);
    for (int64_t i = 0; i < n; ++i) {
      double* row = factor_.data() + i * n;
      row[i] = core_rows_.diagonal(i);
      for (int64_t p = core.rowptr[i]; p < core.rowptr[i + 1]; ++p) {
        if (core.col[p] < i) row[core.col[p]] = -core.weight[p];
      }
      for (int64_t j = 0; j <= i; ++j) {
        const double* other = factor_.data() + j * n;
        double sum = row[j];
        for (int64_t k = 0; k < j; ++k) sum -= row[k] * other[k];
        row[j] = j < i ? sum / other[j] : std::sqrt(std::max(sum, std::numeric_limits<double>::min()));
      }
    }
  }

  void solve_core(double* y) {
    const int64_t size = eliminated_.core_nodes();
    if (size == 0) return;
    if (solver_.has_value()) {
      // Rounding may have left a constant, for which there is no solution.
      double mean = 0;
      for (int64_t i = 0; i < size; ++i) mean += y[i] / static_cast<double>(size);
      for (int64_t i = 0; i < size; ++i) y[i] -= mean;
      right_.assign(y, y + size);
      solver_->solve(right_.data(), y, 1, 1);
      return;
    }
    const int64_t n = size - 1;
    for (int64_t i = 0; i < n; ++i) {
      const double* row = factor_.data() + i * n;
      for (int64_t k = 0; k < i; ++k) y[i] -= row[k] * y[k];
      y[i] /= row[i];
    }
    for (int64_t i = n - 1; i >= 0; --i) {
      const double* row = factor_.data() + i * n;
      y[i] /= row[i];
      for (int64_t k = 0; k < i; ++k) y[k] -= row[k] * y[i];
    }
    y[n] = 0;
  }

  Elimination eliminated_;
  LaplacianRows<double> core_rows_;
  std::optional<BlockSolver<double, 1>> solver_;
  std::vector<double> factor_;
  std::vector<double> place_;
  std::vector<double> right_;
};

// The largest eigenvalue of a symmetric tridiagonal matrix, and its eigenvector.
class Tridiagonal {
 public:
  std::vector<double> diagonal;
  std::vector<double> beside;  // beside[i] is between i and i + 1

  double largest(std::vector<double>& vector) const {
    const size_t size = diagonal.size();
    double low = diagonal[0], high = diagonal[0];
    for (size_t i = 0; i < size; ++i) {
      const double reach = (i > 0 ? std::abs(beside[i - 1]) : 0) + (i + 1 < size ? std::abs(beside[i]) : 0);
      low = std::max(low, diagonal[i]);
      high = std::max(high, diagonal[i] + reach);
    }
    // All eigenvalues lie below `high`; the largest diagonal entry is a lower bound for the largest.
    high += std::abs(high) * 1e-15 + std::numeric_limits<double>::min();
    for (int round = 0; round < 100 && high - low > std::abs(high) * 4e-16; ++round) {
      const double middle = low + (high - low) / 2;
      (all_below(middle) ? high : low) = middle;
    }
    // Above all eigenvalues the shifted matrix is negative definite, and needs no pivoting.
    const double shift = high + std::abs(high) * 1e-15;
    vector.assign(size, 1.0);
    std::vector<double> pivot(size);
    for (size_t i = 0; i < size; ++i)
      pivot[i] = diagonal[i] - shift - (i > 0 ? beside[i - 1] * beside[i - 1] / pivot[i - 1] : 0);
    for (int round = 0; round < 4; ++round) {
      for (size_t i = 1; i < size; ++i) vector[i] -= beside[i - 1] / pivot[i - 1] * vector[i - 1];
      for (size_t i = size; i-- > 0;) {
        if (i + 1 < size) vector[i] -= beside[i] * vector[i + 1];
        vector[i] /= pivot[i];
      }
      double norm = 0;
      for (const double entry : vector) norm += entry * entry;
      for (double& entry : vector) entry /= std::sqrt(norm);
    }
    return low + (high - low) / 2;
  }

 private:
  bool all_below(double bound) const {
    double pivot = diagonal[0] - bound;
    for (size_t i = 1; i < diagonal.size(); ++i) {
      if (pivot >= 0) return false;
      pivot = diagonal[i] - bound - beside[i - 1] * beside[i - 1] / pivot;
    }
    return pivot < 0;
  }
};

// Lanczos iterations, all of them orthogonal to D^1/2 1, which belongs to the smallest eigenvalue. They start from
// fixed numbers g, so that of a repeated eigenvalue they find the projection of g onto the eigenspace, whichever of
// them runs.
//
// Where the Laplacian can be factorised, the matrix is D^1/2 L^+ D^1/2, whose largest eigenvalue is the inverse of the
// one that is sought: this takes few steps. Else it is I + D^-1/2 A D^-1/2; a graph that fills up when it is factorised
// has few bottlenecks, and this takes few steps for it.
class EigenSolver {
 public:
  explicit EigenSolver(const WeightedGraph& graph)
      : graph_(graph), inverse_(graph), root_(static_cast<size_t>(graph.nodes), 0.0) {
    double volume = 0;
    for (int64_t i = 0; i < graph.nodes; ++i) {
      for (int64_t p = graph.rowptr[i]; p < graph.rowptr[i + 1]; ++p) root_[i] += graph.weight[p];
      volume += root_[i];
    }
    trivial_.resize(root_.size());
    for (int64_t i = 0; i < graph.nodes; ++i) {
      root_[i] = std::sqrt(root_[i]);
      trivial_[i] = volume > 0 ? root_[i] / std::sqrt(volume) : 0.0;
    }
  }

  // g of node i: fractional parts of multiples of the golden ratio, around 0.
  static double start(int64_t i) {
    const double multiple = static_cast<double>(i + 1) * 0.6180339887498949;
    return multiple - std::floor(multiple) - 0.5;
  }

  // Writes a vector of length 1 and returns the eigenvalue; NaN where no iteration came to an end.
  double solve(double* vector) {
    if (!inverse_.direct()) {
      std::vector<double> work(root_.size());
      const double value = repeat(vector, kForwardRounds, false, [&](double* x) { adjacent(x, work); });
      if (value > 0) return 2 - value;
    }
    const double value = repeat(vector, kRounds, true, [&](double* x) {
      for (int64_t i = 0; i < graph_.nodes; ++i) x[i] *= root_[i];
      inverse_.apply(x);
      for (int64_t i = 0; i < graph_.nodes; ++i) x[i] *= root_[i];
    });
    return value > 0 ? 1 / value : std::numeric_limits<double>::quiet_NaN();
  }

 private:
  static constexpr int kRounds = 40;
  static constexpr int kForwardRounds = 3;
  static constexpr size_t kBasis = 160;
  static constexpr size_t kForwardBasis = 480;
  static constexpr double kTolerance = 1e-13;

  // x = (I + D^-1/2 A D^-1/2) x
  void adjacent(double* x, std::vector<double>& work) const {
    for (int64_t i = 0; i < graph_.nodes; ++i) work[i] = root_[i] > 0 ? x[i] / root_[i] : 0.0;
    parallel_over_rows(graph_.rowptr, graph_.nodes, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double sum = 0;
        for (int64_t p = graph_.rowptr[i]; p < graph_.rowptr[i + 1]; ++p) sum += graph_.weight[p] * work[graph_.col[p]];
        if (root_[i] > 0) x[i] += sum / root_[i];
      }
    });
  }

  double dot(const double* a, const double* b) const {
    double sum = 0;
    for (int64_t i = 0; i < graph_.nodes; ++i) sum += a[i] * b[i];
    return sum;
  }

  void take_out(const double* direction, double* x) const {
    const double part = dot(direction, x);
    for (int64_t i = 0; i < graph_.nodes; ++i) x[i] -= part * direction[i];
  }

  // Makes x orthogonal to the trivial vector and to all of the basis, or to the last two; returns its length. A basis
  // that loses its orthogonality does so only once an eigenvector is found.
  double orthogonalise(double* x, bool all) const {
    for (int pass = 0; pass < (all ? 2 : 1); ++pass) {
      for (size_t k = all || basis_.size() < 2 ? 0 : basis_.size() - 2; k < basis_.size(); ++k)
        take_out(basis_[k].data(), x);
      take_out(trivial_.data(), x);
    }
    return std::sqrt(dot(x, x));
  }

  template <typename Apply>
  double repeat(double* vector, int rounds, bool inverse, const Apply& apply) {
    for (int64_t i = 0; i < graph_.nodes; ++i) vector[i] = start(i);
    double value = -1;
    for (int round = 0; round < rounds && !(value > 0); ++round) value = iterate(vector, inverse, apply);
    return value;
  }

  // One Krylov space from `vector`, which gets its best vector. Returns the eigenvalue, or -1 to go on from there.
  template <typename Apply>
  double iterate(double* vector, bool inverse, const Apply& apply) {
    basis_.clear();
    Tridiagonal matrix;
    std::vector<double> work(vector, vector + graph_.nodes), ritz;
    double length = orthogonalise(work.data(), true);
    double value = -1;
    bool done = false;
    const size_t limit = inverse ? kBasis : kForwardBasis;
    while (!done && basis_.size() < limit) {
      for (double& entry : work) entry /= length;
      basis_.push_back(work);
      apply(work.data());
      matrix.diagonal.push_back(dot(work.data(), basis_.back().data()));
      length = orthogonalise(work.data(), inverse);
      const bool whole_space = static_cast<int64_t>(basis_.size()) + 1 >= graph_.nodes;
      if (whole_space || basis_.size() < 12 || basis_.size() % 8 == 0 || !(length > kTolerance * matrix.diagonal[0])) {
        value = matrix.largest(ritz);
        done = whole_space || !(length * std::abs(ritz.back()) > kTolerance * value);
      }
      matrix.beside.push_back(length);
    }
    std::fill(vector, vector + graph_.nodes, 0.0);
    for (size_t k = 0; k < basis_.size(); ++k) {
      for (int64_t i = 0; i < graph_.nodes; ++i) vector[i] += ritz[k] * basis_[k][i];
    }
    if (inverse) return done ? value : -1;
    return done && is_eigenvector(vector, value, apply) ? value : -1;
  }

  template <typename Apply>
  bool is_eigenvector(double* vector, double value, const Apply& apply) const {
    const double norm = std::sqrt(dot(vector, vector));
    for (int64_t i = 0; i < graph_.nodes; ++i) vector[i] /= norm;
    std::vector<double> image(vector, vector + graph_.nodes);
    apply(image.data());
    double square = 0;
    for (int64_t i = 0; i < graph_.nodes; ++i) square += std::pow(image[i] - value * vector[i], 2);
    return square <= 1e-22;
  }

  WeightedGraph graph_;
  LaplacianInverse inverse_;
  std::vector<double> root_;
  std::vector<double> trivial_;
  std::vector<std::vector<double>> basis_;
};

}  // namespace gnnkit
