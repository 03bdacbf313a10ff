// Walks from a few nodes of a graph at once, one column each, over the nodes that they can have reached.
#pragma once

#include "cpu/walk_rows.h"

namespace gnnkit {

// Nodes [first, last) of one component that start at once.
struct WalkSpan {
  const WalkComponent* component;
  int64_t first;
  int64_t last;
};

// Columns of the powers of a matrix for some nodes of one component. Scratch of one thread.
class WalkBlock {
 public:
  static constexpr int kColumns = 8;

  explicit WalkBlock(const std::vector<WalkComponent>& components) {
    int64_t largest = 0;
    for (const WalkComponent& component : components) largest = std::max(largest, component.end - component.begin);
    const size_t size = static_cast<size_t>(largest);
    mark_.assign(size, 0);
    previous_.assign(size, Row{});
    current_.assign(size, Row{});
  }

  // Calls visit(t, before, now) for t in [0, steps]. In the rows of the nodes that it computes, `current` holds columns
  // of matrix^t and `previous` those of matrix^(t - 1); everywhere else both are 0. A breadth-first search along
  // `pattern`, the transpose of `matrix`, goes as far as `radius`; what is further away is left out. Of the nodes
  // `reached`, in order of distance, the first `before` and `now` can be other than 0 in the two.
  template <typename Visit>
  void walk(const WalkRows& matrix, const WalkRows& pattern, const WalkSpan& span, int64_t steps, int64_t radius,
            const Visit& visit) {
    origin_ = span.component->begin;
    search(pattern, span.first, span.last, radius);
    for (int64_t i = span.first; i < span.last; ++i) current_[i - origin_].column[i - span.first] = 1;
    for (int64_t t = 0; t <= steps; ++t) {
      const int64_t now = reached_within(t);
      if (t > 0) {
        std::swap(previous_, current_);
        for (int64_t n = 0; n < now; ++n) step(matrix, reached_[n]);
      }
      visit(t, t > 0 ? reached_within(t - 1) : 0, now);
    }
    for (const int32_t node : reached_) {
      previous_[node - origin_] = current_[node - origin_] = Row{};
      mark_[node - origin_] = 0;
    }
  }

  int64_t reached(int64_t n) const { return reached_[n]; }
  int64_t reached_within(int64_t hops) const {
    return within_[static_cast<size_t>(std::min<int64_t>(hops, static_cast<int64_t>(within_.size()) - 1))];
  }
  const double* previous(int64_t node) const { return previous_[node - origin_].column; }
  const double* current(int64_t node) const { return current_[node - origin_].column; }

 private:
  // One line of the cache.
  struct alignas(64) Row {
    double column[kColumns];
  };

  void search(const WalkRows& pattern, int64_t first, int64_t last, int64_t radius) {
    reached_.clear();
    for (int64_t i = first; i < last; ++i) add(static_cast<int32_t>(i));
    within_.assign(1, last - first);
    size_t next = 0;
    while (static_cast<int64_t>(within_.size()) <= radius && next < reached_.size()) {
      for (const size_t end = reached_.size(); next < end; ++next) {
        const int32_t node = reached_[next];
        for (int64_t p = pattern.start[node]; p < pattern.start[node + 1]; ++p) add(pattern.col[p]);
      }
      within_.push_back(static_cast<int64_t>(reached_.size()));
    }
  }

  void add(int32_t node) {
    if (mark_[node - origin_]) return;
    mark_[node - origin_] = 1;
    reached_.push_back(node);
  }

  void step(const WalkRows& matrix, int32_t node) {
    double sum[kColumns] = {};
    for (int64_t p = matrix.start[node]; p < matrix.start[node + 1]; ++p) {
      const double value = matrix.value[p];
      const double* from = previous(matrix.col[p]);
      for (int c = 0; c < kColumns; ++c) sum[c] += value * from[c];
    }
    std::copy_n(sum, kColumns, current_[node - origin_].column);
  }

  int64_t origin_ = 0;
  std::vector<uint8_t> mark_;
  std::vector<int32_t> reached_;
  std::vector<int64_t> within_;  // nodes reached within each number of hops
  std::vector<Row> previous_, current_;
};

// Nodes [begin, end) of a component in spans of `columns`.
inline void add_spans(const WalkComponent& component, int64_t columns, std::vector<WalkSpan>& spans) {
  for (int64_t first = component.begin; first < component.end; first += columns)
    spans.push_back({&component, first, std::min(first + columns, component.end)});
}

// Into how many parts the spans are split for the threads.
inline int64_t walk_chunks(const WalkGraph& graph, int64_t spans, int64_t steps) {
  constexpr double kSerialProducts = 1 << 22;
  const int64_t threads = torch::stable::get_num_threads();
  double products = 0;  // at most
  for (const WalkComponent& component : graph.components) {
    const auto entries = static_cast<double>(graph.out.start[component.end] - graph.out.start[component.begin]);
    products += entries * static_cast<double>(component.end - component.begin) * static_cast<double>(steps);
  }
  return threads == 1 || products < kSerialProducts ? 1 : std::min(spans, threads * 64);
}

}  // namespace gnnkit
