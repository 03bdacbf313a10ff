// The gated delta rule: the state of one head of one sequence, a matrix of keys by values, stays in the nearest cache
// while the tokens pass by. Rows of it are padded to whole vectors with columns that stay zero.
#include "cpu/kernels.h"
#include "cpu/scan_parts.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// One head of the inputs.
template <typename T>
struct Head {
  const DeltaArgs<T>& args;
  int64_t head;
  int64_t stride = in_whole_vectors(args.values);

  int64_t size() const { return args.keys * stride; }
  int64_t row(int64_t token) const { return token * args.heads + head; }
  int64_t row(int64_t token, int64_t step) const { return (token * args.steps + step) * args.heads + head; }
  T decay(int64_t token) const { return args.g != nullptr ? exponential(args.g[row(token)]) : T(1); }
  int64_t matrix(int64_t sequence) const { return row(sequence) * args.keys * args.values; }

  // Tensors without values have no memory to copy from or to.
  void load_row(const T* from, T* to) const {
    if (args.values > 0) std::memcpy(to, from, sizeof(T) * static_cast<size_t>(args.values));
    for (int64_t i = args.values; i < stride; ++i) to[i] = T(0);
  }
  void store_row(const T* from, T* to) const {
    if (args.values > 0) std::memcpy(to, from, sizeof(T) * static_cast<size_t>(args.values));
  }
  void load_state(const T* states, int64_t sequence, T* state) const {
    if (states == nullptr) {
      for (int64_t i = 0; i < size(); ++i) state[i] = T(0);
      return;
    }
    for (int64_t key = 0; key < args.keys; ++key)
      load_row(states + matrix(sequence) + key * args.values, state + key * stride);
  }
  void store_state(const T* state, T* states, int64_t sequence) const {
    for (int64_t key = 0; key < args.keys; ++key)
      store_row(state + key * stride, states + matrix(sequence) + key * args.values);
  }
  void copy_state(const T* from, T* to) const { std::memcpy(to, from, sizeof(T) * static_cast<size_t>(size())); }
};

// sum += state^T weights, for K vectors of columns. Four sums at once hide how long each addition takes.
template <int K, typename T>
inline void add_weighted_rows(const T* state, int64_t stride, int64_t keys, const T* weights, Lanes<T> (&sum)[K]) {
  constexpr int kW = kWidth<T>;
  constexpr int kChains = 4 / K;
  Lanes<T> chains[kChains][K] = {};
  int64_t key = 0;
  for (; keys - key >= kChains; key += kChains)
    for (int chain = 0; chain < kChains; ++chain)
      for (int i = 0; i < K; ++i)
        chains[chain][i] += weights[key + chain] * load<kW>(state + (key + chain) * stride + i * kW);
  for (; key < keys; ++key)
    for (int i = 0; i < K; ++i) chains[0][i] += weights[key] * load<kW>(state + key * stride + i * kW);
  for (int chain = 0; chain < kChains; ++chain)
    for (int i = 0; i < K; ++i) sum[i] += chains[chain][i];
}

// out = factor * state^T weights, a padded row.
template <typename T>
inline void weighted_rows(const Head<T>& head, const T* state, const T* weights, T factor, T* out) {
  for_each_row_tile<T>(head.stride, [&](auto group, int64_t offset) {
    constexpr int kGroup = decltype(group)::value;
    Lanes<T> sum[kGroup] = {};
    add_weighted_rows<kGroup, T>(state + offset, head.stride, head.args.keys, weights, sum);
    for (int i = 0; i < kGroup; ++i) store<kWidth<T>>(out + offset + i * kWidth<T>, factor * sum[i]);
  });
}

// state = decay state + k (beta error)^T with error = v - decay state^T k; the error is left in the place of v.
template <typename T>
inline void delta_step(const Head<T>& head, T decay, const T* k, T beta, T* state, T* v) {
  constexpr int kW = kWidth<T>;
  for_each_row_tile<T>(head.stride, [&](auto group, int64_t offset) {
    constexpr int kGroup = decltype(group)::value;
    Lanes<T> sum[kGroup] = {}, written[kGroup];
    add_weighted_rows<kGroup, T>(state + offset, head.stride, head.args.keys, k, sum);
    for (int i = 0; i < kGroup; ++i) {
      const Lanes<T> error = load<kW>(v + offset + i * kW) - decay * sum[i];
      written[i] = beta * error;
      store<kW>(v + offset + i * kW, error);
    }
    for (int64_t key = 0; key < head.args.keys; ++key) {
      T* row = state + key * head.stride + offset;
      for (int i = 0; i < kGroup; ++i) store<kW>(row + i * kW, decay * load<kW>(row + i * kW) + k[key] * written[i]);
    }
  });
}

