// Sparse times dense, row by row. A row's sums stay in registers over all of its edges; features are tiled so that they
// fit. Every row is computed by one thread, in an order that its length decides: the split between threads leaves no
// trace.
#include "cpu/kernels.h"
#include "cpu/prefetch.h"
#include "cpu/vec.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// How many positions ahead rows are requested from memory.
constexpr int64_t kRowDistance = 12;
// Positions whose weights are brought into order at once.
constexpr int64_t kWeightBlock = 2048;

enum class Weighting { kNone, kPerEdge, kPerElement };

template <typename T, typename I>
inline int64_t source_of(const SpmmArgs<T, I>& args, int64_t position) {
  return args.col != nullptr ? static_cast<int64_t>(args.col[position]) : position;
}

template <typename T, typename I>
inline const T* weight_of(const SpmmArgs<T, I>& args, int64_t position) {
  const int64_t edge = args.edge_id != nullptr ? static_cast<int64_t>(args.edge_id[position]) : position;
  return args.weight + (edge - args.first_edge) * args.heads;
}

template <int K, int N, typename T, typename I>
inline void prefetch_ahead(const SpmmArgs<T, I>& args, int64_t position, int64_t offset) {
  if (args.col == nullptr || position + kRowDistance >= args.num_edges) return;
  prefetch(args.x + source_of(args, position + kRowDistance) * args.width + offset, K * N);
}

// Columns [offset, offset + K N) of row `row`; `head` selects the weight where there is one per head.
template <int K, int N, Weighting weighting, typename T, typename I>
inline void sum_tile(const SpmmArgs<T, I>& args, int64_t row, int64_t offset, int64_t head) {
  using A = Accumulate<T>;
  Vector<A, N> sum[K] = {};
  const int64_t begin = args.rowptr[row];
  const int64_t end = args.rowptr[row + 1];
  for_each_sum_block(begin, end, [&](int64_t first, int64_t last) {
    Vector<A, N> part[K] = {};
    for (int64_t position = first; position < last; ++position) {
      prefetch_ahead<K, N>(args, position, offset);
      const T* source = args.x + source_of(args, position) * args.width + offset;
      if constexpr (weighting == Weighting::kNone) {
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k) part[k] += load<N>(source + k * N);
      } else if constexpr (weighting == Weighting::kPerEdge) {
        const A weight = widen(weight_of(args, position)[head]);
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k) part[k] += weight * load<N>(source + k * N);
      } else {
        const T* weight = weight_of(args, position) + offset;
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k) part[k] += load<N>(weight + k * N) * load<N>(source + k * N);
      }
    }
    add_to(sum, part);
  });
  if (args.mean && end > begin) {
    const A count = static_cast<A>(end - begin);
    for (int k = 0; k < K; ++k) sum[k] /= count;
  }
  T* target = args.out + row * args.width + offset;
#pragma GCC unroll 8
  for (int k = 0; k < K; ++k) store<N>(target + k * N, sum[k]);
}

// One column. Rows are too short to be worth requesting, and one sum would wait for itself: four go side by side.
template <Weighting weighting, typename T, typename I>
inline void sum_column(const SpmmArgs<T, I>& args, int64_t row, int64_t offset, int64_t head) {
  using A = Accumulate<T>;
  constexpr int kSums = 4;
  const auto message = [&](int64_t position) {
    const A value = widen(args.x[source_of(args, position) * args.width + offset]);
    if constexpr (weighting == Weighting::kNone) return value;
    return value * widen(weight_of(args, position)[weighting == Weighting::kPerEdge ? head : offset]);
  };
  const int64_t begin = args.rowptr[row];
  const int64_t end = args.rowptr[row + 1];
  A total = 0;
  for_each_sum_block(begin, end, [&](int64_t first, int64_t last) {
    A part[kSums] = {};
    int64_t position = first;
    for (; position + kSums <= last; position += kSums) {
      for (int j = 0; j < kSums; ++j) part[j] += message(position + j);
    }
    for (int j = 0; position < last; ++position, ++j) part[j] += message(position);
    total += (part[0] + part[1]) + (part[2] + part[3]);
  });
  if (args.mean && end > begin) total /= static_cast<A>(end - begin);
  args.out[row * args.width + offset] = narrow<T>(total);
}

template <Weighting weighting, typename T, typename I>
inline void sum_row(const SpmmArgs<T, I>& args, int64_t row, int64_t first, int64_t width, int64_t head) {
  if (width == 1) return sum_column<weighting>(args, row, first, head);
  for_each_tile<kLanes<T>>(width, [&](auto tiles, auto lanes, int64_t offset) {
    sum_tile<decltype(tiles)::value, decltype(lanes)::value, weighting>(args, row, first + offset, head);
  });
}

