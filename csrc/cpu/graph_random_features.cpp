// Sums over random walks from every node. Each step of each walk has random numbers of its own, by counter, so that the
// result depends neither on the threads nor on the other nodes.
#include "cpu/column_order.h"
#include "cpu/counter_random.h"
#include "cpu/prefetch.h"
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

constexpr int64_t kSideBySide = 256;
constexpr int64_t kWords = int64_t{1} << 32;  // a counter holds nodes, walks and steps in 32 bits each

// What a step reads of an entry, side by side.
struct Entry {
  double cumulative;  // probabilities in the row up to and including this one
  double factor;
  int64_t col;
};

struct Walks {
  const int64_t* rowptr;
  const Entry* entry;
  const int64_t* key;
  const int64_t* node;
  const double* modulation;
  int64_t last_step;
  double halting;
  int64_t num_walks;
  uint32_t ensemble;
};

struct Place {
  double sum;
  int64_t row = -1;  // to which the sum belongs
};

struct Walker {
  int64_t at;
  int64_t first;  // entry of the row of `at`
  int64_t end;
  double load;
  double chance;
  uint32_t number;
};

struct WalkScratch {
  std::vector<Place> place;
  std::vector<Walker> walkers;
  ColumnOrder order;
};

struct FoundRows {
  int64_t first_row = 0;
  std::vector<int64_t> col;
  std::vector<double> value;
};

std::vector<Entry> entries_of(const int64_t* rowptr, int64_t rows, const int64_t* col, const double* factor,
                              const double* probability, int64_t entries) {
  std::vector<Entry> out(static_cast<size_t>(entries));
  parallel_over_rows(rowptr, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      double total = 0;
      for (int64_t p = rowptr[row]; p < rowptr[row + 1]; ++p) out[p] = {total += probability[p], factor[p], col[p]};
    }
  });
  return out;
}

// The first entry of [first, end) whose cumulative probability exceeds `chance`, or the last one.
const Entry& choose(const Entry* entry, int64_t first, int64_t end, double chance) {
  int64_t low = first;
  int64_t high = end - 1;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (entry[middle].cumulative <= chance) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return entry[low];
}

// The walks [begin, end) of one node go side by side: what one waits for in memory, the others do not.
void walk(const Walks& walks, WalkScratch& scratch, int64_t row, int64_t begin, int64_t end) {
  const uint64_t key = static_cast<uint64_t>(walks.key[row]);
  const uint32_t node = static_cast<uint32_t>(walks.node[row]);
  std::vector<Walker>& walkers = scratch.walkers;
  walkers.clear();
  for (int64_t number = begin; number < end; ++number)
    walkers.push_back({row, 0, 0, 1, 0, static_cast<uint32_t>(number)});
  for (int64_t step = 0; !walkers.empty(); ++step) {
    size_t kept = 0;
    for (Walker& walker : walkers) {
      Place& place = scratch.place[walker.at];
      if (place.row != row) {
        place = {0, row};
        scratch.order.add(walker.at);
      }
      place.sum += walker.load * walks.modulation[step];
      walker.first = walks.rowptr[walker.at];
      walker.end = walks.rowptr[walker.at + 1];
      if (step == walks.last_step || walker.first == walker.end) continue;
      prefetch(walks.entry + walker.first);
      const std::array<uint32_t, 4> word =
          philox_block(key, {static_cast<uint32_t>(step), walker.number, node, walks.ensemble});
      if (unit_interval(word[2], word[3]) < walks.halting) continue;
      walker.chance = unit_interval(word[0], word[1]);
      walkers[kept++] = walker;
    }
    walkers.resize(kept);
    for (Walker& walker : walkers) {
      const Entry& entry = choose(walks.entry, walker.first, walker.end, walker.chance);
      walker.load *= entry.factor;
      walker.at = entry.col;
      prefetch(walks.rowptr + walker.at);
      prefetch(scratch.place.data() + walker.at);
    }
  }
}

int64_t walk_from(const Walks& walks, WalkScratch& scratch, int64_t row, FoundRows& out) {
  for (int64_t begin = 0; begin < walks.num_walks; begin += kSideBySide)
    walk(walks, scratch, row, begin, std::min(walks.num_walks, begin + kSideBySide));
  const size_t before = out.col.size();
  scratch.order.drain([&](int64_t node) {
    out.col.push_back(node);
    out.value.push_back(scratch.place[node].sum / static_cast<double>(walks.num_walks));
  });
  return static_cast<int64_t>(out.col.size() - before);
}

