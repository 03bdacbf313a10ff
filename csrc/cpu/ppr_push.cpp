// Personalised PageRank by local push (Andersen, Chung and Lang, 2006) on lazy walks: of the nodes whose residual is
// too large, the one of lowest number goes first. Each thread has its own numbers for all nodes, and takes back to zero
// those that a target has touched.
#include "cpu/sampled_rows.h"

namespace gnnkit {

namespace {

// A set of numbers in [0, size) that gives its least one: a tree of words of 64 bits, each bit of which says whether
// the word below it has any.
class LeastFirst {
 public:
  void reserve(int64_t size) {
    while (levels_.empty() || size > 1) {
      size = (size + 63) / 64;
      levels_.emplace_back(static_cast<size_t>(std::max<int64_t>(size, 1)), 0);
    }
  }

  bool ready() const { return !levels_.empty(); }
  bool empty() const { return levels_.back()[0] == 0; }

  void insert(int64_t number) {
    for (std::vector<uint64_t>& level : levels_) {
      uint64_t& word = level[number >> 6];
      const uint64_t before = word;
      word |= uint64_t{1} << (number & 63);
      if (before != 0) return;
      number >>= 6;
    }
  }

  int64_t take() {
    int64_t number = 0;
    for (size_t level = levels_.size(); level-- > 0;) number = number << 6 | __builtin_ctzll(levels_[level][number]);
    int64_t at = number;
    for (std::vector<uint64_t>& level : levels_) {
      uint64_t& word = level[at >> 6];
      word &= ~(uint64_t{1} << (at & 63));
      if (word != 0) break;
      at >>= 6;
    }
    return number;
  }

 private:
  std::vector<std::vector<uint64_t>> levels_;
};

struct Settings {
  double alpha;
  double epsilon;
  int64_t k;
};

struct Residual {
  double value;
  double threshold;  // stays from root to root; 0: not known yet, negative: there are no neighbours
};

struct Ranked {
  double score;
  int64_t node;

  bool operator<(const Ranked& other) const { return score != other.score ? score > other.score : node < other.node; }
};

struct PushScratch {
  LazyZeros<Residual> residual;
  LazyZeros<double> estimate;
  LeastFirst queue;
  std::vector<int64_t> touched;
  std::vector<int64_t> pushed;
  std::vector<Ranked> ranked;
};

template <typename I>
class Push {
 public:
  Push(const DrawnGraph<I>& rows, const Settings& settings, PushScratch& scratch)
      : rows_(rows),
        settings_(settings),
        scratch_(scratch),
        residual_(scratch.residual.resized(rows.nodes)),
        estimate_(scratch.estimate.resized(rows.nodes)) {
    if (!scratch.queue.ready()) scratch.queue.reserve(rows.nodes);
  }

  // Leaves the ranked nodes in the scratch; false where the graph is wrong.
  bool run(int64_t root) {
    reach(root);
    residual_[root].value = 1;
    bool valid = true;
    if (residual_[root].value > residual_[root].threshold) scratch_.queue.insert(root);
    // What is left to do after a mistake only empties the queue.
    while (!scratch_.queue.empty()) {
      const int64_t node = scratch_.queue.take();
      valid = valid && push(node);
    }
    rank(root);
    for (const int64_t node : scratch_.touched) residual_[node].value = 0;
    for (const int64_t node : scratch_.pushed) estimate_[node] = 0;
    scratch_.touched.clear();
    scratch_.pushed.clear();
    return valid;
  }

 private:
  void reach(int64_t node) {
    scratch_.touched.push_back(node);
    if (residual_[node].threshold != 0) return;
    // A wrong row is pushed like an empty one, and found out then.
    const int64_t degree = rows_.degree(node);
    residual_[node].threshold = degree > 0 ? settings_.epsilon * static_cast<double>(degree) : -1;
  }

