// Fused attention, one row at a time: logits of a block of edges, their exponentials, and what those weigh. Nothing is
// kept per edge. One thread does a row, its edges in ascending order of position.
#include "cpu/heads.h"
#include "cpu/kernels.h"
#include "cpu/math.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// Edges whose logits are held at once.
constexpr int64_t kBlock = 32;
// How many positions ahead rows are requested from memory.
constexpr int64_t kRowDistance = 12;

template <typename T, typename I>
inline int64_t edge_of(const AttentionArgs<T, I>& args, int64_t position) {
  return args.edge_id != nullptr ? static_cast<int64_t>(args.edge_id[position]) : position;
}

template <typename T>
inline void prefetch(const T* row, int64_t width) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t element = 0; element < width; element += kLine) __builtin_prefetch(row + element);
}

// Rows `left` and `right` of the node that `position + kRowDistance` points to.
template <typename T, typename I, typename Element>
inline void prefetch_ahead(const AttentionArgs<T, I>& args, int64_t position, const Element* left, int64_t left_width,
                           const Element* right, int64_t right_width) {
  if (position + kRowDistance >= args.num_edges) return;
  const int64_t node = args.col[position + kRowDistance];
  prefetch(left + node * left_width, left_width);
  if (right != left) prefetch(right + node * right_width, right_width);
}

template <typename A>
inline A minus_infinity() {
  return -static_cast<A>(__builtin_inf());
}

// Minus infinity masks an edge: it must stay so for a slope of zero too.
template <typename A>
inline A leaky(A value, A slope) {
  return value > A(0) || value == minus_infinity<A>() ? value : slope * value;
}

template <typename A>
inline A leaky_slope(A value, A slope) {
  return value > A(0) ? A(1) : slope;
}

template <int N, typename A>
inline Vector<A, N> leaky_lanes(Vector<A, N> value, A slope) {
  return value > A(0) ? value : value * slope;
}

template <int N, typename A>
inline Vector<A, N> slope_lanes(Vector<A, N> value, A slope) {
  const Vector<A, N> one = Vector<A, N>{} + A(1);
  return value > A(0) ? one : one * slope;
}

// <left, right> of each head.
template <typename T>
inline void dots(const T* left, const T* right, int64_t heads, int64_t width, Accumulate<T>* out) {
  sum_heads<kLanes<T>, Accumulate<T>>(
      heads, width,
      [&](auto lanes, int64_t offset) {
        constexpr int N = decltype(lanes)::value;
        return load<N>(left + offset) * load<N>(right + offset);
      },
      out);
}

// sum += weight * row, head by head.
template <typename T>
inline void accumulate(const Accumulate<T>* weight, const T* row, int64_t heads, int64_t width, Accumulate<T>* sum) {
  accumulate_heads<kLanes<T>, Accumulate<T>>(
      weight, heads, width, [&](auto lanes, int64_t offset) { return load<decltype(lanes)::value>(row + offset); },
      sum);
}

template <Score score, typename T, typename I>
inline void logits(const AttentionArgs<T, I>& args, int64_t dst, int64_t src, int64_t edge, Accumulate<T>* out) {
  using A = Accumulate<T>;
  const int64_t row = args.heads * args.score_width;
  const T* q = args.q + dst * row;
  const T* k = args.k + src * row;
  const A parameter = static_cast<A>(args.parameter);
  if constexpr (score == Score::kProduct) {
    dots(q, k, args.heads, args.score_width, out);
    for (int64_t h = 0; h < args.heads; ++h) out[h] *= parameter;
  } else if constexpr (score == Score::kSum) {
    for (int64_t h = 0; h < args.heads; ++h) out[h] = widen(q[h]) + widen(k[h]);
  } else {
    sum_heads<kLanes<T>, A>(
        args.heads, args.score_width,
        [&](auto lanes, int64_t offset) {
          constexpr int N = decltype(lanes)::value;
          return load<N>(args.att + offset) * leaky_lanes<N>(load<N>(q + offset) + load<N>(k + offset), parameter);
        },
        out);
  }
  if (args.bias != nullptr) {
    const T* bias = args.bias + edge * args.bias_heads;
    for (int64_t h = 0; h < args.heads; ++h) out[h] += widen(bias[args.bias_heads == 1 ? 0 : h]);
  }
  if constexpr (score == Score::kSum) {
    for (int64_t h = 0; h < args.heads; ++h) out[h] = leaky(out[h], parameter);
  }
}