template <typename T>
inline void multiply(T* row, T factor, int64_t size) {
  constexpr int kW = kWidth<T>;
  for (int64_t i = 0; i < size; i += kW) store<kW>(row + i, factor * load<kW>(row + i));
}

// All that a token does to the state.
template <typename T>
inline void advance(const Head<T>& head, int64_t token, T* state, T* v) {
  const DeltaArgs<T>& args = head.args;
  T decay = head.decay(token);
  for (int64_t step = 0; step < args.steps; ++step) {
    const int64_t row = head.row(token, step);
    head.load_row(args.v + row * args.values, v);
    delta_step(head, decay, args.k + row * args.keys, args.beta[row], state, v);
    decay = T(1);
  }
}

template <typename T>
class Backward {
 public:
  Backward(const DeltaArgs<T>& args, const ScanTask& task, T* scratch) : head_{args, task.block} {
    const int64_t size = head_.size(), rows = kScanTokens * args.steps;
    state_ = scratch;
    flow_ = state_ + size;
    before_ = flow_ + size;
    errors_ = before_ + rows * size;
    upstream_ = errors_ + rows * head_.stride;
    to_error_ = upstream_ + head_.stride;
    kept_ = to_error_ + head_.stride;
  }

  void sequence(int64_t index) {
    const DeltaArgs<T>& args = head_.args;
    const int64_t begin = args.offsets[index], end = args.offsets[index + 1], length = end - begin;
    const int64_t size = head_.size(), chunks = (length + kScanTokens - 1) / kScanTokens;
    head_.load_state(args.initial, index, state_);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      head_.copy_state(state_, kept_ + chunk * size);
      if (chunk + 1 == chunks) break;
      for (int64_t place = chunk * kScanTokens; place < (chunk + 1) * kScanTokens; ++place)
        advance(head_, token_at(args, begin, end, place), state_, errors_);
    }
    head_.load_state(args.grad_final, index, flow_);
    for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const int64_t first = chunk * kScanTokens, rest = length - first;
      const int64_t count = rest < kScanTokens ? rest : kScanTokens;
      head_.copy_state(kept_ + chunk * size, state_);
      for (int64_t place = 0; place < count; ++place) replay(token_at(args, begin, end, first + place), place);
      for (int64_t place = count - 1; place >= 0; --place) go_back(token_at(args, begin, end, first + place), place);
    }
    if (args.grad_initial != nullptr) head_.store_state(flow_, args.grad_initial, index);
  }

 private:
  T* before(int64_t place, int64_t step) const { return before_ + (place * head_.args.steps + step) * head_.size(); }
  T* error(int64_t place, int64_t step) const { return errors_ + (place * head_.args.steps + step) * head_.stride; }

  // advance(), which leaves the states before each step and the errors; and what the state after them gives.
  void replay(int64_t token, int64_t place) {
    const DeltaArgs<T>& args = head_.args;
    const T decay = head_.decay(token);
    if (args.g != nullptr) multiply(state_, decay, head_.size());
    for (int64_t step = 0; step < args.steps; ++step) {
      const int64_t row = head_.row(token, step);
      head_.copy_state(state_, before(place, step));
      head_.load_row(args.v + row * args.values, error(place, step));
      delta_step(head_, T(1), args.k + row * args.keys, args.beta[row], state_, error(place, step));
    }
    const int64_t row = head_.row(token);
    head_.load_row(args.grad + row * args.values, upstream_);
    for (int64_t key = 0; key < args.keys; ++key)
      args.grad_q[row * args.keys + key] = args.scale * dot(state_ + key * head_.stride, upstream_, head_.stride);
  }

  void go_back(int64_t token, int64_t place) {
    constexpr int kW = kWidth<T>;
    const DeltaArgs<T>& args = head_.args;
    const int64_t row = head_.row(token);
    head_.load_row(args.grad + row * args.values, upstream_);
    const T* q = args.q + row * args.keys;
    for (int64_t key = 0; key < args.keys; ++key) {
      T* flow = flow_ + key * head_.stride;
      const T factor = args.scale * q[key];
      for (int64_t i = 0; i < head_.stride; i += kW)
        store<kW>(flow + i, load<kW>(flow + i) + factor * load<kW>(upstream_ + i));
    }
    for (int64_t step = args.steps - 1; step >= 0; --step) step_back(token, place, step);
    if (args.grad_g == nullptr) return;
    args.grad_g[row] = dot(flow_, before(place, 0), head_.size());
    multiply(flow_, head_.decay(token), head_.size());
  }

  void step_back(int64_t token, int64_t place, int64_t step) {
    constexpr int kW = kWidth<T>;
    const DeltaArgs<T>& args = head_.args;
    const int64_t row = head_.row(token, step), stride = head_.stride;
    const T* k = args.k + row * args.keys;
    T* grad_k = args.grad_k + row * args.keys;
    T* written = error(place, step);
    const T beta = args.beta[row];
    weighted_rows(head_, flow_, k, T(1), to_error_);
    args.grad_beta[row] = dot(to_error_, written, stride);
    multiply(to_error_, beta, stride);
    multiply(written, beta, stride);
    head_.store_row(to_error_, args.grad_v + row * args.values);
    for (int64_t key = 0; key < args.keys; ++key) {
      T* flow = flow_ + key * stride;
      const T* old = before(place, step) + key * stride;
      Lanes<T> sum{};
      for (int64_t i = 0; i < stride; i += kW) {
        const Lanes<T> to_state = load<kW>(flow + i), change = load<kW>(to_error_ + i);
        sum += to_state * load<kW>(written + i) - load<kW>(old + i) * change;
        store<kW>(flow + i, to_state - k[key] * change);
      }
      grad_k[key] = sum_of<kW, T>(sum);
    }
  }

  Head<T> head_;
  T* state_;
  T* flow_;      // the gradient to the state
  T* before_;    // [kScanTokens, steps, size]: states before each step
  T* errors_;    // [kScanTokens, steps, stride]
  T* upstream_;  // the gradient to the output
  T* to_error_;
  T* kept_;  // [checkpoints, size]
};

}  // namespace

