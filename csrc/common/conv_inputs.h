// What a causal convolution is given, checked: the same on every device.
#pragma once

#include "common/arguments.h"
#include "common/dispatch.h"

namespace gnnkit {

struct ConvInputs {
  Tensor x, weight, offsets;  // weight is [taps, channels] here
  OptionalTensor bias;

  int64_t tokens() const { return x.size(0); }
  int64_t channels() const { return x.size(1); }
  int64_t taps() const { return weight.size(0); }
  int64_t sequences() const { return offsets.size(0) - 1; }
  int64_t parts() const { return (tokens() + kConvTokens - 1) / kConvTokens; }

  template <typename T>
  ConvArgs<T> arguments(bool silu, bool reverse) const {
    ConvArgs<T> args{};
    args.offsets = read<int64_t>(offsets);
    args.x = read<T>(x);
    args.weight = read<T>(weight);
    args.bias = read<T>(bias);
    args.sequences = sequences();
    args.tokens = tokens();
    args.channels = channels();
    args.taps = taps();
    args.silu = silu;
    args.reverse = reverse;
    return args;
  }
};

inline ConvInputs conv_inputs(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                              const Tensor& offsets) {
  STD_TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && weight.size(0) == x.size(1) && weight.size(1) >= 1,
                  "x must be [T, D] and weight [D, K], K at least 1");
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
                  "a causal convolution takes float32 and float64");
  STD_TORCH_CHECK(weight.scalar_type() == x.scalar_type(), "weight must have the dtype of x");
  STD_TORCH_CHECK(offsets.dim() == 1 && offsets.size(0) >= 1 && offsets.scalar_type() == ScalarType::Long,
                  "offsets must be int64, [S + 1]");
  if (bias.has_value())
    STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == x.size(1) && bias->scalar_type() == x.scalar_type(),
                    "bias must be [D] of the dtype of x");
  return {dense(x), dense(torch::stable::transpose(weight, 0, 1)), dense(offsets), dense(bias)};
}

}  // namespace gnnkit
