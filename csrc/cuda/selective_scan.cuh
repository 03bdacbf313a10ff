// Selective scan in chunks of tokens: all chunks side by side from a state of zero, then what each hands on to the
// next, then all of them side by side again. A warp has one chunk and 32 channels, a lane one channel.
#pragma once

#include "common/arguments.h"
#include "cuda/device.h"

namespace gnnkit {

// Chunks of all sequences, one after the other: none lies in two sequences, so that a sequence has the same ones alone.
struct ScanChunks {
  const int64_t* ptr;  // [sequences + 1]: chunks before each sequence
  int64_t sequences;
  int64_t most;  // chunks that there is room for; no more than these are used
};

// What chunks hand on, [chunks, states, channels].
template <typename T>
struct ScanCarry {
  T* states;    // after a chunk that begins with zero; then, before it
  T* products;  // of all decays of a chunk
  T* flows;     // backward: gradient to the state before a chunk; then, to that after it
};

__device__ __forceinline__ float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }
__device__ __forceinline__ double softplus(double x) { return x > 20.0 ? x : log1p(exp(x)); }

template <typename T>
__device__ __forceinline__ T logistic(T x) {
  return T(1) / (T(1) + exp(-x));
}

// Numbers of chunks, and a last zero; boundaries are checked on the way.
__global__ void __launch_bounds__(kBlock)
    count_chunks(const int64_t* const offsets, const int64_t sequences, const int64_t tokens, int64_t* const counts) {
  const int64_t sequence = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (sequence > sequences) return;
  if (sequence == sequences) {
    GNNKIT_DEVICE_CHECK(offsets[0] == 0 && offsets[sequences] == tokens);
    counts[sequence] = 0;
    return;
  }
  const int64_t begin = offsets[sequence], end = offsets[sequence + 1];
  GNNKIT_DEVICE_CHECK(begin >= 0 && begin <= end && end <= tokens);
  counts[sequence] = (end - begin + kScanTokens - 1) / kScanTokens;
}

// One channel of one chunk.
template <typename T>
struct ScanLane {
  int64_t chunk;
  int64_t block;
  int64_t channel;
  bool present;   // whether there is such a channel; lanes without one take part in sums
  int64_t first;  // token that is read first
  int64_t step;   // 1, or -1 in reverse
  int rows;
  T delta[kScanTokens];  // zero from `rows` on, which leaves the state as it is
  T input[kScanTokens];

  __device__ int64_t token(int row) const { return first + row * step; }
  __device__ int64_t place(const ScanArgs<T>& args, int row) const { return token(row) * args.channels + channel; }
  __device__ int64_t carry(const ScanArgs<T>& args, int64_t state) const {
    return (chunk * args.states + state) * args.channels + channel;
  }
};

// False for the whole warp where there is nothing left to do.
template <typename T>
__device__ bool find_lane(const ScanArgs<T>& args, const ScanChunks& chunks, ScanLane<T>& lane) {
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x) / kWarp;
  const int64_t blocks = (args.channels + kScanChannels - 1) / kScanChannels;
  const Quotient where = divide(warp, blocks);
  lane.chunk = where.whole;
  lane.block = where.rest;
  if (lane.chunk >= chunks.ptr[chunks.sequences]) return false;
  lane.channel = lane.block * kScanChannels + threadIdx.x % kWarp;
  lane.present = lane.channel < args.channels;
  const int64_t sequence = row_of_position(chunks.ptr, chunks.sequences, lane.chunk);
  const int64_t begin = args.offsets[sequence], end = args.offsets[sequence + 1];
  const int64_t before = (lane.chunk - chunks.ptr[sequence]) * kScanTokens;
  lane.rows = static_cast<int>(end - begin - before < kScanTokens ? end - begin - before : kScanTokens);
  lane.step = args.reverse ? -1 : 1;
  lane.first = args.reverse ? end - 1 - before : begin + before;
  const T bias = lane.present && args.delta_bias != nullptr ? args.delta_bias[lane.channel] : T(0);
#pragma unroll
  for (int row = 0; row < kScanTokens; ++row) {
    lane.delta[row] = T(0);
    lane.input[row] = T(0);
    if (row >= lane.rows || !lane.present) continue;
    const int64_t at = lane.place(args, row);
    const T raw = args.delta[at] + bias;
    lane.delta[row] = args.softplus ? softplus(raw) : raw;
    lane.input[row] = lane.delta[row] * args.u[at];
  }
  return true;
}

template <typename T>
__device__ __forceinline__ T rate(const ScanArgs<T>& args, const ScanLane<T>& lane, int64_t state) {
  return lane.present ? args.a[lane.channel * args.states + state] : T(0);
}

