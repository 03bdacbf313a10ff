#include <cmath>

#include "common/attention_inputs.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

// How heads lie in the memory that the kernels see. Packed kernels want float32 and heads of 8, 16, 32 or 64 elements;
// others are padded to that with zeros where this at most doubles them.
struct Layout {
  bool packed;
  int64_t heads;
  int64_t score_width;
  int64_t width;
};

int64_t round_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

Layout layout_for(Score score, int64_t heads, int64_t score_width, int64_t width, bool single) {
  const Layout plain{false, heads, score_width, width};
  const int64_t widest = score == Score::kSum ? width : std::max(width, score_width);
  if (!single || widest == 0 || widest > 64) return plain;
  const int64_t padded = widest <= 8 ? 8 : widest <= 16 ? 16 : widest <= 32 ? 32 : 64;
  // 64 features at a time, or 16 where that would mean many empty heads.
  int64_t all = round_up(heads, 64 / padded);
  if (2 * all > 3 * heads) all = round_up(heads, std::max<int64_t>(1, 16 / padded));
  if (all * padded > 2 * heads * widest) return plain;
  return {true, all, score == Score::kSum ? 1 : padded, padded};
}

// Rows of [heads, width], copied where they have to be padded or cut; what is padded is zero.
Tensor fit(const Tensor& rows, int64_t heads, int64_t width, int64_t new_heads, int64_t new_width) {
  if (heads == new_heads && width == new_width) return rows;
  const int64_t count = rows.size(0);
  Tensor out = zeros({count, new_heads, new_width}, rows);
  const int64_t common = std::min(heads, new_heads), span = std::min(width, new_width);
  const int64_t chunks = chunks_for(count * std::max(heads * width, new_heads * new_width));
  dispatch_float(rows, [&](auto value) {
    using T = decltype(value);
    const T* source = read<T>(rows);
    T* target = write<T>(out);
    parallel_over_chunks(chunks, [&](int64_t chunk) {
      for (int64_t row = count * chunk / chunks; row < count * (chunk + 1) / chunks; ++row) {
        for (int64_t head = 0; head < common; ++head)
          std::copy_n(source + (row * heads + head) * width, span, target + (row * new_heads + head) * new_width);
      }
    });
  });
  return out;
}

// The tensors that every pass reads, in the dtype of accumulation, laid out as the kernels want them.
struct Inputs {
  AttentionInputs given;
  Tensor q, k, v;
  OptionalTensor att, bias;
  ScalarType type;  // what the caller gave and gets back
  int64_t heads, score_width, width;
  Layout layout;

  int64_t num_rows() const { return given.rowptr.size(0) - 1; }
  int64_t work() const { return 2 * layout.heads * (layout.score_width + layout.width + 8); }

  Tensor scores(const Tensor& rows) const {
    return fit(wide(rows), heads, score_width, layout.heads, layout.score_width);
  }
  Tensor values(const Tensor& rows) const { return fit(wide(rows), heads, width, layout.heads, layout.width); }
  Tensor statistics(const Tensor& rows) const { return fit(dense(rows), heads, 1, layout.heads, 1); }

  Tensor new_rows(int64_t rows, int64_t columns) const { return empty({rows, layout.heads, columns}, v); }
  // A result as the caller wants it: without padding, in the caller's dtype.
  Tensor result(const Tensor& rows, int64_t columns) const {
    const int64_t padded = rows.size(2);
    return narrow_as(fit(rows, layout.heads, padded, heads, columns), type);
  }
  Tensor statistic(const Tensor& rows) const {
    Tensor cut = fit(rows, layout.heads, 1, heads, 1);
    return torch::stable::reshape(cut, {rows.size(0), heads});
  }
};

