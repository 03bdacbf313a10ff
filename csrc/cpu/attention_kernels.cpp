// Fused attention, one row at a time: logits of a block of edges, their exponentials, and what those weigh. Nothing is
// kept per edge. One thread does a row, its edges in ascending order of position.
#include <type_traits>

#include "cpu/attention_parts.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// Edges whose logits are held at once.
constexpr int64_t kBlock = 32;

template <Score score, typename A>
void forward(const AttentionRowsArgs<A>& args, int64_t begin, int64_t end) {
  const int64_t heads = args.heads;
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
    const int64_t row_start = row_begin(args.topology, row);
    const int64_t row_end = row_begin(args.topology, row + 1);
    fill(peak, heads, minus_infinity<A>());
    fill(shift, heads, A(0));
    fill(total, heads, A(0));
    fill(sum, row_width, A(0));
    for (int64_t first = row_start; first < row_end; first += kBlock) {
      const int64_t count = row_end - first < kBlock ? row_end - first : kBlock;
      for (int64_t p = 0; p < count; ++p) {
        prefetch_ahead(args, first + p, args.k, score_row, args.v, row_width);
        logits<score>(args, heads, row, node_at(args.topology, first + p), edge_at(args.topology, first + p),
                      block + p * heads);
      }
      for (int64_t h = 0; h < heads; ++h) factor[h] = peak[h];
      for (int64_t p = 0; p < count; ++p) {
        for_heads(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          const Vector<A, N> value = load<N>(block + p * heads + h), top = load<N>(peak + h);
          store<N>(peak + h, value > top ? value : top);
        });
      }
      for (int64_t h = 0; h < heads; ++h) shift[h] = peak[h] == minus_infinity<A>() ? A(0) : peak[h];
      if (first > row_start) {
        for (int64_t h = 0; h < heads; ++h) factor[h] -= shift[h];
        exponentials(factor, heads);
        for (int64_t h = 0; h < heads; ++h) {
          total[h] *= factor[h];
          for (int64_t f = h * args.width; f < (h + 1) * args.width; ++f) sum[f] *= factor[h];
        }
      }
      for (int64_t p = 0; p < count; ++p) {
        for_heads(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          A* target = block + p * heads + h;
          store<N>(target, load<N>(target) - load<N>(shift + h));
        });
      }
      exponentials(block, count * heads);
      for (int64_t p = 0; p < count; ++p) {
        for_heads(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          store<N>(total + h, load<N>(total + h) + load<N>(block + p * heads + h));
        });
        accumulate(block + p * heads, args.v + node_at(args.topology, first + p) * row_width, heads, args.width, sum);
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
template <Score score, typename A>
void backward_dst(const AttentionRowsArgs<A>& args, int64_t begin, int64_t end) {
  const int64_t heads = args.heads;
  const int64_t row_width = heads * args.width;
  const int64_t score_row = heads * args.score_width;
  Scratch<A> scratch(2 * kBlock * heads + 2 * score_row);
  A* __restrict const block = scratch.take(kBlock * heads);
  A* __restrict const inner = scratch.take(kBlock * heads);
  A* __restrict const sum = scratch.take(score_row);
  A* __restrict const att_sum = scratch.take(score_row);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t row_end = row_begin(args.topology, row + 1);
    const A* q = args.q + row * score_row;
    const A* grad = args.grad + row * row_width;
    const A* peak = args.peak + row * heads;
    const A* inverse = args.inverse + row * heads;
    A* delta = args.delta + row * heads;
    dots(grad, args.out + row * row_width, heads, args.width, delta);
    fill(sum, score_row, A(0));
    fill(att_sum, score_row, A(0));
    for (int64_t first = row_begin(args.topology, row); first < row_end; first += kBlock) {
      const int64_t count = row_end - first < kBlock ? row_end - first : kBlock;
      for (int64_t p = 0; p < count; ++p) {
        const int64_t src = node_at(args.topology, first + p);
        prefetch_ahead(args, first + p, args.k, score_row, args.v, row_width);
        logits<score>(args, heads, row, src, edge_at(args.topology, first + p), block + p * heads);
        dots(grad, args.v + src * row_width, heads, args.width, inner + p * heads);
        for_heads(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          A* target = block + p * heads + h;
          store<N>(target, load<N>(target) - load<N>(peak + h));
        });
      }
      exponentials(block, count * heads);
      for (int64_t p = 0; p < count; ++p) {
        const int64_t src = node_at(args.topology, first + p);
        const int64_t edge = edge_at(args.topology, first + p);
        const A* k = args.k + src * score_row;
        A* gradient = block + p * heads;
        for_heads(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          const Vector<A, N> above = load<N>(inner + p * heads + h) - load<N>(delta + h);
          store<N>(gradient + h, load<N>(gradient + h) * load<N>(inverse + h) * above);
        });
        if constexpr (score == Score::kSum) through_rectifier(args, heads, row, src, edge, gradient);
        accumulate_end<score>(args, heads, gradient, q, k, sum);
        if constexpr (score == Score::kMixed) {
          accumulate_heads<kLanes<A>, A>(
              gradient, heads, args.score_width,
              [&](auto lanes, int64_t offset) {
                constexpr int N = decltype(lanes)::value;
                return leaky_lanes<N>(load<N>(q + offset) + load<N>(k + offset), static_cast<A>(args.parameter));
              },
              att_sum);
        }
        if (args.grad_bias != nullptr) {
          A* target = args.grad_bias + edge * args.bias_heads;
          if (args.bias_heads == heads) {
            for_heads(heads, [&](auto lanes, int64_t h) {
              constexpr int N = decltype(lanes)::value;
              store<N>(target + h, load<N>(gradient + h));
            });
          } else {
            A all = 0;
            for (int64_t h = 0; h < heads; ++h) all += gradient[h];
            target[0] = narrow<A>(all);
          }
        }
      }
    }
    finish_end<score>(args, row, sum, args.grad_q);
    if constexpr (score == Score::kMixed) {
      for (int64_t f = 0; f < score_row; ++f) args.grad_att[row * score_row + f] = att_sum[f];
    }
  }
}

