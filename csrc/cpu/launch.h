// How the boxed operators reach the row kernels: dtype dispatch, and rows split between threads by work.
#pragma once

#include <algorithm>
#include <atomic>
#include <limits>
#include <type_traits>

#include "cpu/kernels.h"
#include "stable.h"

namespace gnnkit {

template <typename Visit>
void dispatch_float(const Tensor& tensor, Visit&& visit) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return visit(float{});
    case ScalarType::Double:
      return visit(double{});
    case ScalarType::BFloat16:
      return visit(BFloat16{});
    default:
      STD_TORCH_CHECK(false, "gnnkit operators take float32, float64 and bfloat16");
  }
}

template <typename Visit>
void dispatch_index(const Tensor& tensor, Visit&& visit) {
  switch (tensor.scalar_type()) {
    case ScalarType::Int:
      return visit(int32_t{});
    case ScalarType::Long:
      return visit(int64_t{});
    default:
      STD_TORCH_CHECK(false, "gnnkit operators take int32 and int64 indices");
  }
}

template <typename Visit>
void dispatch(const Tensor& values, const Tensor& index, Visit&& visit) {
  dispatch_float(values, [&](auto value) { dispatch_index(index, [&](auto integer) { visit(value, integer); }); });
}

template <typename T>
const T* read(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename T>
const T* read(const OptionalTensor& tensor) {
  return tensor.has_value() ? read<T>(*tensor) : nullptr;
}

template <typename T>
T* write(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Below this many elements touched, starting threads costs more than it saves.
constexpr int64_t kSerialWork = 1 << 14;

// Calls run(chunk) for every chunk in [0, chunks). Threads take chunks as they get free, so that a busy core does not
// hold up the others; which thread runs which chunk must not matter to the result.
template <typename Run>
void parallel_over_chunks(int64_t chunks, const Run& run) {
  if (chunks <= 1) {
    if (chunks == 1) run(int64_t{0});
    return;
  }
  std::atomic<int64_t> next{0};
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), chunks);
  torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      for (int64_t chunk = next++; chunk < chunks; chunk = next++) run(chunk);
    }
  });
}

inline int64_t chunks_for(int64_t work) {
  const int64_t threads = torch::stable::get_num_threads();
  if (threads == 1 || work < kSerialWork) return 1;
  return std::min<int64_t>(threads * 8, std::max<int64_t>(work / (kSerialWork / 4), 1));
}

// Calls run(begin, end) for ranges of rows of nearly equal numbers of edges and rows: one hub must not make a thread
// late. `width` is the number of elements that one edge touches.
template <typename I, typename Run>
void parallel_over_rows(const I* rowptr, int64_t num_rows, int64_t width, const Run& run) {
  if (num_rows == 0) return;
  const int64_t total = static_cast<int64_t>(rowptr[num_rows]) + num_rows;
  const int64_t chunks = chunks_for(total * std::max<int64_t>(width, 1));
  const auto boundary = [&](int64_t chunk) {
    const int64_t target = total / chunks * chunk + total % chunks * chunk / chunks;
    int64_t low = 0;
    int64_t high = num_rows;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (static_cast<int64_t>(rowptr[middle]) < target - middle) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };
  parallel_over_chunks(chunks, [&](int64_t chunk) {
    const int64_t begin = boundary(chunk);
    const int64_t end = chunk + 1 == chunks ? num_rows : boundary(chunk + 1);
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
  using Unsigned = std::make_unsigned_t<I>;
  const Unsigned last = static_cast<Unsigned>(std::min<int64_t>(size, std::numeric_limits<I>::max()) - 1);
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

// Segment boundaries come straight from callers, and under torch.compile Python cannot read them: checked here too.
template <typename I>
void check_boundaries(const I* ptr, int64_t num_segments, int64_t num_rows) {
  bool sorted = ptr[0] == 0 && static_cast<int64_t>(ptr[num_segments]) == num_rows;
  for (int64_t s = 0; s < num_segments; ++s) sorted &= ptr[s] <= ptr[s + 1];
  STD_TORCH_CHECK(sorted, "segment boundaries must not decrease and must run from 0 to the number of rows");
}

template <typename I>
void check_range(const I* index, int64_t count, int64_t low, int64_t high) {
  bool inside = true;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t value = index[i];
    inside &= value >= low && value < high;
  }
  STD_TORCH_CHECK(inside, "an index lies outside of its range");
}

}  // namespace gnnkit
