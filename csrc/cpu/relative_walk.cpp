// Random walks from every node to every other: rows of the powers of a matrix, some of them at once.
#include <numeric>

#include "cpu/walk_block.h"

namespace gnnkit {

namespace {

// Which pairs are kept.
struct PairRule {
  int64_t steps;
  int64_t max_hops;  // negative: all pairs of nodes, also those without any walk
  float threshold;

  bool all() const { return max_hops < 0; }

  // `value` holds the probability of each number of steps.
  bool keeps(const float* value) const {
    const auto within = value + std::min(max_hops + 1, steps);
    return std::find_if(value, within, [](float p) { return p > 0; }) != within &&
           *std::max_element(value, value + steps) >= threshold;
  }
};

// Pairs of some rows, kept until the size of the result is known.
struct FoundPairs {
  std::vector<int64_t> row, count;
  std::vector<int32_t> col;
  std::vector<float> value;
};

struct PairScratch {
  std::unique_ptr<WalkBlock> block;
  std::vector<float> walked;  // per node reached, number of steps and column
  std::vector<float> pair;
  std::vector<int64_t> order;
};

class Pairs {
 public:
  Pairs(const WalkGraph& graph, const PairRule& rule) : graph_(graph), rule_(rule) {}

  // Calls write(row, col, value) for the pairs that start in the span, in order of row within the span, then of column.
  template <typename Write>
  void run(PairScratch& scratch, const WalkSpan& span, const Write& write) const {
    constexpr int kColumns = WalkBlock::kColumns;
    if (scratch.block == nullptr) scratch.block = std::make_unique<WalkBlock>(graph_.components);
    WalkBlock& block = *scratch.block;
    const int64_t steps = rule_.steps;
    int64_t wanted = 0;
    // A row of a power is a column of the power of the transpose.
    block.walk(graph_.in, graph_.out, span, steps - 1, steps - 1, [&](int64_t t, int64_t, int64_t now) {
      if (t == 0) {
        wanted = block.reached_within(rule_.all() ? steps : rule_.max_hops);
        scratch.walked.assign(static_cast<size_t>(wanted * steps) * kColumns, 0.0F);
      }
      for (int64_t n = 0; n < std::min(now, wanted); ++n) {
        const double* from = block.current(block.reached(n));
        float* to = &scratch.walked[(n * steps + t) * kColumns];
        for (int c = 0; c < kColumns; ++c) to[c] = static_cast<float>(from[c]);
      }
    });
    scratch.order.resize(static_cast<size_t>(wanted));
    std::iota(scratch.order.begin(), scratch.order.end(), 0);
    const auto node = [&](int64_t n) { return graph_.node[block.reached(n)]; };
    std::sort(scratch.order.begin(), scratch.order.end(), [&](int64_t a, int64_t b) { return node(a) < node(b); });
    scratch.pair.resize(static_cast<size_t>(steps));
    for (int64_t i = span.first; i < span.last; ++i) {
      for (const int64_t n : scratch.order) {
        const float* from = &scratch.walked[n * steps * kColumns + (i - span.first)];
        for (int64_t t = 0; t < steps; ++t) scratch.pair[t] = from[t * kColumns];
        if (rule_.all() || rule_.keeps(scratch.pair.data())) write(graph_.node[i], node(n), scratch.pair.data());
      }
    }
  }

