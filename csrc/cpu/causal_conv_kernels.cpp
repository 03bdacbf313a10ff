// Causal convolution of each channel over packed sequences: rows of channels, so that loops over them vectorise.
#include "cpu/kernels.h"
#include "cpu/math.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// Walks over tokens that follow one another, and knows how many of their sequence are before and after each.
template <typename T>
struct Walk {
  const ConvArgs<T>& args;
  int64_t sequence;

  Walk(const ConvArgs<T>& arguments, int64_t token) : args(arguments), sequence(0) {
    int64_t high = args.sequences;
    while (high - sequence > 1) {
      const int64_t middle = sequence + (high - sequence) / 2;
      (args.offsets[middle] <= token ? sequence : high) = middle;
    }
  }
  void move_to(int64_t token) {
    while (args.offsets[sequence + 1] <= token) ++sequence;
  }
  // Tokens that are read before, and after, one: at most as many as the taps reach.
  int64_t earlier(int64_t token) const { return reach(args.reverse ? to_end(token) : from_begin(token)); }
  int64_t later(int64_t token) const { return reach(args.reverse ? from_begin(token) : to_end(token)); }

 private:
  int64_t from_begin(int64_t token) const { return token - args.offsets[sequence]; }
  int64_t to_end(int64_t token) const { return args.offsets[sequence + 1] - 1 - token; }
  int64_t reach(int64_t count) const { return count < args.taps - 1 ? count : args.taps - 1; }
};

// out = bias + sum over taps of weight times what lies that many tokens back.
template <typename T>
inline void convolve(const ConvArgs<T>& args, const Walk<T>& walk, int64_t token, T* out) {
  const int64_t width = args.channels, back = args.reverse ? -width : width;
  for (int64_t c = 0; c < width; ++c) out[c] = args.bias != nullptr ? args.bias[c] : T(0);
  for (int64_t tap = walk.earlier(token); tap >= 0; --tap) {
    const T* weight = args.weight + (args.taps - 1 - tap) * width;
    const T* x = args.x + token * width - tap * back;
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) out[c] += weight[c] * x[c];
  }
}

}  // namespace

template <typename T>
void conv_rows(const ConvArgs<T>& args, int64_t begin, int64_t end) {
  Walk<T> walk(args, begin);
  for (int64_t token = begin; token < end; ++token) {
    walk.move_to(token);
    T* out = args.out + token * args.channels;
    convolve(args, walk, token, out);
    if (args.silu)
      for (int64_t c = 0; c < args.channels; ++c) out[c] = activate<Activation::kSilu>(out[c]);
  }
}

// The gradient before the activation.
template <typename T>
void conv_activation_rows(const ConvArgs<T>& args, int64_t begin, int64_t end) {
  Walk<T> walk(args, begin);
  for (int64_t token = begin; token < end; ++token) {
    walk.move_to(token);
    T* out = args.before + token * args.channels;
    const T* grad = args.grad + token * args.channels;
    convolve(args, walk, token, out);
    for (int64_t c = 0; c < args.channels; ++c) out[c] = grad[c] * derivative<Activation::kSilu>(out[c]);
  }
}

// From the gradient before the activation to those of the inputs, and, for this part of the tokens, of the weights.
template <typename T>
void conv_backward_rows(const ConvArgs<T>& args, int64_t begin, int64_t end) {
  const int64_t width = args.channels, back = args.reverse ? -width : width;
  const int64_t part = begin / kConvTokens;
  T* grad_weight = args.grad_weight + part * args.taps * width;
  T* grad_bias = args.grad_bias != nullptr ? args.grad_bias + part * width : nullptr;
  for (int64_t i = 0; i < args.taps * width; ++i) grad_weight[i] = T(0);
  if (grad_bias != nullptr)
    for (int64_t c = 0; c < width; ++c) grad_bias[c] = T(0);
  Walk<T> walk(args, begin);
  for (int64_t token = begin; token < end; ++token) {
    walk.move_to(token);
    T* out = args.out + token * width;
    const T* before = args.before + token * width;
    for (int64_t c = 0; c < width; ++c) out[c] = T(0);
    for (int64_t tap = walk.later(token); tap >= 0; --tap) {
      const T* weight = args.weight + (args.taps - 1 - tap) * width;
      const T* from = before + tap * back;
#pragma GCC ivdep
      for (int64_t c = 0; c < width; ++c) out[c] += weight[c] * from[c];
    }
    for (int64_t tap = walk.earlier(token); tap >= 0; --tap) {
      T* to = grad_weight + (args.taps - 1 - tap) * width;
      const T* x = args.x + token * width - tap * back;
#pragma GCC ivdep
      for (int64_t c = 0; c < width; ++c) to[c] += before[c] * x[c];
    }
    if (grad_bias != nullptr)
      for (int64_t c = 0; c < width; ++c) grad_bias[c] += before[c];
  }
}

template void conv_rows<float>(const ConvArgs<float>&, int64_t, int64_t);
template void conv_rows<double>(const ConvArgs<double>&, int64_t, int64_t);
template void conv_activation_rows<float>(const ConvArgs<float>&, int64_t, int64_t);
template void conv_activation_rows<double>(const ConvArgs<double>&, int64_t, int64_t);
template void conv_backward_rows<float>(const ConvArgs<float>&, int64_t, int64_t);
template void conv_backward_rows<double>(const ConvArgs<double>&, int64_t, int64_t);

}  // namespace gnnkit::GNNKIT_ISA
