// Fused attention in float32 for heads of 8, 16, 32 or 64 elements, a block of heads at a time: queries, sums and
// gradients of a row's heads stay in registers over all of its edges. The launcher pads other widths up to these.
// Heads do not mix, so each block of heads is a problem of its own.
#include "cpu/head_block.h"
#include "cpu/math.h"
#include "cpu/prefetch.h"
#include "cpu/topology.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// Edges whose logits are held at once.
constexpr int64_t kBlock = 32;
// How many positions ahead rows are requested from memory.
constexpr int64_t kScoreDistance = 16;
constexpr int64_t kValueDistance = 16;

inline constexpr float kInfinity = __builtin_inff();

template <typename V>
inline V leaky(V value, float slope) {
  return value > 0.0f ? value : value * slope;
}

template <typename V>
inline V leaky_slope(V value, float slope) {
  const V one = V{} + 1.0f;
  return value > 0.0f ? one : one * slope;
}

// exp(values - shift) in place, over whole vectors: the buffer is a multiple of N long, and so is `shift` repeated.
template <int kShift>
[[gnu::noinline]] void exponentials(float* values, int64_t count, const float* shift) {
  for (int64_t i = 0; i < count; i += kShift) {
    for (int j = 0; j < kShift; j += N)
      store<N>(values + i + j, exponential_lanes<N>(load<N>(values + i + j) - load<N>(shift + j)));
  }
}

// One block of heads of one call: which columns of the features, statistics and biases are its own.
template <Score score, int W, int kFeatures>
struct Pass {
  using Heads = HeadBlock<W, kFeatures>;
  using Features = typename Heads::Features;
  using PerHead = typename Heads::PerHead;
  static constexpr int kHeads = Heads::kHeads;
  // Shifts of all heads, as often as fills whole vectors.
  static constexpr int kShift = kHeads < N ? N : kHeads;

  const AttentionRowsArgs<float>& args;
  int64_t first_head;
  float parameter;
  int64_t row_width;  // elements between rows of values
  int64_t score_row;  // the same for scores
  int64_t column;     // first column of values
  int64_t score_column;
  Features att;
  // Of the block of edges at hand.
  int64_t node[kBlock];
  int64_t edge[kBlock];
  alignas(64) float power[kBlock * kHeads + N];
  alignas(64) float inner[kBlock * kHeads + N];
  alignas(64) float slope[score == Score::kSum ? kBlock * kHeads : 1];
  alignas(64) float shifts[kShift];

  explicit Pass(const AttentionRowsArgs<float>& all)
      : args(all),
        parameter(static_cast<float>(all.parameter)),
        row_width(all.heads * W),
        score_row(score == Score::kSum ? all.heads : all.heads * W),
        power{},
        inner{},
        shifts{} {}

  void start(int64_t head) {
    first_head = head;
    column = head * W;
    score_column = score == Score::kSum ? head : column;
    if constexpr (score == Score::kMixed) att = Heads::load_features(args.att + column);
  }

  void set_shift(const PerHead& shift) {
    for (int j = 0; j < kShift; j += kHeads) Heads::store_heads(shifts + j, shift);
  }
  // The powers of `count` edges of the block: exp(logit - shift).
  void exponentiate(int64_t count) { exponentials<kShift>(power, count * kHeads, shifts); }

