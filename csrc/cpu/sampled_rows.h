// What the samplers share: rows of a graph that are checked when they are visited, since a sampler sees a small part of
// a graph that may be mapped from a file, and memory for one thread that costs what is touched of it.
#pragma once

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "common/topology.h"
#include "cpu/counter_random.h"
#include "cpu/launch.h"
#include "cpu/prefetch.h"

namespace gnnkit {

// A counter of random numbers holds a node in one word.
constexpr int64_t kMostSampledNodes = int64_t{1} << 32;

// Zeros that the system maps when they are first touched, so that a large graph costs a small batch nothing.
template <typename T>
class LazyZeros {
 public:
  T* resized(int64_t size) {
    if (size_ >= size && held_ != nullptr) return held_.get();
    held_.reset(static_cast<T*>(std::calloc(static_cast<size_t>(std::max<int64_t>(size, 1)), sizeof(T))));
    if (held_ == nullptr) throw std::bad_alloc();
    size_ = size;
    return held_.get();
  }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> held_;
  int64_t size_ = 0;
};

// The neighbours of each node, of which any may be wrong.
template <typename I>
struct SampledRows {
  const I* rowptr;
  const I* col;
  int64_t nodes;
  int64_t edges;

  SampledRows(const Tensor& rowptr_tensor, const Tensor& col_tensor)
      : rowptr(read<I>(rowptr_tensor)),
        col(read<I>(col_tensor)),
        nodes(rowptr_tensor.size(0) - 1),
        edges(col_tensor.size(0)) {}

  int64_t degree(int64_t node) const { return static_cast<int64_t>(rowptr[node + 1]) - rowptr[node]; }
  bool has_row(int64_t node) const {
    return rowptr[node] >= 0 && rowptr[node] <= rowptr[node + 1] && rowptr[node + 1] <= edges;
  }
  bool has_node(int64_t node) const { return static_cast<uint64_t>(node) < static_cast<uint64_t>(nodes); }
};

inline void check_sampled(const Tensor& rowptr, const Tensor& col) {
  check_structure(rowptr, col, std::nullopt);
  STD_TORCH_CHECK(rowptr.size(0) - 1 <= kMostSampledNodes, "graphs of at most 2^32 nodes are served");
}

inline void check_vector(const Tensor& tensor, const char* message) {
  STD_TORCH_CHECK(tensor.dim() == 1 && tensor.scalar_type() == ScalarType::Long, message);
}

inline void check_visited(bool valid) {
  STD_TORCH_CHECK(valid,
                  "the graph is not valid: row boundaries must not decrease and must run from 0 to the number of "
                  "edges, and its nodes must lie in [0, number of nodes)");
}

// Numbers drawn one after the other, two from each block of random words.
class Draws {
 public:
  Draws(uint64_t key, uint32_t second, uint32_t third, uint32_t fourth)
      : key_(key), second_(second), third_(third), fourth_(fourth) {}

  // Uniform in [0, size), size at least 1.
  int64_t below(int64_t size) {
    if (place_ % 2 == 0) word_ = philox_block(key_, {static_cast<uint32_t>(place_ / 2), second_, third_, fourth_});
    const size_t half = place_++ % 2 * 2;
    return static_cast<int64_t>(unit_interval(word_[half], word_[half + 1]) * static_cast<double>(size));
  }

 private:
  uint64_t key_;
  uint32_t second_, third_, fourth_;
  uint64_t place_ = 0;
  std::array<uint32_t, 4> word_{};
};

// Sets of nodes, one for each root, found by several threads in any order.
template <typename I>
struct FoundSets {
  std::vector<std::vector<I>> members;
  Tensor ptr;

  FoundSets(int64_t sets, const Tensor& like) : members(static_cast<size_t>(sets)) {
    ptr = empty({sets + 1}, like, ScalarType::Long);
  }

  int64_t accumulate() {
    int64_t* const bounds = write<int64_t>(ptr);
    bounds[0] = 0;
    for (size_t set = 0; set < members.size(); ++set)
      bounds[set + 1] = bounds[set] + static_cast<int64_t>(members[set].size());
    return bounds[members.size()];
  }
};

// Roots cost very different work: a few of them at a time.
inline int64_t root_chunks(int64_t roots) {
  const int64_t threads = torch::stable::get_num_threads();
  return threads == 1 ? 1 : std::min<int64_t>(roots, threads * 32);
}

}  // namespace gnnkit
