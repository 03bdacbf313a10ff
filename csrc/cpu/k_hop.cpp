// One breadth-first search per row. What a search has met is marked with a number that grows from row to row, so that
// the marks are never cleared, and that holds the distance as well.
#include "cpu/column_order.h"
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

struct SearchScratch {
  std::vector<int64_t> mark;
  int64_t base = 1;  // of the current row: a node at distance d is marked base + d
  std::vector<int64_t> found;
  ColumnOrder order;
};

// The pairs of one range of rows, kept until the size of the result is known.
template <typename I>
struct Found {
  int64_t first_row = 0;
  std::vector<I> col;
  std::vector<I> distance;
};

// Nodes at distance 1 to k of `root`, in ascending order; returns how many.
template <typename I>
int64_t search(SearchScratch& scratch, const I* rowptr, const I* col, I root, int64_t k, Found<I>& out) {
  const int64_t base = scratch.base;
  std::vector<int64_t>& found = scratch.found;
  found.assign(1, root);
  scratch.mark[root] = base;
  size_t begin = 0;
  int64_t hop = 0;
  while (begin < found.size() && hop < k) {
    ++hop;
    const size_t end = found.size();
    for (; begin < end; ++begin) {
      for (int64_t p = rowptr[found[begin]]; p < rowptr[found[begin] + 1]; ++p) {
        if (scratch.mark[col[p]] >= base) continue;
        scratch.mark[col[p]] = base + hop;
        found.push_back(col[p]);
      }
    }
  }
  for (size_t n = 1; n < found.size(); ++n) scratch.order.add(found[n]);
  scratch.order.drain([&](int64_t node) {
    out.col.push_back(static_cast<I>(node));
    out.distance.push_back(static_cast<I>(scratch.mark[node] - base));
  });
  scratch.base = base + hop + 1;
  return static_cast<int64_t>(found.size()) - 1;
}

template <typename I>
std::vector<Found<I>> search_all(const I* rowptr, const I* col, int64_t rows, int64_t k, std::vector<int64_t>& count) {
  // What lies within two hops stands for the unknown cost of a search.
  const std::vector<int64_t> work_before = terms_before(Sparse<float, I>{rowptr, col, nullptr, rows, rows}, rowptr);
  const int64_t chunks = chunks_for(work_before.back() + rows);
  std::vector<Found<I>> found(static_cast<size_t>(chunks));
  parallel_with_scratch<SearchScratch>(chunks, [&](SearchScratch& scratch, int64_t chunk) {
    if (scratch.mark.empty()) scratch.mark.assign(static_cast<size_t>(rows), 0);
    scratch.order.reserve(rows);
    const int64_t end = row_at_share(work_before, chunk + 1, chunks);
    found[chunk].first_row = row_at_share(work_before, chunk, chunks);
    for (int64_t i = found[chunk].first_row; i < end; ++i)
      count[i] = search(scratch, rowptr, col, static_cast<I>(i), k, found[chunk]);
  });
  return found;
}

std::tuple<Tensor, Tensor, Tensor> k_hop(const Tensor& rowptr_in, const Tensor& col_in, int64_t k) {
  const SparseInput input(rowptr_in, col_in, std::nullopt, std::nullopt);
  STD_TORCH_CHECK(k >= 1, "k must be at least 1");
  const Tensor rowptr = empty({input.rows() + 1}, input.rowptr);
  Tensor col, distance;
  dispatch_index(input.col, [&](auto integer) {
    using I = decltype(integer);
    const Sparse<float, I> graph = checked_pattern<float, I>(input, input.rows());
    std::vector<int64_t> count(static_cast<size_t>(graph.rows), 0);
    const std::vector<Found<I>> found = search_all(graph.rowptr, graph.col, graph.rows, k, count);
    running_sum(count, write<I>(rowptr));
    const int64_t pairs = read<I>(rowptr)[graph.rows];
    col = empty({pairs}, input.col);
    distance = empty({pairs}, input.col, ScalarType::Long);
    parallel_over_chunks(static_cast<int64_t>(found.size()), [&](int64_t chunk) {
      const int64_t start = read<I>(rowptr)[found[chunk].first_row];
      std::copy(found[chunk].col.begin(), found[chunk].col.end(), write<I>(col) + start);
      std::copy(found[chunk].distance.begin(), found[chunk].distance.end(), write<int64_t>(distance) + start);
    });
  });
  return {rowptr, col, distance};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("k_hop", TORCH_BOX(&k_hop)); }

}  // namespace gnnkit
