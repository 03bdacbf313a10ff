// Conjugate gradients on the Laplacian of a graph, with its diagonal as preconditioner, for blocks of right-hand sides.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "cpu/elimination.h"
#include "cpu/prefetch.h"

namespace gnnkit {

// The Laplacian's row sums, and weights in the precision of the iteration. Rows fall into chunks that do not depend on
// the number of threads, and sums over rows are sums over chunks in their order: the result has the same bits always.
template <typename T>
class LaplacianRows {
 public:
  explicit LaplacianRows(const WeightedGraph& graph) : graph_(graph), weight_(static_cast<size_t>(edges())) {
    diagonal_.assign(static_cast<size_t>(graph.nodes), 0.0);
    inverse_.assign(static_cast<size_t>(graph.nodes), T(0));
    for (int64_t i = 0; i < graph.nodes; ++i) {
      for (int64_t p = graph.rowptr[i]; p < graph.rowptr[i + 1]; ++p) {
        weight_[p] = static_cast<T>(graph.weight[p]);
        diagonal_[i] += graph.weight[p];
      }
      if (diagonal_[i] > 0) inverse_[i] = static_cast<T>(1 / diagonal_[i]);
    }
  }

  int64_t nodes() const { return graph_.nodes; }
  int64_t edges() const { return graph_.rowptr[graph_.nodes]; }
  const WeightedGraph& graph() const { return graph_; }
  double diagonal(int64_t i) const { return diagonal_[i]; }
  T inverse(int64_t i) const { return inverse_[i]; }

  // out = L x in one row of W columns.
  template <int W>
  void row_product(int64_t i, const T* x, T* out) const {
    T sum[W] = {};
    for (int64_t p = graph_.rowptr[i]; p < graph_.rowptr[i + 1]; ++p) {
      if constexpr (W > 1) prefetch(x + graph_.col[std::min(p + kAhead, edges() - 1)] * W, W);
      const T* from = x + graph_.col[p] * W;
      for (int c = 0; c < W; ++c) sum[c] += weight_[p] * from[c];
    }
    const T own = static_cast<T>(diagonal_[i]);
    for (int c = 0; c < W; ++c) out[c] = own * x[i * W + c] - sum[c];
  }

 private:
  static constexpr int64_t kAhead = 12;

  WeightedGraph graph_;
  std::vector<T> weight_;
  std::vector<double> diagonal_;
  std::vector<T> inverse_;
};

// Solves L x = b for W columns. `b` and `x` are float64 with `stride` columns per row, of which the first `width` from
// where they point to are meant; T is the precision of the iteration. Each column of b must sum to 0 over each
// component.
//
// A column is done when the last few steps have lowered its energy norm ||x - x*||_L by no more than
// `tolerance` * ||x||_L: the sum of these steps is what the estimate of Hestenes and Stiefel says was left before them.
// Where they shrink fast, the last of them tells as much. Then the residual is computed afresh in float64. Where
// rounding has kept it above what the recurrence believes, the iteration starts again from there, as long as this
// helps.
template <typename T, int W>
class BlockSolver {
 public:
  using Row = std::array<double, W>;

  BlockSolver(const LaplacianRows<T>& rows, double tolerance, int64_t limit)
      : rows_(rows),
        tolerance_(tolerance),
        limit_(std::min(limit, std::is_same_v<T, float> ? kSingleSteps : int64_t{1} << 40)),
        per_chunk_(std::max<int64_t>((int64_t{1} << 15) / W, 1)) {
    const size_t size = static_cast<size_t>(rows.nodes()) * W;
    r_.resize(size);
    p_.resize(size);
    q_.resize(size);
    x_.resize(size);
    partial_.resize(static_cast<size_t>(chunks()));
  }

