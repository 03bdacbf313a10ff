// Reductions over rows as launchers call them; the kernels are in row_reduction.cuh.
#pragma once

#include "cuda/launch.h"

namespace gnnkit {

struct RowCounts {
  int64_t rows;             // of the result
  int64_t x_rows;           // that positions may name
  bool open_ended = false;  // positions behind the last row belong to none, rather than being an error
};

// Sums, or means, of weighted rows. `Out` is T or the type that T is accumulated in.
template <typename T, typename I, typename Out>
void sum_rows(const SpmmArgs<T, I>& args, Out* out, RowCounts counts, const Tensor& like, Stream stream);

// Extrema, and the position that attains each first (or what `args.arg_label` has for it; -1 for none).
template <typename T, typename I>
void extremum_of_rows(const SpmmArgs<T, I>& args, RowCounts counts, const Tensor& like, Stream stream);

// Maxima, and sums of exp(x - maximum); 0 and 1 where there is nothing to sum.
template <typename T, typename I>
void softmax_of_rows(const SpmmArgs<T, I>& args, Accumulate<T>* peak, Accumulate<T>* sum, RowCounts counts,
                     const Tensor& like, Stream stream);

}  // namespace gnnkit
