#include "cpu/launch.h"

namespace gnnkit {

namespace {

Score parse_score(const std::string& name) {
  if (name == "product") return Score::kProduct;
  if (name == "sum") return Score::kSum;
  STD_TORCH_CHECK(name == "mixed", "unknown score");
  return Score::kMixed;
}

// The tensors that every pass reads, contiguous and checked against each other.
struct Inputs {
  Tensor rowptr, col;
  OptionalTensor edge_id;
  Tensor q, k, v;
  OptionalTensor att, bias;
  Score score;
  double parameter;

  int64_t heads() const { return v.size(1); }
  int64_t work() const { return row_width(q) * 2 + row_width(v) * 2 + heads() * 16; }
};

Inputs inputs(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, const Tensor& q, const Tensor& k,
              const Tensor& v, const OptionalTensor& att, const OptionalTensor& bias, const std::string& score,
              double parameter) {
  STD_TORCH_CHECK(rowptr.dim() == 1 && rowptr.size(0) >= 1 && col.dim() == 1, "rowptr and col must be vectors");
  STD_TORCH_CHECK(rowptr.scalar_type() == col.scalar_type(), "rowptr and col must have one dtype");
  if (edge_id.has_value())
    STD_TORCH_CHECK(edge_id->scalar_type() == col.scalar_type() && edge_id->size(0) == col.size(0),
                    "edge_id must match col");
  STD_TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && v.dim() == 3, "q, k and v must have three dimensions");
  STD_TORCH_CHECK(q.scalar_type() == v.scalar_type() && k.scalar_type() == v.scalar_type(),
                  "q, k and v must have one dtype");
  STD_TORCH_CHECK(q.size(1) == v.size(1) && k.size(1) == v.size(1) && q.size(2) == k.size(2),
                  "q, k and v must have the same heads, q and k the same width");
  STD_TORCH_CHECK(k.size(0) == v.size(0), "k and v must have one row per source");
  Inputs all{dense(rowptr), dense(col), dense(edge_id), dense(q),           dense(k),
             dense(v),      dense(att), dense(bias),    parse_score(score), parameter};
  STD_TORCH_CHECK(all.score != Score::kSum || q.size(2) == 1, "added scores have one element per head");
  if (all.score == Score::kMixed)
    STD_TORCH_CHECK(att.has_value() && att->scalar_type() == v.scalar_type() && att->numel() == q.size(1) * q.size(2),
                    "att must have one row per head");
  if (bias.has_value())
    STD_TORCH_CHECK(bias->scalar_type() == v.scalar_type() && bias->size(0) == col.size(0) && bias->dim() <= 2 &&
                        (bias->dim() == 1 || bias->size(1) == v.size(1)),
                    "bias must be [E] or [E, H] and of the dtype of v");
  return all;
}

template <typename T, typename I>
AttentionArgs<T, I> arguments(const Inputs& in) {
  AttentionArgs<T, I> args{};
  args.rowptr = read<I>(in.rowptr);
  args.col = read<I>(in.col);
  args.edge_id = read<I>(in.edge_id);
  args.q = read<T>(in.q);
  args.k = read<T>(in.k);
  args.v = read<T>(in.v);
  args.att = read<T>(in.att);
  args.bias = read<T>(in.bias);
  args.num_edges = in.col.size(0);
  args.heads = in.heads();
  args.score_width = in.q.size(2);
  args.width = in.v.size(2);
  args.bias_heads = in.bias.has_value() && in.bias->dim() == 2 ? in.heads() : 1;
  args.parameter = in.parameter;
  args.score = in.score;
  return args;
}

Tensor statistic(const Inputs& in, const std::vector<int64_t>& sizes) {
  const ScalarType type = in.v.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  return torch::stable::new_empty(in.v, sizes, type);
}

std::tuple<Tensor, Tensor, Tensor> attention(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                                             const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                             const Tensor& q, const Tensor& k, const Tensor& v,
                                             const OptionalTensor& att, const OptionalTensor& bias, std::string score,
                                             double parameter) {
  const Inputs in = inputs(rowptr, col, edge_id, q, k, v, att, bias, score, parameter);
  const int64_t num_rows = rowptr.size(0) - 1;
  STD_TORCH_CHECK(q.size(0) == num_rows, "q must have one row per destination");
  Tensor out = empty(with_rows(in.v, num_rows), in.v);
  Tensor peak = statistic(in, {num_rows, in.heads()});
  Tensor inverse = statistic(in, {num_rows, in.heads()});
  if (peak.numel() == 0) return {out, peak, inverse};
  dispatch(in.v, in.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    AttentionArgs<T, I> args = arguments<T, I>(in);
    args.out = write<T>(out);
    args.peak = write<Accumulate<T>>(peak);
    args.inverse = write<Accumulate<T>>(inverse);
    parallel_over_rows(args.rowptr, num_rows, in.work(),
                       [&](int64_t begin, int64_t end) { GNNKIT_CALL(attention_rows, args, begin, end); });
  });
  return {out, peak, inverse};
}

