#include "common/topology.h"
#include "cuda/row_reduction.h"
#include "cuda/sddmm.cuh"

namespace gnnkit {

namespace {

Tensor spmm(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& edge_id_in, const OptionalTensor&,
            const OptionalTensor&, const OptionalTensor&, const OptionalTensor& weight_in, const OptionalTensor&,
            const Tensor& x_in, bool mean) {
  check_topology(rowptr_in, col_in, edge_id_in, weight_in, x_in);
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), x = aligned(x_in);
  const OptionalTensor edge_id = dense(edge_id_in), weight = aligned(weight_in);
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
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), x = aligned(x_in);
  const OptionalTensor edge_id = dense(edge_id_in), weight = aligned(weight_in);
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

template <int V, typename T, typename I>
void launch_products(const SddmmArgs<T, I>& args, int64_t num_rows, int64_t num_edges, int64_t b_rows, int lanes,
                     Stream stream) {
  GNNKIT_LAUNCH((edge_products<T, I, V>), blocks_for_threads(num_edges), kBlock, 0, stream, args, num_rows, num_edges,
                b_rows, lanes);
}

Tensor sddmm(const Tensor& rowptr_in, const Tensor& col_in, const OptionalTensor& edge_id_in, const OptionalTensor&,
             const OptionalTensor&, const OptionalTensor&, const Tensor& a_in, const Tensor& b_in, bool per_head) {
  check_topology(rowptr_in, col_in, edge_id_in, std::nullopt, b_in);
  check_ends(rowptr_in, a_in, b_in, per_head);
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), a = aligned(a_in), b = aligned(b_in);
  const OptionalTensor edge_id = dense(edge_id_in);
  const int64_t num_edges = col.size(0);
  const int64_t num_rows = rowptr.size(0) - 1;
  const int64_t heads = per_head ? a.size(1) : 1;
  Tensor out = per_head ? empty({num_edges, heads}, a) : empty({num_edges}, a);
  if (out.numel() == 0) return out;
  STD_TORCH_CHECK(num_rows > 0, "there are edges, but no destination");
  const OnDevice device(a);
  dispatch(a, col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    const SddmmArgs<T, I> args = sddmm_arguments<T, I>(rowptr, col, edge_id, a, b, out);
    constexpr int kWide = 16 / sizeof(T);
    const int64_t head_width = args.width / heads;
    const bool wide = head_width % kWide == 0;
    const int64_t packs = wide ? head_width / kWide : head_width;
    int lanes = 1;
    while (lanes < kWarp && lanes < packs) lanes *= 2;
    if (wide) {
      launch_products<kWide>(args, num_rows, num_edges, b.size(0), lanes, device.stream());
    } else {
      launch_products<1>(args, num_rows, num_edges, b.size(0), lanes, device.stream());
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("spmm", TORCH_BOX(&spmm));
  library.impl("spmm_extremum", TORCH_BOX(&spmm_extremum));
  library.impl("sddmm", TORCH_BOX(&sddmm));
}

}  // namespace gnnkit
