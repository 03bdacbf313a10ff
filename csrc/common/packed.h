// Packed sequences: tokens one after the other, and the boundaries of each.
#pragma once

#include "common/dispatch.h"

namespace gnnkit {

inline void check_offsets(const Tensor& tokens, const Tensor& offsets) {
  STD_TORCH_CHECK(tokens.scalar_type() == ScalarType::Float || tokens.scalar_type() == ScalarType::Double,
                  "operators on packed sequences take float32 and float64");
  STD_TORCH_CHECK(offsets.dim() == 1 && offsets.size(0) >= 1 && offsets.scalar_type() == ScalarType::Long,
                  "offsets must be int64, [S + 1]");
}

inline void check_packed(const Tensor& tokens, const Tensor& offsets) {
  STD_TORCH_CHECK(tokens.dim() == 2, "tokens must be [T, D]");
  check_offsets(tokens, offsets);
}

inline void check_shape(const Tensor& tensor, const std::vector<int64_t>& shape, const Tensor& like, const char* what) {
  bool fits = tensor.dim() == static_cast<int64_t>(shape.size()) && tensor.scalar_type() == like.scalar_type();
  for (int64_t dim = 0; fits && dim < tensor.dim(); ++dim) fits = tensor.size(dim) == shape[static_cast<size_t>(dim)];
  STD_TORCH_CHECK(fits, what, " must fit the tokens in shape and dtype");
}

}  // namespace gnnkit
