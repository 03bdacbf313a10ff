// Grouped matrix products: tiles of 64 x 64 results, 256 threads with 4 x 4 of them each, factors staged in shared
// memory. Every result is summed by one thread, in ascending order.
#pragma once

#include "cuda/device.h"
#include "cuda/pieces.cuh"

namespace gnnkit::device {

constexpr int kTile = 64;
constexpr int kTileDepth = 16;
constexpr int kTileThreads = 256;
constexpr int kOwn = 4;                         // rows and columns of results per thread
constexpr int kAcross = kTile / kOwn;           // threads along one side of a tile
constexpr int kStagedPacks = kTile / kOwn + 1;  // one pack of padding, against bank conflicts
constexpr int kStagedTile = kTileDepth * kStagedPacks;
constexpr int kStagedEach = kTile * kTileDepth / kTileThreads;

// One factor's part of a tile, [kTileDepth, kTile] in packs.
template <typename A>
using Staged = Pack<A, kOwn>;

// Reads a factor at (depth, side), both relative to the tile; zero beyond its limits.
template <typename T>
struct TileSource {
  const T* base;
  int64_t depth_stride;
  int64_t side_stride;
  int64_t sides;

  __device__ Accumulate<T> at(int64_t depth, int64_t depths, int64_t side) const {
    return depth < depths && side < sides ? widen(base[depth * depth_stride + side * side_stride]) : Accumulate<T>(0);
  }
};

// The elements that one thread brings in: neighbouring threads read neighbouring addresses, whichever way they lie.
struct StagePlace {
  int depth;
  int side;
};
__device__ inline StagePlace stage_place(bool side_first, int item) {
  const int index = static_cast<int>(threadIdx.x) + item * kTileThreads;
  if (side_first) return {index / kTile, index % kTile};
  return {index % kTileDepth, index / kTileDepth};
}

// results += left^T right over all depths. All threads of the block must call it.
template <typename T>
__device__ void multiply_tile(const TileSource<T>& left, const TileSource<T>& right, int64_t depths,
                              Accumulate<T> (&results)[kOwn][kOwn]) {
  using A = Accumulate<T>;
  GNNKIT_SHARED(Staged<A>, left_tile, kStagedTile);
  GNNKIT_SHARED(Staged<A>, right_tile, kStagedTile);
  const bool left_side_first = left.side_stride == 1;
  const bool right_side_first = right.side_stride == 1;
  const int own_left = static_cast<int>(threadIdx.x) / kAcross;
  const int own_right = static_cast<int>(threadIdx.x) % kAcross;
  A next_left[kStagedEach];
  A next_right[kStagedEach];
  const auto fetch = [&](int64_t first) {
#pragma unroll
    for (int item = 0; item < kStagedEach; ++item) {
      const StagePlace at_left = stage_place(left_side_first, item);
      const StagePlace at_right = stage_place(right_side_first, item);
      next_left[item] = left.at(first + at_left.depth, depths, at_left.side);
      next_right[item] = right.at(first + at_right.depth, depths, at_right.side);
    }
  };
  fetch(0);
  for (int64_t first = 0; first < depths; first += kTileDepth) {
#pragma unroll
    for (int item = 0; item < kStagedEach; ++item) {
      const StagePlace at_left = stage_place(left_side_first, item);
      const StagePlace at_right = stage_place(right_side_first, item);
      left_tile[at_left.depth * kStagedPacks + at_left.side / kOwn].lane[at_left.side % kOwn] = next_left[item];
      right_tile[at_right.depth * kStagedPacks + at_right.side / kOwn].lane[at_right.side % kOwn] = next_right[item];
    }
    __syncthreads();
    // Requested now, needed after the products of this step.
    if (first + kTileDepth < depths) fetch(first + kTileDepth);
    // Summed apart: rounding errors then grow with the number of steps, not of products.
    A step[kOwn][kOwn] = {};
#pragma unroll
    for (int depth = 0; depth < kTileDepth; ++depth) {
      const Staged<A> a = left_tile[depth * kStagedPacks + own_left];
      const Staged<A> b = right_tile[depth * kStagedPacks + own_right];
#pragma unroll
      for (int i = 0; i < kOwn; ++i) {
#pragma unroll
        for (int j = 0; j < kOwn; ++j) step[i][j] += a.lane[i] * b.lane[j];
      }
    }
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
#pragma unroll
      for (int j = 0; j < kOwn; ++j) results[i][j] += step[i][j];
    }
    __syncthreads();
  }
}

// Calls visit(left, right, result) for the results of this thread that lie within the limits.
template <typename A, typename Visit>
__device__ void for_results(const A (&results)[kOwn][kOwn], int64_t lefts, int64_t rights, const Visit& visit) {
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      const int64_t left = static_cast<int64_t>(threadIdx.x) / kAcross * kOwn + i;
      const int64_t right = static_cast<int64_t>(threadIdx.x) % kAcross * kOwn + j;
      if (left < lefts && right < rights) visit(left, right, results[i][j]);
    }
  }
}

__host__ __device__ inline int64_t tiles_of(int64_t size) { return (size + kTile - 1) / kTile; }