// Turns the gradient of a logit into that of what the leaky rectifier was given.
template <typename T, typename I>
inline void through_rectifier(const AttentionArgs<T, I>& args, int64_t dst, int64_t src, int64_t edge,
                              Accumulate<T>* gradient) {
  using A = Accumulate<T>;
  const T* bias = args.bias != nullptr ? args.bias + edge * args.bias_heads : nullptr;
  for (int64_t h = 0; h < args.heads; ++h) {
    A value = widen(args.q[dst * args.heads + h]) + widen(args.k[src * args.heads + h]);
    if (bias != nullptr) value += widen(bias[args.bias_heads == 1 ? 0 : h]);
    gradient[h] *= leaky_slope(value, static_cast<A>(args.parameter));
  }
}

template <typename A>
inline void exponentials(A* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = exponential(values[i]);
}

template <typename A>
inline void fill(A* values, int64_t count, A value) {
  for (int64_t i = 0; i < count; ++i) values[i] = value;
}

// target[h, f] = scale[h] * sum[h, f]; scale null: the sum itself.
template <typename T>
inline void finish(const Accumulate<T>* sum, const Accumulate<T>* scale, int64_t heads, int64_t width, T* target) {
  for (int64_t h = 0; h < heads; ++h) {
    const Accumulate<T> factor = scale != nullptr ? scale[h] : Accumulate<T>(1);
    for (int64_t f = h * width; f < (h + 1) * width; ++f) target[f] = narrow<T>(sum[f] * factor);
  }
}

// What the gradients of the logits give to one end's features: the factor that all edges share comes in here.
template <Score score, typename T, typename I>
inline void finish_end(const AttentionArgs<T, I>& args, const Accumulate<T>* sum, T* target) {
  using A = Accumulate<T>;
  const int64_t row = args.heads * args.score_width;
  for (int64_t f = 0; f < row; ++f) {
    A value = sum[f];
    if constexpr (score == Score::kProduct) value *= static_cast<A>(args.parameter);
    if constexpr (score == Score::kMixed) value *= widen(args.att[f]);
    target[f] = narrow<T>(value);
  }
}

// Adds one edge's part of the gradient to the features of one end; `other` holds those of the opposite end.
template <Score score, typename T, typename I>
inline void accumulate_end(const AttentionArgs<T, I>& args, const Accumulate<T>* gradient, const T* own, const T* other,
                           Accumulate<T>* sum) {
  using A = Accumulate<T>;
  if constexpr (score == Score::kProduct) {
    accumulate(gradient, other, args.heads, args.score_width, sum);
  } else if constexpr (score == Score::kSum) {
    for (int64_t h = 0; h < args.heads; ++h) sum[h] += gradient[h];
  } else {
    accumulate_heads<kLanes<T>, A>(
        gradient, args.heads, args.score_width,
        [&](auto lanes, int64_t offset) {
          constexpr int N = decltype(lanes)::value;
          return slope_lanes<N>(load<N>(own + offset) + load<N>(other + offset), static_cast<A>(args.parameter));
        },
        sum);
  }
}

