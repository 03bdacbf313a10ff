// How the boxed operators reach the row kernels: rows split between threads by work, and checks of values.
#pragma once

#include <algorithm>
#include <atomic>
#include <limits>
#include <type_traits>

#include "common/dispatch.h"
#include "cpu/kernels.h"

namespace gnnkit {

// Where bfloat16 is widened before a kernel and narrowed after it, kernels meet float32 and float64 alone.
inline Tensor wide(const Tensor& values) {
  const bool narrow = values.scalar_type() == ScalarType::BFloat16;
  return dense(narrow ? torch::stable::to(values, ScalarType::Float) : values);
}

inline OptionalTensor wide(const OptionalTensor& values) {
  return values.has_value() ? OptionalTensor(wide(*values)) : std::nullopt;
}

inline Tensor narrow_as(const Tensor& values, ScalarType type) {
  return values.scalar_type() == type ? values : torch::stable::to(values, type);
}

// Below this many elements touched, starting threads costs more than it saves.
constexpr int64_t kSerialWork = 1 << 14;

// Calls run(scratch, chunk) for every chunk in [0, chunks), with one scratch per thread, which meets its chunks in
// ascending order. Threads take chunks as they get free, so that a busy core does not hold up the others; which thread
// runs which chunk must not matter to the result.
template <typename Scratch, typename Run>
void parallel_with_scratch(int64_t chunks, const Run& run) {
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    Scratch scratch;
    for (int64_t chunk = next++; chunk < chunks; chunk = next++) run(scratch, chunk);
  };
  if (chunks <= 1) return work();
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), chunks);
  torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) work();
  });
}

struct NoScratch {};

template <typename Run>
void parallel_over_chunks(int64_t chunks, const Run& run) {
  parallel_with_scratch<NoScratch>(chunks, [&](NoScratch&, int64_t chunk) { run(chunk); });
}

// Where `part` of `parts` equal shares of `count` begins, without their product, which may not fit.
inline int64_t share_begin(int64_t count, int64_t part, int64_t parts) {
  return count / parts * part + count % parts * part / parts;
}

// Calls visit(chunk, begin, end) for `chunks` equal shares of `count`.
template <typename Visit>
void parallel_over_shares(int64_t count, int64_t chunks, const Visit& visit) {
  parallel_over_chunks(chunks, [&](int64_t chunk) {
    visit(chunk, share_begin(count, chunk, chunks), share_begin(count, chunk + 1, chunks));
  });
}

inline int64_t chunks_for(int64_t work) {
  const int64_t threads = torch::stable::get_num_threads();
  if (threads == 1 || work < kSerialWork) return 1;
  return std::min<int64_t>(threads * 8, std::max<int64_t>(work / (kSerialWork / 4), 1));
}

