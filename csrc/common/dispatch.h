// From the dtypes of tensors to element types, on every device.
#pragma once

#include "common/types.h"
#include "stable.h"

namespace gnnkit {

template <typename Visit>
void dispatch_float(const Tensor& tensor, Visit&& visit) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return visit(float{});
    case ScalarType::Double:
      return visit(double{});
    case ScalarType::BFloat16:
      return visit(BFloat16{});
    default:
      STD_TORCH_CHECK(false, "gnnkit operators take float32, float64 and bfloat16");
  }
}

// For operators that are given bfloat16 as float32.
template <typename Visit>
void dispatch_wide(const Tensor& values, Visit&& visit) {
  if (values.scalar_type() == ScalarType::Float) return visit(float{});
  STD_TORCH_CHECK(values.scalar_type() == ScalarType::Double, "gnnkit operators take float32, float64 and bfloat16");
  visit(double{});
}

template <typename Visit>
void dispatch_index(const Tensor& tensor, Visit&& visit) {
  switch (tensor.scalar_type()) {
    case ScalarType::Int:
      return visit(int32_t{});
    case ScalarType::Long:
      return visit(int64_t{});
    default:
      STD_TORCH_CHECK(false, "gnnkit operators take int32 and int64 indices");
  }
}

template <typename Visit>
void dispatch(const Tensor& values, const Tensor& index, Visit&& visit) {
  dispatch_float(values, [&](auto value) { dispatch_index(index, [&](auto integer) { visit(value, integer); }); });
}

// The dtype in which values like these are accumulated.
inline ScalarType accumulate_type(const Tensor& values) {
  return values.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

template <typename T>
const T* read(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename T>
const T* read(const OptionalTensor& tensor) {
  return tensor.has_value() ? read<T>(*tensor) : nullptr;
}

template <typename T>
T* write(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

}  // namespace gnnkit
