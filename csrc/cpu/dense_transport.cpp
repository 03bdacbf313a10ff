#include "cpu/dense_transport.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace gnnkit {

namespace {

constexpr double kFar = std::numeric_limits<double>::infinity();

}  // namespace

void DenseTransport::solve(const std::vector<double>& cost, std::vector<int64_t> supply, std::vector<int64_t> demand) {
  sources_ = static_cast<int64_t>(supply.size());
  targets_ = static_cast<int64_t>(demand.size());
  flow_.assign(supply.size() * demand.size(), 0);
  source_potential_.assign(supply.size(), 0);
  target_potential_.assign(demand.size(), kFar);
  for (int64_t source = 0; source < sources_; ++source)
    for (int64_t target = 0; target < targets_; ++target)
      target_potential_[target] = std::min(target_potential_[target], cost[source * targets_ + target]);
  for (int64_t start = 0; start < sources_; ++start) {
    while (supply[start] > 0) {
      const int64_t end = nearest_target(cost, demand, start);
      if (end < 0) return;  // more to send than can be received
      change_potentials(target_distance_[end]);
      int64_t amount = std::min(supply[start], demand[end]);
      for (int64_t target = end, source = came_to_target_[end]; source != start; source = came_to_target_[target]) {
        target = came_to_source_[source];
        amount = std::min(amount, flow_[source * targets_ + target]);
      }
      for (int64_t target = end;;) {
        const int64_t source = came_to_target_[target];
        flow_[source * targets_ + target] += amount;
        if (source == start) break;
        target = came_to_source_[source];
        flow_[source * targets_ + target] -= amount;
      }
      supply[start] -= amount;
      demand[end] -= amount;
    }
  }
}

// The nearest target from `start` that can still receive, -1 where none can.
int64_t DenseTransport::nearest_target(const std::vector<double>& cost, const std::vector<int64_t>& demand,
                                       int64_t start) {
  source_distance_.assign(static_cast<size_t>(sources_), kFar);
  target_distance_.assign(static_cast<size_t>(targets_), kFar);
  came_to_source_.assign(static_cast<size_t>(sources_), -1);
  came_to_target_.assign(static_cast<size_t>(targets_), -1);
  settled_sources_.assign(1, start);
  settled_targets_.clear();
  open_targets_.resize(static_cast<size_t>(targets_));
  std::iota(open_targets_.begin(), open_targets_.end(), 0);
  source_distance_[start] = 0;
  size_t scanned = 0;
  while (!open_targets_.empty()) {
    for (; scanned < settled_sources_.size(); ++scanned) {
      const int64_t source = settled_sources_[scanned];
      const double* row = cost.data() + source * targets_;
      for (const int64_t target : open_targets_) {
        const double reduced = std::max(0.0, row[target] - source_potential_[source] - target_potential_[target]);
        if (source_distance_[source] + reduced >= target_distance_[target]) continue;
        target_distance_[target] = source_distance_[source] + reduced;
        came_to_target_[target] = source;
      }
    }
    // Of several at one distance, one that can receive ends the search at once.
    size_t best = 0;
    for (size_t place = 1; place < open_targets_.size(); ++place) {
      const int64_t target = open_targets_[place];
      const double difference = target_distance_[target] - target_distance_[open_targets_[best]];
      if (difference < 0 || (difference == 0 && demand[target] > 0 && demand[open_targets_[best]] == 0)) best = place;
    }
    const int64_t target = open_targets_[best];
    if (target_distance_[target] == kFar) return -1;
    if (demand[target] > 0) return target;
    open_targets_[best] = open_targets_.back();
    open_targets_.pop_back();
    settled_targets_.push_back(target);
    for (int64_t source = 0; source < sources_; ++source) {
      if (flow_[source * targets_ + target] == 0 || source_distance_[source] != kFar) continue;
      source_distance_[source] = target_distance_[target];
      came_to_source_[source] = target;
      settled_sources_.push_back(source);
    }
  }
  return -1;
}

void DenseTransport::change_potentials(double length) {
  for (const int64_t source : settled_sources_) source_potential_[source] += length - source_distance_[source];
  for (const int64_t target : settled_targets_) target_potential_[target] -= length - target_distance_[target];
}

}  // namespace gnnkit
