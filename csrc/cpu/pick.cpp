// Scatter to, and gather from, one chosen row per element. Columns are split between threads, so that no two threads
// write one element and every column is added in ascending order.
#include <cstring>

#include "cpu/launch.h"

namespace gnnkit {

namespace {

constexpr int64_t kColumns = 16;  // one cache line of float32

inline float widen(float value) { return value; }
inline double widen(double value) { return value; }
inline float widen(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

// A negative index chooses nothing.
template <typename I>
void check_choices(const I* index, int64_t count, int64_t rows) {
  bool inside = true;
  for (int64_t i = 0; i < count; ++i) inside &= static_cast<int64_t>(index[i]) < rows;
  STD_TORCH_CHECK(inside, "an index lies outside of its range");
}

template <typename T, typename I, typename A>
void scatter_columns(const T* src, const I* index, A* out, int64_t rows, int64_t width, int64_t first, int64_t last) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t f = first; f < last; ++f) {
      const int64_t target = index[row * width + f];
      if (target >= 0) out[target * width + f] += widen(src[row * width + f]);
    }
  }
}

Tensor pick_scatter(const Tensor& src_in, const Tensor& index_in, int64_t dim_size) {
  STD_TORCH_CHECK(src_in.numel() == index_in.numel() && src_in.dim() >= 1, "src and index must have one shape");
  const Tensor src = dense(src_in), index = dense(index_in);
  const int64_t width = row_width(src);
  // Sums of bfloat16 are held in float32 and rounded once.
  const bool narrow = src.scalar_type() == ScalarType::BFloat16;
  const auto held = narrow ? std::optional<ScalarType>(ScalarType::Float) : std::nullopt;
  Tensor out = zeros(with_rows(src, dim_size), src, held);
  if (src.numel() > 0) {
    dispatch(src, index, [&](auto value, auto integer) {
      using T = decltype(value);
      using I = decltype(integer);
      check_choices(read<I>(index), index.numel(), dim_size);
      const int64_t blocks = (width + kColumns - 1) / kColumns;
      const auto run = [&](int64_t block) {
        scatter_columns(read<T>(src), read<I>(index), write<Accumulate<T>>(out), src.size(0), width, block * kColumns,
                        std::min(width, (block + 1) * kColumns));
      };
      parallel_over_chunks(blocks, run);
    });
  }
  return narrow ? torch::stable::to(out, ScalarType::BFloat16) : out;
}

Tensor pick_gather(const Tensor& src_in, const Tensor& index_in) {
  STD_TORCH_CHECK(src_in.dim() >= 1 && index_in.dim() >= 1 && row_width(src_in) == row_width(index_in),
                  "src and index must have rows of one width");
  const Tensor src = dense(src_in), index = dense(index_in);
  const int64_t width = row_width(index);
  const int64_t rows = index.size(0);
  Tensor out = empty(std::vector<int64_t>(index.sizes().begin(), index.sizes().end()), src);
  if (out.numel() == 0) return out;
  dispatch(src, index, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    check_choices(read<I>(index), index.numel(), src.size(0));
    const int64_t chunks = chunks_for(out.numel());
    parallel_over_chunks(chunks, [&](int64_t chunk) {
      const I* chosen = read<I>(index);
      for (int64_t row = rows * chunk / chunks; row < rows * (chunk + 1) / chunks; ++row) {
        for (int64_t f = 0; f < width; ++f) {
          const int64_t from = chosen[row * width + f];
          write<T>(out)[row * width + f] = from >= 0 ? read<T>(src)[from * width + f] : T{};
        }
      }
    });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("pick_scatter", TORCH_BOX(&pick_scatter));
  library.impl("pick_gather", TORCH_BOX(&pick_gather));
}

}  // namespace gnnkit