// What one edge gives to columns [offset, offset + N).
template <int N, Weighting weighting, typename T, typename I>
inline Vector<Accumulate<T>, N> message_of(const SpmmArgs<T, I>& args, int64_t position, int64_t offset, int64_t head) {
  Vector<Accumulate<T>, N> value = load<N>(args.x + source_of(args, position) * args.width + offset);
  if constexpr (weighting == Weighting::kPerEdge) value *= widen(weight_of(args, position)[head]);
  if constexpr (weighting == Weighting::kPerElement) value *= load<N>(weight_of(args, position) + offset);
  return value;
}

// Distances from the start of a row: they fit the lanes of the values for any row of fewer than 2^31 edges.
template <typename T>
using Distance = std::conditional_t<sizeof(Accumulate<T>) == 4, int32_t, int64_t>;

// Columns [offset, offset + K N) of row `row`; `head` selects the weight where there is one per head. A minimum is the
// maximum of the opposites. The first value wins a tie; a NaN beats every number, and the first NaN stays.
template <int K, int N, Weighting weighting, typename T, typename I>
inline void extremum_tile(const SpmmArgs<T, I>& args, int64_t row, int64_t offset, int64_t head) {
  using A = Accumulate<T>;
  const int64_t begin = args.rowptr[row];
  const int64_t end = args.rowptr[row + 1];
  T* out = args.out + row * args.width + offset;
  I* arg = args.arg + row * args.width + offset;
  if (begin == end) {
    for (int64_t element = 0; element < K * N; ++element) {
      out[element] = T{};
      arg[element] = static_cast<I>(-1);
    }
    return;
  }
  const A sign = args.largest ? A(1) : A(-1);
  Vector<A, N> best[K];
  Vector<Distance<T>, N> chosen[K] = {};
  for (int k = 0; k < K; ++k) best[k] = sign * message_of<N, weighting>(args, begin, offset + k * N, head);
  for (int64_t position = begin + 1; position < end; ++position) {
    prefetch_ahead<K, N>(args, position, offset);
    const Vector<Distance<T>, N> here = Vector<Distance<T>, N>{} + static_cast<Distance<T>>(position - begin);
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) {
      const Vector<A, N> value = sign * message_of<N, weighting>(args, position, offset + k * N, head);
      const auto stays = (value <= best[k]) | (best[k] != best[k]);
      best[k] = stays ? best[k] : value;
      chosen[k] = stays ? chosen[k] : here;
    }
  }
  for (int k = 0; k < K; ++k) {
    store<N>(out + k * N, sign * best[k]);
    for (int lane = 0; lane < N; ++lane) {
      const int64_t position = begin + chosen[k][lane];
      arg[k * N + lane] = args.arg_label != nullptr ? args.arg_label[position] : static_cast<I>(position);
    }
  }
}

template <Weighting weighting, typename T, typename I>
inline void extremum_row(const SpmmArgs<T, I>& args, int64_t row, int64_t first, int64_t width, int64_t head) {
  for_each_tile<kLanes<T>>(width, [&](auto tiles, auto lanes, int64_t offset) {
    // Values and positions together: half as many vectors as a sum keeps in registers.
    constexpr int kHalf = decltype(tiles)::value > 4 ? 4 : decltype(tiles)::value;
    constexpr int kLane = decltype(lanes)::value;
    for (int part = 0; part < decltype(tiles)::value / kHalf; ++part)
      extremum_tile<kHalf, kLane, weighting>(args, row, first + offset + part * kHalf * kLane, head);
  });
}

template <int N, typename T>
inline Accumulate<T> dot_tail(const T* left, const T* right, int64_t width) {
  using A = Accumulate<T>;
  if constexpr (N == 0) {
    return A(0);
  } else {
    A total = 0;
    if (width >= N) {
      const Vector<A, N> product = load<N>(left) * load<N>(right);
      for (int lane = 0; lane < N; ++lane) total += product[lane];
      left += N, right += N, width -= N;
    }
    return total + dot_tail<N / 2>(left, right, width);
  }
}

template <typename T>
inline Accumulate<T> dot(const T* left, const T* right, int64_t width) {
  using A = Accumulate<T>;
  constexpr int N = kLanes<T>;
  Vector<A, N> sum[4] = {};
  int64_t offset = 0;
  for (; width - offset >= 4 * N; offset += 4 * N) {
    for (int k = 0; k < 4; ++k) sum[k] += load<N>(left + offset + k * N) * load<N>(right + offset + k * N);
  }
  for (; width - offset >= N; offset += N) sum[0] += load<N>(left + offset) * load<N>(right + offset);
  const Vector<A, N> all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  A total = 0;
  for (int lane = 0; lane < N; ++lane) total += all[lane];
  return total + dot_tail<N / 2>(left + offset, right + offset, width - offset);
}

}  // namespace