 private:
  const WalkGraph& graph_;
  PairRule rule_;
};

// Calls run(scratch, chunk, span) for the spans of every chunk.
template <typename Run>
void for_each_span(const std::vector<WalkSpan>& spans, int64_t chunks, const Run& run) {
  const int64_t count = static_cast<int64_t>(spans.size());
  parallel_with_scratch<PairScratch>(chunks, [&](PairScratch& scratch, int64_t chunk) {
    for (int64_t n = count * chunk / chunks; n < count * (chunk + 1) / chunks; ++n) run(scratch, chunk, spans[n]);
  });
}

using PairTensors = std::tuple<Tensor, Tensor>;

PairTensors all_pairs(const WalkInput& input, const Pairs& pairs, const std::vector<WalkSpan>& spans, int64_t chunks,
                      int64_t steps) {
  const int64_t nodes = input.nodes();
  const Tensor index = empty({2, nodes * nodes}, input.rowptr);
  const Tensor value = zeros({nodes * nodes, steps}, input.rowptr, ScalarType::Float);
  int64_t* row = write<int64_t>(index);
  int64_t* col = row + nodes * nodes;
  for (int64_t i = 0; i < nodes; ++i) {
    std::fill_n(row + i * nodes, nodes, i);
    std::iota(col + i * nodes, col + (i + 1) * nodes, 0);
  }
  float* out = write<float>(value);
  for_each_span(spans, chunks, [&](PairScratch& scratch, int64_t, const WalkSpan& span) {
    pairs.run(scratch, span, [&](int64_t i, int64_t j, const float* from) {
      std::copy_n(from, steps, out + (i * nodes + j) * steps);
    });
  });
  return {index, value};
}

PairTensors some_pairs(const WalkInput& input, const Pairs& pairs, const std::vector<WalkSpan>& spans, int64_t chunks,
                       int64_t steps) {
  const int64_t nodes = input.nodes();
  std::vector<FoundPairs> found(static_cast<size_t>(chunks));
  std::vector<int64_t> start(static_cast<size_t>(nodes) + 1, 0);
  for_each_span(spans, chunks, [&](PairScratch& scratch, int64_t chunk, const WalkSpan& span) {
    FoundPairs& into = found[chunk];
    pairs.run(scratch, span, [&](int64_t i, int32_t j, const float* from) {
      if (into.row.empty() || into.row.back() != i) {
        into.row.push_back(i);
        into.count.push_back(0);
      }
      ++into.count.back();
      ++start[i + 1];
      into.col.push_back(j);
      into.value.insert(into.value.end(), from, from + steps);
    });
  });
  std::partial_sum(start.begin(), start.end(), start.begin());
  const int64_t total = start.back();
  const Tensor index = empty({2, total}, input.rowptr);
  const Tensor value = empty({total, steps}, input.rowptr, ScalarType::Float);
  int64_t* row = write<int64_t>(index);
  parallel_over_chunks(chunks, [&](int64_t chunk) {
    const FoundPairs& from = found[chunk];
    int64_t first = 0;
    for (size_t r = 0; r < from.row.size(); ++r) {
      const int64_t to = start[from.row[r]], count = from.count[r];
      std::fill_n(row + to, count, from.row[r]);
      std::copy_n(from.col.begin() + first, count, row + total + to);
      std::copy_n(from.value.begin() + first * steps, count * steps, write<float>(value) + to * steps);
      first += count;
    }
  });
  return {index, value};
}

PairTensors walk_pairs(const Tensor& rowptr, const Tensor& col, const OptionalTensor& weight, int64_t steps,
                       std::optional<int64_t> max_hops, double threshold) {
  const WalkInput input(rowptr, col, weight);
  STD_TORCH_CHECK(steps >= 1, "steps must be at least 1");
  STD_TORCH_CHECK(!max_hops.has_value() || *max_hops >= 0, "max_hops must not be negative");
  STD_TORCH_CHECK(threshold >= 0 && threshold <= 1, "threshold must be a probability");
  const PairRule rule{steps, max_hops.has_value() ? std::min(*max_hops, steps - 1) : -1, static_cast<float>(threshold)};
  const WalkGraph graph = walk_graph(input, false);
  std::vector<WalkSpan> spans;
  for (const WalkComponent& component : graph.components) add_spans(component, WalkBlock::kColumns, spans);
  const int64_t chunks = walk_chunks(graph, static_cast<int64_t>(spans.size()), steps);
  const Pairs pairs(graph, rule);
  return (rule.all() ? all_pairs : some_pairs)(input, pairs, spans, chunks, steps);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("walk_pairs", TORCH_BOX(&walk_pairs)); }

}  // namespace gnnkit
