#include "common/segments.h"
#include "cuda/row_reduction.h"

namespace gnnkit {

namespace {

Tensor segment_sum(const Tensor& src_in, const Tensor& ptr, const OptionalTensor& perm, bool mean) {
  const Tensor src = dense(src_in);
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
  const Tensor src = dense(src_in);
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

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("segment_sum", TORCH_BOX(&segment_sum));
  library.impl("segment_extremum", TORCH_BOX(&segment_extremum));
}

}  // namespace gnnkit
