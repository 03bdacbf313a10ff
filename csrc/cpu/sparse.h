// What the products of two sparse matrices share: checked operands, rows split by the terms of their sums, and the
// tables that find the place of a column within a row.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>

#include "common/topology.h"
#include "cpu/launch.h"
#include "cpu/prefetch.h"

namespace gnnkit {

template <typename Visit>
void dispatch_wide(const Tensor& values, const Tensor& index, Visit&& visit) {
  dispatch_wide(values, [&](auto real) { dispatch_index(index, [&](auto integer) { visit(real, integer); }); });
}

// A matrix in CSR as an operator is given it; tensors contiguous, values wide.
struct SparseInput {
  Tensor rowptr;
  Tensor col;
  OptionalTensor edge_id;
  OptionalTensor weight;

  SparseInput(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& edge_id_in,
              const OptionalTensor& weight_in)
      : rowptr(dense(rowptr_in)), col(dense(col_in)), edge_id(dense(edge_id_in)), weight(wide(weight_in)) {
    check_structure(rowptr, col, edge_id);
    STD_TORCH_CHECK(!weight.has_value() || (weight->dim() == 1 && weight->size(0) == col.size(0)),
                    "a weight must be one number per edge");
  }

  int64_t rows() const { return rowptr.size(0) - 1; }
  int64_t entries() const { return col.size(0); }
};

// Raises where the factors have no product in common types; returns the dtype of its values.
inline ScalarType check_factors(const SparseInput& a, const OptionalTensor& a_weight, const SparseInput& b,
                                const OptionalTensor& b_weight) {
  STD_TORCH_CHECK(a.col.scalar_type() == b.col.scalar_type(), "both factors must have indices of one dtype");
  STD_TORCH_CHECK(a_weight.has_value() || b_weight.has_value(), "one of the two weights must be given");
  const ScalarType type = a_weight.has_value() ? a_weight->scalar_type() : b_weight->scalar_type();
  STD_TORCH_CHECK(!b_weight.has_value() || b_weight->scalar_type() == type, "both weights must have one dtype");
  return type;
}

// A matrix in CSR as a kernel reads it; values by position, in the dtype of accumulation.
template <typename A, typename I>
struct Sparse {
  const I* rowptr;
  const I* col;
  const A* value;
  int64_t rows;
  int64_t columns;
};

// Reads every index of the matrix once: no kernel checks them again.
template <typename A, typename I>
Sparse<A, I> checked_pattern(const SparseInput& input, int64_t columns) {
  const I* edge_id = read<I>(input.edge_id);
  check_boundaries(read<I>(input.rowptr), input.rows(), input.entries());
  check_range(read<I>(input.col), input.entries(), columns);
  if (edge_id != nullptr) check_range(edge_id, input.entries(), input.entries());
  return {read<I>(input.rowptr), read<I>(input.col), nullptr, input.rows(), columns};
}

// A checked matrix with its values in order of position; ones where it has none.
template <typename A, typename I>
class SparseValues {
 public:
  SparseValues(const SparseInput& input, int64_t columns) : matrix_(checked_pattern<A, I>(input, columns)) {
    const I* edge_id = read<I>(input.edge_id);
    const A* given = read<A>(input.weight);
    matrix_.value = given;
    if (given != nullptr && edge_id == nullptr) return;
    const int64_t entries = input.entries();
    held_.reset(new A[static_cast<size_t>(entries)]);
    for (int64_t p = 0; p < entries; ++p) held_[p] = given == nullptr ? A(1) : given[edge_id[p]];
    matrix_.value = held_.get();
  }

  const Sparse<A, I>& matrix() const { return matrix_; }

 private:
  Sparse<A, I> matrix_;
  std::unique_ptr<A[]> held_;
};

// Terms of all sums in rows before each row of the product, [rows + 1].
template <typename A, typename I>
std::vector<int64_t> terms_before(const Sparse<A, I>& a, const I* b_rowptr) {
  std::vector<int64_t> before(static_cast<size_t>(a.rows + 1), 0);
  parallel_over_rows(a.rowptr, a.rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t terms = 0;
      for (int64_t q = a.rowptr[i]; q < a.rowptr[i + 1]; ++q) terms += b_rowptr[a.col[q] + 1] - b_rowptr[a.col[q]];
      before[i + 1] = terms;
    }
  });
  for (int64_t i = 0; i < a.rows; ++i) before[i + 1] += before[i];
  return before;
}

