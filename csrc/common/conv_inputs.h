// What a causal convolution is given, checked: the same on every device.
#pragma once

#include "common/arguments.h"
#include "common/packed.h"

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
  check_packed(x, offsets);
  STD_TORCH_CHECK(weight.dim() == 2 && weight.size(1) >= 1, "weight must be [D, K], K at least 1");
  check_shape(weight, {x.size(1), weight.size(1)}, x, "weight");
  if (bias.has_value()) check_shape(*bias, {x.size(1)}, x, "bias");
  return {dense(x), dense(torch::stable::transpose(weight, 0, 1)), dense(offsets), dense(bias)};
}

}  // namespace gnnkit
