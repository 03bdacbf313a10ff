#include "cuda/dropout.cuh"

#include "common/epilogue.h"
#include "cuda/column_sums.cuh"

namespace gnnkit {

namespace {

std::vector<int64_t> sizes_of(const Tensor& tensor) {
  return std::vector<int64_t>(tensor.sizes().begin(), tensor.sizes().end());
}

Dropping dropping_of(const Tensor& seed, int64_t count, double p) {
  return {read<int64_t>(seed), count, p < 1.0 ? 1.0 / (1.0 - p) : 0.0, philox::drop_threshold(p), p > 0.0};
}

// One thread for each block of random numbers.
dim3 blocks_for_elements(int64_t count) {
  return blocks_for_threads((count + philox::kGroup - 1) / philox::kGroup * philox::kBlocksInGroup);
}

Tensor dropout_epilogue(const Tensor& x_in, const OptionalTensor& bias_in, const OptionalTensor& residual_in,
                        const Tensor& seed_in, double p, std::string act) {
  check_epilogue(x_in, bias_in, seed_in, p);
  if (residual_in.has_value())
    STD_TORCH_CHECK(residual_in->scalar_type() == x_in.scalar_type() && residual_in->numel() == x_in.numel(),
                    "residual must match x");
  const Tensor x = dense(x_in), seed = dense(seed_in);
  const OptionalTensor bias = dense(bias_in), residual = dense(residual_in);
  Tensor out = empty(sizes_of(x), x);
  if (out.numel() == 0) return out;
  const OnDevice device(x);
  dispatch_float(x, [&](auto value) {
    using T = decltype(value);
    EpilogueArgs<T> args = epilogue_arguments<T>(x, bias, p, act, out);
    args.residual = read<T>(residual);
    GNNKIT_LAUNCH(epilogue<T>, blocks_for_elements(x.numel()), kBlock, 0, device.stream(), args,
                  dropping_of(seed, x.numel(), p));
  });
  return out;
}

std::tuple<Tensor, Tensor> dropout_epilogue_backward(const Tensor& grad_in, const Tensor& x_in,
                                                     const OptionalTensor& bias_in, const Tensor& seed_in, double p,
                                                     std::string act) {
  check_epilogue(x_in, bias_in, seed_in, p);
  STD_TORCH_CHECK(grad_in.scalar_type() == x_in.scalar_type() && grad_in.numel() == x_in.numel(), "grad must match x");
  const Tensor grad = dense(grad_in), x = dense(x_in), seed = dense(seed_in);
  const OptionalTensor bias = dense(bias_in);
  Tensor out = empty(sizes_of(x), x);
  const int64_t width = bias.has_value() ? bias->numel() : 0;
  Tensor grad_bias = empty({width}, x);
  const int64_t count = x.numel();
  if (count == 0) {
    if (width > 0) torch::stable::zero_(grad_bias);
    return {out, grad_bias};
  }
  const OnDevice device(x);
  dispatch_float(x, [&](auto value) {
    using T = decltype(value);
    using A = Accumulate<T>;
    constexpr bool kRounds = !std::is_same_v<T, A>;
    EpilogueArgs<T> args = epilogue_arguments<T>(x, bias, p, act, out);
    args.grad = read<T>(grad);
    // The bias sums what has not been rounded yet.
    const bool keeps = kRounds && width > 0;
    const Tensor kept = empty({keeps ? count : 1}, x, ScalarType::Float);
    GNNKIT_LAUNCH(epilogue_backward<T>, blocks_for_elements(count), kBlock, 0, device.stream(), args,
                  dropping_of(seed, count, p), keeps ? write<A>(kept) : nullptr);
    if (width == 0) return;
    if constexpr (kRounds) {
      const Tensor sums = empty({width}, x, ScalarType::Float);
      sum_columns(read<A>(kept), write<A>(sums), count / width, width, x, device.stream());
      grad_bias = torch::stable::to(sums, ScalarType::BFloat16);
    } else {
      sum_columns(read<T>(out), write<T>(grad_bias), count / width, width, x, device.stream());
    }
  });
  return {out, grad_bias};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("dropout_epilogue", TORCH_BOX(&dropout_epilogue));
  library.impl("dropout_epilogue_backward", TORCH_BOX(&dropout_epilogue_backward));
}

}  // namespace gnnkit
