// What the attention operators of every device check and hand to their kernels.
#pragma once

#include "common/topology.h"

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
};

inline AttentionInputs attention_inputs(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                                        const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& att,
                                        const OptionalTensor& bias, const std::string& score, double parameter) {
  check_structure(rowptr, col, edge_id);
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
    STD_TORCH_CHECK(bias->scalar_type() == v.scalar_type() && (bias->dim() == 1 || bias->dim() == 2) &&
                        bias->size(0) == col.size(0) && (bias->dim() == 1 || bias->size(1) == v.size(1)),
                    "bias must be [E] or [E, H] and of the dtype of v");
  return all;
}

// `in` may be laid out otherwise than the tensors of the caller, but for the heads of its bias.
template <typename T, typename Laid>
AttentionArgs<T> attention_arguments(const AttentionInputs& given, const Laid& in) {
  AttentionArgs<T> args{};
  args.q = read<T>(in.q);
  args.k = read<T>(in.k);
  args.v = read<T>(in.v);
  args.att = read<T>(in.att);
  args.bias = read<T>(in.bias);
  args.heads = in.v.size(1);
  args.score_width = in.q.size(2);
  args.width = in.v.size(2);
  args.bias_heads = given.bias.has_value() && given.bias->dim() == 2 ? given.heads() : 1;
  args.parameter = given.parameter;
  args.score = given.score;
  return args;
}

inline Tensor attention_statistic(const AttentionInputs& in, const std::vector<int64_t>& sizes) {
  return empty(sizes, in.v, accumulate_type(in.v));
}

// `results` are the result and its gradient, or one of them.
inline void check_attention_results(const AttentionInputs& in, int64_t num_dst, std::vector<const Tensor*> results,
                                    std::vector<const Tensor*> statistics) {
  STD_TORCH_CHECK(in.q.size(0) == num_dst, "q must have one row per destination");
  for (const Tensor* value : results)
    STD_TORCH_CHECK(value->scalar_type() == in.v.scalar_type() && value->dim() == 3 && value->size(0) == num_dst &&
                        value->size(1) == in.heads() && value->size(2) == in.v.size(2),
                    "a result and its gradient must be [num_dst, H, F] in the dtype of the values");
  for (const Tensor* value : statistics)
    STD_TORCH_CHECK(value->scalar_type() == accumulate_type(in.v) && value->dim() == 2 && value->size(0) == num_dst &&
                        value->size(1) == in.heads(),
                    "statistics must be [num_dst, H] in the dtype of accumulation");
}

}  // namespace gnnkit
