// Elimination of the nodes of a Laplacian, and substitution.
#include "cpu/elimination.h"

#include <algorithm>

namespace gnnkit {

namespace {

// Number of each undirected edge by its ends; edges are never taken out, since no dead node is asked for again.
class EdgeTable {
 public:
  explicit EdgeTable(int64_t edges) { resize(edges); }

  // The number of the edge, which is `fresh` where it was not there.
  int64_t find_or_add(uint64_t key, int64_t fresh) {
    if (2 * (count_ + 1) > keys_.size()) resize(2 * static_cast<int64_t>(count_));
    const size_t slot = slot_of(key);
    if (keys_[slot] == kEmpty) {
      keys_[slot] = key;
      edges_[slot] = fresh;
      ++count_;
    }
    return edges_[slot];
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  size_t slot_of(uint64_t key) const {
    size_t slot = (key * 0x9E3779B97F4A7C15ull) >> shift_;
    while (keys_[slot] != kEmpty && keys_[slot] != key) slot = (slot + 1) & (keys_.size() - 1);
    return slot;
  }

  void resize(int64_t edges) {
    int bits = 4;
    while ((int64_t{1} << bits) < 3 * edges) ++bits;
    std::vector<uint64_t> keys(size_t{1} << bits, kEmpty);
    std::vector<int64_t> values(keys.size());
    keys.swap(keys_);
    values.swap(edges_);
    shift_ = 64 - bits;
    for (size_t old = 0; old < keys.size(); ++old) {
      if (keys[old] == kEmpty) continue;
      const size_t slot = slot_of(keys[old]);
      keys_[slot] = keys[old];
      edges_[slot] = values[old];
    }
  }

  std::vector<uint64_t> keys_;
  std::vector<int64_t> edges_;
  size_t count_ = 0;
  int shift_ = 0;
};

// Nodes by degree; where a node has got another degree since, its earlier entry is passed over.
class DegreeQueue {
 public:
  DegreeQueue(const std::vector<int64_t>& degree, const std::vector<char>& gone)
      : degree_(degree), gone_(gone), nodes_(degree.size()) {
    for (size_t node = 0; node < degree.size(); ++node) push(static_cast<int64_t>(node));
  }

  void push(int64_t node) {
    nodes_[degree_[node]].nodes.push_back(node);
    lowest_ = std::min(lowest_, degree_[node]);
  }

  // A node of smallest degree; there must be one.
  int64_t front() {
    for (;; ++lowest_) {
      Line& line = nodes_[lowest_];
      for (; line.first < line.nodes.size(); ++line.first) {
        const int64_t node = line.nodes[line.first];
        if (!gone_[node] && degree_[node] == lowest_) return node;
      }
      line = Line();
    }
  }

 private:
  struct Line {
    std::vector<int64_t> nodes;
    size_t first = 0;
  };

  const std::vector<int64_t>& degree_;
  const std::vector<char>& gone_;
  std::vector<Line> nodes_;
  int64_t lowest_ = 0;
};

class Eliminator {
 public:
  explicit Eliminator(const WeightedGraph& graph)
      : nodes_(graph.nodes),
        neighbors_(static_cast<size_t>(nodes_)),
        degree_(static_cast<size_t>(nodes_), 0),
        gone_(static_cast<size_t>(nodes_), 0),
        table_(graph.rowptr[nodes_] / 2) {
    for (int64_t i = 0; i < nodes_; ++i) {
      for (int64_t p = graph.rowptr[i]; p < graph.rowptr[i + 1]; ++p) {
        if (graph.col[p] > i) join(i, graph.col[p], graph.weight[p]);
      }
    }
  }

  Elimination run(int64_t effort, int64_t late_effort) {
    Elimination out;
    out.ptr.push_back(0);
    DegreeQueue queue(degree_, gone_);
    for (int64_t remaining = nodes_; remaining > 0; --remaining) {
      const int64_t node = queue.front();
      const int64_t degree = degree_[node];
      const int64_t allowed = remaining > nodes_ * 3 / 10 ? effort : late_effort;
      if (degree * degree > allowed / remaining) break;
      if (degree >= kDenseDegree && degree * 3 >= remaining) break;
      eliminate_node(node, out);
      for (size_t e = static_cast<size_t>(out.ptr[out.ptr.size() - 2]); e < out.neighbor.size(); ++e)
        queue.push(out.neighbor[e]);
    }
    number(out);
    return out;
  }

 private:
  struct Entry {
    int64_t node;
    int64_t edge;
  };

  static constexpr int64_t kDenseDegree = 16;

