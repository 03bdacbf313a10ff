#include "common/topology.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

Tensor spmm(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& edge_id_in, const OptionalTensor&,
            const OptionalTensor&, const OptionalTensor&, const OptionalTensor& weight_in, const OptionalTensor&,
            const Tensor& x_in, bool mean) {
  check_topology(rowptr_in, col_in, edge_id_in, weight_in, x_in);
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), x = dense(x_in);
  const OptionalTensor edge_id = dense(edge_id_in), weight = dense(weight_in);
  const int64_t num_rows = rowptr.size(0) - 1;
  Tensor out = empty(with_rows(x, num_rows), x);
  if (out.numel() == 0) return out;
  dispatch(x, col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpmmArgs<T, I> args = spmm_arguments<T, I>(rowptr, col, edge_id, weight, x, out);
    args.mean = mean;
    parallel_over_graph(rowptr, col, weight.has_value() ? edge_id : std::nullopt, x.size(0), args.width,
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
    SpmmArgs<T, I> args = spmm_arguments<T, I>(rowptr, col, edge_id, weight, x, out);
    args.arg = write<I>(arg);
    args.largest = largest;
    parallel_over_graph(rowptr, col, weight.has_value() ? edge_id : std::nullopt, x.size(0), args.width,
                        [&](int64_t begin, int64_t end) { GNNKIT_CALL(spmm_extremum_rows, args, begin, end); });
  });
  return {out, arg};
}

Tensor sddmm(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& edge_id_in, const OptionalTensor&,
             const OptionalTensor&, const OptionalTensor&, const Tensor& a_in, const Tensor& b_in, bool per_head) {
  check_topology(rowptr_in, col_in, edge_id_in, std::nullopt, b_in);
  check_ends(rowptr_in, a_in, b_in, per_head);
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), a = dense(a_in), b = dense(b_in);
  const OptionalTensor edge_id = dense(edge_id_in);
  const int64_t num_edges = col.size(0);
  const int64_t heads = per_head ? a.size(1) : 1;
  Tensor out = per_head ? empty({num_edges, heads}, a) : empty({num_edges}, a);
  if (out.numel() == 0) return out;
  dispatch(a, col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    const SddmmArgs<T, I> args = sddmm_arguments<T, I>(rowptr, col, edge_id, a, b, out);
    parallel_over_graph(rowptr, col, edge_id, b.size(0), args.width,
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
