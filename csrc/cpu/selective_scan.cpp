#include "common/scan_inputs.h"
#include "cpu/partials.h"
#include "cpu/scan_tasks.h"

namespace gnnkit {

namespace {

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
    const int64_t groups = forward_groups(in.tokens(), in.sequences());
    for_each_scan_task<T>(args.offsets, in.sequences(), groups, in.blocks(), [&](auto& scratch, const ScanTask& task) {
      GNNKIT_CALL(scan_block, args, task, scratch.of(2 * in.states() * kScanChannels));
    });
  });
  return {out, final_state};
}

ScanGradientTensors selective_scan_backward(const Tensor& grad, const OptionalTensor& grad_final, const Tensor& u,
                                            const Tensor& delta, const Tensor& a, const Tensor& b, const Tensor& c,
                                            const OptionalTensor& skip, const OptionalTensor& z,
                                            const OptionalTensor& delta_bias, const OptionalTensor& initial,
                                            const Tensor& offsets, bool softplus, bool reverse) {
  const ScanInputs in = scan_inputs(u, delta, a, b, c, skip, z, delta_bias, initial, offsets);
  check_boundaries(read<int64_t>(in.offsets), in.sequences(), in.tokens());
  const int64_t groups = scan_groups(in.tokens(), in.sequences());
  const ScanGradients gradients(in, grad, grad_final, groups, true);
  dispatch_wide(in.u, [&](auto value) {
    using T = decltype(value);
    const ScanArgs<T> args = gradients.arguments<T>(softplus, reverse);
    for_each_scan_task<T>(args.offsets, in.sequences(), groups, in.blocks(), [&](auto& scratch, const ScanTask& task) {
      const int64_t checkpoints = checkpoints_of(args.offsets, task);
      const int64_t size = in.states() * kScanChannels;
      GNNKIT_CALL(scan_backward_block, args, task, scratch.of((4 + 2 * kScanTokens + checkpoints) * size));
    });
  });
  return gradients.added_up(sum_of_partials);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("selective_scan", TORCH_BOX(&selective_scan));
  library.impl("selective_scan_backward", TORCH_BOX(&selective_scan_backward));
}

}  // namespace gnnkit
