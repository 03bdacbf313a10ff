// Small dense products, for one matrix per segment. Every element of a result is summed in ascending order of depth,
// whatever block it is in: neither the split into blocks nor the threads leave a trace. (A library's product does not
// promise that, and a call of it costs more than a segment of a few rows.)
#include "cpu/kernels.h"
#include "cpu/vec.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// Depth handled at once: the columns of `b` then stay in the second-level cache, and those in use in the first.
constexpr int64_t kDepth = 256;
// Below this many rows, bringing the columns of `b` together costs more than reading them where they lie.
constexpr int64_t kPackedRows = 24;

#if defined(__AVX512F__)
constexpr int kMaxVectors = 4;  // 6 rows of 4 vectors: 24 of 32 registers hold sums
#else
constexpr int kMaxVectors = 2;  // 6 rows of 2 vectors: 12 of 16
#endif
constexpr int kTileRows = 6;

// Rows and depth of one tile's factors, both in the type of accumulation.
template <typename A>
struct Tile {
  const A* a;
  int64_t a_row;
  int64_t a_depth;
  const A* b;
  int64_t b_depth;
  A* out;
  int64_t out_row;
  int64_t depth;
  bool add;  // to what `out` holds
};

// M rows times V vectors of columns: all sums in registers.
template <int M, int V, typename A>
inline void product_tile(const Tile<A>& tile, int64_t row) {
  constexpr int N = kLanes<A>;
  Vector<A, N> sum[M][V] = {};
  A* out = tile.out + row * tile.out_row;
  if (tile.add) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[m][v] = load<N>(out + m * tile.out_row + v * N);
    }
  }
  const A* a = tile.a + row * tile.a_row;
  const A* b = tile.b;
  for (int64_t depth = 0; depth < tile.depth; ++depth) {
    Vector<A, N> right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) right[v] = load<N>(b + v * N);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const A left = a[m * tile.a_row];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[m][v] += left * right[v];
    }
    a += tile.a_depth;
    b += tile.b_depth;
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store<N>(out + m * tile.out_row + v * N, sum[m][v]);
  }
}

template <int V, typename A>
inline void product_tiles(const Tile<A>& tile, int64_t rows) {
  int64_t row = 0;
  for (; rows - row >= kTileRows; row += kTileRows) product_tile<kTileRows, V>(tile, row);
  if (rows - row >= 4) product_tile<4, V>(tile, row), row += 4;
  if (rows - row >= 2) product_tile<2, V>(tile, row), row += 2;
  if (rows - row >= 1) product_tile<1, V>(tile, row);
}

// Columns [0, count) of `b`, zeros up to `width`, row by row of depth.
template <typename T>
inline void pack_columns(const T* b, const ProductArgs<T>& args, int64_t depth, int64_t count, int64_t width,
                         Accumulate<T>* packed) {
  if (args.b_column == 1) {
    for (int64_t d = 0; d < depth; ++d) {
      for (int64_t n = 0; n < count; ++n) packed[d * width + n] = widen(b[d * args.b_depth + n]);
    }
  } else {
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t d = 0; d < depth; ++d) packed[d * width + n] = widen(b[d * args.b_depth + n * args.b_column]);
    }
  }
  for (int64_t d = 0; d < depth; ++d) {
    for (int64_t n = count; n < width; ++n) packed[d * width + n] = 0;
  }
}

// The block of `a` in the type of accumulation, in the order in which it lies.
template <typename T>
inline void widen_rows(const T* a, const ProductArgs<T>& args, int64_t depth, Tile<Accumulate<T>>& tile,
                       Accumulate<T>* wide) {
  const bool by_row = args.a_depth == 1;
  tile.a = wide;
  tile.a_row = by_row ? depth : 1;
  tile.a_depth = by_row ? 1 : args.rows;
  const int64_t outer = by_row ? args.rows : depth, inner = by_row ? depth : args.rows;
  const int64_t outer_step = by_row ? args.a_row : args.a_depth, inner_step = by_row ? args.a_depth : args.a_row;
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t j = 0; j < inner; ++j) wide[i * inner + j] = widen(a[i * outer_step + j * inner_step]);
  }
}

