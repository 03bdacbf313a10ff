// What a selective scan is given, checked: the same on every device.
#pragma once

#include "common/arguments.h"
#include "common/dispatch.h"

namespace gnnkit {

struct ScanInputs {
  Tensor u, delta, a, b, c, offsets;
  OptionalTensor skip, z, delta_bias, initial;

  int64_t tokens() const { return u.size(0); }
  int64_t channels() const { return u.size(1); }
  int64_t states() const { return a.size(1); }
  int64_t sequences() const { return offsets.size(0) - 1; }
  int64_t blocks() const { return (channels() + kScanChannels - 1) / kScanChannels; }

  template <typename T>
  ScanArgs<T> arguments(bool softplus, bool reverse) const {
    ScanArgs<T> args{};
    args.offsets = read<int64_t>(offsets);
    args.u = read<T>(u);
    args.delta = read<T>(delta);
    args.a = read<T>(a);
    args.b = read<T>(b);
    args.c = read<T>(c);
    args.skip = read<T>(skip);
    args.z = read<T>(z);
    args.delta_bias = read<T>(delta_bias);
    args.initial = read<T>(initial);
    args.tokens = tokens();
    args.channels = channels();
    args.states = states();
    args.softplus = softplus;
    args.reverse = reverse;
    return args;
  }
};

inline void check_scan_shape(const Tensor& tensor, const std::vector<int64_t>& shape, const Tensor& like,
                             const char* what) {
  bool fits = tensor.dim() == static_cast<int64_t>(shape.size()) && tensor.scalar_type() == like.scalar_type();
  for (int64_t dim = 0; fits && dim < tensor.dim(); ++dim) fits = tensor.size(dim) == shape[static_cast<size_t>(dim)];
  STD_TORCH_CHECK(fits, what, " of a selective scan must fit u in shape and dtype");
}

inline ScanInputs scan_inputs(const Tensor& u, const Tensor& delta, const Tensor& a, const Tensor& b, const Tensor& c,
                              const OptionalTensor& skip, const OptionalTensor& z, const OptionalTensor& delta_bias,
                              const OptionalTensor& initial, const Tensor& offsets) {
  STD_TORCH_CHECK(u.dim() == 2 && a.dim() == 2, "u must be [T, D] and A [D, N]");
  STD_TORCH_CHECK(u.scalar_type() == ScalarType::Float || u.scalar_type() == ScalarType::Double,
                  "a selective scan takes float32 and float64");
  STD_TORCH_CHECK(offsets.dim() == 1 && offsets.size(0) >= 1 && offsets.scalar_type() == ScalarType::Long,
                  "offsets must be int64, [S + 1]");
  const int64_t tokens = u.size(0), channels = u.size(1), states = a.size(1);
  check_scan_shape(delta, {tokens, channels}, u, "delta");
  check_scan_shape(a, {channels, states}, u, "A");
  check_scan_shape(b, {tokens, states}, u, "B");
  check_scan_shape(c, {tokens, states}, u, "C");
  if (skip.has_value()) check_scan_shape(*skip, {channels}, u, "D");
  if (z.has_value()) check_scan_shape(*z, {tokens, channels}, u, "z");
  if (delta_bias.has_value()) check_scan_shape(*delta_bias, {channels}, u, "delta_bias");
  if (initial.has_value()) check_scan_shape(*initial, {offsets.size(0) - 1, channels, states}, u, "initial_state");
  return {dense(u),       dense(delta), dense(a), dense(b),          dense(c),
          dense(offsets), dense(skip),  dense(z), dense(delta_bias), dense(initial)};
}

// Into how many groups sequences are put: enough to keep many processors busy, few enough that one partial gradient of
// A for each is little beside the inputs.
inline int64_t scan_groups(int64_t tokens, int64_t sequences) {
  constexpr int64_t kTokensPerGroup = 512, kMost = 64;
  const int64_t wanted = tokens / kTokensPerGroup;
  const int64_t groups = wanted < 1 ? 1 : (wanted > kMost ? kMost : wanted);
  return groups < sequences ? groups : (sequences < 1 ? 1 : sequences);
}

}  // namespace gnnkit
