// Fused attention, one row at a time: logits of a block of edges, their exponentials, and what those weigh. Nothing is
// kept per edge. One thread does a row, its edges in ascending order of position.
#include <type_traits>

#include "cpu/attention_parts.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// Edges whose logits are held at once.
constexpr int64_t kBlock = 32;

template <Score score, int kHeads, typename T, typename I>
void forward(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t heads = kHeads > 0 ? kHeads : args.heads;
  const int64_t row_width = heads * args.width;
  const int64_t score_row = heads * args.score_width;
  Scratch<A> scratch(kBlock * heads + 4 * heads + row_width);
  A* __restrict const block = scratch.take(kBlock * heads);
  A* __restrict const peak = scratch.take(heads);
  A* __restrict const shift = scratch.take(heads);
  A* __restrict const factor = scratch.take(heads);
  A* __restrict const total = scratch.take(heads);
  A* __restrict const sum = scratch.take(row_width);
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
        logits<score, kHeads>(args, heads, row, args.col[first + p], edge_of(args, first + p), block + p * heads);
      }
      for (int64_t h = 0; h < heads; ++h) factor[h] = peak[h];
      for (int64_t p = 0; p < count; ++p) {
        for_heads<kHeads>(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          const Vector<A, N> value = load<N>(block + p * heads + h), top = load<N>(peak + h);
          store<N>(peak + h, value > top ? value : top);
        });
      }
      for (int64_t h = 0; h < heads; ++h) shift[h] = peak[h] == minus_infinity<A>() ? A(0) : peak[h];
      if (first > row_begin) {
        for (int64_t h = 0; h < heads; ++h) factor[h] -= shift[h];
        exponentials(factor, heads);
        for (int64_t h = 0; h < heads; ++h) {
          total[h] *= factor[h];
          for (int64_t f = h * args.width; f < (h + 1) * args.width; ++f) sum[f] *= factor[h];
        }
      }
      for (int64_t p = 0; p < count; ++p) {
        for_heads<kHeads>(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          A* target = block + p * heads + h;
          store<N>(target, load<N>(target) - load<N>(shift + h));
        });
      }
      exponentials(block, count * heads);
      for (int64_t p = 0; p < count; ++p) {
        for_heads<kHeads>(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          store<N>(total + h, load<N>(total + h) + load<N>(block + p * heads + h));
        });
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
template <Score score, int kHeads, typename T, typename I>
void backward_dst(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t heads = kHeads > 0 ? kHeads : args.heads;
  const int64_t row_width = heads * args.width;
  const int64_t score_row = heads * args.score_width;
  Scratch<A> scratch(2 * kBlock * heads + 2 * score_row);
  A* __restrict const block = scratch.take(kBlock * heads);
  A* __restrict const inner = scratch.take(kBlock * heads);
  A* __restrict const sum = scratch.take(score_row);
  A* __restrict const att_sum = scratch.take(score_row);
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
        logits<score, kHeads>(args, heads, row, src, edge_of(args, first + p), block + p * heads);
        dots(grad, args.v + src * row_width, heads, args.width, inner + p * heads);
        for_heads<kHeads>(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          A* target = block + p * heads + h;
          store<N>(target, load<N>(target) - load<N>(peak + h));
        });
      }
      exponentials(block, count * heads);
      for (int64_t p = 0; p < count; ++p) {
        const int64_t src = args.col[first + p];
        const int64_t edge = edge_of(args, first + p);
        const T* k = args.k + src * score_row;
        A* gradient = block + p * heads;
        for_heads<kHeads>(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          const Vector<A, N> above = load<N>(inner + p * heads + h) - load<N>(delta + h);
          store<N>(gradient + h, load<N>(gradient + h) * load<N>(inverse + h) * above);
        });
        if constexpr (score == Score::kSum) through_rectifier<kHeads>(args, heads, row, src, edge, gradient);
        accumulate_end<score, kHeads>(args, heads, gradient, q, k, sum);
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
            for_heads<kHeads>(heads, [&](auto lanes, int64_t h) {
              constexpr int N = decltype(lanes)::value;
              store<N>(target + h, load<N>(gradient + h));
            });
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
template <Score score, int kHeads, typename T, typename I>
void backward_src(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t heads = kHeads > 0 ? kHeads : args.heads;
  const int64_t row_width = heads * args.width;
  const int64_t score_row = heads * args.score_width;
  Scratch<A> scratch(2 * kBlock * heads + score_row + row_width);
  A* __restrict const block = scratch.take(kBlock * heads);
  A* __restrict const inner = scratch.take(kBlock * heads);
  A* __restrict const key_sum = scratch.take(score_row);
  A* __restrict const value_sum = scratch.take(row_width);
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
        logits<score, kHeads>(args, heads, dst, row, edge_of(args, first + p), block + p * heads);
        dots(args.grad + dst * row_width, v, heads, args.width, inner + p * heads);
        for_heads<kHeads>(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          A* logit = block + p * heads + h;
          A* product = inner + p * heads + h;
          store<N>(logit, load<N>(logit) - load<N>(args.peak + dst * heads + h));
          store<N>(product, load<N>(product) - load<N>(args.delta + dst * heads + h));
        });
      }
      exponentials(block, count * heads);
      for (int64_t p = 0; p < count; ++p) {
        const int64_t dst = args.col[first + p];
        A* weight = block + p * heads;
        A* gradient = inner + p * heads;
        for_heads<kHeads>(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          const Vector<A, N> share = load<N>(weight + h) * load<N>(args.inverse + dst * heads + h);
          store<N>(weight + h, share);
          store<N>(gradient + h, load<N>(gradient + h) * share);
        });
        if constexpr (score == Score::kSum)
          through_rectifier<kHeads>(args, heads, dst, row, edge_of(args, first + p), gradient);
        accumulate(weight, args.grad + dst * row_width, heads, args.width, value_sum);
        accumulate_end<score, kHeads>(args, heads, gradient, k, args.q + dst * score_row, key_sum);
      }
    }
    finish_end<score>(args, key_sum, args.grad_k + row * score_row);
    finish<T>(value_sum, nullptr, heads, args.width, args.grad_v + row * row_width);
  }
}

