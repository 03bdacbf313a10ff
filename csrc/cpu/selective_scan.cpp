#include <vector>

#include "common/scan_inputs.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

template <typename T>
struct Scratch {
  std::vector<T> values;

  T* of(int64_t size) {
    if (static_cast<int64_t>(values.size()) < size) values.resize(static_cast<size_t>(size));
    return values.data();
  }
};

// Calls run(scratch, task) for every group of sequences and block of channels.
template <typename T, typename Run>
void for_each_task(const ScanArgs<T>& args, int64_t sequences, int64_t groups, int64_t blocks, const Run& run) {
  parallel_with_scratch<Scratch<T>>(groups * blocks, [&](Scratch<T>& scratch, int64_t index) {
    const int64_t group = index / blocks;
    run(scratch, ScanTask{group, row_at_share(args.offsets, sequences, group, groups),
                          row_at_share(args.offsets, sequences, group + 1, groups), index % blocks});
  });
}

std::tuple<Tensor, Tensor> selective_scan(const Tensor& u, const Tensor& delta, const Tensor& a, const Tensor& b,
                                          const Tensor& c, const OptionalTensor& skip, const OptionalTensor& z,
                                          const OptionalTensor& delta_bias, const OptionalTensor& initial,
                                          const Tensor& offsets, bool softplus, bool reverse, bool keep_final) {
  const ScanInputs in = scan_inputs(u, delta, a, b, c, skip, z, delta_bias, initial, offsets);
  check_boundaries(read<int64_t>(in.offsets), in.sequences(), in.tokens());
  Tensor out = empty({in.tokens(), in.channels()}, in.u);
  Tensor final_state = empty({keep_final ? in.sequences() : 0, in.channels(), in.states()}, in.u);
  dispatch_wide(in.u, [&](auto value) {
    using T = decltype(value);
    ScanArgs<T> args = in.arguments<T>(softplus, reverse);
    args.out = write<T>(out);
    args.final_state = keep_final ? write<T>(final_state) : nullptr;
    // Results do not depend on groups here: small ones suit any number of threads.
    const int64_t groups = std::max<int64_t>(1, std::min<int64_t>(in.sequences(), in.tokens() / 64));
    for_each_task(args, in.sequences(), groups, in.blocks(), [&](Scratch<T>& scratch, const ScanTask& task) {
      GNNKIT_CALL(scan_block, args, task, scratch.of(2 * in.states() * kScanChannels));
    });
  });
  return {out, final_state};
}

// The sum of `count` partial results of the shape of `like`, in order.
template <typename T>
Tensor sum_of_partials(const Tensor& partials, int64_t count, const std::vector<int64_t>& shape) {
  Tensor out = empty(shape, partials);
  const PartialArgs<T> args{read<T>(partials), write<T>(out), count, out.numel()};
  constexpr int64_t kElements = 1 << 12;
  parallel_over_chunks((args.size + kElements - 1) / kElements, [&](int64_t chunk) {
    GNNKIT_CALL(sum_partials, args, chunk * kElements, std::min(args.size, (chunk + 1) * kElements));
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> selective_scan_backward(
    const Tensor& grad_in, const OptionalTensor& grad_final_in, const Tensor& u, const Tensor& delta, const Tensor& a,
    const Tensor& b, const Tensor& c, const OptionalTensor& skip, const OptionalTensor& z,
    const OptionalTensor& delta_bias, const OptionalTensor& initial, const Tensor& offsets, bool softplus,
    bool reverse) {
  const ScanInputs in = scan_inputs(u, delta, a, b, c, skip, z, delta_bias, initial, offsets);
  check_boundaries(read<int64_t>(in.offsets), in.sequences(), in.tokens());
  const int64_t tokens = in.tokens(), channels = in.channels(), states = in.states(), sequences = in.sequences();
  check_scan_shape(grad_in, {tokens, channels}, in.u, "grad");
  if (grad_final_in.has_value())
    check_scan_shape(*grad_final_in, {sequences, channels, states}, in.u, "the gradient to the final state");
  const Tensor grad = dense(grad_in);
  const OptionalTensor grad_final = dense(grad_final_in);
  const int64_t groups = scan_groups(tokens, sequences), blocks = in.blocks();
  Tensor grad_u = empty({tokens, channels}, in.u), grad_delta = empty({tokens, channels}, in.u);
  Tensor grad_a = empty({groups, channels, states}, in.u);
  Tensor grad_b = empty({blocks, tokens, states}, in.u), grad_c = empty({blocks, tokens, states}, in.u);
  Tensor grad_skip = empty({in.skip.has_value() ? groups * channels : 0}, in.u);
  Tensor grad_z = empty({in.z.has_value() ? tokens : 0, channels}, in.u);
  Tensor grad_bias = empty({in.delta_bias.has_value() ? groups * channels : 0}, in.u);
  Tensor grad_initial = empty({in.initial.has_value() ? sequences : 0, channels, states}, in.u);
  dispatch_wide(in.u, [&](auto value) {
    using T = decltype(value);
    ScanArgs<T> args = in.arguments<T>(softplus, reverse);
    args.grad = read<T>(grad);
    args.grad_final = read<T>(grad_final);
    args.grad_u = write<T>(grad_u);
    args.grad_delta = write<T>(grad_delta);
    args.grad_a = write<T>(grad_a);
    args.grad_b = write<T>(grad_b);
    args.grad_c = write<T>(grad_c);
    args.grad_skip = in.skip.has_value() ? write<T>(grad_skip) : nullptr;
    args.grad_z = in.z.has_value() ? write<T>(grad_z) : nullptr;
    args.grad_delta_bias = in.delta_bias.has_value() ? write<T>(grad_bias) : nullptr;
    args.grad_initial = in.initial.has_value() ? write<T>(grad_initial) : nullptr;
    for_each_task(args, sequences, groups, blocks, [&](Scratch<T>& scratch, const ScanTask& task) {
      int64_t longest = 0;
      for (int64_t s = task.first_sequence; s < task.last_sequence; ++s)
        longest = std::max(longest, args.offsets[s + 1] - args.offsets[s]);
      const int64_t checkpoints = (longest + kScanTokens - 1) / kScanTokens;
      const int64_t size = states * kScanChannels;
      GNNKIT_CALL(scan_backward_block, args, task, scratch.of((4 + 2 * kScanTokens + checkpoints) * size));
    });
    grad_a = sum_of_partials<T>(grad_a, groups, {channels, states});
    grad_b = sum_of_partials<T>(grad_b, blocks, {tokens, states});
    grad_c = sum_of_partials<T>(grad_c, blocks, {tokens, states});
    if (in.skip.has_value()) grad_skip = sum_of_partials<T>(grad_skip, groups, {channels});
    if (in.delta_bias.has_value()) grad_bias = sum_of_partials<T>(grad_bias, groups, {channels});
  });
  return {grad_u, grad_delta, grad_a, grad_b, grad_c, grad_skip, grad_z, grad_bias, grad_initial};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("selective_scan", TORCH_BOX(&selective_scan));
  library.impl("selective_scan_backward", TORCH_BOX(&selective_scan_backward));
}

}  // namespace gnnkit
