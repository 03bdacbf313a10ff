// Rows of a mapped file and of a cache, by number. A first pass over the numbers checks them and marks the pages of the
// file that are read, in a bitmap: so each page is asked for once, in order, and before any row is copied.
#include <bit>
#include <cstring>
#include <memory>

#include "common/read_ahead.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kBits = 64;

class Pages {
 public:
  explicit Pages(int64_t bytes)
      : words_((bytes + kPage * kBits - 1) / (kPage * kBits)), marks_(new std::atomic<uint64_t>[words_]()) {}

  void mark(int64_t begin, int64_t end) {
    for (int64_t page = begin / kPage; page <= (end - 1) / kPage; ++page) {
      std::atomic<uint64_t>& word = marks_[static_cast<size_t>(page / kBits)];
      const uint64_t bit = uint64_t{1} << (page % kBits);
      // Looked at first: most pages are marked already where rows are short, and a look does not hold up others.
      if (!(word.load(std::memory_order_relaxed) & bit)) word.fetch_or(bit, std::memory_order_relaxed);
    }
  }

  int64_t count() const {
    int64_t total = 0;
    for (int64_t word = 0; word < words_; ++word) total += std::popcount(at(word));
    return total;
  }

  // Calls visit(first, last) for each run of marked pages, [first, last).
  template <typename Visit>
  void for_runs(const Visit& visit) const {
    int64_t first = -1;
    for (int64_t word = 0; word < words_; ++word) {
      const uint64_t bits = at(word);
      if (bits == 0 && first < 0) continue;
      for (int64_t bit = 0; bit < kBits; ++bit) {
        const bool marked = bits >> bit & 1;
        const int64_t page = word * kBits + bit;
        if (marked && first < 0) first = page;
        if (marked || first < 0) continue;
        visit(first, page);
        first = -1;
      }
    }
    if (first >= 0) visit(first, words_ * kBits);
  }

 private:
  uint64_t at(int64_t word) const { return marks_[static_cast<size_t>(word)].load(std::memory_order_relaxed); }

  int64_t words_;
  std::unique_ptr<std::atomic<uint64_t>[]> marks_;
};

struct Sources {
  const uint8_t* rows;
  int64_t num_rows;
  const uint8_t* cache;
  int64_t num_cached;
  int64_t bytes;  // of a row
};

// Where the row of each number is: at least 0 in the file, below 0 in the cache. Gives how many are in the cache.
template <typename I>
int64_t resolve(const Sources& from, const I* place, int64_t num_places, const int64_t* index, int64_t count,
                int64_t* where, Pages& pages) {
  std::atomic<bool> inside{true};
  std::atomic<int64_t> hits{0};
  parallel_over_shares(count, chunks_for(count), [&](int64_t, int64_t begin, int64_t end) {
    int64_t cached = 0;
    for (int64_t i = begin; i < end; ++i) {
      int64_t at = index[i];
      if (place != nullptr) {
        if (at < 0 || at >= num_places) {
          inside = false;
          return;
        }
        at = static_cast<int64_t>(place[at]);
      }
      if (at >= from.num_rows || at < -from.num_cached) {
        inside = false;
        return;
      }
      where[i] = at;
      cached += at < 0;
      if (at >= 0 && from.bytes > 0) pages.mark(at * from.bytes, (at + 1) * from.bytes);
    }
    hits += cached;
  });
  STD_TORCH_CHECK(inside, "an index lies outside of its range");
  return hits;
}

void copy(const Sources& from, const int64_t* where, int64_t count, uint8_t* out) {
  if (from.bytes == 0) return;  // memcpy takes no null pointer, not even for nothing
  parallel_over_shares(count, chunks_for(count * (1 + from.bytes / 8)), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = where[i];
      const uint8_t* const row = at >= 0 ? from.rows + at * from.bytes : from.cache + (-1 - at) * from.bytes;
      std::memcpy(out + i * from.bytes, row, static_cast<size_t>(from.bytes));
    }
  });
}

void check_matrix(const Tensor& tensor) {
  STD_TORCH_CHECK(tensor.dim() == 2 && tensor.scalar_type() == ScalarType::Byte, "rows must be bytes, [N, B]");
}

std::tuple<Tensor, Tensor> gather_rows(const Tensor& rows_in, const OptionalTensor& cache_in,
                                       const OptionalTensor& place_in, const Tensor& index_in, bool ahead) {
  check_matrix(rows_in);
  STD_TORCH_CHECK(index_in.dim() == 1 && index_in.scalar_type() == ScalarType::Long, "index must be int64, [n]");
  STD_TORCH_CHECK(rows_in.is_contiguous(), "rows must be contiguous: a file is not copied to memory");
  const OptionalTensor cache = dense(cache_in), place = dense(place_in);
  const Tensor index = dense(index_in);
  Sources from{read<uint8_t>(rows_in), rows_in.size(0), nullptr, 0, rows_in.size(1)};
  if (cache.has_value()) {
    check_matrix(*cache);
    STD_TORCH_CHECK(cache->size(1) == from.bytes, "rows of the cache must have as many bytes as those of the file");
    from.cache = read<uint8_t>(*cache);
    from.num_cached = cache->size(0);
  }
  STD_TORCH_CHECK(!place.has_value() || place->dim() == 1, "place must have one dimension");
  const int64_t count = index.size(0);
  Tensor out = empty({count, from.bytes}, rows_in);
  Tensor counts = zeros({2}, index);
  std::vector<int64_t> where(static_cast<size_t>(count));
  Pages pages(from.num_rows * from.bytes);
  int64_t* const found = write<int64_t>(counts);
  dispatch_index(place.has_value() ? *place : index, [&](auto integer) {
    using I = decltype(integer);
    const int64_t num_places = place.has_value() ? place->size(0) : 0;
    found[0] = resolve(from, read<I>(place), num_places, read<int64_t>(index), count, where.data(), pages);
  });
  found[1] = pages.count();
  if (ahead) {
    const int64_t size = from.num_rows * from.bytes;
    pages.for_runs([&](int64_t first, int64_t last) {
      read_ahead(from.rows + first * kPage, std::min(size, last * kPage) - first * kPage);
    });
  }
  copy(from, where.data(), count, write<uint8_t>(out));
  return {out, counts};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("gather_rows", TORCH_BOX(&gather_rows)); }

}  // namespace gnnkit
