#include "common/packed.h"
#include "cpu/scan_tasks.h"

namespace gnnkit {

namespace {

struct DeltaInputs {
  Tensor q, k, v, beta, offsets;
  OptionalTensor g, initial;

  int64_t tokens() const { return q.size(0); }
  int64_t heads() const { return q.size(1); }
  int64_t keys() const { return q.size(2); }
  int64_t steps() const { return k.size(1); }
  int64_t values() const { return v.size(3); }
  int64_t sequences() const { return offsets.size(0) - 1; }
  // Elements of a row of a state as the kernels hold it.
  int64_t padded() const { return in_whole_vectors(values()); }
  std::vector<int64_t> rows() const { return {tokens(), heads(), values()}; }
  std::vector<int64_t> states(bool wanted) const { return {wanted ? sequences() : 0, heads(), keys(), values()}; }

  template <typename T>
  DeltaArgs<T> arguments(double scale, bool reverse) const {
    DeltaArgs<T> args{};
    args.offsets = read<int64_t>(offsets);
    args.q = read<T>(q);
    args.k = read<T>(k);
    args.v = read<T>(v);
    args.beta = read<T>(beta);
    args.g = read<T>(g);
    args.initial = read<T>(initial);
    args.tokens = tokens();
    args.steps = steps();
    args.heads = heads();
    args.keys = keys();
    args.values = values();
    args.scale = static_cast<T>(scale);
    args.reverse = reverse;
    return args;
  }
};

DeltaInputs delta_inputs(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& beta, const OptionalTensor& g,
                         const OptionalTensor& initial, const Tensor& offsets) {
  STD_TORCH_CHECK(q.dim() == 3, "q must be [T, H, K]");
  STD_TORCH_CHECK(k.dim() == 4 && k.size(1) >= 1, "k must be [T, n, H, K], n at least 1");
  STD_TORCH_CHECK(v.dim() == 4, "v must be [T, n, H, V]");
  check_offsets(q, offsets);
  const int64_t tokens = q.size(0), heads = q.size(1), keys = q.size(2), steps = k.size(1), values = v.size(3);
  check_shape(k, {tokens, steps, heads, keys}, q, "k");
  check_shape(v, {tokens, steps, heads, values}, q, "v");
  check_shape(beta, {tokens, steps, heads}, q, "beta");
  if (g.has_value()) check_shape(*g, {tokens, heads}, q, "g");
  if (initial.has_value()) check_shape(*initial, {offsets.size(0) - 1, heads, keys, values}, q, "initial_state");
  const DeltaInputs in{dense(q), dense(k), dense(v), dense(beta), dense(offsets), dense(g), dense(initial)};
  check_boundaries(read<int64_t>(in.offsets), in.sequences(), in.tokens());
  return in;
}

std::tuple<Tensor, Tensor> gated_delta(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& beta,
                                       const OptionalTensor& g, const OptionalTensor& initial, const Tensor& offsets,
                                       double scale, bool reverse, bool keep_final) {
  const DeltaInputs in = delta_inputs(q, k, v, beta, g, initial, offsets);
  Tensor out = empty(in.rows(), in.q);
  Tensor final_state = empty(in.states(keep_final), in.q);
  if (out.numel() == 0 && final_state.numel() == 0) return {out, final_state};
  dispatch_wide(in.q, [&](auto value) {
    using T = decltype(value);
    DeltaArgs<T> args = in.arguments<T>(scale, reverse);
    args.out = write<T>(out);
    args.final_state = keep_final ? write<T>(final_state) : nullptr;
    const int64_t groups = forward_groups(in.tokens(), in.sequences());
    for_each_scan_task<T>(args.offsets, in.sequences(), groups, in.heads(), [&](auto& scratch, const ScanTask& task) {
      GNNKIT_CALL(delta_sequences, args, task, scratch.of((in.keys() + 2) * in.padded()));
    });
  });
  return {out, final_state};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> gated_delta_backward(
    const Tensor& upstream, const OptionalTensor& upstream_final, const Tensor& q, const Tensor& k, const Tensor& v,
    const Tensor& beta, const OptionalTensor& g, const OptionalTensor& initial, const Tensor& offsets, double scale,
    bool reverse) {
  const DeltaInputs in = delta_inputs(q, k, v, beta, g, initial, offsets);
  check_shape(upstream, in.rows(), in.q, "grad");
  if (upstream_final.has_value())
    check_shape(*upstream_final, in.states(true), in.q, "the gradient to the final state");
  const Tensor grad = dense(upstream);
  const OptionalTensor grad_final = dense(upstream_final);
  const auto like = [&](const Tensor& tensor) { return empty(with_rows(tensor, in.tokens()), in.q); };
  Tensor grad_q = like(in.q), grad_k = like(in.k), grad_v = like(in.v), grad_beta = like(in.beta);
  Tensor grad_g = empty({in.g.has_value() ? in.tokens() : 0, in.heads()}, in.q);
  Tensor grad_initial = empty(in.states(in.initial.has_value()), in.q);
  if (in.tokens() == 0 && grad_initial.numel() == 0) return {grad_q, grad_k, grad_v, grad_beta, grad_g, grad_initial};
  dispatch_wide(in.q, [&](auto value) {
    using T = decltype(value);
    DeltaArgs<T> args = in.arguments<T>(scale, reverse);
    args.grad = read<T>(grad);
    args.grad_final = read<T>(grad_final);
    args.grad_q = write<T>(grad_q);
    args.grad_k = write<T>(grad_k);
    args.grad_v = write<T>(grad_v);
    args.grad_beta = write<T>(grad_beta);
    args.grad_g = in.g.has_value() ? write<T>(grad_g) : nullptr;
    args.grad_initial = in.initial.has_value() ? write<T>(grad_initial) : nullptr;
    // Nothing is added up across groups here either.
    const int64_t groups = forward_groups(in.tokens(), in.sequences());
    for_each_scan_task<T>(args.offsets, in.sequences(), groups, in.heads(), [&](auto& scratch, const ScanTask& task) {
      const int64_t chunk = kScanTokens * in.steps();
      const int64_t rows = (2 + chunk + checkpoints_of(args.offsets, task)) * in.keys() + chunk + 2;
      GNNKIT_CALL(delta_backward_sequences, args, task, scratch.of(rows * in.padded()));
    });
  });
  return {grad_q, grad_k, grad_v, grad_beta, grad_g, grad_initial};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("gated_delta", TORCH_BOX(&gated_delta));
  library.impl("gated_delta_backward", TORCH_BOX(&gated_delta_backward));
}

}  // namespace gnnkit