template <Score score, typename T, typename I>
void forward(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t heads = args.heads;
  const int64_t row_width = heads * args.width;
  const int64_t score_row = heads * args.score_width;
  Scratch<A> scratch(kBlock * heads + 4 * heads + row_width);
  A* const block = scratch.take(kBlock * heads);
  A* const peak = scratch.take(heads);
  A* const shift = scratch.take(heads);
  A* const factor = scratch.take(heads);
  A* const total = scratch.take(heads);
  A* const sum = scratch.take(row_width);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t row_begin = args.rowptr[row];
    const int64_t row_end = args.rowptr[row + 1];
    fill(peak, heads, minus_infinity<A>());
    fill(shift, heads, A(0));
    fill(total, heads, A(0));
    fill(sum, row_width, A(0));
    for (int64_t first = row_begin; first < row_end; first += kBlock) {
      const int64_t count = row_end - first < kBlock ? row_end - first : kBlock;
      for (int64_t p = 0; p < count; ++p) {
        prefetch_ahead(args, first + p, args.k, score_row, args.v, row_width);
        logits<score>(args, row, args.col[first + p], edge_of(args, first + p), block + p * heads);
      }
      for (int64_t h = 0; h < heads; ++h) factor[h] = peak[h];
      for (int64_t p = 0; p < count; ++p) {
        for (int64_t h = 0; h < heads; ++h) peak[h] = block[p * heads + h] > peak[h] ? block[p * heads + h] : peak[h];
      }
      for (int64_t h = 0; h < heads; ++h) shift[h] = peak[h] == minus_infinity<A>() ? A(0) : peak[h];
      if (first > row_begin) {
        for (int64_t h = 0; h < heads; ++h) factor[h] = exponential(factor[h] - shift[h]);
        for (int64_t h = 0; h < heads; ++h) {
          total[h] *= factor[h];
          for (int64_t f = h * args.width; f < (h + 1) * args.width; ++f) sum[f] *= factor[h];
        }
      }
      for (int64_t p = 0; p < count; ++p) {
        for (int64_t h = 0; h < heads; ++h) block[p * heads + h] -= shift[h];
      }
      exponentials(block, count * heads);
      for (int64_t p = 0; p < count; ++p) {
        for (int64_t h = 0; h < heads; ++h) total[h] += block[p * heads + h];
        accumulate(block + p * heads, args.v + static_cast<int64_t>(args.col[first + p]) * row_width, heads, args.width,
                   sum);
      }
    }
    for (int64_t h = 0; h < heads; ++h) {
      const A inverse = total[h] == A(0) ? A(0) : A(1) / total[h];
      args.peak[row * heads + h] = shift[h];
      args.inverse[row * heads + h] = inverse;
      factor[h] = inverse;
    }
    finish(sum, factor, heads, args.width, args.out + row * row_width);
  }
}

// Gradients to the destinations' features, the biases and (row by row) the mixing weights.
template <Score score, typename T, typename I>
void backward_dst(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t heads = args.heads;
  const int64_t row_width = heads * args.width;
  const int64_t score_row = heads * args.score_width;
  Scratch<A> scratch(2 * kBlock * heads + 2 * score_row);
  A* const block = scratch.take(kBlock * heads);
  A* const inner = scratch.take(kBlock * heads);
  A* const sum = scratch.take(score_row);
  A* const att_sum = scratch.take(score_row);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t row_end = args.rowptr[row + 1];
    const T* q = args.q + row * score_row;
    const T* grad = args.grad + row * row_width;
    const A* peak = args.peak + row * heads;
    const A* inverse = args.inverse + row * heads;
    A* delta = args.delta + row * heads;
    dots<T>(grad, args.out + row * row_width, heads, args.width, delta);
    fill(sum, score_row, A(0));
    fill(att_sum, score_row, A(0));
    for (int64_t first = args.rowptr[row]; first < row_end; first += kBlock) {
      const int64_t count = row_end - first < kBlock ? row_end - first : kBlock;
      for (int64_t p = 0; p < count; ++p) {
        const int64_t src = args.col[first + p];
        prefetch_ahead(args, first + p, args.k, score_row, args.v, row_width);
        logits<score>(args, row, src, edge_of(args, first + p), block + p * heads);
        dots(grad, args.v + src * row_width, heads, args.width, inner + p * heads);
        for (int64_t h = 0; h < heads; ++h) block[p * heads + h] -= peak[h];
      }
      exponentials(block, count * heads);
      for (int64_t p = 0; p < count; ++p) {
        const int64_t src = args.col[first + p];
        const int64_t edge = edge_of(args, first + p);
        const T* k = args.k + src * score_row;
        A* gradient = block + p * heads;
        for (int64_t h = 0; h < heads; ++h) gradient[h] *= inverse[h] * (inner[p * heads + h] - delta[h]);
        if constexpr (score == Score::kSum) through_rectifier(args, row, src, edge, gradient);
        accumulate_end<score>(args, gradient, q, k, sum);
        if constexpr (score == Score::kMixed) {
          accumulate_heads<kLanes<T>, A>(
              gradient, heads, args.score_width,
              [&](auto lanes, int64_t offset) {
                constexpr int N = decltype(lanes)::value;
                return leaky_lanes<N>(load<N>(q + offset) + load<N>(k + offset), static_cast<A>(args.parameter));
              },
              att_sum);
        }
        if (args.grad_bias != nullptr) {
          T* target = args.grad_bias + edge * args.bias_heads;
          if (args.bias_heads == heads) {
            for (int64_t h = 0; h < heads; ++h) target[h] = narrow<T>(gradient[h]);
          } else {
            A all = 0;
            for (int64_t h = 0; h < heads; ++h) all += gradient[h];
            target[0] = narrow<T>(all);
          }
        }
      }
    }
    finish_end<score>(args, sum, args.grad_q + row * score_row);
    if constexpr (score == Score::kMixed) {
      for (int64_t f = 0; f < score_row; ++f) args.grad_att[row * score_row + f] = att_sum[f];
    }
  }
}