  bool push(int64_t node) {
    const int64_t degree = rows_.degree(node);
    if (degree < 0) return false;
    const double mass = residual_[node].value;
    if (estimate_[node] == 0) scratch_.pushed.push_back(node);
    if (degree == 0) {  // the walk stays for ever
      estimate_[node] += mass;
      residual_[node].value = 0;
      return true;
    }
    const double stays = (1 - settings_.alpha) * mass / 2;
    const double share = stays / static_cast<double>(degree);
    estimate_[node] += settings_.alpha * mass;
    residual_[node].value = stays;
    const I* const row = rows_.col + rows_.rowptr[node];
    if (!all_inside(row, 0, degree, rows_.nodes)) return false;
    Residual* const residual = residual_;
    for (int64_t place = 0; place < degree; ++place) {
      if (place + kAhead < degree) prefetch(residual + row[place + kAhead]);
      const I other = row[place];
      if (residual[other].value == 0) reach(other);
      residual[other].value += share;
      if (residual[other].value > residual[other].threshold) scratch_.queue.insert(other);
    }
    if (residual_[node].value > residual_[node].threshold) scratch_.queue.insert(node);
    return true;
  }

  // The k nodes of largest estimates, and the root after them where it is none of them.
  void rank(int64_t root) {
    std::vector<Ranked>& ranked = scratch_.ranked;
    ranked.clear();
    for (const int64_t node : scratch_.pushed) ranked.push_back({estimate_[node], node});
    const size_t k = std::min(ranked.size(), static_cast<size_t>(settings_.k));
    std::nth_element(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(k), ranked.end());
    ranked.resize(k);
    std::sort(ranked.begin(), ranked.end());
    const auto is_root = [&](const Ranked& entry) { return entry.node == root; };
    if (std::none_of(ranked.begin(), ranked.end(), is_root)) ranked.push_back({estimate_[root], root});
  }

  static constexpr int64_t kAhead = 8;
  const DrawnGraph<I>& rows_;
  const Settings& settings_;
  PushScratch& scratch_;
  Residual* residual_;
  double* estimate_;
};

template <typename I>
std::tuple<Tensor, Tensor, Tensor> push_all(const DrawnGraph<I>& rows, const Tensor& roots, const Tensor& like,
                                            const Settings& settings) {
  const int64_t count = roots.size(0);
  const int64_t* const root = read<int64_t>(roots);
  check_range(root, count, rows.nodes);
  RootSets<I> found(count, like);
  std::vector<std::vector<double>> scores(static_cast<size_t>(count));
  std::atomic<bool> valid{true};
  const int64_t chunks = root_chunks(count);
  parallel_with_scratch<PushScratch>(chunks, [&](PushScratch& scratch, int64_t chunk) {
    Push<I> push(rows, settings, scratch);
    for (int64_t n = count * chunk / chunks; n < count * (chunk + 1) / chunks; ++n) {
      if (!push.run(root[n])) valid = false;
      for (const Ranked& entry : scratch.ranked) {
        found.members[n].push_back(static_cast<I>(entry.node));
        scores[n].push_back(entry.score);
      }
    }
  });
  check_visited(valid);
  const Tensor members = found.joined(like), score = empty({members.size(0)}, like, ScalarType::Double);
  const int64_t* const bounds = read<int64_t>(found.ptr);
  for (int64_t n = 0; n < count; ++n) std::copy(scores[n].begin(), scores[n].end(), write<double>(score) + bounds[n]);
  return {members, score, found.ptr};
}

std::tuple<Tensor, Tensor, Tensor> ppr_push(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& roots_in,
                                            double alpha, double epsilon, int64_t k) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), roots = dense(roots_in);
  check_sampled(rowptr, col);
  check_vector(roots, "roots must be a vector of int64");
  STD_TORCH_CHECK(alpha >= 1e-6 && alpha <= 1, "alpha must lie in [1e-6, 1]");
  STD_TORCH_CHECK(epsilon >= 1e-15 && epsilon <= 1, "epsilon must lie in [1e-15, 1]");
  STD_TORCH_CHECK(k >= 1, "k must be at least 1");
  std::tuple<Tensor, Tensor, Tensor> found;
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    found = push_all<I>(drawn_graph<I>(rowptr, col), roots, col, {alpha, epsilon, k});
  });
  return found;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("ppr_push", TORCH_BOX(&ppr_push)); }

}  // namespace gnnkit
