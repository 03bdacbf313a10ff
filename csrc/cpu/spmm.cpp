#include "cpu/launch.h"

namespace gnnkit {

namespace {

int64_t heads_of(const OptionalTensor& weight) {
  if (!weight.has_value()) return 0;
  return weight->dim() == 2 ? weight->size(1) : 1;
}

// Everything that the sum and the extremum have in common.
template <typename T, typename I>
SpmmArgs<T, I> arguments(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                         const OptionalTensor& weight, const Tensor& x, const Tensor& out) {
  SpmmArgs<T, I> args{};
  args.rowptr = read<I>(rowptr);
  args.col = read<I>(col);
  args.edge_id = read<I>(edge_id);
  args.weight = read<T>(weight);
  args.x = read<T>(x);
  args.out = write<T>(out);
  args.num_edges = col.size(0);
  args.width = row_width(x);
  args.heads = heads_of(weight);
  return args;
}

void check_topology(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                    const OptionalTensor& weight, const Tensor& x) {
  STD_TORCH_CHECK(rowptr.dim() == 1 && rowptr.size(0) >= 1 && col.dim() == 1, "rowptr and col must be vectors");
  STD_TORCH_CHECK(rowptr.scalar_type() == col.scalar_type(), "rowptr and col must have one dtype");
  STD_TORCH_CHECK(x.dim() >= 1, "x must have at least one dimension");
  if (edge_id.has_value())
    STD_TORCH_CHECK(
        edge_id->dim() == 1 && edge_id->scalar_type() == col.scalar_type() && edge_id->size(0) == col.size(0),
        "edge_id must match col");
  if (!weight.has_value()) return;
  STD_TORCH_CHECK(weight->dim() == 1 || weight->dim() == 2, "weight must be [E] or [E, H]");
  STD_TORCH_CHECK(weight->scalar_type() == x.scalar_type() && weight->size(0) == col.size(0),
                  "weight must have one row per edge, of the dtype of x");
  STD_TORCH_CHECK(weight->dim() == 1 || (x.dim() >= 2 && x.size(1) == weight->size(1)),
                  "weight must fit the heads of x");
}

Tensor spmm(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& edge_id_in, const OptionalTensor&,
            const OptionalTensor&, const OptionalTensor&, const OptionalTensor& weight_in, const Tensor& x_in,
            bool mean) {
  check_topology(rowptr_in, col_in, edge_id_in, weight_in, x_in);
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), x = dense(x_in);
  const OptionalTensor edge_id = dense(edge_id_in), weight = dense(weight_in);
  const int64_t num_rows = rowptr.size(0) - 1;
  Tensor out = empty(with_rows(x, num_rows), x);
  if (out.numel() == 0) return out;
  dispatch(x, col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpmmArgs<T, I> args = arguments<T, I>(rowptr, col, edge_id, weight, x, out);
    args.mean = mean;
    const Adjacency<I> adjacency{args.rowptr,    num_rows, args.col, args.weight != nullptr ? args.edge_id : nullptr,
                                 args.num_edges, x.size(0)};
    parallel_over_adjacency(adjacency, args.width,
                            [&](int64_t begin, int64_t end) { GNNKIT_CALL(spmm_rows, args, begin, end); });
  });
  return out;
}

std::tuple<Tensor, Tensor> spmm_extremum(const Tensor& rowptr_in, const Tensor& col_in,
                                         const OptionalTensor& edge_id_in, const OptionalTensor& weight_in,
                                         const Tensor& x_in, bool largest) {
  check_topology(rowptr_in, col_in, edge_id_in, weight_in, x_in);
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), x = dense(x_in);
  const OptionalTensor edge_id = dense(edge_id_in), weight = dense(weight_in);
  const int64_t num_rows = rowptr.size(0) - 1;
  Tensor out = empty(with_rows(x, num_rows), x);
  Tensor arg = empty(with_rows(x, num_rows), col);
  if (out.numel() == 0) return {out, arg};
  dispatch(x, col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpmmArgs<T, I> args = arguments<T, I>(rowptr, col, edge_id, weight, x, out);
    args.arg = write<I>(arg);
    args.largest = largest;
    const Adjacency<I> adjacency{args.rowptr,    num_rows, args.col, args.weight != nullptr ? args.edge_id : nullptr,
                                 args.num_edges, x.size(0)};
    parallel_over_adjacency(adjacency, args.width,
                            [&](int64_t begin, int64_t end) { GNNKIT_CALL(spmm_extremum_rows, args, begin, end); });
  });
  return {out, arg};
}

Tensor sddmm(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& edge_id_in, const OptionalTensor&,
             const OptionalTensor&, const OptionalTensor&, const Tensor& a_in, const Tensor& b_in, bool per_head) {
  check_topology(rowptr_in, col_in, edge_id_in, std::nullopt, b_in);
  STD_TORCH_CHECK(a_in.scalar_type() == b_in.scalar_type() && row_width(a_in) == row_width(b_in),
                  "both ends must have rows of one width and dtype");
  STD_TORCH_CHECK(a_in.dim() == (per_head ? 3 : 2), "both ends must be [N, F], or [N, H, F] with heads");
  STD_TORCH_CHECK(a_in.size(0) == rowptr_in.size(0) - 1, "a_dst must have one row per destination");
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), a = dense(a_in), b = dense(b_in);
  const OptionalTensor edge_id = dense(edge_id_in);
  const int64_t num_edges = col.size(0);
  const int64_t heads = per_head ? a.size(1) : 1;
  Tensor out = per_head ? empty({num_edges, heads}, a) : empty({num_edges}, a);
  if (out.numel() == 0) return out;
  dispatch(a, col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SddmmArgs<T, I> args{};
    args.rowptr = read<I>(rowptr);
    args.col = read<I>(col);
    args.edge_id = read<I>(edge_id);
    args.a_dst = read<T>(a);
    args.b_src = read<T>(b);
    args.out = write<T>(out);
    args.width = row_width(a);
    args.heads = heads;
    const Adjacency<I> adjacency{args.rowptr, rowptr.size(0) - 1, args.col, args.edge_id, num_edges, b.size(0)};
    parallel_over_adjacency(adjacency, args.width,
                            [&](int64_t begin, int64_t end) { GNNKIT_CALL(sddmm_rows, args, begin, end); });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("spmm", TORCH_BOX(&spmm));
  library.impl("spmm_extremum", TORCH_BOX(&spmm_extremum));
  library.impl("sddmm", TORCH_BOX(&sddmm));
}

}  // namespace gnnkit