  // Calls one_row(*this, row) for every block of heads of every row.
  template <typename OneRow>
  void each_row(int64_t begin, int64_t end, const OneRow& one_row) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t head = 0; head < args.heads; head += kHeads) {
        start(head);
        one_row(*this, row);
      }
    }
  }

  const float* values(const float* rows, int64_t row) const { return rows + row * row_width + column; }
  const float* scores(const float* rows, int64_t row) const { return rows + row * score_row + score_column; }
  int64_t statistic(int64_t row) const { return row * args.heads + first_head; }

  void load_block(int64_t first, int64_t count) {
    for (int64_t p = 0; p < count; ++p) node[p] = node_at(args.topology, first + p);
    if (args.bias == nullptr) return;
    for (int64_t p = 0; p < count; ++p) edge[p] = edge_at(args.topology, first + p);
  }

  // Requests from memory what will be needed some positions further on. The two kinds of rows are requested by
  // the loops that use them, so that requests are spread over the work.
  void prefetch_scores(int64_t position, const float* rows) const {
    if (position + kScoreDistance >= args.topology.num_edges) return;
    const int64_t ahead = node_at(args.topology, position + kScoreDistance);
    prefetch(scores(rows, ahead), score == Score::kSum ? kHeads : kFeatures);
  }
  void prefetch_values(int64_t position, const float* rows) const {
    if (position + kValueDistance >= args.topology.num_edges) return;
    prefetch(values(rows, node_at(args.topology, position + kValueDistance)), kFeatures);
  }

  PerHead bias_of(int64_t p) const {
    if (args.bias_heads == 1) return Heads::fill(args.bias[edge[p]]);
    const float* row = args.bias + edge[p] * args.bias_heads + first_head;
    if (first_head + kHeads <= args.bias_heads) return Heads::load_heads(row);
    // The last block of heads may be padded; the biases are not.
    float padded[kHeads] = {};
    for (int64_t h = 0; first_head + h < args.bias_heads; ++h) padded[h] = row[h];
    return Heads::load_heads(padded);
  }

  struct End {
    Features features;
    PerHead heads;
  };

  End load_end(const float* rows, int64_t row) const {
    End end{};
    if constexpr (score == Score::kSum) {
      end.heads = Heads::load_heads(scores(rows, row));
    } else {
      end.features = Heads::load_features(scores(rows, row));
    }
    return end;
  }

  // Logits of edge p of the block between `own` and the row of the other end.
  PerHead logits(int64_t p, const End& own, const float* other) {
    PerHead value;
    if constexpr (score == Score::kProduct) {
      value = Heads::sum([&](int j) { return own.features.part[j] * load<N>(other + j * N); });
      value = Heads::map([&](auto x) { return x * parameter; }, value);
    } else if constexpr (score == Score::kMixed) {
      value = Heads::sum(
          [&](int j) { return att.part[j] * leaky(own.features.part[j] + load<N>(other + j * N), parameter); });
    } else {
      value = Heads::map([](auto x, auto y) { return x + y; }, own.heads, Heads::load_heads(other));
    }
    if (args.bias != nullptr) value = Heads::map([](auto x, auto y) { return x + y; }, value, bias_of(p));
    if constexpr (score == Score::kSum) {
      Heads::store_heads(slope + p * kHeads, Heads::map([&](auto x) { return leaky_slope(x, parameter); }, value));
      // Minus infinity masks an edge: it must stay so for a slope of zero too.
      value = Heads::map([&](auto x) { return x == -kInfinity ? x : leaky(x, parameter); }, value);
    }
    return value;
  }

  void forward_row(int64_t row) {
    const int64_t first_position = row_begin(args.topology, row);
    const int64_t last_position = row_begin(args.topology, row + 1);
    prefetch(args.out + (row + 2) * row_width + column, kFeatures);
    const End own = load_end(args.q, row);
    PerHead peak = Heads::fill(-kInfinity), shift = Heads::fill(0.0f), total = Heads::fill(0.0f);
    Features sum = Heads::zeros();
    for (int64_t first = first_position; first < last_position; first += kBlock) {
      const int64_t count = last_position - first < kBlock ? last_position - first : kBlock;
      load_block(first, count);
      PerHead top = peak;
      for (int64_t p = 0; p < count; ++p) {
        prefetch_scores(first + p, args.k);
        const PerHead value = logits(p, own, scores(args.k, node[p]));
        top = Heads::map([](auto x, auto y) { return x > y ? x : y; }, value, top);
        Heads::store_heads(power + p * kHeads, value);
      }
      shift = Heads::map([](auto x) { return x == -kInfinity ? decltype(x){} : x; }, top);
      if (first > first_position) rescale(Heads::map([](auto x, auto y) { return x - y; }, peak, shift), total, sum);
      peak = top;
      set_shift(shift);
      exponentiate(count);
      for (int64_t p = 0; p < count; ++p) {
        if (args.k != args.v) prefetch_values(first + p, args.v);
        const PerHead weight = Heads::load_heads(power + p * kHeads);
        total = Heads::map([](auto x, auto y) { return x + y; }, total, weight);
        const float* value = values(args.v, node[p]);
        Heads::spread(weight, [&](int j, Lanes lanes) { sum.part[j] += lanes * load<N>(value + j * N); });
      }
    }
    const PerHead inverse = Heads::map([](auto x) { return x == 0.0f ? x : 1.0f / x; }, total);
    Heads::store_heads(args.peak + statistic(row), shift);
    Heads::store_heads(args.inverse + statistic(row), inverse);
    float* target = args.out + row * row_width + column;
    Heads::spread(inverse, [&](int j, Lanes lanes) { store<N>(target + j * N, sum.part[j] * lanes); });
  }

  // A later block raised the maximum: brings what was added before to the new shift.
  void rescale(const PerHead& difference, PerHead& total, Features& sum) {
    alignas(64) float factor[kShift] = {}, none[kShift] = {};
    Heads::store_heads(factor, difference);
    exponentials<kShift>(factor, kHeads, none);
    const PerHead scale = Heads::load_heads(factor);
    total = Heads::map([](auto x, auto y) { return x * y; }, total, scale);
    Heads::spread(scale, [&](int j, Lanes lanes) { sum.part[j] *= lanes; });
  }

  // Adds one edge's part of the gradient to the features of `own`; `other` is the row of the opposite end.
  void accumulate_end(const PerHead& gradient, const End& own, const float* other, Features& sum, PerHead& head_sum) {
    if constexpr (score == Score::kProduct) {
      Heads::spread(gradient, [&](int j, Lanes lanes) { sum.part[j] += lanes * load<N>(other + j * N); });
    } else if constexpr (score == Score::kSum) {
      head_sum = Heads::map([](auto x, auto y) { return x + y; }, head_sum, gradient);
    } else {
      Heads::spread(gradient, [&](int j, Lanes lanes) {
        sum.part[j] += lanes * leaky_slope(own.features.part[j] + load<N>(other + j * N), parameter);
      });
    }
  }

  // What the gradients of the logits give to one end: the factor that all edges share comes in here. Without edges
  // there is nothing for it to multiply, not even where it is infinite.
  void finish_end(const Features& sum, const PerHead& head_sum, float* rows, int64_t row) const {
    float* target = rows + row * score_row + score_column;
    if constexpr (score == Score::kSum) {
      Heads::store_heads(target, head_sum);
    } else if (row_begin(args.topology, row) == row_begin(args.topology, row + 1)) {
      Heads::store_features(target, Heads::zeros());
    } else {
      for (int j = 0; j < Heads::kVectors; ++j) {
        if constexpr (score == Score::kProduct) store<N>(target + j * N, sum.part[j] * parameter);
        if constexpr (score == Score::kMixed) store<N>(target + j * N, sum.part[j] * att.part[j]);
      }
    }
  }

  void backward_dst_row(int64_t row) {
    const int64_t last_position = row_begin(args.topology, row + 1);
    const End own = load_end(args.q, row);
    const Features grad = Heads::load_features(values(args.grad, row));
    const float* out = values(args.out, row);
    set_shift(Heads::load_heads(args.peak + statistic(row)));
    const PerHead inverse = Heads::load_heads(args.inverse + statistic(row));
    const PerHead delta = Heads::sum([&](int j) { return grad.part[j] * load<N>(out + j * N); });
    Heads::store_heads(args.delta + statistic(row), delta);
    Features sum = Heads::zeros(), att_sum = Heads::zeros();
    PerHead head_sum = Heads::fill(0.0f);
    for (int64_t first = row_begin(args.topology, row); first < last_position; first += kBlock) {
      const int64_t count = last_position - first < kBlock ? last_position - first : kBlock;
      load_block(first, count);
      for (int64_t p = 0; p < count; ++p) {
        prefetch_scores(first + p, args.k);
        if (args.k != args.v) prefetch_values(first + p, args.v);
        Heads::store_heads(power + p * kHeads, logits(p, own, scores(args.k, node[p])));
        const float* other = values(args.v, node[p]);
        const PerHead product = Heads::sum([&](int j) { return grad.part[j] * load<N>(other + j * N); });
        Heads::store_heads(inner + p * kHeads, Heads::map([](auto x, auto y) { return x - y; }, product, delta));
      }
      exponentiate(count);
      for (int64_t p = 0; p < count; ++p) {
        const PerHead gradient = logit_gradient(p, inverse);
        const float* other = scores(args.k, node[p]);
        accumulate_end(gradient, own, other, sum, head_sum);
        if constexpr (score == Score::kMixed) {
          Heads::spread(gradient, [&](int j, Lanes lanes) {
            att_sum.part[j] += lanes * leaky(own.features.part[j] + load<N>(other + j * N), parameter);
          });
        }
        if (args.grad_bias != nullptr) store_bias_gradient(p, gradient);
      }
    }
    finish_end(sum, head_sum, args.grad_q, row);
    if constexpr (score == Score::kMixed) {
      if (args.grad_att != nullptr) Heads::store_features(args.grad_att + row * row_width + column, att_sum);
    }
  }

  // From exp(logit - peak) and <grad, v> - delta, both of edge p.
  PerHead logit_gradient(int64_t p, const PerHead& inverse) const {
    PerHead gradient =
        Heads::map([](auto x, auto y, auto z) { return x * y * z; }, Heads::load_heads(power + p * kHeads), inverse,
                   Heads::load_heads(inner + p * kHeads));
    if constexpr (score == Score::kSum)
      gradient = Heads::map([](auto x, auto y) { return x * y; }, gradient, Heads::load_heads(slope + p * kHeads));
    return gradient;
  }

  void store_bias_gradient(int64_t p, const PerHead& gradient) const {
    float all[kHeads];
    Heads::store_heads(all, gradient);
    float* target = args.grad_bias + edge[p] * args.bias_heads;
    if (args.bias_heads == 1) {
      // Shared by the heads, block after block of them.
      float sum = first_head == 0 ? 0.0f : target[0];
      for (int h = 0; h < kHeads; ++h) sum += all[h];
      target[0] = sum;
      return;
    }
    for (int h = 0; h < kHeads && first_head + h < args.bias_heads; ++h) target[first_head + h] = all[h];
  }

  // Of a sum, the destinations' part lies beside the statistics.
  static constexpr int kStatistics = score == Score::kSum ? 4 : 3;

  const float* statistics_of(int64_t dst) const {
    return args.statistics + dst * kStatistics * args.heads + first_head;
  }
  const float* query(int64_t dst) const {
    if constexpr (score == Score::kSum) return statistics_of(dst) + 3 * args.heads;
    return scores(args.q, dst);
  }

  void prefetch_statistics(int64_t position) const {
    if (position + kValueDistance >= args.topology.num_edges) return;
    const float* row = statistics_of(node_at(args.topology, position + kValueDistance));
    for (int part = 0; part < kStatistics; ++part) prefetch(row + part * args.heads);
  }

  void backward_src_row(int64_t row) {
    const int64_t last_position = row_begin(args.topology, row + 1);
    const End own = load_end(args.k, row);
    const Features value = Heads::load_features(values(args.v, row));
    // Each destination has its own shift, which is subtracted before.
    set_shift(Heads::fill(0.0f));
    Features key_sum = Heads::zeros(), value_sum = Heads::zeros();
    PerHead head_sum = Heads::fill(0.0f);
    for (int64_t first = row_begin(args.topology, row); first < last_position; first += kBlock) {
      const int64_t count = last_position - first < kBlock ? last_position - first : kBlock;
      load_block(first, count);
      for (int64_t p = 0; p < count; ++p) {
        if constexpr (score != Score::kSum) prefetch_scores(first + p, args.q);
        prefetch_values(first + p, args.grad);
        prefetch_statistics(first + p);
        const float* statistics = statistics_of(node[p]);
        const PerHead logit = logits(p, own, query(node[p]));
        const PerHead peak = Heads::load_heads(statistics);
        const PerHead delta = Heads::load_heads(statistics + 2 * args.heads);
        Heads::store_heads(power + p * kHeads, Heads::map([](auto x, auto y) { return x - y; }, logit, peak));
        const float* grad = values(args.grad, node[p]);
        const PerHead product = Heads::sum([&](int j) { return value.part[j] * load<N>(grad + j * N); });
        Heads::store_heads(inner + p * kHeads, Heads::map([](auto x, auto y) { return x - y; }, product, delta));
      }
      exponentiate(count);
      for (int64_t p = 0; p < count; ++p) {
        const PerHead inverse = Heads::load_heads(statistics_of(node[p]) + args.heads);
        const PerHead gradient = logit_gradient(p, inverse);
        const PerHead weight =
            Heads::map([](auto x, auto y) { return x * y; }, Heads::load_heads(power + p * kHeads), inverse);
        const float* grad = values(args.grad, node[p]);
        Heads::spread(weight, [&](int j, Lanes lanes) { value_sum.part[j] += lanes * load<N>(grad + j * N); });
        accumulate_end(gradient, own, query(node[p]), key_sum, head_sum);
      }
    }
    finish_end(key_sum, head_sum, args.grad_k, row);
    Heads::store_features(args.grad_v + row * row_width + column, value_sum);
  }
};

