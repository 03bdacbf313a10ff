// Gated aggregation, one row at a time: gates are computed where they are used and never stored. One thread does a row,
// its edges in ascending order of position, sums in blocks of them.
#include "cpu/math.h"
#include "cpu/prefetch.h"
#include "cpu/topology.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// How many positions ahead rows are requested from memory.
constexpr int64_t kRowDistance = 8;

template <int N, typename A>
inline Vector<A, N> logistic(Vector<A, N> x) {
  return A(1) / (A(1) + exponential_lanes<N>(-x));
}

// What the gate is computed from must be what is stored: the backward pass sees no more than that.
template <int N, typename T>
inline Vector<Accumulate<T>, N> stored(Vector<Accumulate<T>, N> value) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    T rounded[N];
    store<N>(rounded, value);
    return load<N>(rounded);
  } else {
    return value;
  }
}

template <int K, int N, typename T>
inline void prefetch_ahead(const GateRowsArgs<T>& args, int64_t position, int64_t offset, const T* left,
                           const T* right) {
  if (position + kRowDistance >= args.topology.num_edges) return;
  const int64_t row = node_at(args.topology, position + kRowDistance) * args.width + offset;
  prefetch(left + row, K * N);
  if (right != left) prefetch(right + row, K * N);
}

// Adds up what the edges of a row give, block by block: add(other, edge, part) puts into `part` what one edge gives,
// whose rows, and those of its other end, are read from these elements on. Rows `left` and `right` are requested ahead.
template <int K, int N, int kSums, typename T, typename Add>
[[gnu::always_inline]] inline void sum_edges(const GateRowsArgs<T>& args, int64_t row, int64_t offset, const T* left,
                                             const T* right, Vector<Accumulate<T>, N> (&sums)[kSums][K],
                                             const Add& add) {
  const int64_t begin = row_begin(args.topology, row);
  const int64_t end = row_begin(args.topology, row + 1);
  for_each_sum_block(begin, end, [&](int64_t first, int64_t last) {
    Vector<Accumulate<T>, N> part[kSums][K] = {};
    for (int64_t position = first; position < last; ++position) {
      prefetch_ahead<K, N>(args, position, offset, left, right);
      const int64_t other = node_at(args.topology, position) * args.width + offset;
      const int64_t edge = edge_at(args.topology, position) * args.width + offset;
      add(other, edge, part);
    }
    for (int sum = 0; sum < kSums; ++sum) add_to(sums[sum], part[sum]);
  });
}

// Columns [offset, offset + K N) of row `row`.
template <int K, int N, typename T>
inline void forward_tile(const GateRowsArgs<T>& args, int64_t row, int64_t offset) {
  using A = Accumulate<T>;
  const int64_t own = row * args.width + offset;
  Vector<A, N> a[K], sums[2][K] = {};
  for (int k = 0; k < K; ++k) a[k] = load<N>(args.a_dst + own + k * N);
  sum_edges<K, N>(args, row, offset, args.b_src, args.v_src, sums, [&](int64_t source, int64_t edge, auto& part) {
    for (int k = 0; k < K; ++k) {
      Vector<A, N> state = a[k] + load<N>(args.b_src + source + k * N);
      if (args.edge != nullptr) state += load<N>(args.edge + edge + k * N);
      store<N>(args.state + edge + k * N, state);
      const Vector<A, N> gate = logistic<N, A>(stored<N, T>(state));
      part[0][k] += gate * load<N>(args.v_src + source + k * N);
      part[1][k] += gate;
    }
  });
  auto& [sum, total] = sums;
  for (int k = 0; k < K; ++k) {
    if (args.total != nullptr) {
      total[k] += static_cast<A>(args.epsilon);
      store<N>(args.total + own + k * N, total[k]);
      sum[k] /= total[k];
    }
    store<N>(args.out + own + k * N, sum[k]);
  }
}

// Gradients to the edge states and to the destinations' part of them.
template <int K, int N, typename T>
inline void dst_tile(const GateRowsArgs<T>& args, int64_t row, int64_t offset) {
  using A = Accumulate<T>;
  const int64_t own = row * args.width + offset;
  Vector<A, N> grad[K], mean[K] = {}, sums[1][K] = {};
  for (int k = 0; k < K; ++k) {
    grad[k] = load<N>(args.grad + own + k * N);
    if (args.total == nullptr) continue;
    grad[k] /= load<N>(args.total + own + k * N);
    mean[k] = load<N>(args.out + own + k * N);
  }
  sum_edges<K, N>(args, row, offset, args.v_src, args.v_src, sums, [&](int64_t source, int64_t edge, auto& part) {
    for (int k = 0; k < K; ++k) {
      const Vector<A, N> gate = logistic<N, A>(load<N>(args.state + edge + k * N));
      const Vector<A, N> value = load<N>(args.v_src + source + k * N);
      Vector<A, N> gradient = grad[k] * (value - mean[k]) * (gate * (A(1) - gate));
      if (args.grad_state != nullptr) gradient += load<N>(args.grad_state + edge + k * N);
      store<N>(args.grad_edge + edge + k * N, gradient);
      part[0][k] += gradient;
    }
  });
  for (int k = 0; k < K; ++k) store<N>(args.grad_a + own + k * N, sums[0][k]);
}