  // Number of iterations, or -1 where the tolerance was not reached.
  int64_t solve(const double* b, double* x, int64_t stride, int64_t width) {
    for (int64_t i = 0; i < rows_.nodes(); ++i) std::fill_n(x + i * stride, width, 0.0);
    Row target{};
    Row before = residual(b, x, stride, width);
    // The recurrence may end at 0, where no residual can follow.
    Row floor;
    for (int c = 0; c < W; ++c) {
      if (!std::isfinite(before[c])) return -1;
      floor[c] = kFloor * tolerance_ * tolerance_ * before[c];
    }
    int64_t steps = 0;
    for (int round = 0; round < kRounds; ++round) {
      const Row reached = iterate(target, round == 0, steps);
      if (steps > limit_) return -1;
      add_to(x, stride, width);
      const Row after = residual(b, x, stride, width);
      bool done = true, better = true;
      for (int c = 0; c < W; ++c) {
        if (after[c] <= std::max(kSlack * reached[c], floor[c])) continue;
        done = false;
        better &= after[c] < before[c] / kSlack;
      }
      if (done) return steps;
      if (!better) return -1;
      before = after;
    }
    return -1;
  }

 private:
  static constexpr int kRounds = 6;
  static constexpr int kDelay = 4;
  static constexpr double kSlack = 4;
  static constexpr double kFloor = 1e-4;
  static constexpr double kInfinite = std::numeric_limits<double>::infinity();
  // Systems that take more steps are too ill conditioned for the digits of float32: rounding would leave errors that
  // residuals do not show.
  static constexpr int64_t kSingleSteps = 96;
  static constexpr double kRounding = 256.0 * std::numeric_limits<T>::epsilon() * std::numeric_limits<T>::epsilon();

  int64_t chunks() const { return std::max<int64_t>((rows_.nodes() + per_chunk_ - 1) / per_chunk_, 1); }

  // Adds up what run(row) puts into the sums, [W] per chunk.
  template <typename Run>
  Row sum_over_rows(const Run& run) {
    parallel_over_chunks(chunks(), [&](int64_t chunk) {
      Row sums{};
      const int64_t end = std::min(rows_.nodes(), (chunk + 1) * per_chunk_);
      for (int64_t i = chunk * per_chunk_; i < end; ++i) run(i, sums);
      partial_[chunk] = sums;
    });
    Row total{};
    for (const Row& sums : partial_) {
      for (int c = 0; c < W; ++c) total[c] += sums[c];
    }
    return total;
  }

  // r = b - L x in float64; returns its squares by column, divided by the diagonal.
  Row residual(const double* b, const double* x, int64_t stride, int64_t width) {
    const WeightedGraph& graph = rows_.graph();
    return sum_over_rows([&](int64_t i, Row& sums) {
      Row sum{};
      for (int64_t p = graph.rowptr[i]; p < graph.rowptr[i + 1]; ++p) {
        for (int64_t c = 0; c < width; ++c) sum[c] += graph.weight[p] * x[graph.col[p] * stride + c];
      }
      const double own = rows_.diagonal(i);
      for (int64_t c = 0; c < W; ++c) {
        const double rest = c < width ? b[i * stride + c] - (own * x[i * stride + c] - sum[c]) : 0.0;
        r_[i * W + c] = static_cast<T>(rest);
        sums[c] += own > 0 ? rest * rest / own : rest == 0 ? 0.0 : kInfinite;
      }
    });
  }

  void add_to(double* x, int64_t stride, int64_t width) {
    parallel_over_chunks(chunks(), [&](int64_t chunk) {
      const int64_t end = std::min(rows_.nodes(), (chunk + 1) * per_chunk_);
      for (int64_t i = chunk * per_chunk_; i < end; ++i) {
        for (int64_t c = 0; c < width; ++c) x[i * stride + c] += static_cast<double>(x_[i * W + c]);
      }
    });
  }

