// Cheapest transport between a few sources and targets at real costs.
#pragma once

#include <cstdint>
#include <vector>

namespace gnnkit {

// Successive shortest paths from one source at a time, each by Dijkstra's method on costs reduced by potentials, over a
// dense block. Masses are whole numbers, so that sums are exact and every path carries something; costs are real, and a
// reduced cost that rounding makes negative counts as zero.
class DenseTransport {
 public:
  // Costs are row after row, [sources * targets]. The masses of both sides must have one sum.
  void solve(const std::vector<double>& cost, std::vector<int64_t> supply, std::vector<int64_t> demand);

  int64_t flow(int64_t source, int64_t target) const { return flow_[source * targets_ + target]; }

 private:
  int64_t nearest_target(const std::vector<double>& cost, const std::vector<int64_t>& demand, int64_t start);
  void change_potentials(double length);

  int64_t sources_ = 0;
  int64_t targets_ = 0;
  std::vector<int64_t> flow_;
  std::vector<double> source_potential_;
  std::vector<double> target_potential_;
  // Of the current search:
  std::vector<double> source_distance_;
  std::vector<double> target_distance_;
  std::vector<int64_t> came_to_source_;  // target whose flow leads back to it
  std::vector<int64_t> came_to_target_;  // source that it was reached from
  std::vector<int64_t> settled_sources_;
  std::vector<int64_t> settled_targets_;
  std::vector<int64_t> open_targets_;
};

}  // namespace gnnkit
