#include <vector>

#include "common/scan_inputs.h"
#include "cpu/partials.h"

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
    for_each_task(args, in.sequences(), groups, in.blocks(), [&](Scratch<T>& scratch, const ScanTask& task) {
      int64_t longest = 0;
      for (int64_t s = task.first_sequence; s < task.last_sequence; ++s)
        longest = std::max(longest, args.offsets[s + 1] - args.offsets[s]);
      const int64_t checkpoints = (longest + kScanTokens - 1) / kScanTokens;
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