Inputs inputs(const AttentionInputs& given) {
  const Tensor &q = given.q, &k = given.k, &v = given.v;
  // Infinity times the zeros of the padding would be no zero.
  const bool single = v.scalar_type() != ScalarType::Double && std::isfinite(given.parameter);
  Inputs in{given,
            q,
            k,
            v,
            std::nullopt,
            std::nullopt,
            v.scalar_type(),
            v.size(1),
            q.size(2),
            v.size(2),
            layout_for(given.score, v.size(1), q.size(2), v.size(2), single)};
  in.q = in.scores(q);
  in.k = in.scores(k);
  // One copy where keys and values are one tensor: the kernels then fetch a row once.
  const bool same = k.const_data_ptr() == v.const_data_ptr() && in.layout.score_width == in.layout.width;
  in.v = same && in.score_width == in.width ? in.k : in.values(v);
  if (given.att.has_value()) in.att = in.scores(torch::stable::reshape(*given.att, {1, in.heads, in.score_width}));
  if (given.bias.has_value()) in.bias = wide(*given.bias);
  return in;
}

template <typename A>
AttentionRowsArgs<A> arguments(const Inputs& in) {
  AttentionRowsArgs<A> args{};
  static_cast<AttentionArgs<A>&>(args) = attention_arguments<A>(in.given, in);
  args.topology = topology_of(in.given.rowptr, in.given.col, in.given.edge_id);
  return args;
}

// Rows of the topology, whose positions point to `ends`.
template <typename Run>
void over_rows(const Inputs& in, const Tensor& ends, const Run& run) {
  const AttentionInputs& given = in.given;
  parallel_over_graph(given.rowptr, given.col, given.bias.has_value() ? given.edge_id : std::nullopt, ends.size(0),
                      in.work(), run);
}

