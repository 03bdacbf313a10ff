#include "cuda/selective_scan.cuh"

#include "common/scan_inputs.h"
#include "cuda/column_sums.cuh"
#include "cuda/device_algorithms.h"

namespace gnnkit {

namespace {

// Every sequence has a last chunk that may be short.
int64_t most_chunks(const ScanInputs& in) { return in.tokens() / kScanTokens + std::min(in.sequences(), in.tokens()); }

template <typename T>
struct Scan {
  const ScanInputs& in;
  Stream stream;
  int64_t most;  // chunks
  Tensor ptr, states, products;
  ScanChunks chunks;
  ScanCarry<T> carry;

  Scan(const ScanInputs& inputs, Stream on)
      : in(inputs),
        stream(on),
        most(most_chunks(inputs)),
        ptr(empty({inputs.sequences() + 1}, inputs.offsets)),
        states(empty({most, inputs.states(), inputs.channels()}, inputs.u)),
        products(empty({most, inputs.states(), inputs.channels()}, inputs.u)),
        chunks{read<int64_t>(ptr), inputs.sequences(), most},
        carry{write<T>(states), write<T>(products), nullptr} {
    const int64_t entries = in.sequences() + 1;
    GNNKIT_LAUNCH(count_chunks, blocks_for_threads(entries), kBlock, 0, stream, read<int64_t>(in.offsets),
                  in.sequences(), in.tokens(), write<int64_t>(ptr));
    exclusive_sum(read<int64_t>(ptr), write<int64_t>(ptr), entries, in.u, stream);
  }

  dim3 chunk_grid() const { return blocks_for_threads(most * in.blocks() * kWarp); }
  dim3 carry_grid() const { return blocks_for_threads(in.sequences() * in.states() * in.channels()); }

  // Leaves the state before every chunk.
  void begin_chunks(const ScanArgs<T>& args) const {
    if (in.states() == 0) return;
    GNNKIT_LAUNCH(scan_chunk_states<T>, chunk_grid(), kBlock, 0, stream, args, chunks, carry);
    GNNKIT_LAUNCH(carry_states<T>, carry_grid(), kBlock, 0, stream, args, chunks, carry);
  }
};

std::tuple<Tensor, Tensor> selective_scan(const Tensor& u, const Tensor& delta, const Tensor& a, const Tensor& b,
                                          const Tensor& c, const OptionalTensor& skip, const OptionalTensor& z,
                                          const OptionalTensor& delta_bias, const OptionalTensor& initial,
                                          const Tensor& offsets, bool softplus, bool reverse, bool keep_final) {
  const ScanInputs in = scan_inputs(u, delta, a, b, c, skip, z, delta_bias, initial, offsets);
  Tensor out = empty({in.tokens(), in.channels()}, in.u);
  Tensor final_state = empty({keep_final ? in.sequences() : 0, in.channels(), in.states()}, in.u);
  if (in.channels() == 0) return {out, final_state};
  const OnDevice device(in.u);
  dispatch_wide(in.u, [&](auto value) {
    using T = decltype(value);
    const Scan<T> scan(in, device.stream());
    ScanArgs<T> args = in.arguments<T>(softplus, reverse);
    args.out = write<T>(out);
    args.final_state = keep_final ? write<T>(final_state) : nullptr;
    scan.begin_chunks(args);
    GNNKIT_LAUNCH(scan_outputs<T>, scan.chunk_grid(), kBlock, 0, device.stream(), args, scan.chunks, scan.carry);
  });
  return {out, final_state};
}

ScanGradientTensors selective_scan_backward(const Tensor& grad, const OptionalTensor& grad_final, const Tensor& u,
                                            const Tensor& delta, const Tensor& a, const Tensor& b, const Tensor& c,
                                            const OptionalTensor& skip, const OptionalTensor& z,
                                            const OptionalTensor& delta_bias, const OptionalTensor& initial,
                                            const Tensor& offsets, bool softplus, bool reverse) {
  const ScanInputs in = scan_inputs(u, delta, a, b, c, skip, z, delta_bias, initial, offsets);
  const OnDevice device(in.u);
  const Stream stream = device.stream();
  // Chunks that are not there add nothing.
  const ScanGradients gradients(in, grad, grad_final, most_chunks(in), false);
  if (in.channels() > 0) {
    dispatch_wide(in.u, [&](auto value) {
      using T = decltype(value);
      Scan<T> scan(in, stream);
      const Tensor flows = empty({scan.most, in.states(), in.channels()}, in.u);
      scan.carry.flows = write<T>(flows);
      const ScanArgs<T> args = gradients.arguments<T>(softplus, reverse);
      scan.begin_chunks(args);
      GNNKIT_LAUNCH(scan_chunk_flows<T>, scan.chunk_grid(), kBlock, 0, stream, args, scan.chunks, scan.carry);
      if (in.states() > 0)
        GNNKIT_LAUNCH(carry_flows<T>, scan.carry_grid(), kBlock, 0, stream, args, scan.chunks, scan.carry);
      GNNKIT_LAUNCH(scan_gradients<T>, scan.chunk_grid(), kBlock, 0, stream, args, scan.chunks, scan.carry);
    });
  }
  return gradients.added_up([&](const Tensor& partials, const std::vector<int64_t>& shape) {
    return sum_of_partials(partials, shape, stream);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("selective_scan", TORCH_BOX(&selective_scan));
  library.impl("selective_scan_backward", TORCH_BOX(&selective_scan_backward));
}

}  // namespace gnnkit
