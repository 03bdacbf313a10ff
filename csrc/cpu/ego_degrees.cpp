// Degrees within balls: around every node, or within both balls around the ends of every edge. An arc is a pair of
// adjacent nodes in order. Those of nodes inside of a ball are read from their rows, all of which lies in the ball.
// Those between nodes on its surface are read from the rows of nodes of higher degree alone, since a surface may hold a
// hub of which next to nothing lies in the ball.
#include <array>

#include "cpu/simple_rows.h"
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

constexpr int64_t kDeepest = int64_t{1} << 20;
constexpr int64_t kMostBins = int64_t{1} << 31;

enum Layout : int64_t { kRelative = 0, kTotal = 1, kJoint = 2 };

struct Bins {
  int64_t layout;
  int64_t count;  // of one degree, or of all tuples in a joint histogram
  int64_t width;
};

struct Balls {
  const SimpleRows& rows;
  int64_t depth;
  std::vector<int64_t> higher_rowptr;
  std::vector<int64_t> higher;   // neighbours of higher rank, that is, of higher degree or of the same and later
  std::vector<int64_t> reverse;  // position of the other direction
  std::vector<bool> to_higher;   // whether a position leads to a node of higher rank
};

Balls prepared(const SimpleRows& rows, int64_t depth) {
  Balls out{rows, depth, {0}, {}, {}, {}};
  const size_t positions = rows.edge.size();
  out.reverse.resize(positions);
  out.to_higher.resize(positions);
  out.higher.reserve(positions / 2);
  std::vector<int64_t> met(static_cast<size_t>(rows.edges), -1);
  for (int64_t u = 0; u < rows.nodes; ++u) {
    for (int64_t p = rows.rowptr[u]; p < rows.rowptr[u + 1]; ++p) {
      const int64_t v = rows.col[p];
      int64_t& other = met[rows.edge[p]];
      if (other < 0) {
        other = p;
      } else {
        out.reverse[p] = other;
        out.reverse[other] = p;
      }
      const int64_t more = rows.degree(v) - rows.degree(u);
      out.to_higher[p] = more > 0 || (more == 0 && v > u);
      if (out.to_higher[p]) out.higher.push_back(v);
    }
    out.higher_rowptr.push_back(static_cast<int64_t>(out.higher.size()));
  }
  return out;
}

// One ball at a time. Marks grow from ball to ball, so that they are never cleared.
class Ball {
 public:
  std::vector<int64_t> found;

  explicit Ball(int64_t nodes) : mark_(static_cast<size_t>(nodes), 0) {}

  bool holds(int64_t node) const { return mark_[node] >= base_; }
  int64_t distance(int64_t node) const { return mark_[node] - base_; }

  // Finds the nodes within `depth` of `root` for which inside(node) holds, in order of distance; all on the way to them
  // must be inside too. Calls enter(node) for each of them, and then arc(w, x) for every arc between them, of which
  // those from w and those to w may come in any order.
  template <typename Inside, typename Enter, typename Arc>
  void fill(const Balls& balls, int64_t root, const Inside& inside, const Enter& enter, const Arc& arc) {
    const SimpleRows& rows = balls.rows;
    base_ += balls.depth + 1;
    found.assign(1, root);
    mark_[root] = base_;
    enter(root);
    const int64_t surface = base_ + balls.depth;
    size_t next = 0;
    for (; next < found.size() && mark_[found[next]] < surface; ++next) {
      const int64_t w = found[next];
      for (const int64_t* x = rows.begin(w); x != rows.end(w); ++x) {
        if (mark_[*x] < base_) {
          if (!inside(*x)) continue;
          mark_[*x] = mark_[w] + 1;
          found.push_back(*x);
          enter(*x);
        }
        arc(w, *x);
        if (mark_[*x] == surface) arc(*x, w);
      }
    }
    for (; next < found.size(); ++next) {
      const int64_t w = found[next];
      for (int64_t p = balls.higher_rowptr[w]; p < balls.higher_rowptr[w + 1]; ++p) {
        const int64_t x = balls.higher[p];
        if (mark_[x] != surface) continue;
        arc(w, x);
        arc(x, w);
      }
    }
  }

 private:
  std::vector<int64_t> mark_;
  int64_t base_ = 0;
};

using Degrees = std::array<int32_t, 3>;  // to nodes one nearer to the root, as near, one farther

