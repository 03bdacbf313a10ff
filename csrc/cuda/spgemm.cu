#include "cuda/spgemm.cuh"

#include "cuda/device_algorithms.h"
#include "cuda/launch.h"
#include "cuda/spgemm_backward.cuh"

namespace gnnkit {

namespace {

using device::Product;
using device::ProductArgs;
using device::ProductSummary;
using device::SparseMatrix;
using device::SpgemmBackwardArgs;

// Memory for tables of rows with many columns: blocks are added as long as they fit.
constexpr int64_t kTableBytes = int64_t{256} << 20;
constexpr int64_t kMostTables = 1024;

// One matrix as the operators get it, contiguous and checked.
struct Matrix {
  Tensor rowptr, col;
  OptionalTensor edge_id, weight;
  int64_t num_cols;

  int64_t num_rows() const { return rowptr.size(0) - 1; }
  int64_t num_entries() const { return col.size(0); }

  template <typename T, typename I>
  SparseMatrix<T, I> view() const {
    return {rows<I>(), read<I>(col), read<I>(edge_id), read<T>(weight), num_cols};
  }
  template <typename I>
  device::Rows<I> rows() const {
    return {read<I>(rowptr), num_rows(), num_entries(), num_entries()};
  }
};

Matrix matrix(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, const OptionalTensor& weight,
              int64_t num_cols) {
  STD_TORCH_CHECK(rowptr.dim() == 1 && rowptr.size(0) >= 1 && col.dim() == 1, "rowptr and col must be vectors");
  STD_TORCH_CHECK(rowptr.scalar_type() == col.scalar_type(), "rowptr and col must have one dtype");
  STD_TORCH_CHECK(num_cols >= 0 && num_cols < int64_t{1} << 31, "a matrix of too many columns for this device");
  if (edge_id.has_value())
    STD_TORCH_CHECK(edge_id->scalar_type() == col.scalar_type() && edge_id->numel() == col.size(0),
                    "edge_id must match col");
  if (weight.has_value())
    STD_TORCH_CHECK(weight->dim() == 1 && weight->size(0) == col.size(0), "weight must be [E]");
  return {dense(rowptr), dense(col), dense(edge_id), dense(weight), num_cols};
}

struct Factors {
  Matrix a, b;
  // The dtype of the values.
  const Tensor& like() const { return a.weight.has_value() ? *a.weight : *b.weight; }
};

Factors factors(const Tensor& a_rowptr, const Tensor& a_col, const OptionalTensor& a_edge_id,
                const OptionalTensor& a_weight, const Tensor& b_rowptr, const Tensor& b_col,
                const OptionalTensor& b_edge_id, const OptionalTensor& b_weight, int64_t num_cols) {
  STD_TORCH_CHECK(a_col.scalar_type() == b_col.scalar_type(), "both factors must have indices of one dtype");
  if (a_weight.has_value() && b_weight.has_value())
    STD_TORCH_CHECK(a_weight->scalar_type() == b_weight->scalar_type(), "both weights must have one dtype");
  return {matrix(a_rowptr, a_col, a_edge_id, a_weight, b_rowptr.size(0) - 1),
          matrix(b_rowptr, b_col, b_edge_id, b_weight, num_cols)};
}

// [entries of a + 1]: number of the first term of each entry.
template <typename I>
Tensor first_terms(const Factors& in, Stream stream) {
  const int64_t entries = in.a.num_entries();
  Tensor first = torch::stable::new_empty(in.a.col, {entries + 1}, ScalarType::Long);
  Tensor count = torch::stable::new_empty(in.a.col, {entries}, ScalarType::Long);
  const Factors bare{{in.a.rowptr, in.a.col, {}, {}, in.a.num_cols}, {in.b.rowptr, in.b.col, {}, {}, in.b.num_cols}};
  GNNKIT_LAUNCH((device::count_terms_kernel<I>), blocks_for_threads(entries), kBlock, 0, stream,
                bare.a.view<float, I>(), bare.b.view<float, I>(), write<int64_t>(count));
  boundaries(read<int64_t>(count), write<int64_t>(first), entries, in.a.col, stream);
  return first;
}

// How the rows of a product are spread over warps and blocks; the same for counting and filling.
struct Plan {
  ProductSummary summary;
  Tensor block_rows, global_rows;  // int64
};

template <Product product, typename T, typename I>
Plan plan_rows(const ProductArgs<T, I>& args, const Tensor& like, Stream stream) {
  const int64_t rows = args.a.rows.num_rows;
  Plan plan{{}, scratch(rows * 8, like), scratch(rows * 8, like)};
  Tensor summary = torch::stable::new_empty(like, {4}, ScalarType::Long);
  torch::stable::zero_(summary);
  GNNKIT_LAUNCH((device::plan_product_kernel<product, T, I>), blocks_for_threads(rows), kBlock, 0, stream, args,
                write<ProductSummary>(summary), write<int64_t>(plan.block_rows), write<int64_t>(plan.global_rows));
  read_back(&plan.summary, read<ProductSummary>(summary), 1, stream);
  STD_TORCH_CHECK(plan.summary.most_terms < device::kNoKey, "a row of the product has too many terms");
  return plan;
}

template <Product product, typename T, typename I>
void run_product(ProductArgs<T, I> args, const Plan& plan, const Tensor& like, Stream stream) {
  using Table = device::ColumnTable<Accumulate<T>>;
  constexpr int kThreads = device::kBlockWarps * kWarp;
  const auto bytes = [](int64_t slots) { return slots * Table::kSlotBytes; };
  args.table_slots = Table::slots_for(device::kWarpColumns);
  const int64_t blocks = (args.a.rows.num_rows + device::kBlockWarps - 1) / device::kBlockWarps;
  GNNKIT_LAUNCH((device::product_warp_kernel<product, T, I>), grid_of(blocks), kThreads,
                device::kBlockWarps * bytes(args.table_slots), stream, args);
  if (plan.summary.block_rows > 0) {
    args.row_list = read<int64_t>(plan.block_rows);
    args.num_listed = static_cast<int64_t>(plan.summary.block_rows);
    args.table_slots = Table::slots_for(device::kBlockColumns);
    GNNKIT_LAUNCH((device::product_block_kernel<product, T, I>), grid_of(args.num_listed), kThreads,
                  bytes(args.table_slots), stream, args);
  }
  if (plan.summary.global_rows == 0) return;
  args.row_list = read<int64_t>(plan.global_rows);
  args.num_listed = static_cast<int64_t>(plan.summary.global_rows);
  args.table_slots = Table::slots_for(static_cast<int64_t>(plan.summary.most_columns));
  const int64_t fitting = std::clamp<int64_t>(kTableBytes / bytes(args.table_slots), 1, kMostTables);
  const int64_t tables = std::min(args.num_listed, fitting);
  const Tensor memory = scratch(tables * bytes(args.table_slots), like);
  args.tables = write<unsigned char>(memory);
  GNNKIT_LAUNCH((device::product_block_kernel<product, T, I>), grid_of(tables), kThreads, 0, stream, args);
}

// Boundaries of the rows of a product, and the number of its entries.
struct Structure {
  Tensor rowptr;
  int64_t entries;
};

template <typename I>
Structure structure_of(const Tensor& counts, const Tensor& like, Stream stream) {
  const int64_t rows = counts.size(0);
  const Tensor wide = torch::stable::new_empty(like, {rows + 1}, ScalarType::Long);
  boundaries(read<int64_t>(counts), write<int64_t>(wide), rows, like, stream);
  Structure structure{torch::stable::new_empty(like, {rows + 1}), 0};
  read_back(&structure.entries, read<int64_t>(wide) + rows, 1, stream);
  STD_TORCH_CHECK(structure.entries <= std::numeric_limits<I>::max(), "the result has ", structure.entries,
                  " entries, more than its index dtype can count: take int64 indices");
  GNNKIT_LAUNCH((device::convert_kernel<I>), blocks_for_threads(rows + 1), kBlock, 0, stream, read<int64_t>(wide),
                rows + 1, write<I>(structure.rowptr));
  return structure;
}
}  // namespace
}  // namespace gnnkit