// Calls visit(score, width, features), integral constants all: the launcher has padded heads to one of these shapes.
template <Score score, typename Visit>
void by_width(const AttentionRowsArgs<float>& args, const Visit& visit) {
  const std::integral_constant<Score, score> constant;
  switch (args.width) {
    case 8:
      return args.heads % 8 == 0 ? visit(constant, TileSize<8>{}, TileSize<64>{})
                                 : visit(constant, TileSize<8>{}, TileSize<16>{});
    case 16:
      return args.heads % 4 == 0 ? visit(constant, TileSize<16>{}, TileSize<64>{})
                                 : visit(constant, TileSize<16>{}, TileSize<16>{});
    case 32:
      return args.heads % 2 == 0 ? visit(constant, TileSize<32>{}, TileSize<64>{})
                                 : visit(constant, TileSize<32>{}, TileSize<32>{});
    default:
      return visit(constant, TileSize<64>{}, TileSize<64>{});
  }
}

template <typename Visit>
void by_score(const AttentionRowsArgs<float>& args, const Visit& visit) {
  switch (args.score) {
    case Score::kProduct:
      return by_width<Score::kProduct>(args, visit);
    case Score::kSum:
      return by_width<Score::kSum>(args, visit);
    case Score::kMixed:
      return by_width<Score::kMixed>(args, visit);
  }
}

template <typename OneRow>
void run(const AttentionRowsArgs<float>& args, int64_t begin, int64_t end, const OneRow& one_row) {
  by_score(args, [&](auto score, auto width, auto features) {
    Pass<decltype(score)::value, decltype(width)::value, decltype(features)::value>(args).each_row(begin, end, one_row);
  });
}

}  // namespace

void packed_attention_rows(const AttentionRowsArgs<float>& args, int64_t begin, int64_t end) {
  run(args, begin, end, [](auto& pass, int64_t row) { pass.forward_row(row); });
}

void packed_attention_dst_rows(const AttentionRowsArgs<float>& args, int64_t begin, int64_t end) {
  run(args, begin, end, [](auto& pass, int64_t row) { pass.backward_dst_row(row); });
}

void packed_attention_src_rows(const AttentionRowsArgs<float>& args, int64_t begin, int64_t end) {
  run(args, begin, end, [](auto& pass, int64_t row) { pass.backward_src_row(row); });
}

}  // namespace gnnkit::GNNKIT_ISA