// Boundaries of rows of `count` entries each.
template <typename I>
void running_sum(const std::vector<int64_t>& count, I* rowptr) {
  int64_t total = 0;
  for (const int64_t entries : count) total += entries;
  STD_TORCH_CHECK(total <= std::numeric_limits<I>::max(), "the result has ", total,
                  " entries, more than its int32 indices can count; give int64 indices");
  rowptr[0] = 0;
  for (size_t i = 0; i < count.size(); ++i) rowptr[i + 1] = static_cast<I>(rowptr[i] + count[i]);
}

// Boundary of the shares of the work before each row.
inline int64_t row_at_share(const std::vector<int64_t>& work_before, int64_t part, int64_t parts) {
  return row_at_share(work_before.data(), static_cast<int64_t>(work_before.size()) - 1, part, parts);
}

// Calls run(scratch, row) for all rows, in ranges of nearly equal work.
template <typename Scratch, typename Run>
void parallel_over_work(const std::vector<int64_t>& work_before, const Run& run) {
  const int64_t rows = static_cast<int64_t>(work_before.size()) - 1;
  const int64_t chunks = chunks_for(work_before.back() + rows);
  parallel_with_scratch<Scratch>(chunks, [&](Scratch& scratch, int64_t chunk) {
    const int64_t end = row_at_share(work_before, chunk + 1, chunks);
    for (int64_t i = row_at_share(work_before, chunk, chunks); i < end; ++i) run(scratch, i);
  });
}

// A table with one number per column fits the second-level cache up to here; a longer one pays where a row fills much
// of it.
constexpr int64_t kCachedColumns = 1 << 17;
constexpr int64_t kSparseRow = 16;

inline bool table_by_column(int64_t columns, int64_t row_work) {
  return columns <= kCachedColumns || row_work >= columns / kSparseRow;
}

// The place of a column within the current row: what is stored under it is a position at or after the row's first one,
// where the column has been met, and anything less where not. Positions grow from row to row, so that a table is
// filled once and never cleared.
template <typename P>
class ColumnSlots {
 public:
  explicit ColumnSlots(std::vector<P>& table, int64_t columns) {
    if (table.empty()) table.assign(static_cast<size_t>(columns), P(-1));
    table_ = table.data();
  }

  template <typename I>
  P& find(I column, P, const I*) const {
    return table_[column];
  }

 private:
  P* table_;
};

// The same in a hash table at most half full; `keys` are the columns of the row by position from `first`.
template <typename P>
class HashedSlots {
 public:
  HashedSlots(std::vector<P>& table, int64_t most) {
    int bits = 4;
    while ((int64_t{1} << bits) < 2 * most) ++bits;
    const size_t size = size_t{1} << bits;
    if (table.size() < size) table.resize(size, P(-1));
    table_ = table.data();
    shift_ = 64 - bits;
    mask_ = size - 1;
  }

  template <typename I>
  P& find(I column, P first, const I* keys) const {
    size_t h = (static_cast<uint64_t>(column) * 0x9E3779B97F4A7C15u) >> shift_;
    while (table_[h] >= first && keys[table_[h] - first] != column) h = (h + 1) & mask_;
    return table_[h];
  }

 private:
  P* table_;
  int shift_;
  size_t mask_;
};

// Scratch of one thread: both tables, each made when a row first wants it.
template <typename P>
struct SlotTables {
  std::vector<P> by_column;
  std::vector<P> hashed;
};

// Calls visit(slots) with the table that suits a row of `work` steps and at most `most` different columns.
template <typename P, typename Visit>
void with_slots(SlotTables<P>& tables, int64_t columns, int64_t work, int64_t most, const Visit& visit) {
  if (table_by_column(columns, work)) {
    visit(ColumnSlots<P>(tables.by_column, columns));
  } else {
    visit(HashedSlots<P>(tables.hashed, std::min(most, columns)));
  }
}

// Positions that 32 bits can count take half of the cache.
template <typename Visit>
void dispatch_position(int64_t positions, Visit&& visit) {
  if (positions < INT32_MAX) {
    visit(int32_t{});
  } else {
    visit(int64_t{});
  }
}

// Rows of b are met in no order: asks for one a few entries of a ahead.
template <typename A, typename I>
void prefetch_row(const Sparse<A, I>& a, const Sparse<A, I>& b, int64_t q, int64_t end) {
  constexpr int64_t kAhead = 3;
  if (q + kAhead >= end) return;
  const int64_t p = b.rowptr[a.col[q + kAhead]];
  prefetch(b.col + p);
  prefetch(b.value + p);
}

}  // namespace gnnkit
