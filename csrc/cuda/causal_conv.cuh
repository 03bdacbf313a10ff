// Causal convolution of each channel over packed sequences.
#pragma once

#include "common/arguments.h"
#include "cuda/device.h"

namespace gnnkit {

// What can be read of the sequence around a token.
struct ConvPlace {
  int64_t earlier;
  int64_t later;
};

template <typename T>
__device__ ConvPlace conv_place(const ConvArgs<T>& args, int64_t token) {
  const int64_t sequence = row_of_position(args.offsets, args.sequences, token);
  const int64_t begin = args.offsets[sequence], end = args.offsets[sequence + 1];
  GNNKIT_DEVICE_CHECK(begin >= 0 && begin <= token && token < end && end <= args.tokens);
  const int64_t reach = args.taps - 1;
  const int64_t from_begin = token - begin < reach ? token - begin : reach;
  const int64_t to_end = end - 1 - token < reach ? end - 1 - token : reach;
  return args.reverse ? ConvPlace{to_end, from_begin} : ConvPlace{from_begin, to_end};
}

template <typename T>
__device__ T convolve(const ConvArgs<T>& args, const ConvPlace& place, int64_t token, int64_t channel) {
  T sum = args.bias != nullptr ? args.bias[channel] : T(0);
  for (int64_t tap = place.earlier; tap >= 0; --tap) {
    const int64_t from = args.reverse ? token + tap : token - tap;
    sum += args.weight[(args.taps - 1 - tap) * args.channels + channel] * args.x[from * args.channels + channel];
  }
  return sum;
}

// One thread for each token and channel, in both of these.
template <typename T>
__global__ void __launch_bounds__(kBlock) conv_forward(const ConvArgs<T> args) {
  const Quotient at = divide(static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x, args.channels);
  if (at.whole >= args.tokens) return;
  const T value = convolve(args, conv_place(args, at.whole), at.whole, at.rest);
  args.out[at.whole * args.channels + at.rest] = args.silu ? value / (T(1) + exp(-value)) : value;
}

// The gradient before the activation.
template <typename T>
__global__ void __launch_bounds__(kBlock) conv_activation(const ConvArgs<T> args) {
  const Quotient at = divide(static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x, args.channels);
  if (at.whole >= args.tokens) return;
  const T value = convolve(args, conv_place(args, at.whole), at.whole, at.rest);
  const T s = T(1) / (T(1) + exp(-value));
  const int64_t place = at.whole * args.channels + at.rest;
  args.before[place] = args.grad[place] * s * (T(1) + value * (T(1) - s));
}

template <typename T>
__global__ void __launch_bounds__(kBlock) conv_grad_inputs(const ConvArgs<T> args) {
  const Quotient at = divide(static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x, args.channels);
  if (at.whole >= args.tokens) return;
  const ConvPlace place = conv_place(args, at.whole);
  T sum = T(0);
  for (int64_t tap = place.later; tap >= 0; --tap) {
    const int64_t from = args.reverse ? at.whole - tap : at.whole + tap;
    sum += args.weight[(args.taps - 1 - tap) * args.channels + at.rest] * args.before[from * args.channels + at.rest];
  }
  args.out[at.whole * args.channels + at.rest] = sum;
}

// One thread for each part of the tokens, tap and channel.
template <typename T>
__global__ void __launch_bounds__(kBlock) conv_grad_weights(const ConvArgs<T> args) {
  const Quotient at = divide(static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x, args.channels);
  const Quotient row = divide(at.whole, args.taps);
  const int64_t first = row.whole * kConvTokens, channel = at.rest;
  if (first >= args.tokens) return;
  const int64_t last = first + kConvTokens < args.tokens ? first + kConvTokens : args.tokens;
  const int64_t tap = args.taps - 1 - row.rest;
  T sum = T(0), total = T(0);
  int64_t sequence = row_of_position(args.offsets, args.sequences, first);
  for (int64_t token = first; token < last; ++token) {
    while (sequence + 1 < args.sequences && args.offsets[sequence + 1] <= token) ++sequence;
    const int64_t from = args.reverse ? token + tap : token - tap;
    const T before = args.before[token * args.channels + channel];
    total += before;
    GNNKIT_DEVICE_CHECK(args.offsets[sequence] >= 0 && args.offsets[sequence + 1] <= args.tokens);
    if (from >= args.offsets[sequence] && from < args.offsets[sequence + 1])
      sum += before * args.x[from * args.channels + channel];
  }
  args.grad_weight[(row.whole * args.taps + row.rest) * args.channels + channel] = sum;
  if (tap == 0 && args.grad_bias != nullptr) args.grad_bias[row.whole * args.channels + channel] = total;
}

}  // namespace gnnkit
