#include "cuda/causal_conv.cuh"

#include "common/conv_inputs.h"
#include "cuda/column_sums.cuh"

namespace gnnkit {

namespace {

Tensor causal_conv1d(const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const Tensor& offsets,
                     bool silu, bool reverse) {
  const ConvInputs in = conv_inputs(x, weight, bias, offsets);
  Tensor out = empty({in.tokens(), in.channels()}, in.x);
  if (out.numel() == 0) return out;
  STD_TORCH_CHECK(in.sequences() > 0, "there are tokens, but no sequence that they belong to");
  const OnDevice device(in.x);
  dispatch_wide(in.x, [&](auto value) {
    using T = decltype(value);
    ConvArgs<T> args = in.arguments<T>(silu, reverse);
    args.out = write<T>(out);
    GNNKIT_LAUNCH(conv_forward<T>, blocks_for_threads(out.numel()), kBlock, 0, device.stream(), args);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor> causal_conv1d_backward(const Tensor& grad_in, const Tensor& x, const Tensor& weight,
                                                          const OptionalTensor& bias, const Tensor& offsets, bool silu,
                                                          bool reverse) {
  const ConvInputs in = conv_inputs(x, weight, bias, offsets);
  check_shape(grad_in, {in.tokens(), in.channels()}, in.x, "grad");
  const Tensor grad = dense(grad_in);
  const int64_t width = in.channels(), taps = in.taps(), parts = in.parts();
  Tensor grad_x = empty({in.tokens(), width}, in.x);
  Tensor grad_weight = zeros({taps, width}, in.x);
  Tensor grad_bias = zeros({in.bias.has_value() ? width : 0}, in.x);
  const auto result = [&] {
    return std::make_tuple(grad_x, dense(torch::stable::transpose(grad_weight, 0, 1)), grad_bias);
  };
  if (grad_x.numel() == 0) return result();
  STD_TORCH_CHECK(in.sequences() > 0, "there are tokens, but no sequence that they belong to");
  const Tensor before = silu ? empty({in.tokens(), width}, in.x) : grad;
  const Tensor weights = empty({parts, taps, width}, in.x);
  const Tensor biases = empty({in.bias.has_value() ? parts : 0, width}, in.x);
  const OnDevice device(in.x);
  dispatch_wide(in.x, [&](auto value) {
    using T = decltype(value);
    const Stream stream = device.stream();
    ConvArgs<T> args = in.arguments<T>(silu, reverse);
    args.grad = read<T>(grad);
    args.out = write<T>(grad_x);
    args.before = const_cast<T*>(read<T>(before));
    args.grad_weight = write<T>(weights);
    args.grad_bias = in.bias.has_value() ? write<T>(biases) : nullptr;
    const dim3 elements = blocks_for_threads(grad_x.numel());
    if (silu) GNNKIT_LAUNCH(conv_activation<T>, elements, kBlock, 0, stream, args);
    GNNKIT_LAUNCH(conv_grad_inputs<T>, elements, kBlock, 0, stream, args);
    GNNKIT_LAUNCH(conv_grad_weights<T>, blocks_for_threads(weights.numel()), kBlock, 0, stream, args);
    grad_weight = sum_of_partials(weights, {taps, width}, stream);
    if (in.bias.has_value()) grad_bias = sum_of_partials(biases, {width}, stream);
  });
  return result();
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("causal_conv1d", TORCH_BOX(&causal_conv1d));
  library.impl("causal_conv1d_backward", TORCH_BOX(&causal_conv1d_backward));
}

}  // namespace gnnkit
