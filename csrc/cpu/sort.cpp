// A stable counting sort, split into blocks of positions. Each block counts its values; the counts, laid out value by
// value and block by block, become the places where each block writes: the result is that of the serial sort.
#include "cpu/launch.h"

namespace gnnkit {

namespace {

// Blocks cost one counter per value each, so they must be long compared with the number of values.
int64_t blocks_for(int64_t count, int64_t dim_size) {
  if (count < kSerialWork) return 1;
  const int64_t threads = torch::stable::get_num_threads();
  return std::max<int64_t>(1, std::min<int64_t>({threads, 16, count / std::max<int64_t>(dim_size, 1)}));
}

template <typename I>
void counting_sort(const I* index, int64_t count, int64_t dim_size, I* ptr, I* perm) {
  const int64_t blocks = blocks_for(count, dim_size);
  const auto boundary = [&](int64_t block) {
    return count / blocks * block + std::min<int64_t>(block, count % blocks);
  };
  std::vector<std::vector<I>> place(static_cast<size_t>(blocks));
  std::atomic<bool> inside{true};
  parallel_over_chunks(blocks, [&](int64_t block) {
    std::vector<I> counter(static_cast<size_t>(dim_size), I(0));
    for (int64_t position = boundary(block); position < boundary(block + 1); ++position) {
      const int64_t value = index[position];
      if (value < 0 || value >= dim_size) {
        inside = false;
        return;
      }
      ++counter[static_cast<size_t>(value)];
    }
    place[static_cast<size_t>(block)] = std::move(counter);
  });
  STD_TORCH_CHECK(inside, "an index lies outside of [0, dim_size)");
  I total = 0;
  for (int64_t value = 0; value < dim_size; ++value) {
    ptr[value] = total;
    for (auto& counter : place) {
      const I here = counter[static_cast<size_t>(value)];
      counter[static_cast<size_t>(value)] = total;
      total += here;
    }
  }
  ptr[dim_size] = total;
  parallel_over_chunks(blocks, [&](int64_t block) {
    auto& next = place[static_cast<size_t>(block)];
    for (int64_t position = boundary(block); position < boundary(block + 1); ++position)
      perm[next[static_cast<size_t>(index[position])]++] = static_cast<I>(position);
  });
}

std::tuple<Tensor, Tensor> sort_index(const Tensor& index_in, int64_t dim_size) {
  STD_TORCH_CHECK(index_in.dim() == 1 && dim_size >= 0 && dim_size < INT64_MAX,
                  "index must be a vector, dim_size not negative");
  STD_TORCH_CHECK(index_in.scalar_type() != ScalarType::Int || index_in.size(0) <= INT32_MAX,
                  "positions of so many entries need int64");
  const Tensor index = dense(index_in);
  const int64_t count = index.size(0);
  Tensor ptr = empty({dim_size + 1}, index);
  Tensor perm = empty({count}, index);
  dispatch_index(index, [&](auto integer) {
    using I = decltype(integer);
    counting_sort(read<I>(index), count, dim_size, write<I>(ptr), write<I>(perm));
  });
  return {ptr, perm};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("sort_index", TORCH_BOX(&sort_index)); }

}  // namespace gnnkit
