#include "common/attention_inputs.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

std::tuple<Tensor, Tensor, Tensor> attention(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                                             const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                             const Tensor& q, const Tensor& k, const Tensor& v,
                                             const OptionalTensor& att, const OptionalTensor& bias, std::string score,
                                             double parameter) {
  const AttentionInputs in = attention_inputs(rowptr, col, edge_id, q, k, v, att, bias, score, parameter);
  const int64_t num_rows = rowptr.size(0) - 1;
  STD_TORCH_CHECK(q.size(0) == num_rows, "q must have one row per destination");
  Tensor out = empty(with_rows(in.v, num_rows), in.v);
  Tensor peak = attention_statistic(in, {num_rows, in.heads()});
  Tensor inverse = attention_statistic(in, {num_rows, in.heads()});
  if (peak.numel() == 0) return {out, peak, inverse};
  dispatch(in.v, in.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    AttentionArgs<T, I> args = attention_arguments<T, I>(in);
    args.out = write<T>(out);
    args.peak = write<Accumulate<T>>(peak);
    args.inverse = write<Accumulate<T>>(inverse);
    parallel_over_rows(args.rowptr, num_rows, in.work(),
                       [&](int64_t begin, int64_t end) { GNNKIT_CALL(attention_rows, args, begin, end); });
  });
  return {out, peak, inverse};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention_backward_dst(
    const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, const Tensor& q, const Tensor& k,
    const Tensor& v, const OptionalTensor& att, const OptionalTensor& bias, const Tensor& grad_in, const Tensor& out_in,
    const Tensor& peak_in, const Tensor& inverse_in, std::string score, double parameter, bool with_bias) {
  const AttentionInputs in = attention_inputs(rowptr, col, edge_id, q, k, v, att, bias, score, parameter);
  const int64_t num_rows = rowptr.size(0) - 1;
  const Tensor grad = dense(grad_in), out = dense(out_in), peak = dense(peak_in), inverse = dense(inverse_in);
  check_attention_statistics(in, num_rows, grad, {&peak, &inverse});
  STD_TORCH_CHECK(out.scalar_type() == grad.scalar_type() && out.numel() == grad.numel(), "out must match grad");
  Tensor grad_q = empty(with_rows(in.q, num_rows), in.q);
  Tensor delta = attention_statistic(in, {num_rows, in.heads()});
  Tensor grad_bias =
      with_bias && bias.has_value() ? empty(with_rows(*in.bias, in.bias->size(0)), in.v) : empty({0}, in.v);
  Tensor grad_att =
      in.score == Score::kMixed ? attention_statistic(in, with_rows(in.q, num_rows)) : attention_statistic(in, {0});
  if (delta.numel() == 0) {
    if (grad_bias.numel() > 0) torch::stable::zero_(grad_bias);
    return {grad_q, delta, grad_bias, grad_att};
  }
  dispatch(in.v, in.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    using A = Accumulate<T>;
    AttentionArgs<T, I> args = attention_arguments<T, I>(in);
    args.grad = read<T>(grad);
    args.out = const_cast<T*>(read<T>(out));
    args.peak = const_cast<A*>(read<A>(peak));
    args.inverse = const_cast<A*>(read<A>(inverse));
    args.delta = write<A>(delta);
    args.grad_q = write<T>(grad_q);
    args.grad_bias = grad_bias.numel() > 0 ? write<T>(grad_bias) : nullptr;
    args.grad_att = grad_att.numel() > 0 ? write<A>(grad_att) : nullptr;
    parallel_over_rows(args.rowptr, num_rows, in.work(),
                       [&](int64_t begin, int64_t end) { GNNKIT_CALL(attention_dst_rows, args, begin, end); });
  });
  return {grad_q, delta, grad_bias, grad_att};
}

std::tuple<Tensor, Tensor> attention_backward_src(const Tensor& t_rowptr, const Tensor& t_col,
                                                  const OptionalTensor& t_edge_id, const Tensor& q, const Tensor& k,
                                                  const Tensor& v, const OptionalTensor& att,
                                                  const OptionalTensor& bias, const Tensor& grad_in,
                                                  const Tensor& peak_in, const Tensor& inverse_in,
                                                  const Tensor& delta_in, std::string score, double parameter) {
  const AttentionInputs in = attention_inputs(t_rowptr, t_col, t_edge_id, q, k, v, att, bias, score, parameter);
  const int64_t num_rows = t_rowptr.size(0) - 1;
  const Tensor grad = dense(grad_in), peak = dense(peak_in), inverse = dense(inverse_in), delta = dense(delta_in);
  check_attention_statistics(in, q.size(0), grad, {&peak, &inverse, &delta});
  STD_TORCH_CHECK(v.size(0) == num_rows, "v must have one row per source");
  Tensor grad_k = empty(with_rows(in.k, num_rows), in.k);
  Tensor grad_v = empty(with_rows(in.v, num_rows), in.v);
  if (num_rows == 0 || in.heads() == 0) return {grad_k, grad_v};
  dispatch(in.v, in.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    using A = Accumulate<T>;
    AttentionArgs<T, I> args = attention_arguments<T, I>(in);
    args.grad = read<T>(grad);
    args.peak = const_cast<A*>(read<A>(peak));
    args.inverse = const_cast<A*>(read<A>(inverse));
    args.delta = const_cast<A*>(read<A>(delta));
    args.grad_k = write<T>(grad_k);
    args.grad_v = write<T>(grad_v);
    parallel_over_rows(args.rowptr, num_rows, in.work(),
                       [&](int64_t begin, int64_t end) { GNNKIT_CALL(attention_src_rows, args, begin, end); });
  });
  return {grad_k, grad_v};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("attention", TORCH_BOX(&attention));
  library.impl("attention_backward_dst", TORCH_BOX(&attention_backward_dst));
  library.impl("attention_backward_src", TORCH_BOX(&attention_backward_src));
}

}  // namespace gnnkit
