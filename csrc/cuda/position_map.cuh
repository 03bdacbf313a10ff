// What happens once per position of a CSR structure and feature, given the row that the position belongs to: copies of
// a row's value to its positions, and softmax weights from a row's statistics.
#pragma once

#include "cuda/row_reduction.cuh"

namespace gnnkit {

// Rows of the positions that a warp handles, found by search and kept in shared memory: 32 at a time.
template <typename I>
__device__ __forceinline__ void stage_rows(const I* rowptr, int64_t num_rows, int64_t num_positions, int64_t first,
                                           I* staged) {
  const int64_t position = first + (threadIdx.x & (kWarp - 1));
  if (position < num_positions) {
    const int64_t row = row_of_position(rowptr, num_rows, position);
    const Range range = positions_of(rowptr, row, num_positions);
    GNNKIT_DEVICE_CHECK(position >= range.begin && position < range.end);
    staged[threadIdx.x] = static_cast<I>(row);
  }
  __syncwarp();
}

// The row's value, divided by its number of positions for a mean.
template <typename T, typename I>
struct CopyRow {
  const T* src;
  const I* ptr;
  bool mean;

  __device__ __forceinline__ T operator()(int64_t row, int64_t feature, int64_t width, int64_t) const {
    const T value = src[row * width + feature];
    if (!mean) return value;
    const int64_t count = static_cast<int64_t>(ptr[row + 1]) - static_cast<int64_t>(ptr[row]);
    return narrow<T>(widen(value) / static_cast<Accumulate<T>>(count));
  }
};

template <typename T>
struct SoftmaxWeight {
  const T* src;
  const Accumulate<T>* peak;
  const Accumulate<T>* sum;

  __device__ __forceinline__ T operator()(int64_t row, int64_t feature, int64_t width, int64_t element) const {
    const int64_t statistic = row * width + feature;
    return narrow<T>(exp(widen(src[element]) - peak[statistic]) / sum[statistic]);
  }
};

template <typename T>
struct SoftmaxGradient {
  const T* weight;
  const T* grad;
  const Accumulate<T>* inner;  // per row: sum of weight times gradient

  __device__ __forceinline__ T operator()(int64_t row, int64_t feature, int64_t width, int64_t element) const {
    return narrow<T>(widen(weight[element]) * (widen(grad[element]) - inner[row * width + feature]));
  }
};

// A warp takes 32 positions; its lanes run along their elements, so that loads and stores coalesce.
// `out` has `num_targets` rows; a permutation must list each of them once for all to be written.
template <typename T, typename I, typename Map>
__global__ void __launch_bounds__(kBlock)
    map_positions(const I* const ptr, const I* const perm, const int64_t num_rows, const int64_t num_positions,
                  const int64_t num_targets, const int64_t width, const Map map, T* const out) {
  GNNKIT_SHARED(I, staged_row, kBlock);
  GNNKIT_SHARED(I, staged_target, kBlock);
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const int lane = static_cast<int>(threadIdx.x) & (kWarp - 1);
  const int64_t first = thread - lane;
  if (first >= num_positions) return;
  if (thread < num_positions) {
    const int64_t target = perm != nullptr ? static_cast<int64_t>(perm[thread]) : thread;
    GNNKIT_DEVICE_CHECK(target >= 0 && target < num_targets);
    staged_target[threadIdx.x] = static_cast<I>(target);
  }
  stage_rows(ptr, num_rows, num_positions, first, staged_row);
  const int here = static_cast<int>(threadIdx.x) - lane;
  const int64_t positions = num_positions - first < kWarp ? num_positions - first : kWarp;
  // position and feature of element `lane`, then of every 32nd after it, without a division each.
  const Quotient start = divide(lane, width), step = divide(kWarp, width);
  int64_t position = start.whole;
  int64_t feature = start.rest;
  while (position < positions) {
    const int64_t row = staged_row[here + position];
    const int64_t element = static_cast<int64_t>(staged_target[here + position]) * width + feature;
    out[element] = map(row, feature, width, element);
    position += step.whole;
    feature += step.rest;
    if (feature >= width) feature -= width, ++position;
  }
}

}  // namespace gnnkit
