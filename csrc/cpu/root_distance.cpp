// Distances from one node of each part of a graph, within that part; one node of it may be closed.
#include "cpu/sampled_rows.h"

namespace gnnkit {

namespace {

template <typename I>
bool search_part(const DrawnGraph<I>& rows, int64_t begin, int64_t end, int64_t root, int64_t closed,
                 std::vector<int64_t>& queue, int64_t* distance) {
  queue.assign(1, root);
  distance[root] = 0;
  for (size_t next = 0; next < queue.size(); ++next) {
    const int64_t node = queue[next];
    const int64_t degree = rows.degree(node);
    if (degree < 0) return false;
    for (int64_t place = 0; place < degree; ++place) {
      const int64_t other = rows.source(node, place);
      if (other < begin || other >= end || other == closed || distance[other] >= 0) continue;
      distance[other] = distance[node] + 1;
      queue.push_back(other);
    }
  }
  return true;
}

Tensor root_distance(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& ptr_in, const Tensor& roots_in,
                     const Tensor& closed_in) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), ptr = dense(ptr_in);
  const Tensor roots = dense(roots_in), closed = dense(closed_in);
  check_structure(rowptr, col, std::nullopt);
  check_vector(ptr, "ptr must be a vector of int64");
  check_vector(roots, "roots must be a vector of int64");
  check_vector(closed, "closed must be a vector of int64");
  const int64_t nodes = rowptr.size(0) - 1, parts = roots.size(0);
  STD_TORCH_CHECK(ptr.size(0) == parts + 1 && closed.size(0) == parts, "each part must have a root and a closed node");
  const int64_t* const bounds = read<int64_t>(ptr);
  const int64_t* const root = read<int64_t>(roots);
  check_boundaries(bounds, parts, nodes);
  for (int64_t part = 0; part < parts; ++part)
    STD_TORCH_CHECK(root[part] >= bounds[part] && root[part] < bounds[part + 1], "a root must lie in its part");
  const Tensor distance = empty({nodes}, col, ScalarType::Long);
  std::fill_n(write<int64_t>(distance), nodes, -1);
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    const DrawnGraph<I> rows = drawn_graph<I>(rowptr, col);
    std::atomic<bool> valid{true};
    const int64_t chunks = std::max<int64_t>(std::min(parts, chunks_for(rows.edges + nodes)), 1);
    parallel_with_scratch<std::vector<int64_t>>(chunks, [&](std::vector<int64_t>& queue, int64_t chunk) {
      for (int64_t part = parts * chunk / chunks; part < parts * (chunk + 1) / chunks; ++part) {
        const int64_t begin = bounds[part], end = bounds[part + 1];
        if (!search_part(rows, begin, end, root[part], read<int64_t>(closed)[part], queue, write<int64_t>(distance)))
          valid = false;
      }
    });
    check_visited(valid);
  });
  return distance;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("root_distance", TORCH_BOX(&root_distance)); }

}  // namespace gnnkit