uint64_t mixed(uint64_t value) {
  value += 0x9E3779B97F4A7C15u;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

// The degrees of the nodes of one ball as seen from one root.
struct View {
  std::vector<Degrees> degrees;

  void clear(int64_t node) { degrees[node] = {0, 0, 0}; }
  void count(const Ball& ball, int64_t w, int64_t x) { ++degrees[w][ball.distance(x) - ball.distance(w) + 1]; }

  void write(const Ball& ball, const std::vector<int64_t>& found, const Bins& bins, float* row) const {
    std::fill(row, row + bins.width, 0.0f);
    const auto clipped = [&](int64_t degree) { return std::min(degree, bins.count - 1); };
    for (const int64_t w : found) {
      const auto [nearer, level, farther] = degrees[w];
      const int64_t distance = ball.distance(w);
      if (bins.layout == kRelative) {
        for (int64_t step = 0; step < 3; ++step)
          row[(distance * 3 + step) * bins.count + clipped(degrees[w][step])] += 1.0f;
      } else if (bins.layout == kTotal) {
        row[distance * bins.count + clipped(int64_t{nearer} + level + farther)] += 1.0f;
      } else {
        uint64_t key = 0;
        for (const int64_t part : {distance, int64_t{nearer}, int64_t{level}, int64_t{farther}})
          key = mixed(key ^ static_cast<uint64_t>(part));
        row[key % static_cast<uint64_t>(bins.count)] += 1.0f;
      }
    }
  }
};

struct EgoScratch {
  std::optional<Ball> outer;
  std::optional<Ball> inner;
  View from_outer;
  View from_inner;

  void prepare(int64_t nodes) {
    if (outer.has_value()) return;
    outer.emplace(nodes);
    inner.emplace(nodes);
    from_outer.degrees.resize(static_cast<size_t>(nodes));
    from_inner.degrees.resize(static_cast<size_t>(nodes));
  }
};

constexpr auto everywhere = [](int64_t) { return true; };

void encode_node(EgoScratch& scratch, const Balls& balls, int64_t root, const Bins& bins, float* out) {
  Ball& ball = *scratch.outer;
  View& view = scratch.from_outer;
  ball.fill(
      balls, root, everywhere, [&](int64_t w) { view.clear(w); },
      [&](int64_t w, int64_t x) { view.count(ball, w, x); });
  view.write(ball, ball.found, bins, out + root * bins.width);
}

// All edges from `root` to nodes of lower rank, in both directions. Whatever is within `depth` of both ends is reached
// from either of them through such nodes, so that the ball around the lower end need not leave that around `root`.
void encode_edges(EgoScratch& scratch, const Balls& balls, int64_t root, const Bins& bins, float* out) {
  const SimpleRows& rows = balls.rows;
  Ball& outer = *scratch.outer;
  Ball& inner = *scratch.inner;
  View& from_outer = scratch.from_outer;
  View& from_inner = scratch.from_inner;
  bool filled = false;
  for (int64_t p = rows.rowptr[root]; p < rows.rowptr[root + 1]; ++p) {
    if (balls.to_higher[p]) continue;
    if (!filled) outer.fill(balls, root, everywhere, [](int64_t) {}, [](int64_t, int64_t) {});
    filled = true;
    inner.fill(
        balls, rows.col[p], [&](int64_t w) { return outer.holds(w); },
        [&](int64_t w) {
          from_outer.clear(w);
          from_inner.clear(w);
        },
        [&](int64_t w, int64_t x) {
          from_outer.count(outer, w, x);
          from_inner.count(inner, w, x);
        });
    from_outer.write(outer, inner.found, bins, out + p * bins.width);
    from_inner.write(inner, inner.found, bins, out + balls.reverse[p] * bins.width);
  }
}

Tensor ego_degrees(const Tensor& rowptr_in, const Tensor& col_in, int64_t depth, int64_t layout, int64_t count,
                   bool of_edges) {
  STD_TORCH_CHECK(depth >= 1 && depth <= kDeepest, "depth must lie in [1, 2^20]");
  STD_TORCH_CHECK(layout == kRelative || layout == kTotal || layout == kJoint, "layout must be 0, 1 or 2");
  STD_TORCH_CHECK(count >= 1 && count <= kMostBins, "the number of bins must lie in [1, 2^31]");
  const Tensor rowptr = dense(rowptr_in);
  const Tensor col = dense(col_in);
  const SimpleRows rows = checked_simple_rows(rowptr, col);
  const int64_t blocks = layout == kRelative ? 3 * (depth + 1) : layout == kTotal ? depth + 1 : 1;
  const Bins bins{layout, count, blocks * count};
  const Tensor out = empty({of_edges ? 2 * rows.edges : rows.nodes, bins.width}, col, ScalarType::Float);
  const Balls balls = prepared(rows, depth);
  float* result = write<float>(out);
  // What lies within two hops stands for the unknown cost of a ball.
  const Sparse<float, int64_t> graph{rows.rowptr, rows.col, nullptr, rows.nodes, rows.nodes};
  parallel_over_work<EgoScratch>(terms_before(graph, rows.rowptr), [&](EgoScratch& scratch, int64_t root) {
    scratch.prepare(rows.nodes);
    if (of_edges) {
      encode_edges(scratch, balls, root, bins, result);
    } else {
      encode_node(scratch, balls, root, bins, result);
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("ego_degrees", TORCH_BOX(&ego_degrees)); }

}  // namespace gnnkit
