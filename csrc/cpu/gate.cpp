#include "common/gate_inputs.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

// Rows of the topology, whose positions point to the rows of `sample`.
template <typename Run>
void over_rows(const GateInputs& in, const Run& run) {
  dispatch_index(in.col, [&](auto integer) {
    using I = decltype(integer);
    const Adjacency<I> adjacency{read<I>(in.rowptr),  in.num_rows(),  read<I>(in.col),
                                 read<I>(in.edge_id), in.num_edges(), in.sample.size(0)};
    parallel_over_adjacency(adjacency, in.width() * 8, run);
  });
}

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
  Tensor total =
      torch::stable::new_empty(in.sample, std::vector<int64_t>{normalize ? num_dst : 0, in.width()}, in.wide_type());
  if (out.numel() == 0) return {out, state, total};
  dispatch_float(in.sample, [&](auto value) {
    using T = decltype(value);
    GateArgs<T> args = gate_arguments<T>(in);
    args.a_dst = read<T>(a);
    args.b_src = read<T>(b);
    args.v_src = read<T>(in.sample);
    args.edge = read<T>(edge);
    args.state = write<T>(state);
    args.out = write<T>(out);
    args.total = normalize ? write<Accumulate<T>>(total) : nullptr;
    args.epsilon = epsilon;
    over_rows(in, [&](int64_t begin, int64_t end) { GNNKIT_CALL(gate_rows, args, begin, end); });
  });
  return {out, state, total};
}

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
    GateArgs<T> args = gate_arguments<T>(in);
    args.v_src = read<T>(in.sample);
    args.state = const_cast<T*>(read<T>(state));
    args.out = const_cast<T*>(read<T>(out));
    args.total = normalize ? const_cast<Accumulate<T>*>(read<Accumulate<T>>(total)) : nullptr;
    args.grad = read<T>(grad);
    args.grad_state = read<T>(grad_state);
    args.grad_edge = write<T>(grad_edge);
    args.grad_a = write<T>(grad_a);
    over_rows(in, [&](int64_t begin, int64_t end) { GNNKIT_CALL(gate_dst_rows, args, begin, end); });
  });
  return {grad_edge, grad_a};
}

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
    GateArgs<T> args = gate_arguments<T>(in);
    args.state = const_cast<T*>(read<T>(state));
    args.total = normalize ? const_cast<Accumulate<T>*>(read<Accumulate<T>>(total)) : nullptr;
    args.grad = read<T>(in.sample);
    args.grad_edge = const_cast<T*>(read<T>(grad_edge));
    args.grad_b = write<T>(grad_b);
    args.grad_v = write<T>(grad_v);
    over_rows(in, [&](int64_t begin, int64_t end) { GNNKIT_CALL(gate_src_rows, args, begin, end); });
  });
  return {grad_b, grad_v};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("gated_aggregate", TORCH_BOX(&gated_aggregate));
  library.impl("gated_aggregate_backward_dst", TORCH_BOX(&gated_aggregate_backward_dst));
  library.impl("gated_aggregate_backward_src", TORCH_BOX(&gated_aggregate_backward_src));
}

}  // namespace gnnkit
