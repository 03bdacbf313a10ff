#include "common/segments.h"
#include "cuda/position_map.cuh"
#include "cuda/row_reduction.h"

namespace gnnkit {

namespace {

Tensor segment_sum(const Tensor& src_in, const Tensor& ptr, const OptionalTensor& perm, bool mean) {
  const Tensor src = aligned(src_in);
  const Segments segments = segments_of(ptr, perm, src.size(0));
  Tensor out = empty(with_rows(src, segments.count), src);
  if (out.numel() == 0) return out;
  const OnDevice device(src);
  dispatch(src, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpmmArgs<T, I> args = reduction<T, I>(segments, src, out);
    args.mean = mean;
    sum_rows(args, args.out, {segments.count, src.size(0)}, src, device.stream());
  });
  return out;
}

std::tuple<Tensor, Tensor> segment_extremum(const Tensor& src_in, const Tensor& ptr, const OptionalTensor& perm,
                                            bool largest) {
  const Tensor src = aligned(src_in);
  const Segments segments = segments_of(ptr, perm, src.size(0));
  Tensor out = empty(with_rows(src, segments.count), src);
  Tensor arg = empty(with_rows(src, segments.count), ptr);
  if (out.numel() == 0) return {out, arg};
  const OnDevice device(src);
  dispatch(src, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpmmArgs<T, I> args = reduction<T, I>(segments, src, out);
    args.arg = write<I>(arg);
    args.arg_label = args.col;
    args.largest = largest;
    extremum_of_rows(args, {segments.count, src.size(0)}, src, device.stream());
  });
  return {out, arg};
}

template <typename T, typename I, typename Map>
void write_positions(const Segments& segments, const Map& map, const Tensor& out, Stream stream) {
  if (segments.positions == 0) return;
  STD_TORCH_CHECK(segments.count > 0, "there are rows, but no segment that they belong to");
  GNNKIT_LAUNCH((map_positions<T, I, Map>), blocks_for_threads(segments.positions), kBlock, 0, stream,
                read<I>(segments.ptr), read<I>(segments.perm), segments.count, segments.positions, out.size(0),
                row_width(out), map, write<T>(out));
}

Tensor segment_expand(const Tensor& src_in, const Tensor& ptr, const OptionalTensor& perm, int64_t num_rows,
                      bool mean) {
  const Tensor src = aligned(src_in);
  const Segments segments = segments_of(ptr, perm, num_rows);
  STD_TORCH_CHECK(src.size(0) == segments.count, "src must have one row per segment");
  check_every_row(perm, num_rows);
  Tensor out = empty(with_rows(src, num_rows), src);
  if (out.numel() == 0) return out;
  const OnDevice device(src);
  dispatch(src, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    write_positions<T, I>(segments, CopyRow<T, I>{read<T>(src), read<I>(segments.ptr), mean}, out, device.stream());
  });
  return out;
}

// One number per segment and feature, in the type of accumulation.
Tensor statistic(const Segments& segments, const Tensor& like) {
  const int64_t count = std::max<int64_t>(segments.count * row_width(like), 1);
  return empty({count}, like, accumulate_type(like));
}

Tensor segment_softmax(const Tensor& src_in, const Tensor& ptr, const OptionalTensor& perm) {
  const Tensor src = aligned(src_in);
  const Segments segments = segments_of(ptr, perm, src.size(0));
  check_every_row(perm, src.size(0));
  Tensor out = empty(with_rows(src, src.size(0)), src);
  if (out.numel() == 0) return out;
  const OnDevice device(src);
  const Tensor peak = statistic(segments, src), sum = statistic(segments, src);
  dispatch(src, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    using A = Accumulate<T>;
    const SpmmArgs<T, I> args = reduction<T, I>(segments, src, out);
    if (segments.count > 0)
      softmax_of_rows(args, write<A>(peak), write<A>(sum), {segments.count, src.size(0)}, src, device.stream());
    write_positions<T, I>(segments, SoftmaxWeight<T>{read<T>(src), read<A>(peak), read<A>(sum)}, out, device.stream());
  });
  return out;
}

Tensor segment_softmax_backward(const Tensor& grad_in, const Tensor& weight_in, const Tensor& ptr,
                                const OptionalTensor& perm) {
  STD_TORCH_CHECK(grad_in.scalar_type() == weight_in.scalar_type() && grad_in.numel() == weight_in.numel(),
                  "grad and out must have one shape and dtype");
  const Tensor grad = aligned(grad_in), weight = aligned(weight_in);
  const Segments segments = segments_of(ptr, perm, weight.size(0));
  check_every_row(perm, weight.size(0));
  Tensor out = empty(with_rows(weight, weight.size(0)), weight);
  if (out.numel() == 0) return out;
  const OnDevice device(weight);
  const Tensor inner = statistic(segments, weight);
  dispatch(weight, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    using A = Accumulate<T>;
    // Sums of weight times gradient: a product whose weights are one per element.
    SpmmArgs<T, I> args = reduction<T, I>(segments, weight, out);
    args.edge_id = args.col;
    args.weight = read<T>(grad);
    args.heads = args.width;
    if (segments.count > 0) sum_rows(args, write<A>(inner), {segments.count, weight.size(0)}, weight, device.stream());
    write_positions<T, I>(segments, SoftmaxGradient<T>{read<T>(weight), read<T>(grad), read<A>(inner)}, out,
                          device.stream());
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("segment_sum", TORCH_BOX(&segment_sum));
  library.impl("segment_extremum", TORCH_BOX(&segment_extremum));
  library.impl("segment_expand", TORCH_BOX(&segment_expand));
  library.impl("segment_softmax", TORCH_BOX(&segment_softmax));
  library.impl("segment_softmax_backward", TORCH_BOX(&segment_softmax_backward));
}

}  // namespace gnnkit