template <typename T, typename I>
struct SegmentMatmulArgs {
  const I* ptr;
  const T* x;       // [num_rows, inner]
  const T* weight;  // [num_segments, inner, outer] with the strides below
  T* out;           // [num_rows, outer]
  int64_t num_segments;
  int64_t num_rows;
  int64_t inner;
  int64_t outer;
  int64_t segment_stride;
  int64_t inner_stride;
  int64_t outer_stride;

  // Tiles of rows are numbered so that those of segment s begin at ptr[s] / kTile + s: it has at least as many numbers
  // as tiles, and no segment needs to know how many those before it have.
  __host__ __device__ int64_t row_tiles() const { return num_rows / kTile + num_segments; }
  __device__ int64_t first_tile(int64_t segment) const { return ptr[segment] / kTile + segment; }
};

template <typename T, typename I>
__device__ int64_t segment_of_tile(const SegmentMatmulArgs<T, I>& args, int64_t tile) {
  int64_t low = 0;
  int64_t high = args.num_segments;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (args.first_tile(middle) <= tile) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// One block per tile of results.
template <typename T, typename I>
__global__ void __launch_bounds__(kTileThreads, 2) segment_matmul_kernel(SegmentMatmulArgs<T, I> args) {
  using A = Accumulate<T>;
  const int64_t across = tiles_of(args.outer);
  const int64_t tile = blockIdx.x / across;
  const int64_t first_column = blockIdx.x % across * kTile;
  const int64_t segment = segment_of_tile(args, tile);
  const int64_t begin = args.ptr[segment];
  const int64_t end = args.ptr[segment + 1];
  GNNKIT_DEVICE_CHECK(begin >= 0 && begin <= end && end <= args.num_rows);
  const int64_t first_row = begin + (tile - args.first_tile(segment)) * kTile;
  if (first_row < begin || first_row >= end) return;
  const TileSource<T> left{args.x + first_row * args.inner, 1, args.inner, end - first_row};
  const TileSource<T> right{args.weight + segment * args.segment_stride + first_column * args.outer_stride,
                            args.inner_stride, args.outer_stride, args.outer - first_column};
  A results[kOwn][kOwn] = {};
  multiply_tile<T>(left, right, args.inner, results);
  for_results(results, end - first_row, args.outer - first_column, [&](int64_t row, int64_t column, A result) {
    args.out[(first_row + row) * args.outer + first_column + column] = narrow<T>(result);
  });
}

template <typename T, typename I>
struct SegmentOuterArgs {
  using A = Accumulate<T>;
  Rows<I> segments;
  const T* x;     // [num_rows, lefts]
  const T* grad;  // [num_rows, rights]
  T* out;         // [num_segments, lefts, rights]
  A* partial;     // [slots, lefts, rights]
  int64_t lefts;
  int64_t rights;

  __host__ __device__ int64_t tiles() const { return tiles_of(lefts) * tiles_of(rights); }
  // One block for each tile of each segment, then one for each tile of each slot.
  __host__ __device__ int64_t blocks() const { return (segments.num_rows + segments.slots()) * tiles(); }
};

template <typename T, typename I>
__global__ void __launch_bounds__(kTileThreads, 2) segment_outer_kernel(SegmentOuterArgs<T, I> args) {
  using A = Accumulate<T>;
  const int64_t unit = blockIdx.x / args.tiles();
  const int64_t slot = unit - args.segments.num_rows;
  const Span span = slot < 0 ? args.segments.row(unit) : args.segments.piece(slot);
  if (slot < 0 ? args.segments.is_long(span) : span.length() == 0) return;
  const int64_t tile = blockIdx.x % args.tiles();
  const int64_t first_left = tile / tiles_of(args.rights) * kTile;
  const int64_t first_right = tile % tiles_of(args.rights) * kTile;
  const TileSource<T> left{args.x + span.begin * args.lefts + first_left, args.lefts, 1, args.lefts - first_left};
  const TileSource<T> right{args.grad + span.begin * args.rights + first_right, args.rights, 1,
                            args.rights - first_right};
  A results[kOwn][kOwn] = {};
  multiply_tile<T>(left, right, span.length(), results);
  const int64_t base = (slot < 0 ? unit : slot) * args.lefts;
  for_results(results, left.sides, right.sides, [&](int64_t i, int64_t j, A result) {
    const int64_t at = (base + first_left + i) * args.rights + first_right + j;
    if (slot < 0) {
      args.out[at] = narrow<T>(result);
    } else {
      args.partial[at] = result;
    }
  });
}

// Long segments, from their pieces: blockIdx.x is a slot, blockIdx.y a part of the matrix.
template <typename T, typename I>
__global__ void segment_outer_combine_kernel(SegmentOuterArgs<T, I> args) {
  using A = Accumulate<T>;
  const int64_t slot = blockIdx.x;
  const Span piece = args.segments.piece(slot);
  if (piece.length() == 0) return;
  const SlotList slots = args.segments.slots_of(args.segments.row(piece.row));
  if (slot != slots.first) return;
  const int64_t size = args.lefts * args.rights;
  const int64_t stride = static_cast<int64_t>(gridDim.y) * blockDim.x;
  for (int64_t at = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; at < size; at += stride) {
    A sum = 0;
    for (int64_t piece_index = 0; piece_index < slots.count; ++piece_index)
      sum += args.partial[slots.slot(piece_index) * size + at];
    args.out[piece.row * size + at] = narrow<T>(sum);
  }
}

}  // namespace gnnkit::device
