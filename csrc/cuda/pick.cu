#include "cuda/pick.cuh"

#include "cuda/row_reduction.h"
#include "cuda/sort.h"

namespace gnnkit {

namespace {

// Elements are sorted by the place they go to, and places add theirs in ascending order: no atomics, so the same bits.
Tensor pick_scatter(const Tensor& src_in, const Tensor& index_in, int64_t dim_size) {
  STD_TORCH_CHECK(src_in.numel() == index_in.numel() && src_in.dim() >= 1, "src and index must have one shape");
  STD_TORCH_CHECK(dim_size >= 0, "dim_size must not be negative");
  const Tensor src = dense(src_in), index = dense(index_in);
  const int64_t width = row_width(src);
  Tensor out = empty(with_rows(src, dim_size), src);
  if (out.numel() == 0) return out;
  if (src.numel() == 0) return torch::stable::zero_(out);
  const OnDevice device(src);
  const Grouping made = group_positions(index, dim_size, width, true, device.stream());
  dispatch(src, made.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using P = decltype(integer);
    SpmmArgs<T, P> args{};
    args.rowptr = read<P>(made.ptr);
    args.col = read<P>(made.perm);
    args.x = read<T>(src);
    args.num_edges = src.numel();
    args.width = 1;
    sum_rows(args, write<T>(out), {out.numel(), src.numel(), true}, src, device.stream());
  });
  return out;
}

Tensor pick_gather(const Tensor& src_in, const Tensor& index_in) {
  STD_TORCH_CHECK(src_in.dim() >= 1 && index_in.dim() >= 1 && row_width(src_in) == row_width(index_in),
                  "src and index must have rows of one width");
  const Tensor src = dense(src_in), index = dense(index_in);
  Tensor out = empty(std::vector<int64_t>(index.sizes().begin(), index.sizes().end()), src);
  if (out.numel() == 0) return out;
  const OnDevice device(src);
  dispatch(src, index, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    GNNKIT_LAUNCH((pick_elements<T, I>), blocks_for_threads(out.numel()), kBlock, 0, device.stream(), read<T>(src),
                  read<I>(index), out.numel(), row_width(index), src.size(0), write<T>(out));
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("pick_scatter", TORCH_BOX(&pick_scatter));
  library.impl("pick_gather", TORCH_BOX(&pick_gather));
}

}  // namespace gnnkit
