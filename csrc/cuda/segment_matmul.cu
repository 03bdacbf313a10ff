#include "cuda/segment_matmul.cuh"

#include "cuda/ordering.h"

namespace gnnkit {

namespace {

using device::kTileThreads;
using device::SegmentMatmulArgs;
using device::SegmentOuterArgs;

// A segment of fewer rows is summed by one block per tile.
constexpr int64_t kShortSegment = 1024;
// Blocks that keep a device busy: beyond, cutting segments only costs memory.
constexpr int64_t kEnoughBlocks = 1024;

Tensor segment_matmul(const Tensor& x_in, const Tensor& ptr_in, const Tensor& weight) {
  STD_TORCH_CHECK(x_in.dim() == 2 && weight.dim() == 3 && weight.size(1) == x_in.size(1),
                  "x must be [E, K] and weight [R, K, N]");
  STD_TORCH_CHECK(x_in.scalar_type() == weight.scalar_type(), "x and weight must have one dtype");
  STD_TORCH_CHECK(ptr_in.dim() == 1 && ptr_in.size(0) == weight.size(0) + 1, "ptr must hold one boundary per matrix");
  const OnDevice device(x_in);
  const Tensor x = dense(x_in), ptr = dense(ptr_in);
  Tensor out = empty({x.size(0), weight.size(2)}, x);
  if (out.numel() == 0) return out;
  STD_TORCH_CHECK(weight.size(0) > 0, "rows without a segment");
  dispatch(x, ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SegmentMatmulArgs<T, I> args{};
    args.ptr = read<I>(ptr);
    args.x = read<T>(x);
    args.weight = read<T>(weight);
    args.out = write<T>(out);
    args.num_segments = weight.size(0);
    args.num_rows = x.size(0);
    args.inner = x.size(1);
    args.outer = weight.size(2);
    args.segment_stride = weight.stride(0);
    args.inner_stride = weight.stride(1);
    args.outer_stride = weight.stride(2);
    GNNKIT_LAUNCH((device::check_segments_kernel<I>), blocks_for_threads(args.num_segments), kBlock, 0, device.stream(),
                  args.ptr, args.num_segments, args.num_rows);
    GNNKIT_LAUNCH((device::segment_matmul_kernel<T, I>),
                  grid_of_blocks(args.row_tiles() * device::tiles_of(args.outer)), kTileThreads, 0, device.stream(),
                  args);
  });
  return out;
}

// Rows per piece of a long segment; depends on shapes alone.
int64_t cut_for(int64_t num_rows, int64_t tiles) {
  const int64_t pieces = std::max<int64_t>(kEnoughBlocks / std::max<int64_t>(tiles, 1), 1);
  return std::max(kShortSegment, (num_rows + pieces - 1) / pieces);
}

Tensor segment_outer(const Tensor& x_in, const Tensor& grad_in, const Tensor& ptr_in) {
  STD_TORCH_CHECK(x_in.dim() == 2 && grad_in.dim() == 2 && x_in.size(0) == grad_in.size(0),
                  "x and grad must be matrices with one row per row of the segments");
  STD_TORCH_CHECK(x_in.scalar_type() == grad_in.scalar_type(), "x and grad must have one dtype");
  STD_TORCH_CHECK(ptr_in.dim() == 1 && ptr_in.size(0) >= 1, "ptr must be a vector of at least one boundary");
  const OnDevice device(x_in);
  const Tensor x = dense(x_in), grad = dense(grad_in), ptr = dense(ptr_in);
  Tensor out = empty({ptr.size(0) - 1, x.size(1), grad.size(1)}, x);
  if (out.numel() == 0) return out;
  dispatch(x, ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    using A = Accumulate<T>;
    SegmentOuterArgs<T, I> args{};
    args.x = read<T>(x);
    args.grad = read<T>(grad);
    args.out = write<T>(out);
    args.lefts = x.size(1);
    args.rights = grad.size(1);
    args.segments = {read<I>(ptr), out.size(0), x.size(0), cut_for(x.size(0), args.tiles())};
    const int64_t size = args.lefts * args.rights;
    const Tensor partial = scratch(args.segments.slots() * size * static_cast<int64_t>(sizeof(A)), x);
    args.partial = write<A>(partial);
    GNNKIT_LAUNCH((device::check_segments_kernel<I>), blocks_for_threads(out.size(0)), kBlock, 0, device.stream(),
                  args.segments.ptr, out.size(0), x.size(0));
    GNNKIT_LAUNCH((device::segment_outer_kernel<T, I>), grid_of_blocks(args.blocks()), kTileThreads, 0, device.stream(),
                  args);
    if (args.segments.slots() == 0) return;
    const dim3 grid(static_cast<unsigned>(args.segments.slots()),
                    static_cast<unsigned>(std::min<int64_t>((size + kBlock - 1) / kBlock, 1024)));
    GNNKIT_LAUNCH((device::segment_outer_combine_kernel<T, I>), grid, kBlock, 0, device.stream(), args);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("segment_matmul", TORCH_BOX(&segment_matmul));
  library.impl("segment_outer", TORCH_BOX(&segment_outer));
}

}  // namespace gnnkit