  // Solves L x = r into x_. `target` is the energy that may be left per column; set in the first round. Returns, by
  // column, the squares of the residual that the recurrence had when the energy left was found small enough.
  Row iterate(Row& target, bool first, int64_t& steps) {
    std::array<Row, kDelay> gain{}, squares{};
    Row energy{}, reached{};
    std::array<bool, W> done{};
    Row rho = sum_over_rows([&](int64_t i, Row& sums) {
      for (int c = 0; c < W; ++c) {
        const T r = r_[i * W + c];
        p_[i * W + c] = rows_.inverse(i) * r;
        x_[i * W + c] = 0;
        sums[c] += static_cast<double>(r * p_[i * W + c]);
      }
    });
    const Row start = rho;
    for (int64_t step = 0;; ++step) {
      bool all = true;
      for (int c = 0; c < W; ++c) {
        // What is left is rounding, which no further step may take for a direction.
        if (!done[c] && rho[c] <= kRounding * start[c]) {
          done[c] = true;
          reached[c] = 0;
          if (first) target[c] = tolerance_ * tolerance_ * energy[c];
        }
        all &= done[c];
      }
      if (all || ++steps > limit_) return reached;
      const Row curvature = sum_over_rows([&](int64_t i, Row& sums) {
        rows_.template row_product<W>(i, p_.data(), q_.data() + i * W);
        for (int c = 0; c < W; ++c) sums[c] += static_cast<double>(p_[i * W + c] * q_[i * W + c]);
      });
      T alpha[W], beta[W];
      for (int c = 0; c < W; ++c) {
        // No number, or no graph with positive weights: nothing that goes on would help.
        if (!done[c] && !(curvature[c] > 0 && std::isfinite(rho[c]))) {
          steps = limit_ + 1;
          return reached;
        }
        alpha[c] = done[c] ? T(0) : static_cast<T>(rho[c] / curvature[c]);
        gain[step % kDelay][c] = static_cast<double>(alpha[c]) * rho[c];
        squares[step % kDelay][c] = rho[c];
        energy[c] += gain[step % kDelay][c];
      }
      const Row next = sum_over_rows([&](int64_t i, Row& sums) {
        const T inverse = rows_.inverse(i);
        for (int c = 0; c < W; ++c) {
          const T r = r_[i * W + c] - alpha[c] * q_[i * W + c];
          r_[i * W + c] = r;
          sums[c] += static_cast<double>(r * r * inverse);
        }
      });
      for (int c = 0; c < W; ++c) {
        beta[c] = rho[c] > 0 ? static_cast<T>(next[c] / rho[c]) : T(0);
        if (done[c] || step + 1 < kDelay) continue;
        const double allowed = first ? tolerance_ * tolerance_ * energy[c] : target[c];
        if (left_over(gain, step, c) > allowed) continue;
        done[c] = true;
        reached[c] = squares[(step + 1) % kDelay][c];
        if (first) target[c] = allowed;
      }
      rho = next;
      parallel_over_chunks(chunks(), [&](int64_t chunk) {
        const int64_t end = std::min(rows_.nodes(), (chunk + 1) * per_chunk_);
        for (int64_t i = chunk * per_chunk_; i < end; ++i) {
          const T inverse = rows_.inverse(i);
          for (int c = 0; c < W; ++c) {
            const T p = p_[i * W + c];
            x_[i * W + c] += alpha[c] * p;
            p_[i * W + c] = inverse * r_[i * W + c] + beta[c] * p;
          }
        }
      });
    }
  }

  // What is left of the energy, from the last steps: their sum was left before them, and less than the last one is left
  // after them where each took a quarter of the one before.
  static double left_over(const std::array<Row, kDelay>& gain, int64_t step, int c) {
    const double last = gain[step % kDelay][c], middle = gain[(step - 1) % kDelay][c];
    if (4 * last <= middle && 4 * middle <= gain[(step - 2) % kDelay][c]) return last;
    double sum = 0;
    for (const Row& one : gain) sum += one[c];
    return sum;
  }

  const LaplacianRows<T>& rows_;
  double tolerance_;
  int64_t limit_;
  int64_t per_chunk_;
  std::vector<T> r_, p_, q_, x_;
  std::vector<Row> partial_;
};

}  // namespace gnnkit
