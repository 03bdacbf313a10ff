// Gated aggregation on every device, but for its kernels.
#pragma once

#include "common/topology.h"

namespace gnnkit {

// A topology and the features that belong to it, contiguous and checked against each other.
struct GateInputs {
  Tensor rowptr, col;
  OptionalTensor edge_id;
  Tensor sample;  // decides dtype and width

  int64_t num_rows() const { return rowptr.size(0) - 1; }
  int64_t num_edges() const { return col.size(0); }
  int64_t width() const { return sample.size(1); }

  // `tensor`, contiguous, if it is `[rows, width]` of the common dtype.
  Tensor rows(const Tensor& tensor, int64_t rows, const char* what) const {
    STD_TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == width() &&
                        tensor.scalar_type() == sample.scalar_type(),
                    what);
    return dense(tensor);
  }
  OptionalTensor rows(const OptionalTensor& tensor, int64_t count, const char* what) const {
    return tensor.has_value() ? OptionalTensor(rows(*tensor, count, what)) : std::nullopt;
  }
  Tensor statistic(const Tensor& tensor, int64_t rows) const {
    STD_TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == width() &&
                        tensor.scalar_type() == accumulate_type(sample),
                    "total must be [num_dst, F] in the dtype of accumulation");
    return dense(tensor);
  }
};

inline GateInputs gate_inputs(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                              const Tensor& sample) {
  check_structure(rowptr, col, edge_id);
  STD_TORCH_CHECK(sample.dim() == 2, "features must be [N, F]");
  return {dense(rowptr), dense(col), dense(edge_id), dense(sample)};
}

// The operators on every device. `Device` has forward, backward_dst and backward_src, each of which runs one pass,
// given its arguments and the graph.
template <typename Device>
std::tuple<Tensor, Tensor, Tensor> gated_aggregate(const Tensor& rowptr, const Tensor& col,
                                                   const OptionalTensor& edge_id, const OptionalTensor&,
                                                   const OptionalTensor&, const OptionalTensor&, const Tensor& a_in,
                                                   const Tensor& b_in, const Tensor& v_in,
                                                   const OptionalTensor& edge_in, bool normalize, double epsilon) {
  const GateInputs in = gate_inputs(rowptr, col, edge_id, v_in);
  const int64_t num_dst = in.num_rows(), num_src = in.sample.size(0);
  const Tensor a = in.rows(a_in, num_dst, "a_dst must be [num_dst, F] of the dtype of v_src");
  const Tensor b = in.rows(b_in, num_src, "b_src must match v_src");
  const OptionalTensor edge = in.rows(edge_in, in.num_edges(), "edge must be [E, F] of the dtype of v_src");
  Tensor out = empty({num_dst, in.width()}, in.sample);
  Tensor state = empty({in.num_edges(), in.width()}, in.sample);
  Tensor total = empty({normalize ? num_dst : 0, in.width()}, in.sample, accumulate_type(in.sample));
  if (out.numel() == 0) return {out, state, total};
  dispatch_float(in.sample, [&](auto value) {
    using T = decltype(value);
    GateArgs<T> args{};
    args.width = in.width();
    args.a_dst = read<T>(a);
    args.b_src = read<T>(b);
    args.v_src = read<T>(in.sample);
    args.edge = read<T>(edge);
    args.state = write<T>(state);
    args.out = write<T>(out);
    args.total = normalize ? write<Accumulate<T>>(total) : nullptr;
    args.epsilon = epsilon;
    Device::forward(args, in);
  });
  return {out, state, total};
}

template <typename Device>
std::tuple<Tensor, Tensor> gated_aggregate_backward_dst(const Tensor& rowptr, const Tensor& col,
                                                        const OptionalTensor& edge_id, const Tensor& v_in,
                                                        const Tensor& state_in, const Tensor& out_in,
                                                        const Tensor& total_in, const Tensor& grad_in,
                                                        const OptionalTensor& grad_state_in, bool normalize) {
  const GateInputs in = gate_inputs(rowptr, col, edge_id, v_in);
  const int64_t num_dst = in.num_rows();
  const Tensor state = in.rows(state_in, in.num_edges(), "state must be [E, F]");
  const Tensor out = in.rows(out_in, num_dst, "out must be [num_dst, F]");
  const Tensor grad = in.rows(grad_in, num_dst, "grad must be [num_dst, F]");
  const Tensor total = in.statistic(total_in, normalize ? num_dst : 0);
  const OptionalTensor grad_state = in.rows(grad_state_in, in.num_edges(), "grad_state must be [E, F]");
  Tensor grad_edge = empty({in.num_edges(), in.width()}, in.sample);
  Tensor grad_a = empty({num_dst, in.width()}, in.sample);
  if (grad_a.numel() == 0) return {grad_edge, grad_a};
  dispatch_float(in.sample, [&](auto value) {
    using T = decltype(value);
    GateArgs<T> args{};
    args.width = in.width();
    args.v_src = read<T>(in.sample);
    args.state = const_cast<T*>(read<T>(state));
    args.out = const_cast<T*>(read<T>(out));
    args.total = normalize ? const_cast<Accumulate<T>*>(read<Accumulate<T>>(total)) : nullptr;
    args.grad = read<T>(grad);
    args.grad_state = read<T>(grad_state);
    args.grad_edge = write<T>(grad_edge);
    args.grad_a = write<T>(grad_a);
    Device::backward_dst(args, in);
  });
  return {grad_edge, grad_a};
}

template <typename Device>
std::tuple<Tensor, Tensor> gated_aggregate_backward_src(const Tensor& t_rowptr, const Tensor& t_col,
                                                        const OptionalTensor& t_edge_id, const Tensor& state_in,
                                                        const Tensor& total_in, const Tensor& grad_in,
                                                        const Tensor& grad_edge_in, bool normalize) {
  const GateInputs in = gate_inputs(t_rowptr, t_col, t_edge_id, grad_in);
  const int64_t num_src = in.num_rows();
  const Tensor state = in.rows(state_in, in.num_edges(), "state must be [E, F]");
  const Tensor grad_edge = in.rows(grad_edge_in, in.num_edges(), "grad_edge must be [E, F]");
  const Tensor total = in.statistic(total_in, normalize ? in.sample.size(0) : 0);
  Tensor grad_b = empty({num_src, in.width()}, in.sample);
  Tensor grad_v = empty({num_src, in.width()}, in.sample);
  if (grad_b.numel() == 0) return {grad_b, grad_v};
  dispatch_float(in.sample, [&](auto value) {
    using T = decltype(value);
    GateArgs<T> args{};
    args.width = in.width();
    args.state = const_cast<T*>(read<T>(state));
    args.total = normalize ? const_cast<Accumulate<T>*>(read<Accumulate<T>>(total)) : nullptr;
    args.grad = read<T>(in.sample);
    args.grad_edge = const_cast<T*>(read<T>(grad_edge));
    args.grad_b = write<T>(grad_b);
    args.grad_v = write<T>(grad_v);
    Device::backward_src(args, in);
  });
  return {grad_b, grad_v};
}

}  // namespace gnnkit