namespace {

template <typename T, typename I>
void sum_rows(const SpmmArgs<T, I>& args, int64_t begin, int64_t end) {
  const int64_t head_width = args.heads > 0 ? args.width / args.heads : args.width;
  for (int64_t row = begin; row < end; ++row) {
    if (args.weight == nullptr) {
      sum_row<Weighting::kNone>(args, row, 0, args.width, 0);
    } else if (head_width == 1 && args.heads > 1) {
      sum_row<Weighting::kPerElement>(args, row, 0, args.width, 0);
    } else {
      for (int64_t head = 0; head < args.heads; ++head)
        sum_row<Weighting::kPerEdge>(args, row, head * head_width, head_width, head);
    }
  }
}

}  // namespace

template <typename T, typename I>
void spmm_rows(const SpmmArgs<T, I>& args, int64_t begin, int64_t end) {
  if (args.weight == nullptr || args.edge_id == nullptr || args.heads != 1) return sum_rows(args, begin, end);
  // Weights in the caller's order lie scattered. Fetching a block of them first keeps many such loads in flight, where
  // one between two rows would stall both.
  T block[kWeightBlock];
  SpmmArgs<T, I> local = args;
  local.weight = block;
  local.edge_id = nullptr;
  for (int64_t row = begin; row < end;) {
    const int64_t first = args.rowptr[row];
    int64_t stop = row;
    while (stop < end && static_cast<int64_t>(args.rowptr[stop + 1]) - first <= kWeightBlock) ++stop;
    if (stop == row) {  // a hub: more edges than the block holds
      sum_rows(args, row, row + 1);
      ++row;
      continue;
    }
    const int64_t last = args.rowptr[stop];
    for (int64_t position = first; position < last; ++position)
      block[position - first] = args.weight[args.edge_id[position]];
    local.first_edge = first;
    sum_rows(local, row, stop);
    row = stop;
  }
}

template <typename T, typename I>
void spmm_extremum_rows(const SpmmArgs<T, I>& args, int64_t begin, int64_t end) {
  const int64_t head_width = args.heads > 0 ? args.width / args.heads : args.width;
  for (int64_t row = begin; row < end; ++row) {
    if (args.weight == nullptr) {
      extremum_row<Weighting::kNone>(args, row, 0, args.width, 0);
    } else if (head_width == 1 && args.heads > 1) {
      extremum_row<Weighting::kPerElement>(args, row, 0, args.width, 0);
    } else {
      for (int64_t head = 0; head < args.heads; ++head)
        extremum_row<Weighting::kPerEdge>(args, row, head * head_width, head_width, head);
    }
  }
}

template <typename T, typename I>
void sddmm_rows(const SddmmArgs<T, I>& args, int64_t begin, int64_t end) {
  const int64_t head_width = args.width / args.heads;
  const int64_t last = args.rowptr[end];
  for (int64_t row = begin; row < end; ++row) {
    const T* left = args.a_dst + row * args.width;
    for (int64_t position = args.rowptr[row]; position < args.rowptr[row + 1]; ++position) {
      if (position + kRowDistance < last)
        prefetch(args.b_src + static_cast<int64_t>(args.col[position + kRowDistance]) * args.width, args.width);
      const T* right = args.b_src + static_cast<int64_t>(args.col[position]) * args.width;
      const int64_t edge = args.edge_id != nullptr ? static_cast<int64_t>(args.edge_id[position]) : position;
      T* target = args.out + edge * args.heads;
      if (head_width == 1) {
        // One weight per element, as in gated aggregation: a product, not a sum.
        for_each_tile<kLanes<T>>(args.width, [&](auto tiles, auto lanes, int64_t offset) {
          constexpr int N = decltype(lanes)::value;
          for (int k = 0; k < decltype(tiles)::value; ++k)
            store<N>(target + offset + k * N, load<N>(left + offset + k * N) * load<N>(right + offset + k * N));
        });
        continue;
      }
      for (int64_t head = 0; head < args.heads; ++head)
        target[head] = narrow<T>(dot(left + head * head_width, right + head * head_width, head_width));
    }
  }
}

GNNKIT_INSTANTIATE(spmm_rows, SpmmArgs);
GNNKIT_INSTANTIATE(spmm_extremum_rows, SpmmArgs);
GNNKIT_INSTANTIATE(sddmm_rows, SddmmArgs);

}  // namespace gnnkit::GNNKIT_ISA