template <typename T>
__global__ void __launch_bounds__(kBlock)
    scan_chunk_states(const ScanArgs<T> args, const ScanChunks chunks, const ScanCarry<T> carry) {
  ScanLane<T> lane;
  if (!find_lane(args, chunks, lane) || !lane.present) return;
  for (int64_t n = 0; n < args.states; ++n) {
    const T a = rate(args, lane, n);
    T state = T(0), product = T(1);
#pragma unroll
    for (int row = 0; row < kScanTokens; ++row) {
      if (row >= lane.rows) break;
      const T decay = exp(lane.delta[row] * a);
      state = decay * state + lane.input[row] * args.b[lane.token(row) * args.states + n];
      product *= decay;
    }
    carry.states[lane.carry(args, n)] = state;
    carry.products[lane.carry(args, n)] = product;
  }
}

// One thread for each sequence, state and channel.
template <typename T>
__global__ void __launch_bounds__(kBlock)
    carry_states(const ScanArgs<T> args, const ScanChunks chunks, const ScanCarry<T> carry) {
  const int64_t size = args.states * args.channels;
  const Quotient where = divide(static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x, size);
  if (where.whole >= chunks.sequences) return;
  const Quotient entry = divide(where.rest, args.channels);
  const int64_t outside = where.whole * size + entry.rest * args.states + entry.whole;
  T state = args.initial != nullptr ? args.initial[outside] : T(0);
  for (int64_t chunk = chunks.ptr[where.whole]; chunk < chunks.ptr[where.whole + 1]; ++chunk) {
    const int64_t at = chunk * size + where.rest;
    const T next = carry.products[at] * state + carry.states[at];
    carry.states[at] = state;
    state = next;
  }
  if (args.final_state != nullptr) args.final_state[outside] = state;
}

