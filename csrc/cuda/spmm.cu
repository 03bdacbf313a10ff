#include "common/topology.h"
#include "cuda/row_reduction.h"

namespace gnnkit {

namespace {

Tensor spmm(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& edge_id_in, const OptionalTensor&,
            const OptionalTensor&, const OptionalTensor&, const OptionalTensor& weight_in, const Tensor& x_in,
            bool mean) {
  check_topology(rowptr_in, col_in, edge_id_in, weight_in, x_in);
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), x = dense(x_in);
  const OptionalTensor edge_id = dense(edge_id_in), weight = dense(weight_in);
  const RowCounts counts{rowptr.size(0) - 1, x.size(0)};
  Tensor out = empty(with_rows(x, counts.rows), x);
  if (out.numel() == 0) return out;
  const OnDevice device(x);
  dispatch(x, col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpmmArgs<T, I> args = spmm_arguments<T, I>(rowptr, col, edge_id, weight, x, out);
    args.mean = mean;
    sum_rows(args, args.out, counts, x, device.stream());
  });
  return out;
}

std::tuple<Tensor, Tensor> spmm_extremum(const Tensor& rowptr_in, const Tensor& col_in,
                                         const OptionalTensor& edge_id_in, const OptionalTensor& weight_in,
                                         const Tensor& x_in, bool largest) {
  check_topology(rowptr_in, col_in, edge_id_in, weight_in, x_in);
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), x = dense(x_in);
  const OptionalTensor edge_id = dense(edge_id_in), weight = dense(weight_in);
  const RowCounts counts{rowptr.size(0) - 1, x.size(0)};
  Tensor out = empty(with_rows(x, counts.rows), x);
  Tensor arg = empty(with_rows(x, counts.rows), col);
  if (out.numel() == 0) return {out, arg};
  const OnDevice device(x);
  dispatch(x, col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpmmArgs<T, I> args = spmm_arguments<T, I>(rowptr, col, edge_id, weight, x, out);
    args.arg = write<I>(arg);
    args.largest = largest;
    extremum_of_rows(args, counts, x, device.stream());
  });
  return {out, arg};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("spmm", TORCH_BOX(&spmm));
  library.impl("spmm_extremum", TORCH_BOX(&spmm_extremum));
}

}  // namespace gnnkit
