// Neighbours of a batch of seeds, hop by hop. Threads share the drawing, since every node has random numbers of its
// own; then one of them numbers what was drawn in the order of the draws.
#include "cpu/sampled_rows.h"
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

constexpr int64_t kMostReplaced = int64_t{1} << 20;
constexpr int64_t kMostEdges = int64_t{1} << 31;

// Different numbers in [0, size) by Floyd's algorithm: the n-th draw takes one of the first size - count + n + 1, and
// the last of these where it has been taken. Numbers that have been taken are in a hash table.
class DistinctDraws {
 public:
  // Writes `count` of them in ascending order; 0 < count < size.
  void draw(Draws& draws, int64_t size, int64_t count, int64_t* out) {
    int bits = 3;
    while ((int64_t{1} << bits) < 2 * count) ++bits;
    taken_.assign(size_t{1} << bits, -1);
    shift_ = 64 - bits;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t last = size - count + n, drawn = draws.below(last + 1);
      out[n] = take(drawn) ? drawn : last;
      if (out[n] == last) take(last);
    }
    std::sort(out, out + count);
  }

 private:
  bool take(int64_t number) {
    const size_t mask = taken_.size() - 1;
    size_t h = (static_cast<uint64_t>(number) * 0x9E3779B97F4A7C15u) >> shift_;
    while (taken_[h] >= 0) {
      if (taken_[h] == number) return false;
      h = (h + 1) & mask;
    }
    taken_[h] = number;
    return true;
  }

  std::vector<int64_t> taken_;
  int shift_ = 0;
};

using Sampled = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename I>
class Sampling {
 public:
  Sampling(const DrawnGraph<I>& rows, bool replace, bool disjoint, uint64_t key)
      : rows_(rows), replace_(replace), disjoint_(disjoint), key_(key) {}

  // A node is known by its tree, 0 where there is one for all seeds, and its number in the graph.
  void start(const int64_t* seeds, int64_t count) {
    for (int64_t n = 0; n < count; ++n) found_.push_back(name(disjoint_ ? n : 0, seeds[n]));
    trees_ = disjoint_ ? count : 1;
    nodes_per_hop_.push_back(count);
  }

  void hop(int64_t number, int64_t fanout) {
    const int64_t begin = static_cast<int64_t>(found_.size()) - nodes_per_hop_.back();
    const int64_t first_edge = static_cast<int64_t>(position_.size());
    const std::vector<int64_t> before = counts(begin, fanout, first_edge);
    draw(begin, before, number, fanout);
    const int64_t known = static_cast<int64_t>(found_.size());
    number_new(begin, before);
    nodes_per_hop_.push_back(static_cast<int64_t>(found_.size()) - known);
    edges_per_hop_.push_back(before.back() - first_edge);
  }

  const std::vector<int64_t>& found() const { return found_; }
  const std::vector<int64_t>& from() const { return from_; }
  const std::vector<int64_t>& to() const { return to_; }
  const std::vector<int64_t>& position() const { return position_; }
  const std::vector<int64_t>& nodes_per_hop() const { return nodes_per_hop_; }
  const std::vector<int64_t>& edges_per_hop() const { return edges_per_hop_; }
  int64_t tree(int64_t named) const { return named / std::max<int64_t>(rows_.nodes, 1); }
  int64_t node(int64_t named) const { return named % std::max<int64_t>(rows_.nodes, 1); }

 private:
  int64_t name(int64_t tree, int64_t node) const { return tree * rows_.nodes + node; }

  bool takes_all(int64_t degree, int64_t fanout) const { return fanout < 0 || (!replace_ && degree <= fanout); }

  // Where the edges of each node of the last hop begin.
  std::vector<int64_t> counts(int64_t begin, int64_t fanout, int64_t first_edge) const {
    std::vector<int64_t> before(1, first_edge);
    for (size_t n = static_cast<size_t>(begin); n < found_.size(); ++n) {
      const int64_t at = node(found_[n]);
      const int64_t degree = rows_.degree(at);
      check_visited(degree >= 0);
      before.push_back(before.back() + (takes_all(degree, fanout) ? degree : degree == 0 ? 0 : fanout));
      STD_TORCH_CHECK(before.back() <= kMostEdges,
                      "more than 2^31 edges would be sampled; give fewer seeds or smaller fan-outs");
    }
    return before;
  }

  void draw(int64_t begin, const std::vector<int64_t>& before, int64_t hop, int64_t fanout) {
    const size_t edges = static_cast<size_t>(before.back());
    position_.resize(edges);
    from_.resize(edges);
    to_.resize(edges);
    const int64_t count = static_cast<int64_t>(before.size()) - 1;
    const int64_t chunks =
        std::min(chunks_for((before.back() - before.front()) * kDrawCost), std::max<int64_t>(count, 1));
    std::atomic<bool> valid{true};
    parallel_with_scratch<DistinctDraws>(chunks, [&](DistinctDraws& distinct, int64_t chunk) {
      for (int64_t n = count * chunk / chunks; n < count * (chunk + 1) / chunks; ++n) {
        const int64_t first = before[n], last = before[n + 1], at = node(found_[begin + n]);
        draw_of(found_[begin + n], hop, fanout, distinct, position_.data() + first, last - first);
        for (int64_t e = first; e < last; ++e) {
          from_[e] = rows_.source(at, position_[e]);
          to_[e] = begin + n;
          position_[e] += rows_.rowptr[at];
          if (from_[e] < 0) valid = false;
        }
      }
    });
    check_visited(valid);
  }

