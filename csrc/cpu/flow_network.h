// A small network with whole-numbered flow, used again and again for the transport problems of single edges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace gnnkit {

// Arcs have no bound; an arc and its reverse, which takes flow back, are stored side by side. Largest flows are found
// with blocking flows by distance (Dinitz), without recursion: paths can be as long as the network has nodes.
class FlowNetwork {
 public:
  static constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max() / 4;

  // What a node still has to send (positive) or to receive (negative).
  std::vector<int64_t> balance;

  void reset(int64_t nodes) {
    first_.assign(static_cast<size_t>(nodes), -1);
    balance.assign(static_cast<size_t>(nodes), 0);
    head_.clear();
    next_.clear();
    capacity_.clear();
  }

  int64_t add_node() {
    first_.push_back(-1);
    balance.push_back(0);
    return static_cast<int64_t>(first_.size()) - 1;
  }

  // Returns the number of the arc; the next number is its reverse.
  int64_t add_arc(int64_t tail, int64_t head, int64_t flow) {
    const int64_t arc = static_cast<int64_t>(head_.size());
    put(tail, head, kUnbounded);
    put(head, tail, flow);
    return arc;
  }

  int64_t nodes() const { return static_cast<int64_t>(first_.size()); }
  int64_t flow(int64_t arc) const { return capacity_[arc + 1]; }

  // Calls visit(other, flow_in, flow_out) for every arc to or from a node.
  template <typename Visit>
  void visit_arcs(int64_t node, const Visit& visit) const {
    for (int64_t arc = first_[node]; arc >= 0; arc = next_[arc]) {
      const bool is_reverse = (arc & 1) != 0;
      visit(head_[arc], is_reverse ? capacity_[arc] : 0, is_reverse ? 0 : capacity_[arc + 1]);
    }
  }

  // Sends as much as possible from the nodes that have to send to those that have to receive; returns how much.
  int64_t send() {
    int64_t total = 0;
    while (measure_distances()) {
      current_.assign(first_.begin(), first_.end());
      for (const int64_t node : senders_) total += send_from(node);
    }
    return total;
  }

  // Whether what is left could still reach a node; holds after send().
  bool reached(int64_t node) const { return distance_[node] >= 0; }

  // Most flow that could go from one node to another along what arcs and flow allow, up to `limit`; the network is left
  // as it was. All must have been sent.
  int64_t most_between(int64_t from, int64_t to, int64_t limit) {
    saved_.assign(capacity_.begin(), capacity_.end());
    balance[from] += limit;
    balance[to] -= limit;
    const int64_t sent = send();
    balance[from] -= limit - sent;
    balance[to] += limit - sent;
    capacity_.swap(saved_);
    return sent;
  }

 private:
  void put(int64_t tail, int64_t head, int64_t capacity) {
    head_.push_back(head);
    capacity_.push_back(capacity);
    next_.push_back(first_[tail]);
    first_[tail] = static_cast<int64_t>(next_.size()) - 1;
  }

  // Distances from the senders, up to those of the nearest receivers; false where none can be reached.
  bool measure_distances() {
    distance_.assign(first_.size(), -1);
    queue_.clear();
    for (int64_t node = 0; node < nodes(); ++node) {
      if (balance[node] <= 0) continue;
      distance_[node] = 0;
      queue_.push_back(node);
    }
    senders_.assign(queue_.begin(), queue_.end());
    int64_t last = std::numeric_limits<int64_t>::max();
    for (size_t place = 0; place < queue_.size(); ++place) {
      const int64_t node = queue_[place];
      if (distance_[node] >= last) break;
      for (int64_t arc = first_[node]; arc >= 0; arc = next_[arc]) {
        if (capacity_[arc] == 0 || distance_[head_[arc]] >= 0) continue;
        distance_[head_[arc]] = distance_[node] + 1;
        if (balance[head_[arc]] < 0) last = distance_[head_[arc]];
        queue_.push_back(head_[arc]);
      }
    }
    return last != std::numeric_limits<int64_t>::max();
  }

  int64_t send_from(int64_t start) {
    int64_t sent = 0;
    path_.clear();
    int64_t node = start;
    while (balance[start] > 0) {
      if (balance[node] < 0) {
        sent += push_along_path(start, node);
        node = path_.empty() ? start : head_[path_.back()];
        continue;
      }
      int64_t& arc = current_[node];
      while (arc >= 0 && (capacity_[arc] == 0 || distance_[head_[arc]] != distance_[node] + 1)) arc = next_[arc];
      if (arc >= 0) {
        path_.push_back(arc);
        node = head_[arc];
        continue;
      }
      if (path_.empty()) break;
      // No way on from here: step back, and past the arc that led here.
      node = head_[path_.back() ^ 1];
      path_.pop_back();
      current_[node] = next_[current_[node]];
    }
    return sent;
  }

  // Afterwards the path ends before the first arc that is full, or before the last one.
  int64_t push_along_path(int64_t start, int64_t end) {
    int64_t amount = std::min(balance[start], -balance[end]);
    for (const int64_t arc : path_) amount = std::min(amount, capacity_[arc]);
    balance[start] -= amount;
    balance[end] += amount;
    size_t keep = path_.size() - 1;
    for (size_t place = path_.size(); place-- > 0;) {
      capacity_[path_[place]] -= amount;
      capacity_[path_[place] ^ 1] += amount;
      if (capacity_[path_[place]] == 0) keep = place;
    }
    path_.resize(keep);
    return amount;
  }

  std::vector<int64_t> first_;     // arc of each node, -1: none
  std::vector<int64_t> head_;      // node that an arc leads to
  std::vector<int64_t> next_;      // arc of the same node
  std::vector<int64_t> capacity_;  // what an arc can take; of a reverse arc, the flow
  std::vector<int64_t> distance_;
  std::vector<int64_t> current_;
  std::vector<int64_t> queue_;
  std::vector<int64_t> senders_;
  std::vector<int64_t> path_;
  std::vector<int64_t> saved_;
};

}  // namespace gnnkit