// `count` columns from `first` on, in V vectors.
template <int V, typename T>
void product_columns(const ProductArgs<T>& args, int64_t first, int64_t count) {
  using A = Accumulate<T>;
  constexpr bool kNarrow = !std::is_same_v<T, A>;
  constexpr int64_t kWidth = V * kLanes<T>;
  alignas(64) A packed[kDepth * kWidth];
  alignas(64) A result[kProductRows * kWidth];
  alignas(64) A wide[kNarrow ? kProductRows * kDepth : 1];
  A* target = args.partial;
  if constexpr (!kNarrow) target = args.out != nullptr ? args.out : args.partial;
  const bool whole = count == kWidth;
  const bool in_place = whole && target != nullptr;
  const bool packs = kNarrow || !whole || args.b_column != 1 || (args.columns > kWidth && args.rows >= kPackedRows);
  Tile<A> tile{};
  tile.out = in_place ? target + first : result;
  tile.out_row = in_place ? args.out_row : kWidth;
  int64_t begin = 0;
  do {  // once without any depth too: it writes the zeros
    tile.depth = args.depth - begin < kDepth ? args.depth - begin : kDepth;
    tile.add = begin > 0;
    const T* b = args.b + begin * args.b_depth + first * args.b_column;
    const T* a = args.a + begin * args.a_depth;
    if (packs) {
      pack_columns(b, args, tile.depth, count, kWidth, packed);
      tile.b = packed, tile.b_depth = kWidth;
    } else if constexpr (!kNarrow) {
      tile.b = b, tile.b_depth = args.b_depth;
    }
    if constexpr (kNarrow) {
      widen_rows(a, args, tile.depth, tile, wide);
    } else {
      tile.a = a, tile.a_row = args.a_row, tile.a_depth = args.a_depth;
    }
    product_tiles<V>(tile, args.rows);
    begin += tile.depth;
  } while (begin < args.depth);
  if (in_place) return;
  for (int64_t row = 0; row < args.rows; ++row) {
    const A* source = result + row * kWidth;
    const int64_t offset = row * args.out_row + first;
    if (args.out != nullptr) {
      for (int64_t n = 0; n < count; ++n) args.out[offset + n] = narrow<T>(source[n]);
    } else {
      for (int64_t n = 0; n < count; ++n) args.partial[offset + n] = source[n];
    }
  }
}

template <int V, typename T>
inline void product_columns_of(int64_t vectors, const ProductArgs<T>& args, int64_t first, int64_t count) {
  if constexpr (V > 1) {
    if (vectors < V) return product_columns_of<V - 1>(vectors, args, first, count);
  }
  product_columns<V>(args, first, count);
}

}  // namespace

template <typename T>
void product_block(const ProductArgs<T>& args) {
  constexpr int64_t kWidest = kMaxVectors * kLanes<T>;
  for (int64_t first = 0; first < args.columns; first += kWidest) {
    const int64_t count = args.columns - first < kWidest ? args.columns - first : kWidest;
    product_columns_of<kMaxVectors>((count + kLanes<T> - 1) / kLanes<T>, args, first, count);
  }
}

template <typename T>
void sum_partials(const PartialArgs<T>& args, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  constexpr int64_t kAtOnce = 256;
  A sum[kAtOnce];
  for (int64_t first = begin; first < end; first += kAtOnce) {
    const int64_t count = end - first < kAtOnce ? end - first : kAtOnce;
    for (int64_t i = 0; i < count; ++i) sum[i] = 0;
    for (int64_t block = 0; block < args.count; ++block) {
      const A* source = args.partial + block * args.size + first;
      for (int64_t i = 0; i < count; ++i) sum[i] += source[i];
    }
    for (int64_t i = 0; i < count; ++i) args.out[first + i] = narrow<T>(sum[i]);
  }
}

template void product_block<float>(const ProductArgs<float>&);
template void product_block<double>(const ProductArgs<double>&);
template void product_block<BFloat16>(const ProductArgs<BFloat16>&);
template void sum_partials<float>(const PartialArgs<float>&, int64_t, int64_t);
template void sum_partials<double>(const PartialArgs<double>&, int64_t, int64_t);
template void sum_partials<BFloat16>(const PartialArgs<BFloat16>&, int64_t, int64_t);

}  // namespace gnnkit::GNNKIT_ISA