void check_statistics(const Inputs& in, int64_t num_dst, const Tensor& grad, std::vector<const Tensor*> statistics) {
  STD_TORCH_CHECK(in.q.size(0) == num_dst, "q must have one row per destination");
  STD_TORCH_CHECK(grad.scalar_type() == in.v.scalar_type() && grad.numel() == num_dst * row_width(in.v),
                  "grad must match the result");
  for (const Tensor* value : statistics)
    STD_TORCH_CHECK(value->numel() == num_dst * in.heads() &&
                        (value->scalar_type() == ScalarType::Double) == (in.v.scalar_type() == ScalarType::Double),
                    "statistics must be [num_dst, H] in the dtype of accumulation");
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention_backward_dst(
    const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, const Tensor& q, const Tensor& k,
    const Tensor& v, const OptionalTensor& att, const OptionalTensor& bias, const Tensor& grad_in, const Tensor& out_in,
    const Tensor& peak_in, const Tensor& inverse_in, std::string score, double parameter, bool with_bias) {
  const Inputs in = inputs(rowptr, col, edge_id, q, k, v, att, bias, score, parameter);
  const int64_t num_rows = rowptr.size(0) - 1;
  const Tensor grad = dense(grad_in), out = dense(out_in), peak = dense(peak_in), inverse = dense(inverse_in);
  check_statistics(in, num_rows, grad, {&peak, &inverse});
  STD_TORCH_CHECK(out.scalar_type() == grad.scalar_type() && out.numel() == grad.numel(), "out must match grad");
  Tensor grad_q = empty(with_rows(in.q, num_rows), in.q);
  Tensor delta = statistic(in, {num_rows, in.heads()});
  Tensor grad_bias =
      with_bias && bias.has_value() ? empty(with_rows(*in.bias, in.bias->size(0)), in.v) : empty({0}, in.v);
  Tensor grad_att = in.score == Score::kMixed ? statistic(in, with_rows(in.q, num_rows)) : statistic(in, {0});
  if (delta.numel() == 0) {
    if (grad_bias.numel() > 0) torch::stable::zero_(grad_bias);
    return {grad_q, delta, grad_bias, grad_att};
  }
  dispatch(in.v, in.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    using A = Accumulate<T>;
    AttentionArgs<T, I> args = arguments<T, I>(in);
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
  const Inputs in = inputs(t_rowptr, t_col, t_edge_id, q, k, v, att, bias, score, parameter);
  const int64_t num_rows = t_rowptr.size(0) - 1;
  const Tensor grad = dense(grad_in), peak = dense(peak_in), inverse = dense(inverse_in), delta = dense(delta_in);
  check_statistics(in, q.size(0), grad, {&peak, &inverse, &delta});
  STD_TORCH_CHECK(v.size(0) == num_rows, "v must have one row per source");
  Tensor grad_k = empty(with_rows(in.k, num_rows), in.k);
  Tensor grad_v = empty(with_rows(in.v, num_rows), in.v);
  if (num_rows == 0 || in.heads() == 0) return {grad_k, grad_v};
  dispatch(in.v, in.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    using A = Accumulate<T>;
    AttentionArgs<T, I> args = arguments<T, I>(in);
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
