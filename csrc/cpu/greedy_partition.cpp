// Partitions of the graphs of a batch, each in one pass over its nodes: a node joins the part with room that holds most
// of its neighbours, the less so the fuller the part is.
#include "common/topology.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

constexpr int64_t kMostParts = int64_t{1} << 20;

struct Placement {
  const int64_t* rowptr;
  const int64_t* col;
  const int64_t* order;
  const int64_t* ptr;
  int64_t parts;
  int64_t* part;  // -1: not placed yet
};

struct PartScratch {
  std::vector<int64_t> room;
  std::vector<int64_t> size;
  std::vector<int64_t> shared;  // neighbours of the current node in each part
};

// The part that the node joins, of those with room.
int64_t best_part(const PartScratch& scratch) {
  int64_t best = -1;
  double best_score = 0;
  for (size_t p = 0; p < scratch.room.size(); ++p) {
    const int64_t size = scratch.size[p], room = scratch.room[p];
    if (size >= room) continue;
    const double score =
        static_cast<double>(scratch.shared[p]) * (1 - static_cast<double>(size) / static_cast<double>(room));
    if (best >= 0 && (score < best_score || (score == best_score && size >= scratch.size[best]))) continue;
    best = static_cast<int64_t>(p);
    best_score = score;
  }
  return best;
}

void place_graph(const Placement& in, PartScratch& scratch, int64_t graph) {
  const int64_t begin = in.ptr[graph], end = in.ptr[graph + 1];
  const int64_t small = (end - begin) / in.parts, larger = (end - begin) % in.parts;
  const size_t parts = static_cast<size_t>(in.parts);
  scratch.room.assign(parts, small);
  std::fill_n(scratch.room.begin(), larger, small + 1);
  scratch.size.assign(parts, 0);
  scratch.shared.assign(parts, 0);
  for (int64_t n = begin; n < end; ++n) {
    const int64_t node = in.order[n];
    const auto for_placed = [&](const auto& visit) {
      for (int64_t p = in.rowptr[node]; p < in.rowptr[node + 1]; ++p) {
        const int64_t other = in.col[p];
        if (other >= begin && other < end && in.part[other] >= 0) visit(in.part[other]);
      }
    };
    for_placed([&](int64_t part) { ++scratch.shared[part]; });
    const int64_t best = best_part(scratch);
    for_placed([&](int64_t part) { scratch.shared[part] = 0; });
    in.part[node] = best;
    ++scratch.size[best];
  }
}

// Whether every graph's share of the order lists its own nodes, each once: then no two threads place one node.
bool lists_each_node(const int64_t* order, const int64_t* ptr, int64_t graphs) {
  std::vector<bool> listed(static_cast<size_t>(ptr[graphs]), false);
  for (int64_t graph = 0; graph < graphs; ++graph) {
    for (int64_t n = ptr[graph]; n < ptr[graph + 1]; ++n) {
      if (order[n] < ptr[graph] || order[n] >= ptr[graph + 1] || listed[order[n]]) return false;
      listed[order[n]] = true;
    }
  }
  return true;
}

Tensor greedy_partition(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& order_in, const Tensor& ptr_in,
                        int64_t parts) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), order = dense(order_in), ptr = dense(ptr_in);
  check_structure(rowptr, col, std::nullopt);
  const auto is_vector = [](const Tensor& tensor) { return tensor.dim() == 1 && tensor.scalar_type() == ScalarType::Long; };
  const int64_t nodes = rowptr.size(0) - 1;
  STD_TORCH_CHECK(is_vector(col) && is_vector(order) && is_vector(ptr) && ptr.size(0) >= 1 && order.size(0) == nodes,
                  "rowptr, col, order and ptr must be vectors of int64, with one entry of order for each node");
  STD_TORCH_CHECK(parts >= 1 && parts <= kMostParts, "num_parts must lie in [1, 2^20]");
  const int64_t graphs = ptr.size(0) - 1;
  check_boundaries(read<int64_t>(rowptr), nodes, col.size(0));
  check_boundaries(read<int64_t>(ptr), graphs, nodes);
  STD_TORCH_CHECK(lists_each_node(read<int64_t>(order), read<int64_t>(ptr), graphs),
                  "order must list each node once, graph by graph");
  const Tensor part = empty({nodes}, order);
  const Placement in{read<int64_t>(rowptr), read<int64_t>(col), read<int64_t>(order), read<int64_t>(ptr), parts,
                     write<int64_t>(part)};
  std::fill_n(in.part, nodes, -1);
  const int64_t work = nodes * parts + col.size(0);
  const int64_t chunks = std::max<int64_t>(std::min(graphs, chunks_for(work)), 1);
  parallel_with_scratch<PartScratch>(chunks, [&](PartScratch& scratch, int64_t chunk) {
    for (int64_t graph = graphs * chunk / chunks; graph < graphs * (chunk + 1) / chunks; ++graph)
      place_graph(in, scratch, graph);
  });
  return part;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("greedy_partition", TORCH_BOX(&greedy_partition)); }

}  // namespace gnnkit
