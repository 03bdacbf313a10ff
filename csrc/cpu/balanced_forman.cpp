#include "cpu/balanced_forman.h"

#include <optional>

#include "cpu/simple_rows.h"

namespace gnnkit {

namespace {

// Each edge is looked at from its end of higher degree (of both, from the higher number): what is read is then little
// where one of them is a hub.
bool looks_at(const SimpleRows& rows, int64_t i, int64_t j) {
  const int64_t degree_i = rows.degree(i), degree_j = rows.degree(j);
  return degree_i != degree_j ? degree_i > degree_j : i > j;
}

struct FormanScratch {
  std::optional<Surroundings> around;
};

std::vector<int64_t> work_before_rows(const SimpleRows& rows) {
  std::vector<int64_t> reach(static_cast<size_t>(rows.nodes), 0);
  for (int64_t j = 0; j < rows.nodes; ++j)
    for (const int64_t* w = rows.begin(j); w != rows.end(j); ++w) reach[j] += rows.degree(*w);
  std::vector<int64_t> before(static_cast<size_t>(rows.nodes + 1), 0);
  for (int64_t i = 0; i < rows.nodes; ++i) {
    before[i + 1] = before[i] + rows.degree(i);
    for (const int64_t* j = rows.begin(i); j != rows.end(i); ++j)
      if (looks_at(rows, i, *j)) before[i + 1] += reach[*j];
  }
  return before;
}

Tensor balanced_forman_of_edges(const Tensor& rowptr_in, const Tensor& col_in) {
  const Tensor rowptr = dense(rowptr_in);
  const Tensor col = dense(col_in);
  const SimpleRows rows = checked_simple_rows(rowptr, col);
  const Tensor out = empty({rows.edges}, col, ScalarType::Double);
  double* curvature = write<double>(out);
  const std::vector<int64_t> work_before = work_before_rows(rows);
  const int64_t chunks = chunks_for(work_before.back() + rows.nodes);
  parallel_with_scratch<FormanScratch>(chunks, [&](FormanScratch& scratch, int64_t chunk) {
    if (!scratch.around) scratch.around.emplace(rows.nodes);
    const int64_t end = row_at_share(work_before.data(), rows.nodes, chunk + 1, chunks);
    for (int64_t i = row_at_share(work_before.data(), rows.nodes, chunk, chunks); i < end; ++i) {
      scratch.around->open(rows, i);
      for (int64_t p = rows.rowptr[i]; p < rows.rowptr[i + 1]; ++p) {
        const int64_t j = rows.col[p];
        if (!looks_at(rows, i, j)) continue;
        const int64_t degree_j = rows.degree(j);
        const LocalCycles cycles = degree_j == 1 ? LocalCycles{} : scratch.around->look(rows, i, j);
        curvature[rows.edge[p]] = balanced_forman(rows.degree(i), degree_j, cycles);
      }
      scratch.around->close(rows, i);
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("balanced_forman", TORCH_BOX(&balanced_forman_of_edges));
}

}  // namespace gnnkit
