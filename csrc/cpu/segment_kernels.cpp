// Segments that are copied out or normalised. Sums and extrema of segments are spmm kernels with `col` = permutation.
#include "cpu/kernels.h"
#include "cpu/math.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// Columns handled together by the softmax: their maxima and sums live on the stack.
constexpr int64_t kColumns = 64;

template <typename T, typename I>
inline int64_t row_of(const SegmentArgs<T, I>& args, int64_t position) {
  return args.perm != nullptr ? static_cast<int64_t>(args.perm[position]) : position;
}

template <typename A>
inline A minus_infinity() {
  return -static_cast<A>(__builtin_inf());
}

template <typename T, typename I>
inline void softmax_columns(const SegmentArgs<T, I>& args, int64_t segment, int64_t first, int64_t count) {
  using A = Accumulate<T>;
  A shift[kColumns];
  A total[kColumns];
  for (int64_t f = 0; f < count; ++f) shift[f] = minus_infinity<A>(), total[f] = 0;
  const int64_t begin = args.ptr[segment];
  const int64_t end = args.ptr[segment + 1];
  for (int64_t position = begin; position < end; ++position) {
    const T* source = args.src + row_of(args, position) * args.width + first;
    for (int64_t f = 0; f < count; ++f) {
      const A value = widen(source[f]);
      shift[f] = value > shift[f] ? value : shift[f];
    }
  }
  for (int64_t f = 0; f < count; ++f) shift[f] = shift[f] == minus_infinity<A>() ? A(0) : shift[f];
  for (int64_t position = begin; position < end; ++position) {
    const T* source = args.src + row_of(args, position) * args.width + first;
    for (int64_t f = 0; f < count; ++f) total[f] += exponential(widen(source[f]) - shift[f]);
  }
  for (int64_t f = 0; f < count; ++f) total[f] = total[f] == A(0) ? A(1) : total[f];
  for (int64_t position = begin; position < end; ++position) {
    const int64_t row = row_of(args, position) * args.width + first;
    for (int64_t f = 0; f < count; ++f)
      args.out[row + f] = narrow<T>(exponential(widen(args.src[row + f]) - shift[f]) / total[f]);
  }
}

template <typename T, typename I>
inline void softmax_backward_columns(const SegmentArgs<T, I>& args, int64_t segment, int64_t first, int64_t count) {
  using A = Accumulate<T>;
  A inner[kColumns];
  for (int64_t f = 0; f < count; ++f) inner[f] = 0;
  const int64_t begin = args.ptr[segment];
  const int64_t end = args.ptr[segment + 1];
  for (int64_t position = begin; position < end; ++position) {
    const int64_t row = row_of(args, position) * args.width + first;
    for (int64_t f = 0; f < count; ++f) inner[f] += widen(args.grad[row + f]) * widen(args.src[row + f]);
  }
  for (int64_t position = begin; position < end; ++position) {
    const int64_t row = row_of(args, position) * args.width + first;
    for (int64_t f = 0; f < count; ++f)
      args.out[row + f] = narrow<T>(widen(args.src[row + f]) * (widen(args.grad[row + f]) - inner[f]));
  }
}

template <typename T, typename I, typename Columns>
inline void for_each_column_block(const SegmentArgs<T, I>& args, int64_t begin, int64_t end, Columns&& columns) {
  for (int64_t segment = begin; segment < end; ++segment) {
    for (int64_t first = 0; first < args.width; first += kColumns) {
      const int64_t left = args.width - first;
      columns(segment, first, left < kColumns ? left : kColumns);
    }
  }
}

}  // namespace

template <typename T, typename I>
void segment_expand_rows(const SegmentArgs<T, I>& args, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  for (int64_t segment = begin; segment < end; ++segment) {
    const int64_t first = args.ptr[segment];
    const int64_t last = args.ptr[segment + 1];
    const T* source = args.src + segment * args.width;
    const A count = static_cast<A>(last - first);
    for (int64_t position = first; position < last; ++position) {
      T* target = args.out + row_of(args, position) * args.width;
      if (args.mean) {
        for (int64_t f = 0; f < args.width; ++f) target[f] = narrow<T>(widen(source[f]) / count);
      } else {
        for (int64_t f = 0; f < args.width; ++f) target[f] = source[f];
      }
    }
  }
}

template <typename T, typename I>
void segment_softmax_rows(const SegmentArgs<T, I>& args, int64_t begin, int64_t end) {
  for_each_column_block(args, begin, end, [&](int64_t segment, int64_t first, int64_t count) {
    softmax_columns(args, segment, first, count);
  });
}

template <typename T, typename I>
void softmax_backward_rows(const SegmentArgs<T, I>& args, int64_t begin, int64_t end) {
  for_each_column_block(args, begin, end, [&](int64_t segment, int64_t first, int64_t count) {
    softmax_backward_columns(args, segment, first, count);
  });
}

GNNKIT_INSTANTIATE(segment_expand_rows, SegmentArgs);
GNNKIT_INSTANTIATE(segment_softmax_rows, SegmentArgs);
GNNKIT_INSTANTIATE(softmax_backward_rows, SegmentArgs);

}  // namespace gnnkit::GNNKIT_ISA
