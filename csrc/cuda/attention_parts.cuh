// Fused attention on a GPU: what one edge contributes.
#pragma once

#include "common/arguments.h"
#include "cuda/row_walk.cuh"

namespace gnnkit::device {

// The arguments of a pass, and how its work is cut. Over the transpose, rows are sources.
template <typename T, typename I>
struct AttentionWork : AttentionArgs<T> {
  Walk<I> walk;
  Accumulate<T>* partial;  // [slots, heads, partial_width]
  int64_t partial_width;
};

template <typename A>
__device__ A minus_infinity() {
  return -static_cast<A>(INFINITY);
}

template <typename A>
__device__ A leaky(A value, A slope) {
  return value > A(0) ? value : value * slope;
}

// This lane's part of <left, right> over the features of one head.
template <int kItems, typename T>
__device__ Accumulate<T> dot_part(const Group& group, const T* left, const T* right, int64_t width) {
  Accumulate<T> sum = 0;
  if constexpr (kItems == 1) {
    if (group.lane < width) sum = widen(left[group.lane]) * widen(right[group.lane]);
  } else {
    for (int64_t d = group.lane; d < width; d += group.size) sum += widen(left[d]) * widen(right[d]);
  }
  return sum;
}

// This lane's part of the score between a destination and a source: all of it where scores are added.
template <int kItems, typename T, typename I>
__device__ Accumulate<T> score_part(const AttentionWork<T, I>& args, const Group& group, int64_t dst, int64_t src,
                                    int64_t head) {
  using A = Accumulate<T>;
  const T* q = args.q + (dst * args.heads + head) * args.score_width;
  const T* k = args.k + (src * args.heads + head) * args.score_width;
  if (args.score == Score::kSum) return widen(q[0]) + widen(k[0]);
  if (args.score == Score::kProduct) return dot_part<kItems>(group, q, k, args.score_width);
  const T* att = args.att + head * args.score_width;
  const A slope = static_cast<A>(args.parameter);
  A sum = 0;
  for (int64_t d = group.lane; d < args.score_width; d += group.size)
    sum += widen(att[d]) * leaky(widen(q[d]) + widen(k[d]), slope);
  return sum;
}

template <typename A>
struct Logit {
  A value;
  A slope;  // derivative of the rectifier at what it was given; 1 where there is none
};

// The logit of an edge, from its score.
template <typename T, typename I>
__device__ Logit<Accumulate<T>> finish_logit(const AttentionWork<T, I>& args, Accumulate<T> score, int64_t edge,
                                             int64_t head) {
  using A = Accumulate<T>;
  const A parameter = static_cast<A>(args.parameter);
  if (args.score == Score::kProduct) score *= parameter;
  if (args.bias != nullptr) score += widen(args.bias[edge * args.bias_heads + (args.bias_heads == 1 ? 0 : head)]);
  if (args.score != Score::kSum) return {score, A(1)};
  // Minus infinity masks an edge: it must stay so for a slope of zero too.
  return {score == minus_infinity<A>() ? score : leaky(score, parameter), score > A(0) ? A(1) : parameter};
}

template <typename T, typename I>
__device__ Accumulate<T>* partial_of(const AttentionWork<T, I>& args, int64_t slot, int64_t head) {
  return args.partial + (slot * args.heads + head) * args.partial_width;
}

}  // namespace gnnkit::device
