// Selective scan: the state of a block of channels stays in the nearest cache while a sequence passes by, and no tensor
// of tokens by channels by states is ever made.
#include "cpu/kernels.h"
#include "cpu/scan_parts.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

template <typename T>
constexpr int kParts = static_cast<int>(kScanChannels) / kWidth<T>;

// The channels of a block: those that are missing read as zero, so that loops need not know.
template <typename T>
struct Channels {
  int64_t first;
  int64_t count;

  static Channels of_block(int64_t block, int64_t channels) {
    const int64_t first = block * kScanChannels, rest = channels - first;
    return {first, rest < kScanChannels ? rest : kScanChannels};
  }
  void load(const T* row, T* values) const {
    if (count == kScanChannels) {
      std::memcpy(values, row + first, sizeof(T) * kScanChannels);
      return;
    }
    for (int64_t c = 0; c < kScanChannels; ++c) values[c] = c < count ? row[first + c] : T(0);
  }
  void load_or_zero(const T* row, T* values) const {
    if (row != nullptr) return load(row, values);
    for (int64_t c = 0; c < kScanChannels; ++c) values[c] = T(0);
  }
  void store(const T* values, T* row) const {
    for (int64_t c = 0; c < count; ++c) row[first + c] = values[c];
  }
  // [channels, states] of memory from and to [states, kScanChannels].
  void load_states(const T* matrix, int64_t states, T* values) const {
    for (int64_t n = 0; n < states; ++n)
      for (int64_t c = 0; c < kScanChannels; ++c)
        values[n * kScanChannels + c] = matrix != nullptr && c < count ? matrix[(first + c) * states + n] : T(0);
  }
  void store_states(const T* values, int64_t states, T* matrix) const {
    for (int64_t n = 0; n < states; ++n)
      for (int64_t c = 0; c < count; ++c) matrix[(first + c) * states + n] = values[n * kScanChannels + c];
  }
};

// The step widths of a token, and how they grow with what was given.
template <typename T>
inline void step_widths(const ScanArgs<T>& args, const Channels<T>& channels, const T* bias, int64_t token, T* delta,
                        T* growth) {
  T raw[kScanChannels];
  channels.load(args.delta + token * args.channels, raw);
  if (args.softplus) {
    for (int64_t c = 0; c < kScanChannels; ++c) delta[c] = softplus(raw[c] + bias[c]);
    if (growth != nullptr)
      for (int64_t c = 0; c < kScanChannels; ++c)
        growth[c] = raw[c] + bias[c] > T(20) ? T(1) : logistic(raw[c] + bias[c]);
  } else {
    for (int64_t c = 0; c < kScanChannels; ++c) delta[c] = raw[c] + bias[c];
    if (growth != nullptr)
      for (int64_t c = 0; c < kScanChannels; ++c) growth[c] = T(1);
  }
}

// Moves the state by one token. `sum`, unless null, becomes <C, h>; `decays` and `before` are kept where wanted.
template <bool kKeeps, typename T>
inline void step(const T* delta, const T* input, const T* rates, const T* b, const T* c, int64_t states, T* state,
                 T* sum, T* decays, T* before) {
  constexpr int kW = kWidth<T>;
  for (int part = 0; part < kParts<T>; ++part) {
    const int64_t offset = part * kW;
    const Lanes<T> width = load<kW>(delta + offset);
    const Lanes<T> enters = load<kW>(input + offset);
    Lanes<T> total{};
    for (int64_t n = 0; n < states; ++n) {
      const int64_t at = n * kScanChannels + offset;
      const Lanes<T> decay = exponential_lanes<kW>(width * load<kW>(rates + at));
      const Lanes<T> old = load<kW>(state + at);
      const Lanes<T> now = decay * old + enters * b[n];
      if constexpr (kKeeps) {
        store<kW>(decays + at, decay);
        store<kW>(before + at, old);
      }
      store<kW>(state + at, now);
      total += now * c[n];
    }
    store<kW>(sum + offset, total);
  }
}

}  // namespace