// Gradients to the sources, over the transposed graph.
template <int K, int N, typename T>
inline void src_tile(const GateRowsArgs<T>& args, int64_t row, int64_t offset) {
  using A = Accumulate<T>;
  Vector<A, N> sums[2][K] = {};
  sum_edges<K, N>(args, row, offset, args.grad, args.grad, sums, [&](int64_t destination, int64_t edge, auto& part) {
    for (int k = 0; k < K; ++k) {
      Vector<A, N> grad = load<N>(args.grad + destination + k * N);
      if (args.total != nullptr) grad /= load<N>(args.total + destination + k * N);
      part[0][k] += load<N>(args.grad_edge + edge + k * N);
      part[1][k] += logistic<N, A>(load<N>(args.state + edge + k * N)) * grad;
    }
  });
  const int64_t own = row * args.width + offset;
  for (int k = 0; k < K; ++k) {
    store<N>(args.grad_b + own + k * N, sums[0][k]);
    store<N>(args.grad_v + own + k * N, sums[1][k]);
  }
}

// Calls tile(K, N, row, offset) for tiles of at most four vectors: three sums of each have to stay in registers.
template <typename T, typename Tile>
inline void for_each_row_tile(int64_t width, int64_t begin, int64_t end, const Tile& tile) {
  for (int64_t row = begin; row < end; ++row) {
    for_each_tile<kLanes<T>>(width, [&](auto tiles, auto lanes, int64_t offset) {
      constexpr int kTiles = decltype(tiles)::value > 4 ? 4 : decltype(tiles)::value;
      constexpr int kLane = decltype(lanes)::value;
      for (int part = 0; part < decltype(tiles)::value / kTiles; ++part)
        tile(TileSize<kTiles>{}, TileSize<kLane>{}, row, offset + part * kTiles * kLane);
    });
  }
}

}  // namespace

template <typename T>
void gate_rows(const GateRowsArgs<T>& args, int64_t begin, int64_t end) {
  for_each_row_tile<T>(args.width, begin, end, [&](auto tiles, auto lanes, int64_t row, int64_t offset) {
    forward_tile<decltype(tiles)::value, decltype(lanes)::value>(args, row, offset);
  });
}

template <typename T>
void gate_dst_rows(const GateRowsArgs<T>& args, int64_t begin, int64_t end) {
  for_each_row_tile<T>(args.width, begin, end, [&](auto tiles, auto lanes, int64_t row, int64_t offset) {
    dst_tile<decltype(tiles)::value, decltype(lanes)::value>(args, row, offset);
  });
}

template <typename T>
void gate_src_rows(const GateRowsArgs<T>& args, int64_t begin, int64_t end) {
  for_each_row_tile<T>(args.width, begin, end, [&](auto tiles, auto lanes, int64_t row, int64_t offset) {
    src_tile<decltype(tiles)::value, decltype(lanes)::value>(args, row, offset);
  });
}

template void gate_rows<float>(const GateRowsArgs<float>&, int64_t, int64_t);
template void gate_rows<double>(const GateRowsArgs<double>&, int64_t, int64_t);
template void gate_rows<BFloat16>(const GateRowsArgs<BFloat16>&, int64_t, int64_t);
template void gate_dst_rows<float>(const GateRowsArgs<float>&, int64_t, int64_t);
template void gate_dst_rows<double>(const GateRowsArgs<double>&, int64_t, int64_t);
template void gate_dst_rows<BFloat16>(const GateRowsArgs<BFloat16>&, int64_t, int64_t);
template void gate_src_rows<float>(const GateRowsArgs<float>&, int64_t, int64_t);
template void gate_src_rows<double>(const GateRowsArgs<double>&, int64_t, int64_t);
template void gate_src_rows<BFloat16>(const GateRowsArgs<BFloat16>&, int64_t, int64_t);

}  // namespace gnnkit::GNNKIT_ISA
