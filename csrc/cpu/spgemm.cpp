// Row-wise product of two sparse matrices (Gustavson): columns are counted per row, then the sums are written straight
// to their place. A row is one thread's, its terms are added in order, and a new column takes the next free position:
// the result depends neither on the threads nor on the kind of table.
#include "cpu/column_order.h"
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

template <typename P, typename I>
struct RowScratch {
  SlotTables<P> tables;
  std::vector<I> keys;
};

template <typename I>
struct Placed {
  I column;
  int64_t place;
};

template <typename P, typename A, typename I>
struct SortScratch : RowScratch<P, I> {
  ColumnOrder order;
  std::vector<A> values;
  std::vector<Placed<I>> pairs;
};

// A column that has been met holds the first position of the row, and nothing else is stored.
template <typename P, typename A, typename I>
int64_t count_by_column(const ColumnSlots<P>& slots, const Sparse<A, I>& a, const Sparse<A, I>& b, int64_t i, P first) {
  int64_t count = 0;
  for (int64_t q = a.rowptr[i], end = a.rowptr[i + 1]; q < end; ++q) {
    prefetch_row(a, b, q, end);
    const I k = a.col[q];
    for (int64_t p = b.rowptr[k]; p < b.rowptr[k + 1]; ++p) {
      P& slot = slots.find(b.col[p], first, b.col);
      count += slot != first;
      slot = first;
    }
  }
  return count;
}

template <typename P, typename A, typename I>
int64_t count_by_hash(const HashedSlots<P>& slots, const Sparse<A, I>& a, const Sparse<A, I>& b, int64_t i, P first,
                      I* keys) {
  int64_t count = 0;
  for (int64_t q = a.rowptr[i], end = a.rowptr[i + 1]; q < end; ++q) {
    prefetch_row(a, b, q, end);
    const I k = a.col[q];
    for (int64_t p = b.rowptr[k]; p < b.rowptr[k + 1]; ++p) {
      P& slot = slots.find(b.col[p], first, keys);
      if (slot >= first) continue;
      slot = static_cast<P>(first + count);
      keys[count++] = b.col[p];
    }
  }
  return count;
}

// Entries in every row of the product.
template <typename P, typename A, typename I>
std::vector<int64_t> count_rows(const Sparse<A, I>& a, const Sparse<A, I>& b, const std::vector<int64_t>& before) {
  std::vector<int64_t> count(static_cast<size_t>(a.rows), 0);
  parallel_over_work<RowScratch<P, I>>(before, [&](RowScratch<P, I>& scratch, int64_t i) {
    const int64_t terms = before[i + 1] - before[i];
    if (terms == 0) return;
    const P first = static_cast<P>(before[i]);
    if (table_by_column(b.columns, terms)) {
      count[i] = count_by_column(ColumnSlots<P>(scratch.tables.by_column, b.columns), a, b, i, first);
    } else {
      if (static_cast<int64_t>(scratch.keys.size()) < terms) scratch.keys.resize(static_cast<size_t>(terms));
      const HashedSlots<P> slots(scratch.tables.hashed, std::min(terms, b.columns));
      count[i] = count_by_hash(slots, a, b, i, first, scratch.keys.data());
    }
  });
  return count;
}

template <typename Slots, typename P, typename A, typename I>
void add_row(const Slots& slots, const Sparse<A, I>& a, const Sparse<A, I>& b, int64_t i, P first, I* col, A* value) {
  int64_t count = 0;
  for (int64_t q = a.rowptr[i], end = a.rowptr[i + 1]; q < end; ++q) {
    prefetch_row(a, b, q, end);
    const I k = a.col[q];
    const A factor = a.value[q];
    for (int64_t p = b.rowptr[k]; p < b.rowptr[k + 1]; ++p) {
      P& slot = slots.find(b.col[p], first, col);
      if (slot >= first) {
        value[slot - first] += factor * b.value[p];
      } else {
        slot = static_cast<P>(first + count);
        col[count] = b.col[p];
        value[count++] = factor * b.value[p];
      }
    }
  }
}

