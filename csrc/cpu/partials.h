// Sums of partial results.
#pragma once

#include "cpu/launch.h"

namespace gnnkit {

// The sum over the first dimension, in order, in another shape.
inline Tensor sum_of_partials(const Tensor& partials, const std::vector<int64_t>& shape) {
  Tensor out = empty(shape, partials);
  constexpr int64_t kElements = 1 << 12;
  dispatch_wide(partials, [&](auto value) {
    using T = decltype(value);
    const PartialArgs<T> args{read<T>(partials), write<T>(out), partials.size(0), out.numel()};
    parallel_over_chunks((args.size + kElements - 1) / kElements, [&](int64_t chunk) {
      GNNKIT_CALL(sum_partials, args, chunk * kElements, std::min(args.size, (chunk + 1) * kElements));
    });
  });
  return out;
}

}  // namespace gnnkit
