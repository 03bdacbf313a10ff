// Arguments of the dropout epilogue: what every backend checks before it reads them, shapes and dtypes.
#pragma once

#include <algorithm>

#include "common/arguments.h"
#include "common/dispatch.h"

namespace gnnkit {

inline Activation parse_activation(const std::string& name) {
  if (name == "relu") return Activation::kRelu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "silu") return Activation::kSilu;
  STD_TORCH_CHECK(name == "none", "unknown activation");
  return Activation::kNone;
}

// All but the seed, which lies where the tensors do.
template <typename T>
EpilogueArgs<T> epilogue_arguments(const Tensor& x, const OptionalTensor& bias, double p, const std::string& act,
                                   const Tensor& out) {
  EpilogueArgs<T> args{};
  args.x = read<T>(x);
  args.bias = read<T>(bias);
  args.out = write<T>(out);
  args.width = bias.has_value() ? bias->numel() : std::max<int64_t>(x.numel(), 1);
  args.p = p;
  args.activation = parse_activation(act);
  return args;
}

inline void check_epilogue(const Tensor& x, const OptionalTensor& bias, const Tensor& seed, double p) {
  STD_TORCH_CHECK(seed.scalar_type() == ScalarType::Long && seed.numel() == 1, "seed must be one int64");
  STD_TORCH_CHECK(p >= 0.0 && p <= 1.0, "p must be a probability");
  if (bias.has_value())
    STD_TORCH_CHECK(x.dim() >= 1 && bias->scalar_type() == x.scalar_type() && bias->numel() == x.size(x.dim() - 1),
                    "bias must match the last dimension of x");
}

}  // namespace gnnkit
