#include "common/conv_inputs.h"
#include "cpu/partials.h"

namespace gnnkit {

namespace {

// Calls run(begin, end) for parts of kConvTokens tokens.
template <typename Run>
void over_parts(int64_t tokens, int64_t width, const Run& run) {
  const int64_t parts = (tokens + kConvTokens - 1) / kConvTokens;
  const auto part = [&](int64_t index) { run(index * kConvTokens, std::min(tokens, (index + 1) * kConvTokens)); };
  if (tokens * width < kSerialWork) {
    for (int64_t index = 0; index < parts; ++index) part(index);
  } else {
    parallel_over_chunks(parts, part);
  }
}

Tensor causal_conv1d(const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const Tensor& offsets,
                     bool silu, bool reverse) {
  const ConvInputs in = conv_inputs(x, weight, bias, offsets);
  check_boundaries(read<int64_t>(in.offsets), in.sequences(), in.tokens());
  Tensor out = empty({in.tokens(), in.channels()}, in.x);
  dispatch_wide(in.x, [&](auto value) {
    using T = decltype(value);
    ConvArgs<T> args = in.arguments<T>(silu, reverse);
    args.out = write<T>(out);
    over_parts(args.tokens, args.channels * args.taps,
               [&](int64_t begin, int64_t end) { GNNKIT_CALL(conv_rows, args, begin, end); });
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor> causal_conv1d_backward(const Tensor& grad_in, const Tensor& x, const Tensor& weight,
                                                          const OptionalTensor& bias, const Tensor& offsets, bool silu,
                                                          bool reverse) {
  const ConvInputs in = conv_inputs(x, weight, bias, offsets);
  check_boundaries(read<int64_t>(in.offsets), in.sequences(), in.tokens());
  check_shape(grad_in, {in.tokens(), in.channels()}, in.x, "grad");
  const Tensor grad = dense(grad_in);
  const int64_t width = in.channels(), taps = in.taps(), parts = in.parts();
  Tensor grad_x = empty({in.tokens(), width}, in.x);
  Tensor grad_weight = empty({parts, taps, width}, in.x);
  Tensor grad_bias = in.bias.has_value() ? empty({parts, width}, in.x) : empty({0}, in.x);
  const Tensor before = silu ? empty({in.tokens(), width}, in.x) : grad;
  dispatch_wide(in.x, [&](auto value) {
    using T = decltype(value);
    ConvArgs<T> args = in.arguments<T>(silu, reverse);
    args.grad = read<T>(grad);
    args.out = write<T>(grad_x);
    args.before = const_cast<T*>(read<T>(before));
    args.grad_weight = write<T>(grad_weight);
    args.grad_bias = in.bias.has_value() ? write<T>(grad_bias) : nullptr;
    if (silu)
      over_parts(args.tokens, width * taps,
                 [&](int64_t begin, int64_t end) { GNNKIT_CALL(conv_activation_rows, args, begin, end); });
    over_parts(args.tokens, width * taps,
               [&](int64_t begin, int64_t end) { GNNKIT_CALL(conv_backward_rows, args, begin, end); });
  });
  grad_weight = sum_of_partials(grad_weight, {taps, width});
  if (in.bias.has_value()) grad_bias = sum_of_partials(grad_bias, {width});
  return {grad_x, dense(torch::stable::transpose(grad_weight, 0, 1)), grad_bias};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("causal_conv1d", TORCH_BOX(&causal_conv1d));
  library.impl("causal_conv1d_backward", TORCH_BOX(&causal_conv1d_backward));
}

}  // namespace gnnkit
