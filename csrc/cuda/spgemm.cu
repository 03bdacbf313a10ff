#include "cuda/spgemm.cuh"

#include "common/topology.h"
#include "cuda/ordering.h"
#include "cuda/spgemm_backward.cuh"

namespace gnnkit {

namespace {

using device::Product;
using device::ProductSummary;
using device::SparseMatrix;
using device::SpgemmArgs;
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
  // Without weights.
  template <typename I>
  SparseMatrix<float, I> pattern() const {
    return {rows<I>(), read<I>(col), read<I>(edge_id), nullptr, num_cols};
  }
  template <typename I>
  device::Rows<I> rows() const {
    return {read<I>(rowptr), num_rows(), num_entries(), num_entries()};
  }
};

Matrix matrix(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, const OptionalTensor& weight,
              int64_t num_cols) {
  check_structure(rowptr, col, edge_id);
  STD_TORCH_CHECK(num_cols >= 0 && num_cols < int64_t{1} << 31, "a GPU multiplies matrices of fewer than 2^31 columns");
  if (weight.has_value()) STD_TORCH_CHECK(weight->dim() == 1 && weight->size(0) == col.size(0), "weight must be [E]");
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
  const Tensor count = longs(in.a.num_entries(), in.a.col);
  GNNKIT_LAUNCH((device::count_terms_kernel<I>), blocks_for_threads(in.a.num_entries()), kBlock, 0, stream,
                in.a.pattern<I>(), in.b.pattern<I>(), write<int64_t>(count));
  return boundaries_of(count, stream);
}

// How the rows of a product are spread over warps and blocks; the same for counting and filling.
struct Plan {
  ProductSummary summary;
  Tensor block_rows, global_rows;
};

template <Product product, typename T, typename I>
Plan plan_rows(const SpgemmArgs<T, I>& args, const Tensor& like, Stream stream) {
  const int64_t rows = args.a.rows.num_rows;
  Plan plan{{}, longs(rows, like), longs(rows, like)};
  const Tensor summary = zero_longs(sizeof(ProductSummary) / sizeof(int64_t), like);
  GNNKIT_LAUNCH((device::plan_product_kernel<product, T, I>), blocks_for_threads(rows), kBlock, 0, stream, args,
                write<ProductSummary>(summary), write<int64_t>(plan.block_rows), write<int64_t>(plan.global_rows));
  read_back(&plan.summary, read<ProductSummary>(summary), sizeof(ProductSummary), stream);
  STD_TORCH_CHECK(plan.summary.most_terms < device::kNoKey, "a row of the product has too many terms");
  return plan;
}

template <Product product, typename T, typename I>
void run_product(SpgemmArgs<T, I> args, const Plan& plan, const Tensor& like, Stream stream) {
  using Table = device::ColumnTable<Accumulate<T>>;
  constexpr int kThreads = device::kBlockWarps * kWarp;
  const auto bytes = [](int64_t slots) { return slots * Table::kSlotBytes; };
  args.table_slots = Table::slots_for(device::kWarpColumns);
  const int64_t blocks = (args.a.rows.num_rows + device::kBlockWarps - 1) / device::kBlockWarps;
  GNNKIT_LAUNCH((device::product_warp_kernel<product, T, I>), grid_of_blocks(blocks), kThreads,
                device::kBlockWarps * bytes(args.table_slots), stream, args);
  if (plan.summary.block_rows > 0) {
    args.row_list = read<int64_t>(plan.block_rows);
    args.num_listed = static_cast<int64_t>(plan.summary.block_rows);
    args.table_slots = Table::slots_for(device::kBlockColumns);
    GNNKIT_LAUNCH((device::product_block_kernel<product, T, I>), grid_of_blocks(args.num_listed), kThreads,
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
  GNNKIT_LAUNCH((device::product_block_kernel<product, T, I>), grid_of_blocks(tables), kThreads, 0, stream, args);
}

std::tuple<Tensor, Tensor, Tensor> spgemm(const Tensor& a_rowptr, const Tensor& a_col, const OptionalTensor& a_edge_id,
                                          const OptionalTensor& a_weight, const Tensor& b_rowptr, const Tensor& b_col,
                                          const OptionalTensor& b_edge_id, const OptionalTensor& b_weight,
                                          int64_t num_cols, bool sort) {
  STD_TORCH_CHECK(a_weight.has_value() || b_weight.has_value(), "one of the two weights must be given");
  const OnDevice device(a_col);
  const Stream stream = device.stream();
  const Factors in = factors(a_rowptr, a_col, a_edge_id, a_weight, b_rowptr, b_col, b_edge_id, b_weight, num_cols);
  const int64_t num_rows = in.a.num_rows();
  Tensor values = empty({0}, in.like()), rowptr = empty({num_rows + 1}, in.a.col), col = empty({0}, in.a.col);
  dispatch(in.like(), in.a.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    if (num_rows == 0 || in.a.num_entries() == 0) {
      torch::stable::zero_(rowptr);
      return;
    }
    const Tensor first = first_terms<I>(in, stream);
    SpgemmArgs<float, I> counting{};
    counting.a = in.a.template pattern<I>();
    counting.b = in.b.template pattern<I>();
    counting.first_term = read<int64_t>(first);
    const Tensor counts = zero_longs(num_rows, in.a.col);
    counting.counts = write<unsigned long long>(counts);
    const Plan plan = plan_rows<Product::kCount>(counting, in.a.col, stream);
    run_product<Product::kCount>(counting, plan, in.a.col, stream);
    const Structure structure = structure_of(counts, in.a.col, stream);
    rowptr = structure.rowptr;
    col = empty({structure.entries}, in.a.col);
    values = empty({structure.entries}, in.like());
    if (structure.entries == 0) return;
    SpgemmArgs<T, I> filling{};
    filling.a = in.a.template view<T, I>();
    filling.b = in.b.template view<T, I>();
    filling.first_term = counting.first_term;
    filling.out_rowptr = read<I>(rowptr);
    filling.out_col = write<I>(col);
    filling.out = write<T>(values);
    run_product<Product::kFill>(filling, plan, in.a.col, stream);
    if (!sort) return;
    const Tensor order =
        order_within_rows<I>({read<I>(rowptr), num_rows, structure.entries, structure.entries}, col, num_cols, stream);
    col = gathered<I, I>(col, order, stream);
    values = gathered<T, I>(values, order, stream);
  });
  return {values, rowptr, col};
}

Tensor masked_spgemm(const Tensor& a_rowptr, const Tensor& a_col, const OptionalTensor& a_edge_id,
                     const OptionalTensor& a_weight, const Tensor& b_rowptr, const Tensor& b_col,
                     const OptionalTensor& b_edge_id, const OptionalTensor& b_weight, const Tensor& mask_rowptr,
                     const Tensor& mask_col, const OptionalTensor& mask_edge_id, int64_t num_cols) {
  STD_TORCH_CHECK(a_weight.has_value() || b_weight.has_value(), "one of the two weights must be given");
  const OnDevice device(a_col);
  const Stream stream = device.stream();
  const Factors in = factors(a_rowptr, a_col, a_edge_id, a_weight, b_rowptr, b_col, b_edge_id, b_weight, num_cols);
  const Matrix mask = matrix(mask_rowptr, mask_col, mask_edge_id, std::nullopt, num_cols);
  STD_TORCH_CHECK(mask.num_rows() == in.a.num_rows() && mask.col.scalar_type() == in.a.col.scalar_type(),
                  "the mask must have the rows and the index dtype of a");
  Tensor out = empty({mask.num_entries()}, in.like());
  if (out.numel() == 0) return out;
  if (in.a.num_entries() == 0) {
    torch::stable::zero_(out);
    return out;
  }
  dispatch(in.like(), in.a.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    const Tensor first = first_terms<I>(in, stream);
    SpgemmArgs<T, I> args{};
    args.a = in.a.template view<T, I>();
    args.b = in.b.template view<T, I>();
    args.mask = mask.template view<T, I>();
    args.first_term = read<int64_t>(first);
    args.out = write<T>(out);
    run_product<Product::kMasked>(args, plan_rows<Product::kMasked>(args, in.a.col, stream), in.a.col, stream);
  });
  return out;
}

// Lanes for one inner product: about as many as it has terms on average, from shapes alone.
int lanes_for(int64_t terms, int64_t products) {
  int lanes = 4;
  while (lanes < kWarp && lanes * products < terms) lanes *= 2;
  return lanes;
}

std::tuple<Tensor, Tensor> spgemm_backward(const Tensor& a_rowptr, const Tensor& a_col, const OptionalTensor& a_edge_id,
                                           const OptionalTensor& a_weight, const Tensor& b_rowptr, const Tensor& b_col,
                                           const OptionalTensor& b_edge_id, const OptionalTensor& b_weight,
                                           const Tensor& rowptr_in, const Tensor& col_in, const Tensor& grad_in,
                                           int64_t num_cols, bool to_a, bool to_b) {
  const OnDevice device(a_col);
  const Stream stream = device.stream();
  const Factors in = factors(a_rowptr, a_col, a_edge_id, a_weight, b_rowptr, b_col, b_edge_id, b_weight, num_cols);
  const Matrix product = matrix(rowptr_in, col_in, std::nullopt, grad_in, num_cols);
  const Tensor& grad = *product.weight;
  STD_TORCH_CHECK(product.num_rows() == in.a.num_rows() && product.col.scalar_type() == in.a.col.scalar_type(),
                  "the product must have the rows and the index dtype of a");
  for (const OptionalTensor* weight : {&in.a.weight, &in.b.weight})
    STD_TORCH_CHECK(!weight->has_value() || (*weight)->scalar_type() == grad.scalar_type(),
                    "the weights and the gradient must have one dtype");
  Tensor grad_a = empty({to_a ? in.a.num_entries() : 0}, grad);
  Tensor grad_b = empty({to_b ? in.b.num_entries() : 0}, grad);
  if (in.a.num_entries() == 0 || in.b.num_entries() == 0 || product.num_entries() == 0) {
    torch::stable::zero_(grad_a);
    torch::stable::zero_(grad_b);
    return {grad_a, grad_b};
  }
  dispatch(grad, in.a.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpgemmBackwardArgs<T, I> args{};
    args.a = in.a.template view<T, I>();
    args.b = in.b.template view<T, I>();
    args.product = product.template rows<I>();
    const Tensor order = order_within_rows<I>(args.product, product.col, num_cols, stream);
    const Tensor sorted = gathered<I, I>(product.col, order, stream);
    const Tensor row = rows_of_entries<I>(args.a.rows, in.a.col, stream);
    args.product_col = read<I>(sorted);
    args.product_entry = read<I>(order);
    args.grad = read<T>(grad);
    args.a_row = read<I>(row);
    if (to_a) {
      args.grad_a = write<T>(grad_a);
      args.group_lanes = lanes_for(in.b.num_entries(), in.b.num_rows());
      GNNKIT_LAUNCH((device::spgemm_grad_a_kernel<T, I>), blocks_for_threads(in.a.num_entries() * args.group_lanes),
                    kBlock, 0, stream, args);
    }
    if (to_b) {
      const ByColumn turned = order_by_column(in.a.col, in.a.num_cols, stream);
      args.turned_ptr = read<I>(turned.ptr);
      args.turned_entry = read<I>(turned.order);
      args.grad_b = write<T>(grad_b);
      args.group_lanes = lanes_for(in.a.num_entries(), in.a.num_cols);
      GNNKIT_LAUNCH((device::spgemm_grad_b_kernel<T, I>), blocks_for_threads(in.b.num_entries() * args.group_lanes),
                    kBlock, 0, stream, args);
    }
  });
  return {grad_a, grad_b};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("spgemm", TORCH_BOX(&spgemm));
  library.impl("spgemm_backward", TORCH_BOX(&spgemm_backward));
  library.impl("masked_spgemm", TORCH_BOX(&masked_spgemm));
}

}  // namespace gnnkit