// Scratch: 2 states * kScanChannels.
template <typename T>
void scan_block(const ScanArgs<T>& args, const ScanTask& task, T* scratch) {
  const int64_t states = args.states;
  const auto channels = Channels<T>::of_block(task.block, args.channels);
  T* rates = scratch;
  T* state = scratch + states * kScanChannels;
  T skip[kScanChannels], bias[kScanChannels];
  channels.load_states(args.a, states, rates);
  channels.load_or_zero(args.skip, skip);
  channels.load_or_zero(args.delta_bias, bias);
  for (int64_t sequence = task.first_sequence; sequence < task.last_sequence; ++sequence) {
    const int64_t begin = args.offsets[sequence], end = args.offsets[sequence + 1];
    const int64_t matrix = sequence * args.channels * states;
    channels.load_states(args.initial != nullptr ? args.initial + matrix : nullptr, states, state);
    for (int64_t place = 0; place < end - begin; ++place) {
      const int64_t token = token_at(args, begin, end, place);
      T delta[kScanChannels], u[kScanChannels], input[kScanChannels], y[kScanChannels];
      step_widths<T>(args, channels, bias, token, delta, nullptr);
      channels.load(args.u + token * args.channels, u);
      for (int64_t c = 0; c < kScanChannels; ++c) input[c] = delta[c] * u[c];
      step<false, T>(delta, input, rates, args.b + token * states, args.c + token * states, states, state, y, nullptr,
                     nullptr);
      for (int64_t c = 0; c < kScanChannels; ++c) y[c] += skip[c] * u[c];
      if (args.z != nullptr) {
        T gate[kScanChannels];
        channels.load(args.z + token * args.channels, gate);
        for (int64_t c = 0; c < kScanChannels; ++c) y[c] *= gate[c] * logistic(gate[c]);
      }
      channels.store(y, args.out + token * args.channels);
    }
    if (args.final_state != nullptr) channels.store_states(state, states, args.final_state + matrix);
  }
}

