#include "common/segments.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

// Checks the values of boundaries and permutation too: they come straight from callers.
Segments check_segments(const Tensor& ptr, const OptionalTensor& perm, int64_t num_rows) {
  const Segments segments = segments_of(ptr, perm, num_rows);
  dispatch_index(segments.ptr, [&](auto integer) {
    using I = decltype(integer);
    check_boundaries(read<I>(segments.ptr), segments.count, segments.positions);
    if (perm.has_value()) check_range(read<I>(segments.perm), segments.positions, num_rows);
  });
  return segments;
}

Tensor segment_sum(const Tensor& src_in, const Tensor& ptr, const OptionalTensor& perm, bool mean) {
  const Tensor src = dense(src_in);
  const Segments segments = check_segments(ptr, perm, src.size(0));
  Tensor out = empty(with_rows(src, segments.count), src);
  if (out.numel() == 0) return out;
  dispatch(src, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpmmArgs<T, I> args = reduction<T, I>(segments, src, out);
    args.mean = mean;
    parallel_over_rows(args.rowptr, segments.count, args.width,
                       [&](int64_t begin, int64_t end) { GNNKIT_CALL(spmm_rows, args, begin, end); });
  });
  return out;
}

std::tuple<Tensor, Tensor> segment_extremum(const Tensor& src_in, const Tensor& ptr, const OptionalTensor& perm,
                                            bool largest) {
  const Tensor src = dense(src_in);
  const Segments segments = check_segments(ptr, perm, src.size(0));
  Tensor out = empty(with_rows(src, segments.count), src);
  Tensor arg = empty(with_rows(src, segments.count), ptr);
  if (out.numel() == 0) return {out, arg};
  dispatch(src, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SpmmArgs<T, I> args = reduction<T, I>(segments, src, out);
    args.arg = write<I>(arg);
    args.arg_label = args.col;
    args.largest = largest;
    parallel_over_rows(args.rowptr, segments.count, args.width,
                       [&](int64_t begin, int64_t end) { GNNKIT_CALL(spmm_extremum_rows, args, begin, end); });
  });
  return {out, arg};
}

Tensor segment_expand(const Tensor& src_in, const Tensor& ptr, const OptionalTensor& perm, int64_t num_rows,
                      bool mean) {
  const Tensor src = dense(src_in);
  const Segments segments = check_segments(ptr, perm, num_rows);
  STD_TORCH_CHECK(src.size(0) == segments.count, "src must have one row per segment");
  check_every_row(perm, num_rows);
  Tensor out = empty(with_rows(src, num_rows), src);
  if (out.numel() == 0) return out;
  dispatch(src, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SegmentArgs<T, I> args = segment_arguments<T, I>(segments, src, out);
    args.mean = mean;
    parallel_over_rows(args.ptr, segments.count, args.width,
                       [&](int64_t begin, int64_t end) { GNNKIT_CALL(segment_expand_rows, args, begin, end); });
  });
  return out;
}

Tensor segment_softmax(const Tensor& src_in, const Tensor& ptr, const OptionalTensor& perm) {
  const Tensor src = dense(src_in);
  const Segments segments = check_segments(ptr, perm, src.size(0));
  check_every_row(perm, src.size(0));
  Tensor out = empty(with_rows(src, src.size(0)), src);
  if (out.numel() == 0) return out;
  dispatch(src, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    const SegmentArgs<T, I> args = segment_arguments<T, I>(segments, src, out);
    parallel_over_rows(args.ptr, segments.count, args.width * 8,
                       [&](int64_t begin, int64_t end) { GNNKIT_CALL(segment_softmax_rows, args, begin, end); });
  });
  return out;
}

Tensor segment_softmax_backward(const Tensor& grad_in, const Tensor& weight_in, const Tensor& ptr,
                                const OptionalTensor& perm) {
  STD_TORCH_CHECK(grad_in.scalar_type() == weight_in.scalar_type() && grad_in.numel() == weight_in.numel(),
                  "grad and out must have one shape and dtype");
  const Tensor grad = dense(grad_in), weight = dense(weight_in);
  const Segments segments = check_segments(ptr, perm, weight.size(0));
  check_every_row(perm, weight.size(0));
  Tensor out = empty(with_rows(weight, weight.size(0)), weight);
  if (out.numel() == 0) return out;
  dispatch(weight, segments.ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    SegmentArgs<T, I> args = segment_arguments<T, I>(segments, weight, out);
    args.grad = read<T>(grad);
    parallel_over_rows(args.ptr, segments.count, args.width * 2,
                       [&](int64_t begin, int64_t end) { GNNKIT_CALL(softmax_backward_rows, args, begin, end); });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("segment_sum", TORCH_BOX(&segment_sum));
  library.impl("segment_extremum", TORCH_BOX(&segment_extremum));
  library.impl("segment_expand", TORCH_BOX(&segment_expand));
  library.impl("segment_softmax", TORCH_BOX(&segment_softmax));
  library.impl("segment_softmax_backward", TORCH_BOX(&segment_softmax_backward));
}

}  // namespace gnnkit
