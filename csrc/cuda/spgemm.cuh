// Sparse times sparse, row by row (Gustavson): the terms of a row are numbered in the order of the CPU, a hash table
// holds its columns, and a team of threads goes through the terms. The numbering makes the work of a team even, however
// the lengths of the rows of the right factor differ.
#pragma once

#include "cuda/pieces.cuh"
#include "cuda/spgemm_table.cuh"

namespace gnnkit::device {

// Columns of a row that a warp's, and a block's, table in shared memory has room for; more go to global memory.
constexpr int64_t kWarpColumns = 128;
constexpr int64_t kBlockColumns = 1024;
constexpr int kBlockWarps = 8;

template <typename T, typename I>
struct SparseMatrix {
  Rows<I> rows;
  const I* col;
  const I* edge_id;  // row of `weight` at each position; null: the position itself
  const T* weight;   // null: ones
  int64_t num_cols;

  __device__ unsigned column(int64_t position) const {
    const int64_t column = col[position];
    GNNKIT_DEVICE_CHECK(column >= 0 && column < num_cols);
    return static_cast<unsigned>(column);
  }
  __device__ int64_t edge(int64_t position) const {
    const int64_t edge = edge_id != nullptr ? static_cast<int64_t>(edge_id[position]) : position;
    GNNKIT_DEVICE_CHECK(edge >= 0 && edge < rows.num_entries);
    return edge;
  }
  __device__ Accumulate<T> value(int64_t position) const {
    return weight != nullptr ? widen(weight[edge(position)]) : Accumulate<T>(1);
  }
};

// Terms that each entry of the left factor has.
template <typename I>
__global__ void count_terms_kernel(SparseMatrix<float, I> a, SparseMatrix<float, I> b, int64_t* count) {
  const int64_t position = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (position < a.rows.num_entries) count[position] = b.rows.row(a.column(position)).length();
}

// What the host must know before it can allocate tables. Counts are exact, so the order of atomics does not matter.
struct ProductSummary {
  unsigned long long block_rows;
  unsigned long long global_rows;
  unsigned long long most_columns;  // of a row in global memory, at most
  unsigned long long most_terms;
};

enum class Product {
  kCount,   // distinct columns of each row
  kFill,    // columns and values
  kMasked,  // values at the entries of a mask
};

template <typename T, typename I>
struct SpgemmArgs {
  SparseMatrix<T, I> a;
  SparseMatrix<T, I> b;
  SparseMatrix<T, I> mask;     // Product::kMasked only
  const int64_t* first_term;   // [entries of a + 1]
  unsigned long long* counts;  // Product::kCount: [rows], zero at first
  const I* out_rowptr;         // Product::kFill
  I* out_col;                  // Product::kFill
  T* out;
  const int64_t* row_list;  // rows for blocks
  int64_t num_listed;
  unsigned char* tables;  // in global memory, one for each block; null: in shared memory
  int64_t table_slots;    // of each

  __device__ int64_t num_terms(const Span& row) const { return first_term[row.end] - first_term[row.begin]; }

  // At most so many distinct columns.
  template <Product product>
  __device__ int64_t columns(const Span& row) const {
    const int64_t entries = product == Product::kMasked ? mask.rows.row(row.row).length() : num_terms(row);
    return entries < b.num_cols ? entries : b.num_cols;
  }
};

// Sorts rows into those for blocks with a table in shared memory, and in global memory; the others are for warps.
template <Product product, typename T, typename I>
__global__ void plan_product_kernel(SpgemmArgs<T, I> args, ProductSummary* summary, int64_t* block_rows,
                                    int64_t* global_rows) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= args.a.rows.num_rows) return;
  const Span row = args.a.rows.row(index);
  const int64_t columns = args.template columns<product>(row);
  atomicMax(&summary->most_terms, static_cast<unsigned long long>(args.num_terms(row)));
  if (columns <= kWarpColumns) return;
  if (columns <= kBlockColumns) {
    block_rows[atomicAdd(&summary->block_rows, 1ull)] = index;
  } else {
    global_rows[atomicAdd(&summary->global_rows, 1ull)] = index;
    atomicMax(&summary->most_columns, static_cast<unsigned long long>(columns));
  }
}

struct Term {
  int64_t a_position;
  int64_t b_position;
};

template <typename T, typename I>
__device__ Term find_term(const SpgemmArgs<T, I>& args, const Span& row, int64_t number) {
  const int64_t wanted = args.first_term[row.begin] + number;
  int64_t low = row.begin;
  int64_t high = row.end;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (args.first_term[middle] <= wanted) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return {low, args.b.rows.row(args.a.column(low)).begin + wanted - args.first_term[low]};
}

template <int kWarps, typename T, typename I>
__device__ void count_row(const SpgemmArgs<T, I>& args, const RowTeam<kWarps>& team,
                          const ColumnTable<Accumulate<T>>& table, const Span& row) {
  unsigned long long fresh = 0;
  for (int64_t number = team.thread(); number < args.num_terms(row); number += team.kThreads)
    fresh += table.insert(args.b.column(find_term(args, row, number).b_position)).fresh ? 1 : 0;
  for (int distance = kWarp / 2; distance > 0; distance /= 2) fresh += __shfl_xor_sync(kAllLanes, fresh, distance);
  if (team.lane() == 0 && fresh > 0) atomicAdd(args.counts + row.row, fresh);
}