// <C, h> of each token of a chunk.
template <typename T>
__device__ void read_states(const ScanArgs<T>& args, const ScanCarry<T>& carry, const ScanLane<T>& lane,
                            T (&y)[kScanTokens]) {
#pragma unroll
  for (int row = 0; row < kScanTokens; ++row) y[row] = T(0);
  for (int64_t n = 0; n < args.states; ++n) {
    const T a = rate(args, lane, n);
    T state = carry.states[lane.carry(args, n)];
#pragma unroll
    for (int row = 0; row < kScanTokens; ++row) {
      if (row >= lane.rows) break;
      const int64_t at = lane.token(row) * args.states + n;
      state = exp(lane.delta[row] * a) * state + lane.input[row] * args.b[at];
      y[row] += args.c[at] * state;
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlock)
    scan_outputs(const ScanArgs<T> args, const ScanChunks chunks, const ScanCarry<T> carry) {
  ScanLane<T> lane;
  if (!find_lane(args, chunks, lane) || !lane.present) return;
  T y[kScanTokens];
  read_states(args, carry, lane, y);
  const T skip = args.skip != nullptr ? args.skip[lane.channel] : T(0);
#pragma unroll
  for (int row = 0; row < kScanTokens; ++row) {
    if (row >= lane.rows) break;
    const int64_t at = lane.place(args, row);
    T value = y[row] + skip * args.u[at];
    if (args.z != nullptr) value *= args.z[at] * logistic(args.z[at]);
    args.out[at] = value;
  }
}

// The gradient that arrives at <C, h> + D u of a token.
template <typename T>
__device__ __forceinline__ T arriving(const ScanArgs<T>& args, int64_t at) {
  const T grad = args.grad[at];
  return args.z != nullptr ? grad * args.z[at] * logistic(args.z[at]) : grad;
}

template <typename T>
__global__ void __launch_bounds__(kBlock)
    scan_chunk_flows(const ScanArgs<T> args, const ScanChunks chunks, const ScanCarry<T> carry) {
  ScanLane<T> lane;
  if (!find_lane(args, chunks, lane) || !lane.present) return;
  T grad[kScanTokens];
#pragma unroll
  for (int row = 0; row < kScanTokens; ++row)
    grad[row] = row < lane.rows ? arriving(args, lane.place(args, row)) : T(0);
  for (int64_t n = 0; n < args.states; ++n) {
    const T a = rate(args, lane, n);
    T flow = T(0);
#pragma unroll
    for (int row = kScanTokens - 1; row >= 0; --row) {
      if (row >= lane.rows) continue;
      flow = exp(lane.delta[row] * a) * (flow + grad[row] * args.c[lane.token(row) * args.states + n]);
    }
    carry.flows[lane.carry(args, n)] = flow;
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlock)
    carry_flows(const ScanArgs<T> args, const ScanChunks chunks, const ScanCarry<T> carry) {
  const int64_t size = args.states * args.channels;
  const Quotient where = divide(static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x, size);
  if (where.whole >= chunks.sequences) return;
  const Quotient entry = divide(where.rest, args.channels);
  const int64_t outside = where.whole * size + entry.rest * args.states + entry.whole;
  T flow = args.grad_final != nullptr ? args.grad_final[outside] : T(0);
  for (int64_t chunk = chunks.ptr[where.whole + 1] - 1; chunk >= chunks.ptr[where.whole]; --chunk) {
    const int64_t at = chunk * size + where.rest;
    const T next = carry.products[at] * flow + carry.flows[at];
    carry.flows[at] = flow;
    flow = next;
  }
  if (args.grad_initial != nullptr) args.grad_initial[outside] = flow;
}

// Partial gradients go to rows of chunks (grad_a, grad_skip, grad_delta_bias) and of blocks of channels (grad_b,
// grad_c).
template <typename T>
__global__ void __launch_bounds__(kBlock)
    scan_gradients(const ScanArgs<T> args, const ScanChunks chunks, const ScanCarry<T> carry) {
  ScanLane<T> lane;
  if (!find_lane(args, chunks, lane)) return;
  const bool present = lane.present;
  T grad[kScanTokens], entered[kScanTokens], slope[kScanTokens];
  const T skip = present && args.skip != nullptr ? args.skip[lane.channel] : T(0);
  if (present && args.z != nullptr) {
    T y[kScanTokens];
    read_states(args, carry, lane, y);
#pragma unroll
    for (int row = 0; row < kScanTokens; ++row) {
      if (row >= lane.rows) break;
      const int64_t at = lane.place(args, row);
      const T z = args.z[at], s = logistic(z);
      args.grad_z[at] = args.grad[at] * (y[row] + skip * args.u[at]) * s * (T(1) + z * (T(1) - s));
    }
  }
#pragma unroll
  for (int row = 0; row < kScanTokens; ++row) {
    grad[row] = present && row < lane.rows ? arriving(args, lane.place(args, row)) : T(0);
    entered[row] = slope[row] = T(0);
  }
  for (int64_t n = 0; n < args.states; ++n) {
    const T a = rate(args, lane, n);
    T state = present ? carry.states[lane.carry(args, n)] : T(0);
    T flow = present ? carry.flows[lane.carry(args, n)] : T(0);
    T decay[kScanTokens], before[kScanTokens];
#pragma unroll
    for (int row = 0; row < kScanTokens; ++row) {
      if (row >= lane.rows) break;
      decay[row] = exp(lane.delta[row] * a);
      before[row] = state;
      state = decay[row] * state + lane.input[row] * args.b[lane.token(row) * args.states + n];
    }
    T grad_rate = T(0);
#pragma unroll
    for (int row = kScanTokens - 1; row >= 0; --row) {
      if (row >= lane.rows) continue;
      const int64_t at = lane.token(row) * args.states + n;
      flow += grad[row] * args.c[at];
      const T to_b = warp_sum(lane.input[row] * flow), to_c = warp_sum(grad[row] * state);
      if (threadIdx.x % kWarp == 0) {
        args.grad_b[lane.block * args.tokens * args.states + at] = to_b;
        args.grad_c[lane.block * args.tokens * args.states + at] = to_c;
      }
      entered[row] += flow * args.b[at];
      flow *= decay[row];
      const T through = flow * before[row];
      slope[row] += through * a;
      grad_rate += through * lane.delta[row];
      state = before[row];
    }
    if (present) args.grad_a[(lane.chunk * args.channels + lane.channel) * args.states + n] = grad_rate;
  }
  if (!present) return;
  const T bias = args.delta_bias != nullptr ? args.delta_bias[lane.channel] : T(0);
  T grad_skip = T(0), grad_bias = T(0);
#pragma unroll
  for (int row = 0; row < kScanTokens; ++row) {
    if (row >= lane.rows) break;
    const int64_t at = lane.place(args, row);
    const T u = args.u[at], raw = args.delta[at] + bias;
    const T growth = !args.softplus || raw > T(20) ? T(1) : logistic(raw);
    const T to_raw = (slope[row] + u * entered[row]) * growth;
    args.grad_u[at] = lane.delta[row] * entered[row] + skip * grad[row];
    args.grad_delta[at] = to_raw;
    grad_skip += u * grad[row];
    grad_bias += to_raw;
  }
  const int64_t row = lane.chunk * args.channels + lane.channel;
  if (args.grad_skip != nullptr) args.grad_skip[row] = grad_skip;
  if (args.grad_delta_bias != nullptr) args.grad_delta_bias[row] = grad_bias;
}

}  // namespace gnnkit