// Scratch: the state, and two rows.
template <typename T>
void delta_sequences(const DeltaArgs<T>& args, const ScanTask& task, T* scratch) {
  const Head<T> head{args, task.block};
  T* state = scratch;
  T* v = state + head.size();
  T* out = v + head.stride;
  for (int64_t sequence = task.first_sequence; sequence < task.last_sequence; ++sequence) {
    const int64_t begin = args.offsets[sequence], end = args.offsets[sequence + 1];
    head.load_state(args.initial, sequence, state);
    for (int64_t place = 0; place < end - begin; ++place) {
      const int64_t token = token_at(args, begin, end, place), row = head.row(token);
      advance(head, token, state, v);
      weighted_rows(head, state, args.q + row * args.keys, args.scale, out);
      head.store_row(out, args.out + row * args.values);
    }
    if (args.final_state != nullptr) head.store_state(state, args.final_state, sequence);
  }
}

// Scratch: 2 + kScanTokens steps + checkpoints states, and kScanTokens steps + 2 rows.
template <typename T>
void delta_backward_sequences(const DeltaArgs<T>& args, const ScanTask& task, T* scratch) {
  Backward<T> backward(args, task, scratch);
  for (int64_t sequence = task.first_sequence; sequence < task.last_sequence; ++sequence) backward.sequence(sequence);
}

template void delta_sequences<float>(const DeltaArgs<float>&, const ScanTask&, float*);
template void delta_sequences<double>(const DeltaArgs<double>&, const ScanTask&, double*);
template void delta_backward_sequences<float>(const DeltaArgs<float>&, const ScanTask&, float*);
template void delta_backward_sequences<double>(const DeltaArgs<double>&, const ScanTask&, double*);

}  // namespace gnnkit::GNNKIT_ISA
