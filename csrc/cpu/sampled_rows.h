// What the samplers around given roots share: arguments, numbers drawn one after the other, sets of which each belongs
// to a root, and memory of a thread that costs what is touched of it.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#include "cpu/node_sets.h"

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

inline void check_sampled(const Tensor& rowptr, const Tensor& col) {
  check_structure(rowptr, col, std::nullopt);
  STD_TORCH_CHECK(rowptr.size(0) - 1 <= kMostSampledNodes, "graphs of at most 2^32 nodes are served");
}

inline void check_vector(const Tensor& tensor, const char* message) {
  STD_TORCH_CHECK(tensor.dim() == 1 && tensor.scalar_type() == ScalarType::Long, message);
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
    return gnnkit::below(unit_interval(word_[half], word_[half + 1]), size);
  }

 private:
  uint64_t key_;
  uint32_t second_, third_, fourth_;
  uint64_t place_ = 0;
  std::array<uint32_t, 4> word_{};
};

// Sets of nodes, one for each root, found by several threads in any order.
template <typename I>
struct RootSets {
  std::vector<std::vector<I>> members;
  Tensor ptr;

  RootSets(int64_t sets, const Tensor& like) : members(static_cast<size_t>(sets)) {
    ptr = empty({sets + 1}, like, ScalarType::Long);
  }

  // Writes where each begins, and gives all of them one after the other, of the dtype of `like`.
  Tensor joined(const Tensor& like) const {
    int64_t* const bounds = write<int64_t>(ptr);
    bounds[0] = 0;
    for (size_t set = 0; set < members.size(); ++set)
      bounds[set + 1] = bounds[set] + static_cast<int64_t>(members[set].size());
    const Tensor out = empty({bounds[members.size()]}, like);
    for (size_t set = 0; set < members.size(); ++set)
      std::copy(members[set].begin(), members[set].end(), write<I>(out) + bounds[set]);
    return out;
  }
};

// Roots cost very different work: a few of them at a time.
inline int64_t root_chunks(int64_t roots) {
  const int64_t threads = torch::stable::get_num_threads();
  return threads == 1 ? 1 : std::min<int64_t>(roots, threads * 32);
}

}  // namespace gnnkit
