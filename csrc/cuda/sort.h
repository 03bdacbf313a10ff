// Grouping of positions by an index, as launchers call it.
#pragma once

#include "cuda/launch.h"

namespace gnnkit {

// The positions of value v, in ascending order, are perm[ptr[v]:ptr[v + 1]]. Both int32 where that can hold every key
// and position, else int64.
struct Grouping {
  Tensor ptr;
  Tensor perm;
};

// Groups elements of `index` by value times `width` plus column, where `width` is that of its rows; values lie in
// [0, limit). Negative ones are left out where `drops` allows them: they come behind all others.
Grouping group_positions(const Tensor& index, int64_t limit, int64_t width, bool drops, Stream stream);

// In the index dtype of `like`.
inline Tensor in_dtype_of(const Tensor& like, const Tensor& tensor) {
  return tensor.scalar_type() == like.scalar_type() ? tensor : torch::stable::to(tensor, like.scalar_type());
}

}  // namespace gnnkit
