#include "cuda/selective_scan.cuh"

#include "common/scan_inputs.h"
#include "cuda/column_sums.cuh"
#include "cuda/device_algorithms.h"

namespace gnnkit {

namespace {

template <typename T>
struct Scan {
  const ScanInputs& in;
  Stream stream;
  int64_t most;  // chunks
  Tensor ptr, states, products;
  ScanChunks chunks;
  ScanCarry<T> carry;

  // Every sequence has a last chunk that may be short.
  Scan(const ScanInputs& inputs, Stream on)
      : in(inputs),
        stream(on),
        most(inputs.tokens() / kScanTokens + std::min(inputs.sequences(), inputs.tokens())),
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

template <typename Visit>
void dispatch_scan(const Tensor& values, const Visit& visit) {
  if (values.scalar_type() == ScalarType::Double) return visit(double{});
  visit(float{});
}

std::tuple<Tensor, Tensor> selective_scan(const Tensor& u, const Tensor& delta, const Tensor& a, const Tensor& b,
                                          const Tensor& c, const OptionalTensor& skip, const OptionalTensor& z,
                                          const OptionalTensor& delta_bias, const OptionalTensor& initial,
                                          const Tensor& offsets, bool softplus, bool reverse, bool keep_final) {
  const ScanInputs in = scan_inputs(u, delta, a, b, c, skip, z, delta_bias, initial, offsets);
  Tensor out = empty({in.tokens(), in.channels()}, in.u);
  Tensor final_state = empty({keep_final ? in.sequences() : 0, in.channels(), in.states()}, in.u);
  if (in.channels() == 0) return {out, final_state};
  const OnDevice device(in.u);
  dispatch_scan(in.u, [&](auto value) {
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

// The sum of partial results, [count, *shape].
template <typename T>
Tensor sum_of_partials(const Tensor& partials, int64_t count, const std::vector<int64_t>& shape, Stream stream) {
  Tensor out = empty(shape, partials);
  const int64_t size = out.numel();
  if (size == 0) return out;
  if (count == 0) {
    torch::stable::zero_(out);
    return out;
  }
  sum_columns(read<T>(partials), write<T>(out), count, size, partials, stream);
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> selective_scan_backward(
    const Tensor& grad_in, const OptionalTensor& grad_final_in, const Tensor& u, const Tensor& delta, const Tensor& a,
    const Tensor& b, const Tensor& c, const OptionalTensor& skip, const OptionalTensor& z,
    const OptionalTensor& delta_bias, const OptionalTensor& initial, const Tensor& offsets, bool softplus,
    bool reverse) {
  const ScanInputs in = scan_inputs(u, delta, a, b, c, skip, z, delta_bias, initial, offsets);
  const int64_t tokens = in.tokens(), channels = in.channels(), states = in.states(), sequences = in.sequences();
  check_scan_shape(grad_in, {tokens, channels}, in.u, "grad");
  if (grad_final_in.has_value())
    check_scan_shape(*grad_final_in, {sequences, channels, states}, in.u, "the gradient to the final state");
  const Tensor grad = dense(grad_in);
  const OptionalTensor grad_final = dense(grad_final_in);
  Tensor grad_u = empty({tokens, channels}, in.u), grad_delta = empty({tokens, channels}, in.u);
  Tensor grad_z = empty({in.z.has_value() ? tokens : 0, channels}, in.u);
  Tensor grad_initial = empty({in.initial.has_value() ? sequences : 0, channels, states}, in.u);
  Tensor grad_a = zeros({channels, states}, in.u);
  Tensor grad_b = zeros({tokens, states}, in.u), grad_c = zeros({tokens, states}, in.u);
  Tensor grad_skip = empty({0}, in.u), grad_bias = empty({0}, in.u);
  if (channels == 0) return {grad_u, grad_delta, grad_a, grad_b, grad_c, grad_skip, grad_z, grad_bias, grad_initial};
  const OnDevice device(in.u);
  dispatch_scan(in.u, [&](auto value) {
    using T = decltype(value);
    Scan<T> scan(in, device.stream());
    const Tensor flows = empty({scan.most, states, channels}, in.u);
    scan.carry.flows = write<T>(flows);
    // Chunks that are not there add nothing.
    grad_a = zeros({scan.most, channels, states}, in.u);
    grad_b = empty({in.blocks(), tokens, states}, in.u);
    grad_c = empty({in.blocks(), tokens, states}, in.u);
    const auto partial = [&](const OptionalTensor& given) {
      return zeros({given.has_value() ? scan.most * channels : 0}, in.u);
    };
    grad_skip = partial(in.skip);
    grad_bias = partial(in.delta_bias);
    ScanArgs<T> args = in.arguments<T>(softplus, reverse);
    args.grad = read<T>(grad);
    args.grad_final = read<T>(grad_final);
    args.grad_u = write<T>(grad_u);
    args.grad_delta = write<T>(grad_delta);
    args.grad_z = in.z.has_value() ? write<T>(grad_z) : nullptr;
    args.grad_initial = in.initial.has_value() ? write<T>(grad_initial) : nullptr;
    args.grad_a = write<T>(grad_a);
    args.grad_b = write<T>(grad_b);
    args.grad_c = write<T>(grad_c);
    args.grad_skip = in.skip.has_value() ? write<T>(grad_skip) : nullptr;
    args.grad_delta_bias = in.delta_bias.has_value() ? write<T>(grad_bias) : nullptr;
    scan.begin_chunks(args);
    const Stream stream = device.stream();
    GNNKIT_LAUNCH(scan_chunk_flows<T>, scan.chunk_grid(), kBlock, 0, stream, args, scan.chunks, scan.carry);
    if (states > 0) GNNKIT_LAUNCH(carry_flows<T>, scan.carry_grid(), kBlock, 0, stream, args, scan.chunks, scan.carry);
    GNNKIT_LAUNCH(scan_gradients<T>, scan.chunk_grid(), kBlock, 0, stream, args, scan.chunks, scan.carry);
    grad_a = sum_of_partials<T>(grad_a, scan.most, {channels, states}, stream);
    grad_b = sum_of_partials<T>(grad_b, in.blocks(), {tokens, states}, stream);
    grad_c = sum_of_partials<T>(grad_c, in.blocks(), {tokens, states}, stream);
    if (in.skip.has_value()) grad_skip = sum_of_partials<T>(grad_skip, scan.most, {channels}, stream);
    if (in.delta_bias.has_value()) grad_bias = sum_of_partials<T>(grad_bias, scan.most, {channels}, stream);
  });
  return {grad_u, grad_delta, grad_a, grad_b, grad_c, grad_skip, grad_z, grad_bias, grad_initial};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("selective_scan", TORCH_BOX(&selective_scan));
  library.impl("selective_scan_backward", TORCH_BOX(&selective_scan_backward));
}

}  // namespace gnnkit
