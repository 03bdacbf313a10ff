// Arguments of the operators over segments: what every backend checks before it reads them, shapes and dtypes.
#pragma once

#include "common/arguments.h"
#include "common/dispatch.h"

namespace gnnkit {

struct Segments {
  Tensor ptr;
  OptionalTensor perm;
  int64_t count;
  int64_t positions;  // rows, or rows that the permutation lists
};

inline Segments segments_of(const Tensor& ptr, const OptionalTensor& perm, int64_t num_rows) {
  STD_TORCH_CHECK(ptr.dim() == 1 && ptr.size(0) >= 1, "ptr must be a vector of at least one boundary");
  STD_TORCH_CHECK(!perm.has_value() || (perm->dim() == 1 && perm->scalar_type() == ptr.scalar_type()),
                  "perm must be a vector of the dtype of ptr");
  return {dense(ptr), dense(perm), ptr.size(0) - 1, perm.has_value() ? perm->size(0) : num_rows};
}

// Where a result has one row per position, every row must be written.
inline void check_every_row(const OptionalTensor& perm, int64_t num_rows) {
  STD_TORCH_CHECK(!perm.has_value() || perm->size(0) == num_rows, "perm must list every row once");
}

// A segment reduction is a sparse times dense product whose columns are the permutation.
template <typename T, typename I>
SpmmArgs<T, I> reduction(const Segments& segments, const Tensor& src, const Tensor& out) {
  SpmmArgs<T, I> args{};
  args.rowptr = read<I>(segments.ptr);
  args.col = read<I>(segments.perm);
  args.x = read<T>(src);
  args.out = write<T>(out);
  args.num_edges = segments.positions;
  args.width = row_width(src);
  return args;
}

template <typename T, typename I>
SegmentArgs<T, I> segment_arguments(const Segments& segments, const Tensor& src, const Tensor& out) {
  SegmentArgs<T, I> args{};
  args.ptr = read<I>(segments.ptr);
  args.perm = read<I>(segments.perm);
  args.src = read<T>(src);
  args.out = write<T>(out);
  args.width = row_width(src);
  return args;
}

}  // namespace gnnkit
