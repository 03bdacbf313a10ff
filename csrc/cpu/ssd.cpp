#include "common/scan_inputs.h"
#include "cpu/partials.h"
#include "cpu/scan_tasks.h"

namespace gnnkit {

namespace {

struct SsdInputs {
  Tensor x, delta, a, b, c, offsets;
  OptionalTensor skip, delta_bias, initial;

  int64_t tokens() const { return x.size(0); }
  int64_t heads() const { return x.size(1); }
  int64_t width() const { return x.size(2); }
  int64_t groups() const { return b.size(1); }
  int64_t states() const { return b.size(2); }
  int64_t sequences() const { return offsets.size(0) - 1; }
  // Elements of a row of a state, or of a token, as the kernels hold them.
  int64_t row() const { return in_whole_vectors(width()); }
  std::vector<int64_t> state_shape(bool wanted) const { return {wanted ? sequences() : 0, heads(), width(), states()}; }

  template <typename T>
  SsdArgs<T> arguments(bool softplus, bool reverse) const {
    SsdArgs<T> args{};
    args.offsets = read<int64_t>(offsets);
    args.x = read<T>(x);
    args.delta = read<T>(delta);
    args.a = read<T>(a);
    args.b = read<T>(b);
    args.c = read<T>(c);
    args.skip = read<T>(skip);
    args.delta_bias = read<T>(delta_bias);
    args.initial = read<T>(initial);
    args.tokens = tokens();
    args.heads = heads();
    args.width = width();
    args.groups = groups();
    args.states = states();
    args.softplus = softplus;
    args.reverse = reverse;
    return args;
  }
};

SsdInputs ssd_inputs(const Tensor& x, const Tensor& delta, const Tensor& a, const Tensor& b, const Tensor& c,
                     const OptionalTensor& skip, const OptionalTensor& delta_bias, const OptionalTensor& initial,
                     const Tensor& offsets) {
  check_packed(delta, offsets);
  STD_TORCH_CHECK(x.dim() == 3 && b.dim() == 3, "x must be [T, H, P] and B [T, G, N]");
  const int64_t tokens = delta.size(0), heads = delta.size(1), width = x.size(2), groups = b.size(1);
  STD_TORCH_CHECK(groups > 0 && heads % groups == 0, "groups must divide the heads");
  check_shape(x, {tokens, heads, width}, delta, "x");
  check_shape(a, {heads}, delta, "A");
  check_shape(b, {tokens, groups, b.size(2)}, delta, "B");
  check_shape(c, {tokens, groups, b.size(2)}, delta, "C");
  if (skip.has_value()) check_shape(*skip, {heads}, delta, "D");
  if (delta_bias.has_value()) check_shape(*delta_bias, {heads}, delta, "delta_bias");
  if (initial.has_value())
    check_shape(*initial, {offsets.size(0) - 1, heads, width, b.size(2)}, delta, "initial_state");
  const SsdInputs in{dense(x),       dense(delta), dense(a),          dense(b),      dense(c),
                     dense(offsets), dense(skip),  dense(delta_bias), dense(initial)};
  check_boundaries(read<int64_t>(in.offsets), in.sequences(), tokens);
  return in;
}

// The last argument but one is the length of chunks, which the dense products of the reference have and this has not.
std::tuple<Tensor, Tensor> ssd(const Tensor& x, const Tensor& delta, const Tensor& a, const Tensor& b, const Tensor& c,
                               const OptionalTensor& skip, const OptionalTensor& delta_bias,
                               const OptionalTensor& initial, const Tensor& offsets, bool softplus, bool reverse,
                               int64_t, bool keep_final) {
  const SsdInputs in = ssd_inputs(x, delta, a, b, c, skip, delta_bias, initial, offsets);
  Tensor out = empty({in.tokens(), in.heads(), in.width()}, in.x);
  Tensor final_state = empty(in.state_shape(keep_final), in.x);
  dispatch_wide(in.x, [&](auto value) {
    using T = decltype(value);
    SsdArgs<T> args = in.arguments<T>(softplus, reverse);
    args.out = write<T>(out);
    args.final_state = keep_final ? write<T>(final_state) : nullptr;
    const int64_t groups = forward_groups(in.tokens(), in.sequences());
    for_each_scan_task<T>(args.offsets, in.sequences(), groups, in.heads(), [&](auto& scratch, const ScanTask& task) {
      GNNKIT_CALL(ssd_sequences, args, task, scratch.of((in.states() + 3) * in.row()));
    });
  });
  return {out, final_state};
}

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients ssd_backward(const Tensor& grad_in, const OptionalTensor& grad_final_in, const Tensor& x, const Tensor& delta,
                       const Tensor& a, const Tensor& b, const Tensor& c, const OptionalTensor& skip,
                       const OptionalTensor& delta_bias, const OptionalTensor& initial, const Tensor& offsets,
                       bool softplus, bool reverse, int64_t) {
  const SsdInputs in = ssd_inputs(x, delta, a, b, c, skip, delta_bias, initial, offsets);
  check_shape(grad_in, {in.tokens(), in.heads(), in.width()}, in.x, "grad");
  if (grad_final_in.has_value())
    check_shape(*grad_final_in, in.state_shape(true), in.x, "the gradient to the final state");
  const Tensor grad = dense(grad_in);
  const OptionalTensor grad_final = dense(grad_final_in);
  const int64_t heads = in.heads(), parts = scan_groups(in.tokens(), in.sequences());
  const std::vector<int64_t> per_group = {in.tokens(), in.groups(), in.states()};
  const auto partial = [&](bool wanted) { return wanted ? empty({parts, heads}, in.x) : empty({0}, in.x); };
  const auto by_head = [&] { return empty({heads / in.groups(), in.tokens() * in.groups() * in.states()}, in.x); };
  Tensor grad_x = empty({in.tokens(), heads, in.width()}, in.x), grad_delta = empty({in.tokens(), heads}, in.x);
  Tensor grad_initial = empty(in.state_shape(in.initial.has_value()), in.x);
  const Tensor grad_a = partial(true), grad_b = by_head(), grad_c = by_head();
  Tensor grad_skip = partial(in.skip.has_value()), grad_bias = partial(in.delta_bias.has_value());
  dispatch_wide(in.x, [&](auto value) {
    using T = decltype(value);
    SsdArgs<T> args = in.arguments<T>(softplus, reverse);
    args.grad = read<T>(grad);
    args.grad_final = read<T>(grad_final);
    args.grad_x = write<T>(grad_x);
    args.grad_delta = write<T>(grad_delta);
    args.grad_initial = in.initial.has_value() ? write<T>(grad_initial) : nullptr;
    args.grad_a = write<T>(grad_a);
    args.grad_b = write<T>(grad_b);
    args.grad_c = write<T>(grad_c);
    args.grad_skip = in.skip.has_value() ? write<T>(grad_skip) : nullptr;
    args.grad_delta_bias = in.delta_bias.has_value() ? write<T>(grad_bias) : nullptr;
    for_each_scan_task<T>(args.offsets, in.sequences(), parts, heads, [&](auto& scratch, const ScanTask& task) {
      const int64_t kept = 2 + kScanTokens + checkpoints_of(args.offsets, task);
      const int64_t rows = kept * in.states() + 3 * kScanTokens + 1;
      GNNKIT_CALL(ssd_backward_sequences, args, task, scratch.of(in_whole_vectors(in.states()) + rows * in.row()));
    });
  });
  if (in.skip.has_value()) grad_skip = sum_of_partials(grad_skip, {heads});
  if (in.delta_bias.has_value()) grad_bias = sum_of_partials(grad_bias, {heads});
  return {grad_x,
          grad_delta,
          sum_of_partials(grad_a, {heads}),
          sum_of_partials(grad_b, per_group),
          sum_of_partials(grad_c, per_group),
          grad_skip,
          grad_bias,
          grad_initial};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("ssd", TORCH_BOX(&ssd));
  library.impl("ssd_backward", TORCH_BOX(&ssd_backward));
}

}  // namespace gnnkit