// Gradients to the sources' features and values, over the transposed graph.
template <Score score, typename A>
void backward_src(const AttentionRowsArgs<A>& args, int64_t begin, int64_t end) {
  const int64_t heads = args.heads;
  const int64_t row_width = heads * args.width;
  const int64_t score_row = heads * args.score_width;
  Scratch<A> scratch(2 * kBlock * heads + score_row + row_width);
  A* __restrict const block = scratch.take(kBlock * heads);
  A* __restrict const inner = scratch.take(kBlock * heads);
  A* __restrict const key_sum = scratch.take(score_row);
  A* __restrict const value_sum = scratch.take(row_width);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t row_end = row_begin(args.topology, row + 1);
    const A* k = args.k + row * score_row;
    const A* v = args.v + row * row_width;
    fill(key_sum, score_row, A(0));
    fill(value_sum, row_width, A(0));
    for (int64_t first = row_begin(args.topology, row); first < row_end; first += kBlock) {
      const int64_t count = row_end - first < kBlock ? row_end - first : kBlock;
      for (int64_t p = 0; p < count; ++p) {
        const int64_t dst = node_at(args.topology, first + p);
        prefetch_ahead(args, first + p, args.q, score_row, args.grad, row_width);
        prefetch_ahead(args, first + p, args.statistics, 3 * heads, args.statistics, 3 * heads);
        const A* statistics = args.statistics + dst * 3 * heads;
        logits<score>(args, heads, dst, row, edge_at(args.topology, first + p), block + p * heads);
        dots(args.grad + dst * row_width, v, heads, args.width, inner + p * heads);
        for_heads(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          A* logit = block + p * heads + h;
          A* product = inner + p * heads + h;
          store<N>(logit, load<N>(logit) - load<N>(statistics + h));
          store<N>(product, load<N>(product) - load<N>(statistics + 2 * heads + h));
        });
      }
      exponentials(block, count * heads);
      for (int64_t p = 0; p < count; ++p) {
        const int64_t dst = node_at(args.topology, first + p);
        A* weight = block + p * heads;
        A* gradient = inner + p * heads;
        for_heads(heads, [&](auto lanes, int64_t h) {
          constexpr int N = decltype(lanes)::value;
          const Vector<A, N> share = load<N>(weight + h) * load<N>(args.statistics + (dst * 3 + 1) * heads + h);
          store<N>(weight + h, share);
          store<N>(gradient + h, load<N>(gradient + h) * share);
        });
        if constexpr (score == Score::kSum)
          through_rectifier(args, heads, dst, row, edge_at(args.topology, first + p), gradient);
        accumulate(weight, args.grad + dst * row_width, heads, args.width, value_sum);
        accumulate_end<score>(args, heads, gradient, k, args.q + dst * score_row, key_sum);
      }
    }
    finish_end<score>(args, row, key_sum, args.grad_k);
    finish<A>(value_sum, nullptr, heads, args.width, args.grad_v + row * row_width);
  }
}

// Calls visit(score), an integral constant: one copy of the loops for each way to score.
template <typename Visit>
inline void by_score(Score score, const Visit& visit) {
  switch (score) {
    case Score::kProduct:
      return visit(std::integral_constant<Score, Score::kProduct>{});
    case Score::kSum:
      return visit(std::integral_constant<Score, Score::kSum>{});
    case Score::kMixed:
      return visit(std::integral_constant<Score, Score::kMixed>{});
  }
}

}  // namespace

template <typename A>
void attention_rows(const AttentionRowsArgs<A>& args, int64_t begin, int64_t end) {
  by_score(args.score, [&](auto score) { forward<decltype(score)::value>(args, begin, end); });
}

template <typename A>
void attention_dst_rows(const AttentionRowsArgs<A>& args, int64_t begin, int64_t end) {
  by_score(args.score, [&](auto score) { backward_dst<decltype(score)::value>(args, begin, end); });
}

template <typename A>
void attention_src_rows(const AttentionRowsArgs<A>& args, int64_t begin, int64_t end) {
  by_score(args.score, [&](auto score) { backward_src<decltype(score)::value>(args, begin, end); });
}

template void attention_rows<float>(const AttentionRowsArgs<float>&, int64_t, int64_t);
template void attention_rows<double>(const AttentionRowsArgs<double>&, int64_t, int64_t);
template void attention_dst_rows<float>(const AttentionRowsArgs<float>&, int64_t, int64_t);
template void attention_dst_rows<double>(const AttentionRowsArgs<double>&, int64_t, int64_t);
template void attention_src_rows<float>(const AttentionRowsArgs<float>&, int64_t, int64_t);
template void attention_src_rows<double>(const AttentionRowsArgs<double>&, int64_t, int64_t);

}  // namespace gnnkit::GNNKIT_ISA
