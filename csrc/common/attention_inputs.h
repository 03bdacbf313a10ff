// What the attention operators of every device check and hand to their kernels.
#pragma once

#include "common/arguments.h"
#include "common/dispatch.h"

namespace gnnkit {

inline Score parse_score(const std::string& name) {
  if (name == "product") return Score::kProduct;
  if (name == "sum") return Score::kSum;
  STD_TORCH_CHECK(name == "mixed", "unknown score");
  return Score::kMixed;
}

// The tensors that every pass reads, contiguous and checked against each other.
struct AttentionInputs {
  Tensor rowptr, col;
  OptionalTensor edge_id;
  Tensor q, k, v;
  OptionalTensor att, bias;
  Score score;
  double parameter;

  int64_t heads() const { return v.size(1); }
  int64_t work() const { return row_width(q) * 2 + row_width(v) * 2 + heads() * 16; }
};

inline AttentionInputs attention_inputs(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                                        const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& att,
                                        const OptionalTensor& bias, const std::string& score, double parameter) {
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
  AttentionInputs all{dense(rowptr), dense(col), dense(edge_id), dense(q),           dense(k),
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
AttentionArgs<T, I> attention_arguments(const AttentionInputs& in) {
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

inline Tensor attention_statistic(const AttentionInputs& in, const std::vector<int64_t>& sizes) {
  const ScalarType type = in.v.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  return torch::stable::new_empty(in.v, sizes, type);
}

inline void check_attention_statistics(const AttentionInputs& in, int64_t num_dst, const Tensor& grad,
                                       std::vector<const Tensor*> statistics) {
  STD_TORCH_CHECK(in.q.size(0) == num_dst, "q must have one row per destination");
  STD_TORCH_CHECK(grad.scalar_type() == in.v.scalar_type() && grad.numel() == num_dst * row_width(in.v),
                  "grad must match the result");
  for (const Tensor* value : statistics)
    STD_TORCH_CHECK(value->numel() == num_dst * in.heads() &&
                        (value->scalar_type() == ScalarType::Double) == (in.v.scalar_type() == ScalarType::Double),
                    "statistics must be [num_dst, H] in the dtype of accumulation");
}

}  // namespace gnnkit
