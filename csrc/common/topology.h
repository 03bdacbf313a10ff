// Arguments of the operators over a graph: what every backend checks before it reads them, shapes and dtypes.
#pragma once

#include "common/arguments.h"
#include "common/dispatch.h"

namespace gnnkit {

inline int64_t heads_of(const OptionalTensor& weight) {
  if (!weight.has_value()) return 0;
  return weight->dim() == 2 ? weight->size(1) : 1;
}

// Everything that the sum and the extremum have in common.
template <typename T, typename I>
SpmmArgs<T, I> spmm_arguments(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
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

// Whether two or three tensors can be the CSR structure of a graph, by shapes and dtypes.
inline void check_structure(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id) {
  STD_TORCH_CHECK(rowptr.dim() == 1 && rowptr.size(0) >= 1 && col.dim() == 1, "rowptr and col must be vectors");
  STD_TORCH_CHECK(rowptr.scalar_type() == col.scalar_type(), "rowptr and col must have one dtype");
  if (edge_id.has_value())
    STD_TORCH_CHECK(
        edge_id->dim() == 1 && edge_id->scalar_type() == col.scalar_type() && edge_id->size(0) == col.size(0),
        "edge_id must match col");
}

inline void check_topology(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                           const OptionalTensor& weight, const Tensor& x) {
  check_structure(rowptr, col, edge_id);
  STD_TORCH_CHECK(x.dim() >= 1, "x must have at least one dimension");
  if (!weight.has_value()) return;
  STD_TORCH_CHECK(weight->dim() == 1 || weight->dim() == 2, "weight must be [E] or [E, H]");
  STD_TORCH_CHECK(weight->scalar_type() == x.scalar_type() && weight->size(0) == col.size(0),
                  "weight must have one row per edge, of the dtype of x");
  STD_TORCH_CHECK(weight->dim() == 1 || (x.dim() >= 2 && x.size(1) == weight->size(1)),
                  "weight must fit the heads of x");
}

inline void check_ends(const Tensor& rowptr, const Tensor& a_dst, const Tensor& b_src, bool per_head) {
  STD_TORCH_CHECK(a_dst.scalar_type() == b_src.scalar_type() && row_width(a_dst) == row_width(b_src),
                  "both ends must have rows of one width and dtype");
  STD_TORCH_CHECK(a_dst.dim() == (per_head ? 3 : 2), "both ends must be [N, F], or [N, H, F] with heads");
  STD_TORCH_CHECK(a_dst.size(0) == rowptr.size(0) - 1, "a_dst must have one row per destination");
}

template <typename T, typename I>
SddmmArgs<T, I> sddmm_arguments(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                                const Tensor& a_dst, const Tensor& b_src, const Tensor& out) {
  SddmmArgs<T, I> args{};
  args.rowptr = read<I>(rowptr);
  args.col = read<I>(col);
  args.edge_id = read<I>(edge_id);
  args.a_dst = read<T>(a_dst);
  args.b_src = read<T>(b_src);
  args.out = write<T>(out);
  args.width = row_width(a_dst);
  args.heads = out.dim() == 2 ? out.size(1) : 1;
  return args;
}

}  // namespace gnnkit
