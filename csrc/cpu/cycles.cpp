// Triangles and 4-cycles through every edge. Nodes are ranked by degree, and each cycle is found from its node of
// highest rank, through its neighbours of lower rank: sum over edges of the smaller degree of both ends, whatever hubs
// there are (Chiba and Nishizeki 1985).
#include <atomic>
#include <memory>
#include <numeric>

#include "cpu/simple_rows.h"

namespace gnnkit {

namespace {

// The same graph with nodes numbered by degree; `edge` keeps the numbers of the edges.
struct RankedRows {
  std::vector<int64_t> rowptr;
  std::vector<int32_t> col;
  std::vector<int64_t> edge;
};

RankedRows ranked(const SimpleRows& rows) {
  std::vector<int64_t> order(static_cast<size_t>(rows.nodes));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return rows.degree(a) < rows.degree(b); });
  std::vector<int32_t> rank(order.size());
  RankedRows out;
  out.rowptr.assign(order.size() + 1, 0);
  for (size_t r = 0; r < order.size(); ++r) {
    rank[order[r]] = static_cast<int32_t>(r);
    out.rowptr[r + 1] = out.rowptr[r] + rows.degree(order[r]);
  }
  out.col.resize(rows.edge.size());
  out.edge.resize(rows.edge.size());
  // Filled in order of rank, every row ascends.
  std::vector<int64_t> next(out.rowptr.begin(), out.rowptr.end() - 1);
  for (size_t r = 0; r < order.size(); ++r) {
    for (int64_t p = rows.rowptr[order[r]]; p < rows.rowptr[order[r] + 1]; ++p) {
      const int64_t place = next[rank[rows.col[p]]]++;
      out.col[place] = static_cast<int32_t>(r);
      out.edge[place] = rows.edge[p];
    }
  }
  return out;
}

// Calls visit(p, q) for every walk of two steps from `u` over a node of lower rank, at position p of the row of u, to
// another such node, at position q of the row in between.
template <typename Visit>
void visit_wedges(const RankedRows& rows, int64_t u, const Visit& visit) {
  for (int64_t p = rows.rowptr[u]; p < rows.rowptr[u + 1] && rows.col[p] < u; ++p) {
    const int64_t x = rows.col[p];
    for (int64_t q = rows.rowptr[x]; q < rows.rowptr[x + 1] && rows.col[q] < u; ++q) visit(p, q);
  }
}

struct CycleScratch {
  std::vector<int64_t> value;
  std::vector<int32_t> touched;
};

using Counts = std::unique_ptr<std::atomic<int64_t>[]>;

void add(Counts& counts, int64_t edge, int64_t value) { counts[edge].fetch_add(value, std::memory_order_relaxed); }

// scratch.value[w]: the edge from u to w, plus one.
void count_triangles(const RankedRows& rows, int64_t u, CycleScratch& scratch, Counts& counts) {
  for (int64_t p = rows.rowptr[u]; p < rows.rowptr[u + 1] && rows.col[p] < u; ++p)
    scratch.value[rows.col[p]] = rows.edge[p] + 1;
  visit_wedges(rows, u, [&](int64_t p, int64_t q) {
    const int64_t closing = scratch.value[rows.col[q]];
    if (closing == 0 || rows.col[q] > rows.col[p]) return;
    add(counts, rows.edge[p], 1);
    add(counts, rows.edge[q], 1);
    add(counts, closing - 1, 1);
  });
  for (int64_t p = rows.rowptr[u]; p < rows.rowptr[u + 1] && rows.col[p] < u; ++p) scratch.value[rows.col[p]] = 0;
}

// scratch.value[w]: the number of walks of two steps from u to w, any two of which are a cycle.
void count_squares(const RankedRows& rows, int64_t u, CycleScratch& scratch, Counts& counts) {
  visit_wedges(rows, u, [&](int64_t, int64_t q) {
    if (scratch.value[rows.col[q]]++ == 0) scratch.touched.push_back(rows.col[q]);
  });
  visit_wedges(rows, u, [&](int64_t p, int64_t q) {
    const int64_t others = scratch.value[rows.col[q]] - 1;
    if (others == 0) return;
    add(counts, rows.edge[p], others);
    add(counts, rows.edge[q], others);
  });
  for (const int32_t node : scratch.touched) scratch.value[node] = 0;
  scratch.touched.clear();
}

Tensor edge_cycles(const Tensor& rowptr_in, const Tensor& col_in, int64_t length) {
  STD_TORCH_CHECK(length == 3 || length == 4, "cycles of 3 and of 4 edges are counted");
  const Tensor rowptr = dense(rowptr_in);
  const Tensor col = dense(col_in);
  const SimpleRows given = checked_simple_rows(rowptr, col);
  const RankedRows rows = ranked(given);
  std::vector<int64_t> work_before(static_cast<size_t>(given.nodes + 1), 0);
  for (int64_t u = 0; u < given.nodes; ++u) {
    work_before[u + 1] = work_before[u];
    for (int64_t p = rows.rowptr[u]; p < rows.rowptr[u + 1] && rows.col[p] < u; ++p)
      work_before[u + 1] += 1 + rows.rowptr[rows.col[p] + 1] - rows.rowptr[rows.col[p]];
  }
  // Sums of integers: the same whatever the order in which threads add them up.
  const size_t edges = static_cast<size_t>(given.edges);
  Counts counts(new std::atomic<int64_t>[edges]);
  for (size_t e = 0; e < edges; ++e) counts[e].store(0, std::memory_order_relaxed);
  const int64_t chunks = chunks_for(work_before.back() + given.nodes);
  parallel_with_scratch<CycleScratch>(chunks, [&](CycleScratch& scratch, int64_t chunk) {
    if (scratch.value.empty()) scratch.value.assign(static_cast<size_t>(given.nodes), 0);
    const int64_t end = row_at_share(work_before.data(), given.nodes, chunk + 1, chunks);
    for (int64_t u = row_at_share(work_before.data(), given.nodes, chunk, chunks); u < end; ++u) {
      if (length == 3) {
        count_triangles(rows, u, scratch, counts);
      } else {
        count_squares(rows, u, scratch, counts);
      }
    }
  });
  const Tensor out = empty({given.edges}, col);
  for (size_t e = 0; e < edges; ++e) write<int64_t>(out)[e] = counts[e].load(std::memory_order_relaxed);
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("edge_cycles", TORCH_BOX(&edge_cycles)); }

}  // namespace gnnkit