// Scratch: (4 + 2 kScanTokens + checkpoints of the longest sequence) * states * kScanChannels.
template <typename T>
void scan_backward_block(const ScanArgs<T>& args, const ScanTask& task, T* scratch) {
  constexpr int kW = kWidth<T>;
  const int64_t states = args.states;
  const int64_t size = states * kScanChannels;
  const auto channels = Channels<T>::of_block(task.block, args.channels);
  T* rates = scratch;
  T* state = rates + size;
  T* flow = state + size;  // the gradient to the state
  T* grad_rates = flow + size;
  T* decays = grad_rates + size;            // [kScanTokens, size]
  T* before = decays + kScanTokens * size;  // [kScanTokens, size]
  T* kept = before + kScanTokens * size;    // [checkpoints, size]
  T skip[kScanChannels], bias[kScanChannels], grad_skip[kScanChannels] = {}, grad_bias[kScanChannels] = {};
  T delta[kScanTokens][kScanChannels], growth[kScanTokens][kScanChannels], u[kScanTokens][kScanChannels];
  T input[kScanTokens][kScanChannels], y[kScanTokens][kScanChannels];
  channels.load_states(args.a, states, rates);
  channels.load_or_zero(args.skip, skip);
  channels.load_or_zero(args.delta_bias, bias);
  for (int64_t i = 0; i < size; ++i) grad_rates[i] = T(0);
  T* grad_b = args.grad_b + task.block * args.tokens * states;
  T* grad_c = args.grad_c + task.block * args.tokens * states;

  const auto replay = [&](int64_t row, int64_t token, bool keeps) {
    step_widths<T>(args, channels, bias, token, delta[row], keeps ? growth[row] : nullptr);
    channels.load(args.u + token * args.channels, u[row]);
    for (int64_t c = 0; c < kScanChannels; ++c) input[row][c] = delta[row][c] * u[row][c];
    const T* b = args.b + token * states;
    const T* c = args.c + token * states;
    if (keeps) {
      step<true, T>(delta[row], input[row], rates, b, c, states, state, y[row], decays + row * size,
                    before + row * size);
    } else {
      step<false, T>(delta[row], input[row], rates, b, c, states, state, y[row], nullptr, nullptr);
    }
  };

  for (int64_t sequence = task.first_sequence; sequence < task.last_sequence; ++sequence) {
    const int64_t begin = args.offsets[sequence], end = args.offsets[sequence + 1], length = end - begin;
    const int64_t matrix = sequence * args.channels * states;
    const int64_t chunks = (length + kScanTokens - 1) / kScanTokens;
    channels.load_states(args.initial != nullptr ? args.initial + matrix : nullptr, states, state);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      std::memcpy(kept + chunk * size, state, sizeof(T) * static_cast<size_t>(size));
      if (chunk + 1 == chunks) break;
      for (int64_t row = 0; row < kScanTokens; ++row)
        replay(row, token_at(args, begin, end, chunk * kScanTokens + row), false);
    }
    channels.load_states(args.grad_final != nullptr ? args.grad_final + matrix : nullptr, states, flow);
    for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const int64_t rows = length - chunk * kScanTokens < kScanTokens ? length - chunk * kScanTokens : kScanTokens;
      std::memcpy(state, kept + chunk * size, sizeof(T) * static_cast<size_t>(size));
      for (int64_t row = 0; row < rows; ++row) replay(row, token_at(args, begin, end, chunk * kScanTokens + row), true);
      for (int64_t row = rows - 1; row >= 0; --row) {
        const int64_t token = token_at(args, begin, end, chunk * kScanTokens + row);
        T grad[kScanChannels], grad_u[kScanChannels], grad_delta[kScanChannels];
        channels.load(args.grad + token * args.channels, grad);
        if (args.z != nullptr) {
          T gate[kScanChannels], grad_z[kScanChannels];
          channels.load(args.z + token * args.channels, gate);
          for (int64_t c = 0; c < kScanChannels; ++c) {
            const T s = logistic(gate[c]);
            const T whole = y[row][c] + skip[c] * u[row][c];
            grad_z[c] = grad[c] * whole * s * (T(1) + gate[c] * (T(1) - s));
            grad[c] *= gate[c] * s;
          }
          channels.store(grad_z, args.grad_z + token * args.channels);
        }
        const T* b = args.b + token * states;
        const T* c = args.c + token * states;
        const T* old = before + row * size;
        const T* next = row + 1 < rows ? old + size : state;
        const T* decay = decays + row * size;
        Lanes<T> enters[kParts<T>] = {}, slope[kParts<T>] = {};
        for (int64_t n = 0; n < states; ++n) {
          Lanes<T> to_b{}, to_c{};
          for (int part = 0; part < kParts<T>; ++part) {
            const int64_t at = n * kScanChannels + part * kW;
            const Lanes<T> upstream = load<kW>(grad + part * kW);
            const Lanes<T> g = load<kW>(flow + at) + upstream * c[n];
            to_c += upstream * load<kW>(next + at);
            to_b += load<kW>(input[row] + part * kW) * g;
            enters[part] += g * b[n];
            const Lanes<T> decayed = load<kW>(decay + at) * g;
            const Lanes<T> through = decayed * load<kW>(old + at);
            slope[part] += through * load<kW>(rates + at);
            store<kW>(grad_rates + at, load<kW>(grad_rates + at) + through * load<kW>(delta[row] + part * kW));
            store<kW>(flow + at, decayed);
          }
          grad_b[token * states + n] = sum_of<kW, T>(to_b);
          grad_c[token * states + n] = sum_of<kW, T>(to_c);
        }
        for (int part = 0; part < kParts<T>; ++part) {
          const int64_t at = part * kW;
          const Lanes<T> width = load<kW>(delta[row] + at), value = load<kW>(u[row] + at);
          store<kW>(grad_u + at, width * enters[part] + load<kW>(skip + at) * load<kW>(grad + at));
          const Lanes<T> to_raw = (slope[part] + value * enters[part]) * load<kW>(growth[row] + at);
          store<kW>(grad_delta + at, to_raw);
          store<kW>(grad_bias + at, load<kW>(grad_bias + at) + to_raw);
          store<kW>(grad_skip + at, load<kW>(grad_skip + at) + value * load<kW>(grad + at));
        }
        channels.store(grad_u, args.grad_u + token * args.channels);
        channels.store(grad_delta, args.grad_delta + token * args.channels);
      }
    }
    if (args.grad_initial != nullptr) channels.store_states(flow, states, args.grad_initial + matrix);
  }
  channels.store_states(grad_rates, states, args.grad_a + task.group * args.channels * states);
  if (args.grad_skip != nullptr) channels.store(grad_skip, args.grad_skip + task.group * args.channels);
  if (args.grad_delta_bias != nullptr) channels.store(grad_bias, args.grad_delta_bias + task.group * args.channels);
}

template void scan_block<float>(const ScanArgs<float>&, const ScanTask&, float*);
template void scan_block<double>(const ScanArgs<double>&, const ScanTask&, double*);
template void scan_backward_block<float>(const ScanArgs<float>&, const ScanTask&, float*);
template void scan_backward_block<double>(const ScanArgs<double>&, const ScanTask&, double*);

}  // namespace gnnkit::GNNKIT_ISA
