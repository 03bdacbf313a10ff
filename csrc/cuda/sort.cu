#include "cuda/sort.h"

#include "cuda/device_algorithms.h"
#include "cuda/sort.cuh"

namespace gnnkit {

namespace {

// Keys are at most `limit * width`.
template <typename I, typename Place, typename Key>
Grouping group(const Tensor& index, int64_t limit, int64_t width, bool drops, ScalarType place, Stream stream) {
  const int64_t count = index.numel();
  const int64_t groups = limit * width;
  Grouping made{empty({groups + 1}, index, place), empty({count}, index, place)};
  const int64_t bytes = count * static_cast<int64_t>(sizeof(Key));
  const Tensor keys = scratch(bytes, index), positions = scratch(bytes, index), sorted = scratch(bytes, index);
  if (count > 0)
    GNNKIT_LAUNCH((index_keys<I, Key>), blocks_for_threads(count), kBlock, 0, stream, read<I>(index), count, limit,
                  width, drops, write<Key>(keys), write<Key>(positions));
  sort_pairs(read<Key>(keys), write<Key>(sorted), read<Key>(positions), write<Key>(made.perm), count,
             bits_for(groups + 1), index, stream);
  GNNKIT_LAUNCH((row_pointers<Place, Key>), blocks_for_threads(groups + 1), kBlock, 0, stream, read<Key>(sorted), count,
                groups, write<Place>(made.ptr));
  return made;
}

template <typename I>
Grouping group_by(const Tensor& index, int64_t limit, int64_t width, bool drops, Stream stream) {
  const bool narrow = index.numel() <= INT32_MAX && limit <= (INT32_MAX - 1) / std::max<int64_t>(width, 1);
  if (narrow) return group<I, int32_t, uint32_t>(index, limit, width, drops, ScalarType::Int, stream);
  return group<I, int64_t, uint64_t>(index, limit, width, drops, ScalarType::Long, stream);
}

}  // namespace

Grouping group_positions(const Tensor& index, int64_t limit, int64_t width, bool drops, Stream stream) {
  Grouping made{index, index};
  dispatch_index(index, [&](auto integer) { made = group_by<decltype(integer)>(index, limit, width, drops, stream); });
  return made;
}

namespace {

std::tuple<Tensor, Tensor> sort_index(const Tensor& index_in, int64_t dim_size) {
  STD_TORCH_CHECK(index_in.dim() == 1 && dim_size >= 0, "index must be a vector, dim_size not negative");
  const Tensor index = dense(index_in);
  const OnDevice device(index);
  const Grouping made = group_positions(index, dim_size, 1, false, device.stream());
  return {in_dtype_of(index, made.ptr), in_dtype_of(index, made.perm)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) { library.impl("sort_index", TORCH_BOX(&sort_index)); }

}  // namespace gnnkit
