// Sets of nodes that random walks visit. Each step of each walk has random numbers of its own, by counter, so that the
// result depends neither on the threads nor on the other walks.
#include "cpu/sampled_rows.h"

namespace gnnkit {

namespace {

// A counter holds the node in one word; lengths and repeats share another.
constexpr int kHalf = 16;
constexpr int64_t kMost = int64_t{1} << kHalf;
constexpr int64_t kMostTokens = int64_t{1} << 60;

template <typename I>
struct Walks {
  const I* rowptr;
  const I* col;
  int64_t nodes;
  int64_t max_length;
  int64_t num_walks;
  int64_t repeats;
  uint64_t seed;

  int64_t tokens_per_node() const { return max_length * repeats + 1; }
};

struct Walker {
  int64_t at;
  int64_t degree;
  std::array<double, 2> chance;  // of two steps, the even one first
};

struct WalkScratch {
  std::vector<Walker> walkers;
  std::vector<int64_t> visited;
};

// What walks from a node visit. They go side by side: what one waits for in memory, the others do not.
template <typename I>
void walk(const Walks<I>& in, int64_t node, int64_t length, int64_t repeat, WalkScratch& scratch) {
  const uint64_t set = static_cast<uint64_t>(length << kHalf | repeat) << 32 | static_cast<uint64_t>(node);
  scratch.walkers.assign(static_cast<size_t>(in.num_walks), Walker{node, 0, {}});
  scratch.visited.assign(1, node);
  for (int64_t step = 0; step < length; ++step) {
    uint32_t number = 0;
    for (Walker& walker : scratch.walkers) {
      walker.degree = in.rowptr[walker.at + 1] - in.rowptr[walker.at];
      prefetch(in.col + in.rowptr[walker.at]);
      if (step % 2 == 0) walker.chance = drawn_numbers(in.seed, set, number, step);
      ++number;
    }
    for (Walker& walker : scratch.walkers) {
      if (walker.degree == 0) continue;
      walker.at = in.col[in.rowptr[walker.at] + below(walker.chance[step % 2], walker.degree)];
      prefetch(in.rowptr + walker.at);
      scratch.visited.push_back(walker.at);
    }
  }
}

template <typename I>
void tokens_of(const Walks<I>& in, int64_t node, WalkScratch& scratch, FoundSets& out, int64_t* count) {
  for (int64_t length = in.max_length; length >= 1; --length) {
    for (int64_t repeat = 0; repeat < in.repeats; ++repeat) {
      walk(in, node, length, repeat, scratch);
      std::vector<int64_t>& visited = scratch.visited;
      std::sort(visited.begin(), visited.end());
      const auto end = std::unique(visited.begin(), visited.end());
      out.members.insert(out.members.end(), visited.begin(), end);
      *count++ = end - visited.begin();
    }
  }
  out.members.push_back(node);
  *count = 1;
}

// Steps of all walks, roughly and bounded.
template <typename I>
int64_t work_of(const Walks<I>& in) {
  const double steps = static_cast<double>(in.repeats) * in.num_walks * in.max_length * (in.max_length + 1) / 2;
  return static_cast<int64_t>(std::min(static_cast<double>(in.nodes) * (steps + 1), 1e15));
}

std::tuple<Tensor, Tensor> walk_tokens(const Tensor& rowptr_in, const Tensor& col_in, int64_t max_length,
                                       int64_t num_walks, int64_t repeats, int64_t seed) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in);
  check_sampled(rowptr, col);
  const int64_t nodes = rowptr.size(0) - 1;
  STD_TORCH_CHECK(max_length >= 0 && max_length < kMost, "max_length must lie in [0, 2^16)");
  STD_TORCH_CHECK(num_walks >= 1 && num_walks <= kMost, "num_walks must lie in [1, 2^16]");
  STD_TORCH_CHECK(repeats >= 1 && repeats <= kMost, "repeats must lie in [1, 2^16]");
  STD_TORCH_CHECK(max_length * repeats < kMostTokens / (nodes + 1), "there would be too many tokens");
  Tensor members, token_ptr;
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    check_boundaries(read<I>(rowptr), nodes, col.size(0));
    check_range(read<I>(col), col.size(0), nodes);
    const Walks<I> in{
        read<I>(rowptr), read<I>(col), nodes, max_length, num_walks, repeats, static_cast<uint64_t>(seed)};
    const int64_t per_node = in.tokens_per_node();
    token_ptr = empty({nodes * per_node + 1}, col, ScalarType::Long);
    int64_t* const ptr = write<int64_t>(token_ptr);
    const int64_t chunks = std::max<int64_t>(std::min(nodes, chunks_for(work_of(in))), 1);
    std::vector<FoundSets> found(static_cast<size_t>(chunks));
    parallel_with_scratch<WalkScratch>(chunks, [&](WalkScratch& scratch, int64_t chunk) {
      const int64_t begin = nodes * chunk / chunks, end = nodes * (chunk + 1) / chunks;
      found[chunk].first = begin * per_node;
      for (int64_t node = begin; node < end; ++node)
        tokens_of(in, node, scratch, found[chunk], ptr + 1 + node * per_node);
    });
    members = joined_sets(found, ptr, nodes * per_node, col);
  });
  return {members, token_ptr};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("walk_tokens", TORCH_BOX(&walk_tokens)); }

}  // namespace gnnkit
