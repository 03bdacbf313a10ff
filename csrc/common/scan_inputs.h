// What a selective scan is given, checked: the same on every device.
#pragma once

#include "common/arguments.h"
#include "common/packed.h"

namespace gnnkit {

struct ScanInputs {
  Tensor u, delta, a, b, c, offsets;
  OptionalTensor skip, z, delta_bias, initial;

  int64_t tokens() const { return u.size(0); }
  int64_t channels() const { return u.size(1); }
  int64_t states() const { return a.size(1); }
  int64_t sequences() const { return offsets.size(0) - 1; }
  int64_t blocks() const { return (channels() + kScanChannels - 1) / kScanChannels; }

  template <typename T>
  ScanArgs<T> arguments(bool softplus, bool reverse) const {
    ScanArgs<T> args{};
    args.offsets = read<int64_t>(offsets);
    args.u = read<T>(u);
    args.delta = read<T>(delta);
    args.a = read<T>(a);
    args.b = read<T>(b);
    args.c = read<T>(c);
    args.skip = read<T>(skip);
    args.z = read<T>(z);
    args.delta_bias = read<T>(delta_bias);
    args.initial = read<T>(initial);
    args.tokens = tokens();
    args.channels = channels();
    args.states = states();
    args.softplus = softplus;
    args.reverse = reverse;
    return args;
  }
};

inline ScanInputs scan_inputs(const Tensor& u, const Tensor& delta, const Tensor& a, const Tensor& b, const Tensor& c,
                              const OptionalTensor& skip, const OptionalTensor& z, const OptionalTensor& delta_bias,
                              const OptionalTensor& initial, const Tensor& offsets) {
  check_packed(u, offsets);
  STD_TORCH_CHECK(a.dim() == 2, "A must be [D, N]");
  const int64_t tokens = u.size(0), channels = u.size(1), states = a.size(1);
  check_shape(delta, {tokens, channels}, u, "delta");
  check_shape(a, {channels, states}, u, "A");
  check_shape(b, {tokens, states}, u, "B");
  check_shape(c, {tokens, states}, u, "C");
  if (skip.has_value()) check_shape(*skip, {channels}, u, "D");
  if (z.has_value()) check_shape(*z, {tokens, channels}, u, "z");
  if (delta_bias.has_value()) check_shape(*delta_bias, {channels}, u, "delta_bias");
  if (initial.has_value()) check_shape(*initial, {offsets.size(0) - 1, channels, states}, u, "initial_state");
  return {dense(u),       dense(delta), dense(a), dense(b),          dense(c),
          dense(offsets), dense(skip),  dense(z), dense(delta_bias), dense(initial)};
}

using ScanGradientTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// Into how many groups sequences are put: enough to keep many processors busy, few enough that one partial gradient of
// A for each is little beside the inputs.
inline int64_t scan_groups(int64_t tokens, int64_t sequences) {
  constexpr int64_t kTokensPerGroup = 512, kMost = 64;
  const int64_t wanted = tokens / kTokensPerGroup;
  const int64_t groups = wanted < 1 ? 1 : (wanted > kMost ? kMost : wanted);
  return groups < sequences ? groups : (sequences < 1 ? 1 : sequences);
}

// What a backward pass is given, and the gradients that it writes: those of A, D and delta_bias as one partial sum for
// each of `parts` parts of the tokens, those of B and C as one for each block of channels.
struct ScanGradients {
  const ScanInputs& in;
  Tensor grad;
  OptionalTensor grad_final;
  int64_t parts;
  Tensor u, delta, a, b, c, skip, z, delta_bias, initial;

  // Parts that may stay unwritten must be zero from the start.
  ScanGradients(const ScanInputs& inputs, const Tensor& upstream, const OptionalTensor& upstream_final, int64_t count,
                bool all_are_written)
      : in(inputs), parts(count) {
    const int64_t tokens = in.tokens(), channels = in.channels(), states = in.states(), sequences = in.sequences();
    check_shape(upstream, {tokens, channels}, in.u, "grad");
    if (upstream_final.has_value())
      check_shape(*upstream_final, {sequences, channels, states}, in.u, "the gradient to the final state");
    grad = dense(upstream);
    grad_final = dense(upstream_final);
    const auto partial = [&](int64_t size) {
      return all_are_written ? empty({parts, size}, in.u) : zeros({parts, size}, in.u);
    };
    u = empty({tokens, channels}, in.u);
    delta = empty({tokens, channels}, in.u);
    a = partial(channels * states);
    b = empty({in.blocks(), tokens * states}, in.u);
    c = empty({in.blocks(), tokens * states}, in.u);
    skip = in.skip.has_value() ? partial(channels) : empty({0}, in.u);
    z = empty({in.z.has_value() ? tokens : 0, channels}, in.u);
    delta_bias = in.delta_bias.has_value() ? partial(channels) : empty({0}, in.u);
    initial = empty({in.initial.has_value() ? sequences : 0, channels, states}, in.u);
  }

  template <typename T>
  ScanArgs<T> arguments(bool softplus, bool reverse) const {
    ScanArgs<T> args = in.arguments<T>(softplus, reverse);
    args.grad = read<T>(grad);
    args.grad_final = read<T>(grad_final);
    args.grad_u = write<T>(u);
    args.grad_delta = write<T>(delta);
    args.grad_a = write<T>(a);
    args.grad_b = write<T>(b);
    args.grad_c = write<T>(c);
    args.grad_skip = in.skip.has_value() ? write<T>(skip) : nullptr;
    args.grad_z = in.z.has_value() ? write<T>(z) : nullptr;
    args.grad_delta_bias = in.delta_bias.has_value() ? write<T>(delta_bias) : nullptr;
    args.grad_initial = in.initial.has_value() ? write<T>(initial) : nullptr;
    return args;
  }

  // sum(partial, shape): the sum over the first dimension.
  template <typename Sum>
  ScanGradientTensors added_up(const Sum& sum) const {
    const int64_t channels = in.channels();
    const std::vector<int64_t> per_token = {in.tokens(), in.states()};
    return {u,
            delta,
            sum(a, {channels, in.states()}),
            sum(b, per_token),
            sum(c, per_token),
            in.skip.has_value() ? sum(skip, {channels}) : skip,
            z,
            in.delta_bias.has_value() ? sum(delta_bias, {channels}) : delta_bias,
            initial};
  }
};

}  // namespace gnnkit