// `counts` is shared: one for each warp.
template <int kWarps, typename T, typename I>
__device__ void fill_row(const SpgemmArgs<T, I>& args, const RowTeam<kWarps>& team,
                         const ColumnTable<Accumulate<T>>& table, const Span& row, unsigned* counts) {
  using A = Accumulate<T>;
  const int64_t num_terms = args.num_terms(row);
  for (int64_t number = team.thread(); number < num_terms; number += team.kThreads) {
    const unsigned slot = table.insert(args.b.column(find_term(args, row, number).b_position)).slot;
    atomicMin(table.order + slot, static_cast<unsigned>(number));
  }
  team.sync();
  const int64_t first = args.out_rowptr[row.row];
  unsigned placed = 0;
  for (int64_t base = 0; base < num_terms; base += team.kThreads) {
    const int64_t number = base + team.thread();
    unsigned slot = kNoKey;
    A term = 0;
    bool fresh = false;
    if (number < num_terms) {
      const Term at = find_term(args, row, number);
      slot = table.find(args.b.column(at.b_position));
      term = args.a.value(at.a_position) * args.b.value(at.b_position);
      // Once a column has its place, which is less than the number of any later term, no other term looks like its
      // first.
      fresh = table.order[slot] == static_cast<unsigned>(number);
    }
    const typename RowTeam<kWarps>::Place place = team.place(fresh, counts);
    if (fresh) {
      table.order[slot] = placed + place.before;
      args.out_col[first + placed + place.before] = static_cast<I>(table.key[slot]);
    }
    placed += place.total;
    table.add_in_order(team, slot, term);
  }
  for (int64_t slot = team.thread(); slot <= table.mask; slot += team.kThreads) {
    if (table.key[slot] != kNoKey) args.out[first + table.order[slot]] = narrow<T>(table.value[slot]);
  }
}

template <int kWarps, typename T, typename I>
__device__ void fill_mask(const SpgemmArgs<T, I>& args, const RowTeam<kWarps>& team,
                          const ColumnTable<Accumulate<T>>& table, const Span& row) {
  using A = Accumulate<T>;
  const Span entries = args.mask.rows.row(row.row);
  for (int64_t entry = entries.begin + team.thread(); entry < entries.end; entry += team.kThreads)
    table.insert(args.mask.column(entry));
  team.sync();
  const int64_t num_terms = args.num_terms(row);
  for (int64_t base = 0; base < num_terms; base += team.kThreads) {
    const int64_t number = base + team.thread();
    unsigned slot = kNoKey;
    A term = 0;
    if (number < num_terms) {
      const Term at = find_term(args, row, number);
      slot = table.find(args.b.column(at.b_position));
      if (slot != kNoKey) term = args.a.value(at.a_position) * args.b.value(at.b_position);
    }
    table.add_in_order(team, slot, term);
  }
  for (int64_t entry = entries.begin + team.thread(); entry < entries.end; entry += team.kThreads)
    args.out[args.mask.edge(entry)] = narrow<T>(table.value[table.find(args.mask.column(entry))]);
}

template <int kWarps, Product product, typename T, typename I>
__device__ void do_row(const SpgemmArgs<T, I>& args, const RowTeam<kWarps>& team, unsigned char* memory,
                       unsigned* counts, const Span& row) {
  using Table = ColumnTable<Accumulate<T>>;
  const Table table(memory, Table::slots_for(args.template columns<product>(row)));
  table.clear(team);
  if constexpr (product == Product::kCount) count_row(args, team, table, row);
  if constexpr (product == Product::kFill) fill_row(args, team, table, row, counts);
  if constexpr (product == Product::kMasked) fill_mask(args, team, table, row);
  team.sync();
}

// One warp per row, for those with few columns.
template <Product product, typename T, typename I>
__global__ void __launch_bounds__(kBlockWarps* kWarp) product_warp_kernel(SpgemmArgs<T, I> args) {
  GNNKIT_DYNAMIC_SHARED(unsigned char, memory);
  const RowTeam<1> team;
  const int64_t warp = threadIdx.x / kWarp;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kBlockWarps + warp;
  if (index >= args.a.rows.num_rows) return;
  const Span row = args.a.rows.row(index);
  const int64_t columns = args.template columns<product>(row);
  if (columns == 0 || columns > kWarpColumns) return;
  do_row<1, product>(args, team, memory + warp * args.table_slots * ColumnTable<Accumulate<T>>::kSlotBytes, nullptr,
                     row);
}

// One block per row of a list.
template <Product product, typename T, typename I>
__global__ void __launch_bounds__(kBlockWarps* kWarp) product_block_kernel(SpgemmArgs<T, I> args) {
  GNNKIT_DYNAMIC_SHARED(unsigned char, shared_memory);
  GNNKIT_SHARED(unsigned, counts, kBlockWarps);
  const RowTeam<kBlockWarps> team;
  unsigned char* memory = shared_memory;
  if (args.tables != nullptr)
    memory = args.tables + blockIdx.x * args.table_slots * ColumnTable<Accumulate<T>>::kSlotBytes;
  for (int64_t index = blockIdx.x; index < args.num_listed; index += gridDim.x)
    do_row<kBlockWarps, product>(args, team, memory, counts, args.a.rows.row(args.row_list[index]));
}

}  // namespace gnnkit::device