// Calls visit(score, heads), both integral constants: one copy of the loops for each score, and in single precision for
// one and for eight heads, where short loops over the heads cost more than what they do. Zero: any number of heads.
template <Score score, typename T, typename I, typename Visit>
inline void by_heads(const AttentionArgs<T, I>& args, const Visit& visit) {
  const std::integral_constant<Score, score> constant;
  if constexpr (std::is_same_v<T, float>) {
    if (args.heads == 8) return visit(constant, TileSize<8>{});
    if (args.heads == 1) return visit(constant, TileSize<1>{});
  }
  visit(constant, TileSize<0>{});
}

template <typename T, typename I, typename Visit>
inline void by_score(const AttentionArgs<T, I>& args, const Visit& visit) {
  switch (args.score) {
    case Score::kProduct:
      return by_heads<Score::kProduct>(args, visit);
    case Score::kSum:
      return by_heads<Score::kSum>(args, visit);
    case Score::kMixed:
      return by_heads<Score::kMixed>(args, visit);
  }
}

}  // namespace

template <typename T, typename I>
void attention_rows(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  by_score(args,
           [&](auto score, auto heads) { forward<decltype(score)::value, decltype(heads)::value>(args, begin, end); });
}

template <typename T, typename I>
void attention_dst_rows(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  by_score(args, [&](auto score, auto heads) {
    backward_dst<decltype(score)::value, decltype(heads)::value>(args, begin, end);
  });
}

template <typename T, typename I>
void attention_src_rows(const AttentionArgs<T, I>& args, int64_t begin, int64_t end) {
  by_score(args, [&](auto score, auto heads) {
    backward_src<decltype(score)::value, decltype(heads)::value>(args, begin, end);
  });
}

GNNKIT_INSTANTIATE(attention_rows, AttentionArgs);
GNNKIT_INSTANTIATE(attention_dst_rows, AttentionArgs);
GNNKIT_INSTANTIATE(attention_src_rows, AttentionArgs);

}  // namespace gnnkit::GNNKIT_ISA