// Gradients to the sources' features and values, over the transposed graph.
template <Score score, typename T, typename I>
void backward_src(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t heads = args.heads;
  const int64_t row_width = heads * args.width;
  const int64_t score_row = heads * args.score_width;
  Scratch<A> scratch(2 * kBlock * heads + score_row + row_width);
  A* const block = scratch.take(kBlock * heads);
  A* const inner = scratch.take(kBlock * heads);
  A* const key_sum = scratch.take(score_row);
  A* const value_sum = scratch.take(row_width);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t row_end = args.rowptr[row + 1];
    const T* k = args.k + row * score_row;
    const T* v = args.v + row * row_width;
    fill(key_sum, score_row, A(0));
    fill(value_sum, row_width, A(0));
    for (int64_t first = args.rowptr[row]; first < row_end; first += kBlock) {
      const int64_t count = row_end - first < kBlock ? row_end - first : kBlock;
      for (int64_t p = 0; p < count; ++p) {
        const int64_t dst = args.col[first + p];
        prefetch_ahead(args, first + p, args.q, score_row, args.grad, row_width);
        prefetch_ahead(args, first + p, args.peak, heads, args.inverse, heads);
        prefetch_ahead(args, first + p, args.delta, heads, args.delta, heads);
        logits<score>(args, dst, row, edge_of(args, first + p), block + p * heads);
        dots(args.grad + dst * row_width, v, heads, args.width, inner + p * heads);
        for (int64_t h = 0; h < heads; ++h) {
          block[p * heads + h] -= args.peak[dst * heads + h];
          inner[p * heads + h] -= args.delta[dst * heads + h];
        }
      }
      exponentials(block, count * heads);
      for (int64_t p = 0; p < count; ++p) {
        const int64_t dst = args.col[first + p];
        A* weight = block + p * heads;
        A* gradient = inner + p * heads;
        for (int64_t h = 0; h < heads; ++h) {
          weight[h] *= args.inverse[dst * heads + h];
          gradient[h] *= weight[h];
        }
        if constexpr (score == Score::kSum) through_rectifier(args, dst, row, edge_of(args, first + p), gradient);
        accumulate(weight, args.grad + dst * row_width, heads, args.width, value_sum);
        accumulate_end<score>(args, gradient, k, args.q + dst * score_row, key_sum);
      }
    }
    finish_end<score>(args, key_sum, args.grad_k + row * score_row);
    finish<T>(value_sum, nullptr, heads, args.width, args.grad_v + row * row_width);
  }
}

// Calls visit(integral constant of the score): one copy of the loops for each.
template <typename T, typename I, typename Visit>
inline void by_score(const AttentionArgs<T, I>& args, const Visit& visit) {
  switch (args.score) {
    case Score::kProduct:
      return visit(std::integral_constant<Score, Score::kProduct>{});
    case Score::kSum:
      return visit(std::integral_constant<Score, Score::kSum>{});
    case Score::kMixed:
      return visit(std::integral_constant<Score, Score::kMixed>{});
  }
}

}  // namespace

template <typename T, typename I>
void attention_rows(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  by_score(args, [&](auto score) { forward<decltype(score)::value>(args, begin, end); });
}

template <typename T, typename I>
void attention_dst_rows(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  by_score(args, [&](auto score) { backward_dst<decltype(score)::value>(args, begin, end); });
}

template <typename T, typename I>
void attention_src_rows(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  by_score(args, [&](auto score) { backward_src<decltype(score)::value>(args, begin, end); });
}

GNNKIT_INSTANTIATE(attention_rows, AttentionArgs);
GNNKIT_INSTANTIATE(attention_dst_rows, AttentionArgs);
GNNKIT_INSTANTIATE(attention_src_rows, AttentionArgs);

}  // namespace gnnkit::GNNKIT_ISA