template <typename P, typename A, typename I>
void sort_row(SortScratch<P, A, I>& scratch, const ColumnSlots<P>& slots, int64_t columns, P first, I* col, A* value,
              int64_t count) {
  scratch.order.reserve(columns);
  for (int64_t n = 0; n < count; ++n) scratch.order.add(col[n]);
  int64_t next = 0;
  scratch.order.drain([&](int64_t column) {
    value[next] = scratch.values[slots.find(static_cast<I>(column), first, col) - first];
    col[next++] = static_cast<I>(column);
  });
}

template <typename P, typename A, typename I>
void sort_row(SortScratch<P, A, I>& scratch, const HashedSlots<P>&, int64_t, P, I* col, A* value, int64_t count) {
  scratch.pairs.resize(static_cast<size_t>(count));
  for (int64_t n = 0; n < count; ++n) scratch.pairs[n] = {col[n], n};
  std::sort(scratch.pairs.begin(), scratch.pairs.end(),
            [](const Placed<I>& one, const Placed<I>& other) { return one.column < other.column; });
  for (int64_t n = 0; n < count; ++n) {
    col[n] = scratch.pairs[n].column;
    value[n] = scratch.values[scratch.pairs[n].place];
  }
}

template <typename P, typename A, typename I>
void add_rows(const Sparse<A, I>& a, const Sparse<A, I>& b, const std::vector<int64_t>& before, bool sort,
              const I* rowptr, I* col, A* value) {
  using Scratch = SortScratch<P, A, I>;
  parallel_over_work<Scratch>(before, [&](Scratch& scratch, int64_t i) {
    const int64_t terms = before[i + 1] - before[i];
    const int64_t start = rowptr[i];
    const int64_t count = rowptr[i + 1] - start;
    if (terms == 0) return;
    with_slots(scratch.tables, b.columns, terms, count, [&](const auto& slots) {
      const P first = static_cast<P>(start);
      add_row(slots, a, b, i, first, col + start, value + start);
      if (!sort) return;
      scratch.values.assign(value + start, value + start + count);
      sort_row(scratch, slots, b.columns, first, col + start, value + start, count);
    });
  });
}

std::tuple<Tensor, Tensor, Tensor> spgemm(const Tensor& a_rowptr, const Tensor& a_col, const OptionalTensor& a_edge_id,
                                          const OptionalTensor& a_weight, const Tensor& b_rowptr, const Tensor& b_col,
                                          const OptionalTensor& b_edge_id, const OptionalTensor& b_weight,
                                          int64_t num_cols, bool sort) {
  const SparseInput a_in(a_rowptr, a_col, a_edge_id, a_weight);
  const SparseInput b_in(b_rowptr, b_col, b_edge_id, b_weight);
  const ScalarType type = check_factors(a_in, a_weight, b_in, b_weight);
  const Tensor& like = a_in.weight.has_value() ? *a_in.weight : *b_in.weight;
  Tensor rowptr = empty({a_in.rows() + 1}, a_in.rowptr);
  Tensor col, value;
  dispatch_wide(like, a_in.col, [&](auto real, auto integer) {
    using A = decltype(real);
    using I = decltype(integer);
    const SparseValues<A, I> a_values(a_in, b_in.rows()), b_values(b_in, num_cols);
    const Sparse<A, I>&a = a_values.matrix(), &b = b_values.matrix();
    const std::vector<int64_t> before = terms_before(a, b.rowptr);
    dispatch_position(before.back(), [&](auto position) {
      using P = decltype(position);
      running_sum(count_rows<P>(a, b, before), write<I>(rowptr));
      const int64_t entries = read<I>(rowptr)[a.rows];
      col = empty({entries}, a_in.col);
      value = empty({entries}, like);
      add_rows<P>(a, b, before, sort, read<I>(rowptr), write<I>(col), write<A>(value));
    });
  });
  return {narrow_as(value, type), rowptr, col};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("spgemm", TORCH_BOX(&spgemm)); }

}  // namespace gnnkit