  void join(int64_t a, int64_t b, double weight) {
    const uint64_t key =
        static_cast<uint64_t>(std::min(a, b)) * static_cast<uint64_t>(nodes_) + static_cast<uint64_t>(std::max(a, b));
    const int64_t fresh = static_cast<int64_t>(weight_.size());
    const int64_t edge = table_.find_or_add(key, fresh);
    if (edge != fresh) {
      weight_[edge] += weight;
      return;
    }
    weight_.push_back(weight);
    neighbors_[a].push_back({b, edge});
    neighbors_[b].push_back({a, edge});
    ++degree_[a];
    ++degree_[b];
  }

  void eliminate_node(int64_t node, Elimination& out) {
    const size_t first = out.neighbor.size();
    double pivot = 0;
    for (const Entry& entry : neighbors_[node]) {
      if (gone_[entry.node]) continue;
      out.neighbor.push_back(entry.node);
      out.share.push_back(weight_[entry.edge]);
      pivot += weight_[entry.edge];
    }
    gone_[node] = 1;
    std::vector<Entry>().swap(neighbors_[node]);
    const size_t last = out.neighbor.size();
    for (size_t e = first; e < last; ++e) {
      out.share[e] /= pivot;
      --degree_[out.neighbor[e]];
    }
    for (size_t e = first; e < last; ++e) {
      for (size_t f = e + 1; f < last; ++f) join(out.neighbor[e], out.neighbor[f], out.share[e] * out.share[f] * pivot);
    }
    out.order.push_back(node);
    out.pivot.push_back(pivot);
    out.ptr.push_back(static_cast<int64_t>(last));
  }

  // Renumbers what was eliminated, sorted within each row, and writes the core.
  void number(Elimination& out) {
    const int64_t eliminated = out.eliminated();
    for (int64_t i = 0; i < nodes_; ++i) {
      if (!gone_[i]) out.order.push_back(i);
    }
    std::vector<int64_t> place(static_cast<size_t>(nodes_));
    for (int64_t i = 0; i < nodes_; ++i) place[out.order[i]] = i;
    std::vector<std::pair<int64_t, double>> row;
    for (int64_t j = 0; j < eliminated; ++j) {
      row.clear();
      for (int64_t e = out.ptr[j]; e < out.ptr[j + 1]; ++e) row.emplace_back(place[out.neighbor[e]], out.share[e]);
      std::sort(row.begin(), row.end());
      for (size_t n = 0; n < row.size(); ++n) {
        out.neighbor[out.ptr[j] + n] = row[n].first;
        out.share[out.ptr[j] + n] = row[n].second;
      }
    }
    out.core_rowptr.push_back(0);
    for (int64_t i = eliminated; i < nodes_; ++i) {
      row.clear();
      for (const Entry& entry : neighbors_[out.order[i]]) {
        if (!gone_[entry.node]) row.emplace_back(place[entry.node] - eliminated, weight_[entry.edge]);
      }
      std::sort(row.begin(), row.end());
      for (const auto& [node, weight] : row) {
        out.core_col.push_back(node);
        out.core_weight.push_back(weight);
      }
      out.core_rowptr.push_back(static_cast<int64_t>(out.core_col.size()));
    }
  }

  int64_t nodes_;
  std::vector<std::vector<Entry>> neighbors_;
  std::vector<int64_t> degree_;
  std::vector<char> gone_;
  std::vector<double> weight_;
  EdgeTable table_;
};

}  // namespace

Elimination eliminate(const WeightedGraph& graph, int64_t effort, int64_t late_effort) {
  return Eliminator(graph).run(effort, late_effort);
}

void substitute_forward(const int64_t* ptr, const int64_t* neighbor, const double* share, int64_t eliminated,
                        double* block, int64_t width, int64_t first, int64_t last) {
  for (int64_t j = 0; j < eliminated; ++j) {
    const double* from = block + j * width;
    for (int64_t e = ptr[j]; e < ptr[j + 1]; ++e) {
      double* to = block + neighbor[e] * width;
      for (int64_t c = first; c < last; ++c) to[c] += share[e] * from[c];
    }
  }
}

void substitute_backward(const int64_t* ptr, const int64_t* neighbor, const double* share, int64_t eliminated,
                         double* block, int64_t width, int64_t first, int64_t last) {
  for (int64_t j = eliminated - 1; j >= 0; --j) {
    double* to = block + j * width;
    for (int64_t e = ptr[j]; e < ptr[j + 1]; ++e) {
      const double* from = block + neighbor[e] * width;
      for (int64_t c = first; c < last; ++c) to[c] += share[e] * from[c];
    }
  }
}

}  // namespace gnnkit
