// The one place that includes LibTorch. Only the stable ABI: a library built here runs on every later torch.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "common/huge_pages.h"

namespace gnnkit {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

inline Tensor dense(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

inline OptionalTensor dense(const OptionalTensor& tensor) {
  return tensor.has_value() ? OptionalTensor(dense(*tensor)) : std::nullopt;
}

// On the device of `like`, and of its dtype if no other is named.
inline Tensor empty(const std::vector<int64_t>& sizes, const Tensor& like,
                    std::optional<ScalarType> type = std::nullopt) {
  Tensor made = torch::stable::new_empty(like, sizes, type);
  if (made.is_cpu())
    prefer_huge_pages(made.mutable_data_ptr(), made.numel() * static_cast<int64_t>(made.element_size()));
  return made;
}

inline Tensor zeros(const std::vector<int64_t>& sizes, const Tensor& like,
                    std::optional<ScalarType> type = std::nullopt) {
  Tensor made = empty(sizes, like, type);
  torch::stable::zero_(made);
  return made;
}

// Sizes of `like` with another number of rows.
inline std::vector<int64_t> with_rows(const Tensor& like, int64_t rows) {
  std::vector<int64_t> sizes(like.sizes().begin(), like.sizes().end());
  sizes.at(0) = rows;
  return sizes;
}

// Elements per row: the product of all sizes but the first, also where there are no rows.
inline int64_t row_width(const Tensor& tensor) {
  int64_t width = 1;
  for (int64_t dim = 1; dim < tensor.dim(); ++dim) width *= tensor.size(dim);
  return width;
}

}  // namespace gnnkit
