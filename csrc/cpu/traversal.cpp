// The order in which a breadth-first or a depth-first search meets the nodes of a graph: one pass over the edges, which
// no threads share, since every step depends on all that came before.
#include <vector>

#include "common/topology.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

struct Rows {
  const int64_t* rowptr;
  const int64_t* col;
};

// Nodes in order of discovery; `out` is also the queue.
void breadth_first(const Rows& rows, int64_t root, std::vector<bool>& met, int64_t* out, int64_t& found) {
  int64_t next = found;
  out[found++] = root;
  met[root] = true;
  for (; next < found; ++next) {
    for (int64_t p = rows.rowptr[out[next]]; p < rows.rowptr[out[next] + 1]; ++p) {
      const int64_t v = rows.col[p];
      if (met[v]) continue;
      met[v] = true;
      out[found++] = v;
    }
  }
}

// Nodes before all that is first reached from them; `next` is where each node goes on in its row.
void depth_first(const Rows& rows, int64_t root, std::vector<bool>& met, std::vector<int64_t>& next,
                 std::vector<int64_t>& stack, int64_t* out, int64_t& found) {
  const auto enter = [&](int64_t v) {
    met[v] = true;
    out[found++] = v;
    next[v] = rows.rowptr[v];
    stack.push_back(v);
  };
  enter(root);
  while (!stack.empty()) {
    const int64_t u = stack.back();
    const int64_t end = rows.rowptr[u + 1];
    while (next[u] < end && met[rows.col[next[u]]]) ++next[u];
    if (next[u] == end) {
      stack.pop_back();
    } else {
      enter(rows.col[next[u]++]);
    }
  }
}

Tensor traversal_order(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& roots_in, bool depth) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), roots = dense(roots_in);
  check_structure(rowptr, col, std::nullopt);
  STD_TORCH_CHECK(col.scalar_type() == ScalarType::Long && roots.scalar_type() == ScalarType::Long && roots.dim() == 1,
                  "rowptr, col and roots must be vectors of int64");
  const int64_t nodes = rowptr.size(0) - 1;
  check_boundaries(read<int64_t>(rowptr), nodes, col.size(0));
  check_range(read<int64_t>(col), col.size(0), nodes);
  check_range(read<int64_t>(roots), roots.size(0), nodes);
  const Tensor order = empty({nodes}, rowptr);
  const Rows rows{read<int64_t>(rowptr), read<int64_t>(col)};
  std::vector<bool> met(static_cast<size_t>(nodes), false);
  std::vector<int64_t> next(static_cast<size_t>(depth ? nodes : 0)), stack;
  int64_t found = 0;
  for (int64_t r = 0; r < roots.size(0); ++r) {
    const int64_t root = read<int64_t>(roots)[r];
    if (met[root]) continue;
    if (depth) {
      depth_first(rows, root, met, next, stack, write<int64_t>(order), found);
    } else {
      breadth_first(rows, root, met, write<int64_t>(order), found);
    }
  }
  STD_TORCH_CHECK(found == nodes, "every node must be reached from one of the roots, but ", nodes - found, " are not");
  return order;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("traversal_order", TORCH_BOX(&traversal_order)); }

}  // namespace gnnkit
