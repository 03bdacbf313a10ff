// Nodes within some hops of each root, by a breadth-first search that follows only some neighbours of a node that has
// many. Each node of each search has random numbers of its own.
#include "cpu/sampled_rows.h"

namespace gnnkit {

namespace {

struct SearchScratch {
  LazyZeros<int64_t> mark;  // the last search that has met a node, counted from 1
  int64_t searches = 0;
};

template <typename I>
struct Search {
  const DrawnGraph<I>& rows;
  int64_t depth;
  int64_t fanout;  // negative: all neighbours
  uint64_t key;

  // What the search of a root meets, in order; false where the graph is wrong.
  bool run(SearchScratch& scratch, int64_t root, int64_t number, std::vector<I>& found) const {
    int64_t* const mark = scratch.mark.resized(rows.nodes);
    const int64_t search = ++scratch.searches;
    const auto meet = [&](int64_t node) {
      if (node < 0) return false;
      if (mark[node] != search) found.push_back(static_cast<I>(node));
      mark[node] = search;
      return true;
    };
    bool valid = meet(root);
    size_t begin = 0;
    for (int64_t hop = 0; hop < depth && begin < found.size(); ++hop) {
      for (const size_t end = found.size(); begin < end && valid; ++begin) valid = expand(found[begin], number, meet);
      if (!valid) return false;
    }
    return valid;
  }

  template <typename Meet>
  bool expand(int64_t node, int64_t number, const Meet& meet) const {
    const int64_t degree = rows.degree(node);
    bool valid = degree >= 0;
    if (fanout < 0 || degree <= fanout) {
      for (int64_t n = 0; n < degree && valid; ++n) valid = meet(rows.source(node, n));
      return valid;
    }
    Draws draws(key, static_cast<uint32_t>(node), static_cast<uint32_t>(number),
                static_cast<uint32_t>(static_cast<uint64_t>(number) >> 32));
    for (int64_t n = 0; n < fanout && valid; ++n) valid = meet(rows.source(node, draws.below(degree)));
    return valid;
  }
};

std::tuple<Tensor, Tensor> k_hop_sample(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& roots_in,
                                        const Tensor& numbers_in, int64_t depth, int64_t fanout, int64_t seed) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), roots = dense(roots_in), numbers = dense(numbers_in);
  check_sampled(rowptr, col);
  check_vector(roots, "roots must be a vector of int64");
  check_vector(numbers, "numbers must be a vector of int64");
  const int64_t count = roots.size(0);
  STD_TORCH_CHECK(numbers.size(0) == count, "numbers must hold one entry for each root");
  STD_TORCH_CHECK(depth >= 0, "depth must be at least 0");
  STD_TORCH_CHECK(fanout >= -1, "fanout must be at least 0, or -1 for all neighbours");
  Tensor members, ptr;
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    const DrawnGraph<I> rows = drawn_graph<I>(rowptr, col);
    const int64_t* const root = read<int64_t>(roots);
    check_range(root, count, rows.nodes);
    const Search<I> search{rows, depth, fanout, static_cast<uint64_t>(seed)};
    RootSets<I> found(count, col);
    std::atomic<bool> valid{true};
    const int64_t chunks = root_chunks(count);
    parallel_with_scratch<SearchScratch>(chunks, [&](SearchScratch& scratch, int64_t chunk) {
      for (int64_t n = count * chunk / chunks; n < count * (chunk + 1) / chunks; ++n)
        if (!search.run(scratch, root[n], read<int64_t>(numbers)[n], found.members[n])) valid = false;
    });
    check_visited(valid);
    members = found.joined(col);
    ptr = found.ptr;
  });
  return {members, ptr};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("k_hop_sample", TORCH_BOX(&k_hop_sample)); }

}  // namespace gnnkit
