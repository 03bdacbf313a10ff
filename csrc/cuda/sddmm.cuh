// Products of the ends of edges.
#pragma once

#include "cuda/position_map.cuh"

namespace gnnkit {

// A warp takes 32 positions of every head, in order: the destination's row stays in cache while its edges follow one
// another. `lanes` lanes share one dot product; each adds every lanes-th pack of V features, then they fold.
template <typename T, typename I, int V>
__global__ void __launch_bounds__(kBlock)
    edge_products(const SddmmArgs<T, I> args, const int64_t num_rows, const int64_t num_edges, const int64_t b_rows,
                  const int lanes) {
  using A = Accumulate<T>;
  GNNKIT_SHARED(I, staged_row, kBlock);
  GNNKIT_SHARED(I, staged_source, kBlock);
  GNNKIT_SHARED(I, staged_edge, kBlock);
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const int lane = static_cast<int>(threadIdx.x) & (kWarp - 1);
  const int64_t first = thread - lane;
  if (first >= num_edges) return;
  if (thread < num_edges) {
    const int64_t source = args.col[thread];
    const int64_t edge = args.edge_id != nullptr ? static_cast<int64_t>(args.edge_id[thread]) : thread;
    GNNKIT_DEVICE_CHECK(source >= 0 && source < b_rows && edge >= 0 && edge < num_edges);
    staged_source[threadIdx.x] = static_cast<I>(source);
    staged_edge[threadIdx.x] = static_cast<I>(edge);
  }
  stage_rows(args.rowptr, num_rows, num_edges, first, staged_row);
  const int here = static_cast<int>(threadIdx.x) - lane;
  const int64_t positions = num_edges - first < kWarp ? num_edges - first : kWarp;
  const int64_t head_width = args.width / args.heads;
  const int64_t products = positions * args.heads;
  const int team = lane / lanes;
  const int teams = kWarp / lanes;
  // All lanes take the same number of turns: they meet in the shuffles.
  for (int64_t turn = 0; turn < products; turn += teams) {
    const int64_t product = turn + team;
    const bool real = product < products;
    const Quotient place = divide(product, args.heads);
    const int position = static_cast<int>(place.whole);
    const int64_t head = place.rest;
    A sum = 0;
    if (real) {
      const T* left = args.a_dst + static_cast<int64_t>(staged_row[here + position]) * args.width + head * head_width;
      const T* right =
          args.b_src + static_cast<int64_t>(staged_source[here + position]) * args.width + head * head_width;
#pragma unroll 4
      for (int64_t f = (lane & (lanes - 1)) * V; f < head_width; f += lanes * V) {
        const auto l = *reinterpret_cast<const Pack<T, V>*>(left + f);
        const auto r = *reinterpret_cast<const Pack<T, V>*>(right + f);
        for (int v = 0; v < V; ++v) sum += widen(l.lane[v]) * widen(r.lane[v]);
      }
    }
    for (int distance = lanes / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(kAllLanes, sum, distance);
    if (real && (lane & (lanes - 1)) == 0)
      args.out[static_cast<int64_t>(staged_edge[here + position]) * args.heads + head] = narrow<T>(sum);
  }
}

}  // namespace gnnkit
