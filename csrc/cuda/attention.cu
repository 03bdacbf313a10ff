#include "cuda/attention.cuh"

#include "common/attention_inputs.h"
#include "cuda/attention_backward.cuh"
#include "cuda/row_walk.h"

namespace gnnkit {

namespace {

using device::AttentionWork;

// Features of a head that a lane holds at most.
constexpr int kMostItems = 4;

template <typename T, typename I>
AttentionWork<T, I> work_of(const AttentionInputs& in, int64_t num_ends) {
  AttentionWork<T, I> work{};
  static_cast<AttentionArgs<T>&>(work) = attention_arguments<T>(in, in);
  work.walk = walk_over<I>(in.rowptr, in.col, in.edge_id, num_ends, std::max(work.score_width, work.width));
  work.walk.heads = work.heads;
  return work;
}

// Calls visit(work, items), the latter an integral constant: features of a tile per lane. `most_features` are those of
// one head that the pass writes.
template <typename T, typename I, typename Visit>
void with_tiles(AttentionWork<T, I> work, int64_t most_features, const Visit& visit) {
  const auto run = [&](auto items) {
    const int64_t tile = static_cast<int64_t>(items) * work.walk.group_lanes;
    work.walk.tiles = std::max<int64_t>(1, (most_features + tile - 1) / tile);
    visit(work, items);
  };
  if (std::max(work.score_width, work.width) <= work.walk.group_lanes) return run(std::integral_constant<int, 1>{});
  run(std::integral_constant<int, kMostItems>{});
}

// Memory for the partial results of long rows, `width` numbers for each head.
template <typename T, typename I>
Tensor partial_results(AttentionWork<T, I>& work, int64_t width, const Tensor& like) {
  work.partial_width = width;
  const int64_t bytes = work.walk.rows.slots() * work.heads * width * static_cast<int64_t>(sizeof(Accumulate<T>));
  Tensor partial = scratch(bytes, like);
  work.partial = write<Accumulate<T>>(partial);
  return partial;
}

std::tuple<Tensor, Tensor, Tensor> attention(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                                             const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                             const Tensor& q, const Tensor& k, const Tensor& v,
                                             const OptionalTensor& att, const OptionalTensor& bias, std::string score,
                                             double parameter) {
  const AttentionInputs in = attention_inputs(rowptr, col, edge_id, q, k, v, att, bias, score, parameter);
  const int64_t num_rows = rowptr.size(0) - 1;
  STD_TORCH_CHECK(q.size(0) == num_rows, "q must have one row per destination");
  const OnDevice device(in.v);
  Tensor out = empty(with_rows(in.v, num_rows), in.v);
  Tensor peak = attention_statistic(in, {num_rows, in.heads()});
  Tensor inverse = attention_statistic(in, {num_rows, in.heads()});
  if (peak.numel() == 0) return {out, peak, inverse};
  dispatch(in.v, in.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    using A = Accumulate<T>;
    AttentionWork<T, I> all = work_of<T, I>(in, in.v.size(0));
    all.out = write<T>(out);
    all.peak = write<A>(peak);
    all.inverse = write<A>(inverse);
    const Tensor partial = partial_results(all, all.width + 2, in.v);
    with_tiles(all, all.width, [&](const auto& work, auto items) {
      GNNKIT_LAUNCH((device::attention_kernel<items, T, I>), grid_of_tasks(work.walk), kBlock, 0, device.stream(),
                    work);
      if (work.walk.rows.slots() == 0) return;
      GNNKIT_LAUNCH((device::attention_combine_kernel<items, T, I>), grid_of_slots(work.walk), kBlock, 0,
                    device.stream(), work);
    });
  });
  return {out, peak, inverse};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention_backward_dst(
    const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, const Tensor& q, const Tensor& k,
    const Tensor& v, const OptionalTensor& att, const OptionalTensor& bias, const Tensor& grad_in, const Tensor& out_in,
    const Tensor& peak_in, const Tensor& inverse_in, std::string score, double parameter, bool with_bias) {
  const AttentionInputs in = attention_inputs(rowptr, col, edge_id, q, k, v, att, bias, score, parameter);
  const int64_t num_rows = rowptr.size(0) - 1;
  const OnDevice device(in.v);
  const Tensor grad = dense(grad_in), out = dense(out_in), peak = dense(peak_in), inverse = dense(inverse_in);
  check_attention_results(in, num_rows, {&grad, &out}, {&peak, &inverse});
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
    AttentionWork<T, I> all = work_of<T, I>(in, in.v.size(0));
    all.grad = read<T>(grad);
    all.out = const_cast<T*>(read<T>(out));
    all.peak = const_cast<A*>(read<A>(peak));
    all.inverse = const_cast<A*>(read<A>(inverse));
    all.delta = write<A>(delta);
    all.grad_q = write<T>(grad_q);
    all.grad_att = grad_att.numel() > 0 ? write<A>(grad_att) : nullptr;
    T* const bias_target = grad_bias.numel() > 0 ? write<T>(grad_bias) : nullptr;
    const bool shared_bias = all.bias_heads != all.heads;
    all.grad_bias = shared_bias ? nullptr : bias_target;
    const Tensor partial = partial_results(all, all.score_width * 2, in.v);
    with_tiles(all, all.score_width, [&](auto work, auto items) {
      GNNKIT_LAUNCH((device::attention_backward_dst_kernel<items, T, I>), grid_of_tasks(work.walk), kBlock, 0,
                    device.stream(), work);
      if (work.walk.rows.slots() > 0)
        GNNKIT_LAUNCH((device::attention_backward_dst_combine_kernel<items, T, I>), grid_of_slots(work.walk), kBlock, 0,
                      device.stream(), work);
      if (!shared_bias || bias_target == nullptr) return;
      work.grad_bias = bias_target;
      const int64_t groups = (work.walk.rows.num_entries + device::kEdgesAtOnce - 1) / device::kEdgesAtOnce;
      GNNKIT_LAUNCH((device::attention_backward_bias_kernel<items, T, I>),
                    blocks_for_threads(groups * work.walk.group_lanes), kBlock, 0, device.stream(), work);
    });
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
  const OnDevice device(in.v);
  const Tensor grad = dense(grad_in), peak = dense(peak_in), inverse = dense(inverse_in), delta = dense(delta_in);
  check_attention_results(in, q.size(0), {&grad}, {&peak, &inverse, &delta});
  STD_TORCH_CHECK(v.size(0) == num_rows, "v must have one row per source");
  Tensor grad_k = empty(with_rows(in.k, num_rows), in.k);
  Tensor grad_v = empty(with_rows(in.v, num_rows), in.v);
  if (num_rows == 0 || in.heads() == 0) return {grad_k, grad_v};
  dispatch(in.v, in.col, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    using A = Accumulate<T>;
    AttentionWork<T, I> all = work_of<T, I>(in, in.q.size(0));
    all.grad = read<T>(grad);
    all.peak = const_cast<A*>(read<A>(peak));
    all.inverse = const_cast<A*>(read<A>(inverse));
    all.delta = const_cast<A*>(read<A>(delta));
    all.grad_k = write<T>(grad_k);
    all.grad_v = write<T>(grad_v);
    const Tensor partial = partial_results(all, all.score_width + all.width, in.v);
    with_tiles(all, std::max(all.score_width, all.width), [&](const auto& work, auto items) {
      GNNKIT_LAUNCH((device::attention_backward_src_kernel<items, T, I>), grid_of_tasks(work.walk), kBlock, 0,
                    device.stream(), work);
      if (work.walk.rows.slots() == 0) return;
      GNNKIT_LAUNCH((device::attention_backward_src_combine_kernel<items, T, I>), grid_of_slots(work.walk), kBlock, 0,
                    device.stream(), work);
    });
  });
  return {grad_k, grad_v};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("attention", TORCH_BOX(&attention));
  library.impl("attention_backward_dst", TORCH_BOX(&attention_backward_dst));
  library.impl("attention_backward_src", TORCH_BOX(&attention_backward_src));
}

}  // namespace gnnkit