bool is_vector(const Tensor& tensor, ScalarType type, int64_t length) {
  return tensor.dim() == 1 && tensor.scalar_type() == type && tensor.size(0) == length;
}

std::tuple<Tensor, Tensor, Tensor> graph_random_features(const Tensor& rowptr_in, const Tensor& col_in,
                                                         const Tensor& factor_in, const Tensor& probability_in,
                                                         const Tensor& key_in, const Tensor& node_in,
                                                         const Tensor& modulation_in, double halting, int64_t num_walks,
                                                         int64_t ensemble) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), factor = dense(factor_in);
  const Tensor probability = dense(probability_in), key = dense(key_in), node = dense(node_in);
  const Tensor modulation = dense(modulation_in);
  check_structure(rowptr, col, std::nullopt);
  const int64_t rows = rowptr.size(0) - 1, entries = col.size(0);
  STD_TORCH_CHECK(col.scalar_type() == ScalarType::Long && is_vector(factor, ScalarType::Double, entries) &&
                      is_vector(probability, ScalarType::Double, entries),
                  "indices must be int64, with one float64 factor and one probability per entry");
  STD_TORCH_CHECK(is_vector(key, ScalarType::Long, rows) && is_vector(node, ScalarType::Long, rows),
                  "key and node must be int64, one per row");
  STD_TORCH_CHECK(modulation.dim() == 1 && modulation.scalar_type() == ScalarType::Double && modulation.size(0) >= 1 &&
                      modulation.size(0) <= kWords,
                  "modulation must be a float64 vector of 1 to 2^32 entries");
  STD_TORCH_CHECK(num_walks >= 1 && num_walks <= kWords, "num_walks must lie in [1, 2^32]");
  STD_TORCH_CHECK(ensemble >= 0 && ensemble < kWords, "ensemble must lie in [0, 2^32)");
  check_boundaries(read<int64_t>(rowptr), rows, entries);
  check_range(read<int64_t>(col), entries, rows);
  check_range(read<int64_t>(node), rows, kWords);
  const std::vector<Entry> entry = entries_of(read<int64_t>(rowptr), rows, read<int64_t>(col), read<double>(factor),
                                              read<double>(probability), entries);
  const Walks walks{read<int64_t>(rowptr),
                    entry.data(),
                    read<int64_t>(key),
                    read<int64_t>(node),
                    read<double>(modulation),
                    modulation.size(0) - 1,
                    halting,
                    num_walks,
                    static_cast<uint32_t>(ensemble)};
  std::vector<int64_t> count(static_cast<size_t>(rows), 0);
  const int64_t chunks = rows <= 1 ? 1 : std::min(rows, chunks_for(rows * std::min<int64_t>(num_walks, kSerialWork)));
  std::vector<FoundRows> found(static_cast<size_t>(chunks));
  const auto start = [&](int64_t part) { return rows / chunks * part + rows % chunks * part / chunks; };
  parallel_with_scratch<WalkScratch>(chunks, [&](WalkScratch& scratch, int64_t chunk) {
    if (scratch.place.empty()) scratch.place.resize(static_cast<size_t>(rows));
    scratch.order.reserve(rows);
    found[chunk].first_row = start(chunk);
    for (int64_t row = start(chunk); row < start(chunk + 1); ++row)
      count[row] = walk_from(walks, scratch, row, found[chunk]);
  });
  const Tensor found_rowptr = empty({rows + 1}, rowptr);
  running_sum(count, write<int64_t>(found_rowptr));
  const int64_t total = read<int64_t>(found_rowptr)[rows];
  const Tensor found_col = empty({total}, col), value = empty({total}, factor);
  parallel_over_chunks(chunks, [&](int64_t chunk) {
    const int64_t begin = read<int64_t>(found_rowptr)[found[chunk].first_row];
    std::copy(found[chunk].col.begin(), found[chunk].col.end(), write<int64_t>(found_col) + begin);
    std::copy(found[chunk].value.begin(), found[chunk].value.end(), write<double>(value) + begin);
  });
  return {found_rowptr, found_col, value};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("graph_random_features", TORCH_BOX(&graph_random_features));
}

}  // namespace gnnkit