  void draw_of(int64_t named, int64_t hop, int64_t fanout, DistinctDraws& distinct, int64_t* out, int64_t count) const {
    const int64_t at = node(named), degree = rows_.degree(at);
    Draws draws(key_, static_cast<uint32_t>(at), static_cast<uint32_t>(hop), static_cast<uint32_t>(tree(named)));
    if (takes_all(degree, fanout)) {
      for (int64_t n = 0; n < count; ++n) out[n] = n;
    } else if (replace_) {
      for (int64_t n = 0; n < count; ++n) out[n] = draws.below(degree);
    } else if (count > 0) {
      distinct.draw(draws, degree, count, out);
    }
  }

  // Places of the sources of all new edges among the nodes that are found; those that are new come last.
  void number_new(int64_t begin, const std::vector<int64_t>& before) {
    const int64_t work = before.back() - before.front(), most = static_cast<int64_t>(found_.size()) + work;
    dispatch_position(most, [&](auto position) {
      using P = decltype(position);
      SlotTables<P> tables;
      with_slots(tables, trees_ * rows_.nodes, most, most, [&](const auto& slots) {
        const auto place_of = [&](int64_t named, int64_t otherwise) {
          P& slot = slots.find(named, P{0}, found_.data());
          if (slot < 0) slot = static_cast<P>(otherwise);
          return static_cast<int64_t>(slot);
        };
        for (size_t n = 0; n < found_.size(); ++n) place_of(found_[n], static_cast<int64_t>(n));
        found_.reserve(static_cast<size_t>(most));
        for (int64_t n = 0; n + 1 < static_cast<int64_t>(before.size()); ++n) {
          const int64_t tree_of = tree(found_[begin + n]);
          for (int64_t e = before[n]; e < before[n + 1]; ++e) {
            const int64_t named = name(tree_of, from_[e]), next = static_cast<int64_t>(found_.size());
            from_[e] = place_of(named, next);
            if (from_[e] == next) found_.push_back(named);
          }
        }
      });
    });
  }

  static constexpr int64_t kDrawCost = 16;  // of one edge, in elements that a simple pass reads
  const DrawnGraph<I>& rows_;
  bool replace_;
  bool disjoint_;
  uint64_t key_;
  int64_t trees_ = 1;
  std::vector<int64_t> found_;
  std::vector<int64_t> from_;  // nodes of the graph, then places
  std::vector<int64_t> to_;
  std::vector<int64_t> position_;
  std::vector<int64_t> nodes_per_hop_;
  std::vector<int64_t> edges_per_hop_;
};

Tensor vector_of(const std::vector<int64_t>& values, const Tensor& like) {
  const Tensor made = empty({static_cast<int64_t>(values.size())}, like, ScalarType::Long);
  std::copy(values.begin(), values.end(), write<int64_t>(made));
  return made;
}

template <typename I>
Sampled results(const Sampling<I>& sampling, const Tensor& like) {
  const std::vector<int64_t>& found = sampling.found();
  const Tensor node = empty({static_cast<int64_t>(found.size())}, like, ScalarType::Long);
  const Tensor tree = empty({static_cast<int64_t>(found.size())}, like, ScalarType::Long);
  for (size_t n = 0; n < found.size(); ++n) {
    write<int64_t>(node)[n] = sampling.node(found[n]);
    write<int64_t>(tree)[n] = sampling.tree(found[n]);
  }
  return {node,
          tree,
          vector_of(sampling.from(), like),
          vector_of(sampling.to(), like),
          vector_of(sampling.position(), like),
          vector_of(sampling.nodes_per_hop(), like),
          vector_of(sampling.edges_per_hop(), like)};
}

Sampled neighbor_sample(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& seeds_in, const Tensor& fanout_in,
                        bool replace, bool disjoint, int64_t seed) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), seeds = dense(seeds_in), fanout = dense(fanout_in);
  check_sampled(rowptr, col);
  check_vector(seeds, "seeds must be a vector of int64");
  check_vector(fanout, "fanout must be a vector of int64");
  const int64_t nodes = rowptr.size(0) - 1, count = seeds.size(0), hops = fanout.size(0);
  STD_TORCH_CHECK(count < INT32_MAX, "a batch may have fewer than 2^31 seeds");
  for (int64_t hop = 0; hop < hops; ++hop) {
    const int64_t most = read<int64_t>(fanout)[hop];
    STD_TORCH_CHECK(most >= -1, "a fan-out must be at least 0, or -1 for all neighbours");
    STD_TORCH_CHECK(!replace || most <= kMostReplaced, "a fan-out with replacement must be at most 2^20");
  }
  check_range(read<int64_t>(seeds), count, nodes);
  Sampled found;
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    const DrawnGraph<I> rows = drawn_graph<I>(rowptr, col);
    Sampling<I> sampling(rows, replace, disjoint, static_cast<uint64_t>(seed));
    sampling.start(read<int64_t>(seeds), count);
    for (int64_t hop = 0; hop < hops; ++hop) sampling.hop(hop, read<int64_t>(fanout)[hop]);
    found = results(sampling, col);
  });
  return found;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("neighbor_sample", TORCH_BOX(&neighbor_sample)); }

}  // namespace gnnkit