// The kernels for padded heads exist in float32 only.
#define GNNKIT_ATTENTION(kernel, in, ends, args)        \
  over_rows(in, ends, [&](int64_t begin, int64_t end) { \
    if constexpr (std::is_same_v<A, float>) {           \
      if ((in).layout.packed) {                         \
        GNNKIT_CALL(packed_##kernel, args, begin, end); \
        return;                                         \
      }                                                 \
    }                                                   \
    GNNKIT_CALL(kernel, args, begin, end);              \
  })

std::tuple<Tensor, Tensor, Tensor> attention(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                                             const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                             const Tensor& q, const Tensor& k, const Tensor& v,
                                             const OptionalTensor& att, const OptionalTensor& bias, std::string score,
                                             double parameter) {
  const Inputs in = inputs(attention_inputs(rowptr, col, edge_id, q, k, v, att, bias, score, parameter));
  const int64_t num_rows = in.num_rows();
  STD_TORCH_CHECK(q.size(0) == num_rows, "q must have one row per destination");
  Tensor out = in.new_rows(num_rows, in.layout.width);
  Tensor peak = in.new_rows(num_rows, 1), inverse = in.new_rows(num_rows, 1);
  if (peak.numel() > 0) {
    dispatch_wide(in.v, [&](auto value) {
      using A = decltype(value);
      AttentionRowsArgs<A> args = arguments<A>(in);
      args.out = write<A>(out);
      args.peak = write<A>(peak);
      args.inverse = write<A>(inverse);
      GNNKIT_ATTENTION(attention_rows, in, in.k, args);
    });
  }
  return {in.result(out, in.width), in.statistic(peak), in.statistic(inverse)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention_backward_dst(
    const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id, const Tensor& q, const Tensor& k,
    const Tensor& v, const OptionalTensor& att, const OptionalTensor& bias, const Tensor& grad_in, const Tensor& out_in,
    const Tensor& peak_in, const Tensor& inverse_in, std::string score, double parameter, bool with_bias) {
  const Inputs in = inputs(attention_inputs(rowptr, col, edge_id, q, k, v, att, bias, score, parameter));
  const int64_t num_rows = in.num_rows();
  check_attention_results(in.given, num_rows, {&grad_in, &out_in}, {&peak_in, &inverse_in});
  const Tensor grad = in.values(grad_in), out = in.values(out_in);
  const Tensor peak = in.statistics(peak_in), inverse = in.statistics(inverse_in);
  Tensor grad_q = in.new_rows(num_rows, in.layout.score_width);
  Tensor delta = in.new_rows(num_rows, 1);
  const bool mixed = in.given.score == Score::kMixed;
  Tensor grad_bias = with_bias && bias.has_value() ? empty(with_rows(*bias, bias->size(0)), in.v) : empty({0}, in.v);
  Tensor grad_att = mixed ? in.new_rows(num_rows, in.layout.score_width) : empty({0}, in.v);
  if (delta.numel() == 0) {
    if (grad_bias.numel() > 0) torch::stable::zero_(grad_bias);
  } else {
    dispatch_wide(in.v, [&](auto value) {
      using A = decltype(value);
      AttentionRowsArgs<A> args = arguments<A>(in);
      args.grad = read<A>(grad);
      args.out = const_cast<A*>(read<A>(out));
      args.peak = const_cast<A*>(read<A>(peak));
      args.inverse = const_cast<A*>(read<A>(inverse));
      args.delta = write<A>(delta);
      args.grad_q = write<A>(grad_q);
      args.grad_bias = grad_bias.numel() > 0 ? write<A>(grad_bias) : nullptr;
      args.grad_att = mixed ? write<A>(grad_att) : nullptr;
      GNNKIT_ATTENTION(attention_dst_rows, in, in.k, args);
    });
  }
  if (mixed) grad_att = fit(grad_att, in.layout.heads, in.layout.score_width, in.heads, in.score_width);
  return {in.result(grad_q, in.score_width), in.statistic(delta), narrow_as(grad_bias, in.type), grad_att};
}

// Numbers per destination and head side by side, [num_dst, 3 or 4, heads]: the pass over sources then fetches them
// together.
Tensor join_statistics(const std::vector<Tensor>& parts, int64_t heads, const Tensor& like) {
  const int64_t rows = parts[0].size(0), count = static_cast<int64_t>(parts.size());
  Tensor joined = empty({rows, count, heads}, like);
  const int64_t chunks = chunks_for(joined.numel());
  dispatch_wide(like, [&](auto value) {
    using A = decltype(value);
    parallel_over_chunks(chunks, [&](int64_t chunk) {
      for (int64_t part = 0; part < count; ++part) {
        const A* source = read<A>(parts[part]);
        A* target = write<A>(joined) + part * heads;
        for (int64_t row = rows * chunk / chunks; row < rows * (chunk + 1) / chunks; ++row)
          std::copy_n(source + row * heads, heads, target + row * count * heads);
      }
    });
  });
  return joined;
}

std::tuple<Tensor, Tensor> attention_backward_src(const Tensor& t_rowptr, const Tensor& t_col,
                                                  const OptionalTensor& t_edge_id, const Tensor& q, const Tensor& k,
                                                  const Tensor& v, const OptionalTensor& att,
                                                  const OptionalTensor& bias, const Tensor& grad_in,
                                                  const Tensor& peak_in, const Tensor& inverse_in,
                                                  const Tensor& delta_in, std::string score, double parameter) {
  const Inputs in = inputs(attention_inputs(t_rowptr, t_col, t_edge_id, q, k, v, att, bias, score, parameter));
  const int64_t num_rows = in.num_rows();
  check_attention_results(in.given, q.size(0), {&grad_in}, {&peak_in, &inverse_in, &delta_in});
  STD_TORCH_CHECK(v.size(0) == num_rows, "v must have one row per source");
  Tensor grad_k = in.new_rows(num_rows, in.layout.score_width);
  Tensor grad_v = in.new_rows(num_rows, in.layout.width);
  if (num_rows > 0 && in.heads > 0) {
    const Tensor grad = in.values(grad_in);
    std::vector<Tensor> parts{in.statistics(peak_in), in.statistics(inverse_in), in.statistics(delta_in)};
    if (in.layout.packed && in.given.score == Score::kSum) parts.push_back(in.q);
    const Tensor joined = join_statistics(parts, in.layout.heads, in.v);
    dispatch_wide(in.v, [&](auto value) {
      using A = decltype(value);
      AttentionRowsArgs<A> args = arguments<A>(in);
      args.grad = read<A>(grad);
      args.statistics = read<A>(joined);
      args.grad_k = write<A>(grad_k);
      args.grad_v = write<A>(grad_v);
      GNNKIT_ATTENTION(attention_src_rows, in, in.q, args);
    });
  }
  return {in.result(grad_k, in.score_width), in.result(grad_v, in.width)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("attention", TORCH_BOX(&attention));
  library.impl("attention_backward_dst", TORCH_BOX(&attention_backward_dst));
  library.impl("attention_backward_src", TORCH_BOX(&attention_backward_src));
}

}  // namespace gnnkit
