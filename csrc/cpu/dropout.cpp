#include <cstring>

#include "common/epilogue.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

// Elements in a block of rows. Blocks depend on the shape alone, so that sums over rows do not depend on the threads.
constexpr int64_t kBlockElements = 1 << 14;

Tensor dropout_epilogue(const Tensor& x_in, const OptionalTensor& bias_in, const OptionalTensor& residual_in,
                        const Tensor& seed_in, double p, std::string act) {
  check_epilogue(x_in, bias_in, seed_in, p);
  if (residual_in.has_value())
    STD_TORCH_CHECK(residual_in->scalar_type() == x_in.scalar_type() && residual_in->numel() == x_in.numel(),
                    "residual must match x");
  const Tensor x = dense(x_in), seed = dense(seed_in);
  const OptionalTensor bias = dense(bias_in), residual = dense(residual_in);
  Tensor out = empty(std::vector<int64_t>(x.sizes().begin(), x.sizes().end()), x);
  const int64_t count = x.numel();
  if (count == 0) return out;
  dispatch_float(x, [&](auto value) {
    using T = decltype(value);
    EpilogueArgs<T> args = epilogue_arguments<T>(x, bias, p, act, out);
    args.seed = static_cast<uint64_t>(*read<int64_t>(seed));
    args.residual = read<T>(residual);
    const int64_t blocks = (count + kBlockElements - 1) / kBlockElements;
    parallel_over_chunks(blocks, [&](int64_t block) {
      GNNKIT_CALL(epilogue_range, args, block * kBlockElements, std::min(count, (block + 1) * kBlockElements));
    });
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
  Tensor out = empty(std::vector<int64_t>(x.sizes().begin(), x.sizes().end()), x);
  const int64_t width = bias.has_value() ? bias->numel() : 0;
  Tensor grad_bias = empty({width}, x);
  const int64_t count = x.numel();
  dispatch_float(x, [&](auto value) {
    using T = decltype(value);
    using A = Accumulate<T>;
    EpilogueArgs<T> args = epilogue_arguments<T>(x, bias, p, act, out);
    args.seed = static_cast<uint64_t>(*read<int64_t>(seed));
    args.grad = read<T>(grad);
    const int64_t block_length = width > 0 ? std::max<int64_t>(1, kBlockElements / width) * width : kBlockElements;
    const int64_t blocks = (count + block_length - 1) / block_length;
    std::vector<A> partial(static_cast<size_t>(blocks * width), A(0));
    parallel_over_chunks(blocks, [&](int64_t block) {
      EpilogueArgs<T> local = args;
      local.grad_bias = width > 0 ? partial.data() + block * width : nullptr;
      GNNKIT_CALL(epilogue_backward_range, local, block * block_length, std::min(count, (block + 1) * block_length));
    });
    if (width == 0) return;
    std::vector<A> total(static_cast<size_t>(width), A(0));
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t f = 0; f < width; ++f)
        total[static_cast<size_t>(f)] += partial[static_cast<size_t>(block * width + f)];
    }
    T* target = write<T>(grad_bias);
    if constexpr (std::is_same_v<T, BFloat16>) {
      for (int64_t f = 0; f < width; ++f) {
        uint32_t bits;
        std::memcpy(&bits, &total[static_cast<size_t>(f)], sizeof(bits));
        target[f].bits = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
      }
    } else {
      std::copy(total.begin(), total.end(), target);
    }
  });
  return {out, grad_bias};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("dropout_epilogue", TORCH_BOX(&dropout_epilogue));
  library.impl("dropout_epilogue_backward", TORCH_BOX(&dropout_epilogue_backward));
}

}  // namespace gnnkit