// The first row that begins at or after `part` of `parts` equal shares of the work, a row itself counting as one unit;
// `work_before` is the work in the rows before each, [rows + 1].
template <typename Work>
int64_t row_at_share(const Work* work_before, int64_t rows, int64_t part, int64_t parts) {
  if (part >= parts) return rows;
  const int64_t total = static_cast<int64_t>(work_before[rows]) + rows;
  const int64_t target = share_begin(total, part, parts);
  int64_t low = 0;
  int64_t high = rows;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (static_cast<int64_t>(work_before[middle]) < target - middle) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Calls run(begin, end) for ranges of rows of nearly equal numbers of edges and rows: one hub must not make a thread
// late. `width` is the number of elements that one edge touches.
template <typename I, typename Run>
void parallel_over_rows(const I* rowptr, int64_t num_rows, int64_t width, const Run& run) {
  if (num_rows == 0) return;
  const int64_t chunks = chunks_for((static_cast<int64_t>(rowptr[num_rows]) + num_rows) * std::max<int64_t>(width, 1));
  parallel_over_chunks(chunks, [&](int64_t chunk) {
    const int64_t begin = row_at_share(rowptr, num_rows, chunk, chunks);
    const int64_t end = row_at_share(rowptr, num_rows, chunk + 1, chunks);
    if (begin < end) run(begin, end);
  });
}

// Rows whose positions point to rows of another tensor, and, where edge_id is not null, to the edges.
template <typename I>
struct Adjacency {
  const I* rowptr;
  int64_t num_rows;
  const I* col;
  const I* edge_id;
  int64_t num_edges;
  int64_t num_cols;
};

// Whether all of index[begin, end) lie in [0, size). A sign bit tells: it vectorises on every instruction set.
template <typename I>
bool all_inside(const I* index, int64_t begin, int64_t end, int64_t size) {
  if (size <= 0) return begin >= end;
  using Unsigned = std::make_unsigned_t<I>;
  const Unsigned last = static_cast<Unsigned>(std::min<int64_t>(size - 1, std::numeric_limits<I>::max()));
  Unsigned signs = 0;
  for (int64_t i = begin; i < end; ++i) {
    const Unsigned value = static_cast<Unsigned>(index[i]);
    signs |= value | (last - value);
  }
  return signs >> (sizeof(I) * 8 - 1) == 0;
}

template <typename I>
bool rows_inside(const Adjacency<I>& adjacency, int64_t begin, int64_t end) {
  const I* rowptr = adjacency.rowptr;
  if (rowptr[begin] < 0 || rowptr[end] > adjacency.num_edges) return false;
  bool sorted = true;
  for (int64_t row = begin; row < end; ++row) sorted &= rowptr[row] <= rowptr[row + 1];
  if (!sorted) return false;
  // Kernels look this many positions ahead.
  constexpr int64_t kAhead = 32;
  const int64_t stop = std::min<int64_t>(adjacency.num_edges, rowptr[end] + int64_t{kAhead});
  return all_inside(adjacency.col, rowptr[begin], stop, adjacency.num_cols) &&
         (adjacency.edge_id == nullptr || all_inside(adjacency.edge_id, rowptr[begin], stop, adjacency.num_edges));
}

// parallel_over_rows for a topology that may be wrong: a traced call cannot read it in Python, and a graph's tensors
// can be changed after it was made. Each range is checked right before it runs, so that the kernel finds it in the
// cache.
template <typename I, typename Run>
void parallel_over_adjacency(const Adjacency<I>& adjacency, int64_t width, const Run& run) {
  const char* message =
      "the topology of the graph is not valid: row boundaries must not decrease and must run from 0 to "
      "the number of edges, sources and edges must lie in their range";
  STD_TORCH_CHECK(adjacency.rowptr[0] == 0 && adjacency.rowptr[adjacency.num_rows] == adjacency.num_edges, message);
  std::atomic<bool> valid{true};
  parallel_over_rows(adjacency.rowptr, adjacency.num_rows, width, [&](int64_t begin, int64_t end) {
    if (rows_inside(adjacency, begin, end)) {
      run(begin, end);
    } else {
      valid = false;
    }
  });
  STD_TORCH_CHECK(valid, message);
}

// The same over the tensors of a graph; `num_cols` is the number of rows that `col` points to.
template <typename Run>
void parallel_over_graph(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, int64_t num_cols,
                         int64_t width, const Run& run) {
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    const Adjacency<I> adjacency{read<I>(rowptr),  rowptr.size(0) - 1, read<I>(col),
                                 read<I>(edge_id), col.size(0),        num_cols};
    parallel_over_adjacency(adjacency, width, run);
  });
}

inline Topology topology_of(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id) {
  return {rowptr.const_data_ptr(), col.const_data_ptr(), edge_id.has_value() ? edge_id->const_data_ptr() : nullptr,
          col.size(0), col.scalar_type() == ScalarType::Long};
}

// Segment boundaries come straight from callers, and under torch.compile Python cannot read them: checked here too.
template <typename I>
void check_boundaries(const I* ptr, int64_t num_segments, int64_t num_rows) {
  bool sorted = ptr[0] == 0 && static_cast<int64_t>(ptr[num_segments]) == num_rows;
  for (int64_t s = 0; s < num_segments; ++s) sorted &= ptr[s] <= ptr[s + 1];
  STD_TORCH_CHECK(sorted, "segment boundaries must not decrease and must run from 0 to the number of rows");
}

// All of an index must lie in [0, size). An exception would not pass a parallel region with its message.
template <typename I>
void check_range(const I* index, int64_t count, int64_t size) {
  const int64_t chunks = chunks_for(count);
  std::atomic<bool> inside{true};
  parallel_over_shares(count, chunks, [&](int64_t, int64_t begin, int64_t end) {
    if (!all_inside(index, begin, end, size)) inside = false;
  });
  STD_TORCH_CHECK(inside, "an index lies outside of its range");
}

}  // namespace gnnkit
