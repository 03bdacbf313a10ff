// State space duality, token by token: the state of a head stays in the nearest cache while a sequence passes by. What
// dense products save in arithmetic by taking many tokens at once, they lose in memory that the states never touch.
#include <utility>

#include "cpu/kernels.h"
#include "cpu/scan_parts.h"

namespace gnnkit::GNNKIT_ISA {

namespace {

// One head: its state is [states, padded], the width of the head in whole vectors, zeros where there is no width.
template <typename T>
struct Head {
  const SsdArgs<T>& args;
  int64_t head;
  int64_t group;
  int64_t padded;
  T rate;
  T bias;
  T skip;

  Head(const SsdArgs<T>& arguments, int64_t index)
      : args(arguments),
        head(index),
        group(index / (args.heads / args.groups)),
        padded((args.width + kWidth<T> - 1) / kWidth<T> * kWidth<T>),
        rate(args.a[head]),
        bias(args.delta_bias != nullptr ? args.delta_bias[head] : T(0)),
        skip(args.skip != nullptr ? args.skip[head] : T(0)) {}

  int64_t size() const { return args.states * padded; }
  // The rows of a token, of the head and of its group.
  int64_t row(int64_t token) const { return (token * args.heads + head) * args.width; }
  int64_t group_row(int64_t token) const { return (token * args.groups + group) * args.states; }
  int64_t partial_row(int64_t token) const {
    return head % (args.heads / args.groups) * args.tokens * args.groups * args.states + group_row(token);
  }
  T raw(int64_t token) const { return args.delta[token * args.heads + head] + bias; }
  T step_width(int64_t token) const { return args.softplus ? softplus(raw(token)) : raw(token); }
  // How it grows with what was given.
  T growth(int64_t token) const { return args.softplus && !(raw(token) > T(20)) ? logistic(raw(token)) : T(1); }

  void load_row(const T* source, T* values) const {
    for (int64_t p = 0; p < args.width; ++p) values[p] = source[p];
    for (int64_t p = args.width; p < padded; ++p) values[p] = T(0);
  }
  // `matrices` is [sequences, heads, width, states], or null for zeros.
  void load_state(const T* matrices, int64_t sequence, T* state) const {
    for (int64_t i = 0; i < size(); ++i) state[i] = T(0);
    if (matrices == nullptr) return;
    const T* matrix = matrices + (sequence * args.heads + head) * args.width * args.states;
    for (int64_t n = 0; n < args.states; ++n)
      for (int64_t p = 0; p < args.width; ++p) state[n * padded + p] = matrix[p * args.states + n];
  }
  void store_state(const T* state, int64_t sequence, T* matrices) const {
    T* matrix = matrices + (sequence * args.heads + head) * args.width * args.states;
    for (int64_t p = 0; p < args.width; ++p)
      for (int64_t n = 0; n < args.states; ++n) matrix[p * args.states + n] = state[n * padded + p];
  }
};

template <int V, typename T>
[[gnu::always_inline]] inline void load_tile(const T* row, Lanes<T> (&tile)[V]) {
  for (int v = 0; v < V; ++v) tile[v] = load<kWidth<T>>(row + v * kWidth<T>);
}

template <int V, typename T>
[[gnu::always_inline]] inline void store_tile(const Lanes<T> (&tile)[V], T* row) {
  for (int v = 0; v < V; ++v) store<kWidth<T>>(row + v * kWidth<T>, tile[v]);
}

template <typename T, int... lane>
inline Lanes<T> neighbour_sums(Lanes<T> left, Lanes<T> right, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(left, right, (2 * lane)...) + __builtin_shufflevector(left, right, (2 * lane + 1)...);
}

// The sum of the lanes of each row, in its order: a tree for all of them costs less than one for each.
template <typename T>
inline Lanes<T> row_sums(Lanes<T> (&rows)[kWidth<T>]) {
  for (int count = kWidth<T> / 2; count > 0; count /= 2)
    for (int i = 0; i < count; ++i)
      rows[i] = neighbour_sums<T>(rows[2 * i], rows[2 * i + 1], std::make_integer_sequence<int, kWidth<T>>{});
  return rows[0];
}

// Moves the state by one token; `y`, unless null, becomes h C.
template <bool kReads, typename T>
inline void advance(const Head<T>& head, T decay, const T* input, const T* b, const T* c, T* state, T* y) {
  constexpr int kW = kWidth<T>;
  for_each_row_tile<T>(head.padded, [&](auto tile, int64_t offset) {
    constexpr int V = decltype(tile)::value;
    Lanes<T> enters[V], total[V] = {};
    load_tile<V, T>(input + offset, enters);
    for (int64_t n = 0; n < head.args.states; ++n) {
      T* row = state + n * head.padded + offset;
      for (int v = 0; v < V; ++v) {
        const Lanes<T> now = decay * load<kW>(row + v * kW) + enters[v] * b[n];
        store<kW>(row + v * kW, now);
        if constexpr (kReads) total[v] += now * c[n];
      }
    }
    if constexpr (kReads) store_tile<V, T>(total, y + offset);
  });
}

// Calls row(n) for every state, and stores or adds the sums of the lanes that it gives to `sums`.
template <typename T, typename Row>
[[gnu::always_inline]] inline void sum_by_state(int64_t states, bool adds, T* sums, const Row& row) {
  constexpr int kW = kWidth<T>;
  for (int64_t first = 0; first < states; first += kW) {
    const int64_t count = states - first < kW ? states - first : kW;
    Lanes<T> rows[kW];
    for (int64_t i = 0; i < count; ++i) rows[i] = row(first + i);
    for (int64_t i = count; i < kW; ++i) rows[i] = Lanes<T>{};
    const Lanes<T> found = row_sums<T>(rows);
    store<kW>(sums + first, adds ? found + load<kW>(sums + first) : found);
  }
}

// Moves the state by one token, keeps what it was before, and gives the gradient to C, in whole vectors.
template <typename T>
inline void advance_keeping(const Head<T>& head, T decay, const T* input, const T* upstream, const T* b, T* state,
                            T* before, T* grad_c) {
  constexpr int kW = kWidth<T>;
  for_each_row_tile<T>(head.padded, [&](auto tile, int64_t offset) {
    constexpr int V = decltype(tile)::value;
    Lanes<T> enters[V], arrives[V];
    load_tile<V, T>(input + offset, enters);
    load_tile<V, T>(upstream + offset, arrives);
    sum_by_state(head.args.states, offset > 0, grad_c, [&](int64_t n) {
      const int64_t at = n * head.padded + offset;
      Lanes<T> to_c{};
      for (int v = 0; v < V; ++v) {
        const Lanes<T> old = load<kW>(state + at + v * kW);
        const Lanes<T> now = decay * old + enters[v] * b[n];
        store<kW>(before + at + v * kW, old);
        store<kW>(state + at + v * kW, now);
        to_c += arrives[v] * now;
      }
      return to_c;
    });
  });
}

// Moves the gradient to the state back by one token. Gives those to what entered and to B, in whole vectors, and
// returns that to the decay.
template <typename T>
inline T retreat(const Head<T>& head, T decay, const T* input, const T* upstream, const T* b, const T* c,
                 const T* before, T* flow, T* entered, T* grad_b) {
  constexpr int kW = kWidth<T>;
  Lanes<T> slope{};
  for_each_row_tile<T>(head.padded, [&](auto tile, int64_t offset) {
    constexpr int V = decltype(tile)::value;
    Lanes<T> enters[V], arrives[V], total[V] = {}, slopes[V] = {};
    load_tile<V, T>(input + offset, enters);
    load_tile<V, T>(upstream + offset, arrives);
    sum_by_state(head.args.states, offset > 0, grad_b, [&](int64_t n) {
      const int64_t at = n * head.padded + offset;
      Lanes<T> to_b{};
      for (int v = 0; v < V; ++v) {
        const Lanes<T> g = load<kW>(flow + at + v * kW) + arrives[v] * c[n];
        to_b += enters[v] * g;
        total[v] += g * b[n];
        slopes[v] += g * load<kW>(before + at + v * kW);
        store<kW>(flow + at + v * kW, decay * g);
      }
      return to_b;
    });
    store_tile<V, T>(total, entered + offset);
    for (int v = 0; v < V; ++v) slope += slopes[v];
  });
  return sum_of<kW, T>(slope);
}

// What a chunk of tokens is made of, row by row.
template <typename T>
struct Rows {
  T delta[kScanTokens];
  T growth[kScanTokens];
  T decay[kScanTokens];
  T* x;         // [kScanTokens, padded]
  T* input;     // [kScanTokens, padded]
  T* upstream;  // [kScanTokens, padded]
  int64_t padded;

  void load(const Head<T>& head, int64_t token, int64_t at) {
    T* values = x + at * padded;
    head.load_row(head.args.x + head.row(token), values);
    delta[at] = head.step_width(token);
    decay[at] = exponential(delta[at] * head.rate);
    for (int64_t p = 0; p < padded; ++p) input[at * padded + p] = delta[at] * values[p];
  }
  void load_gradients(const Head<T>& head, int64_t token, int64_t at) {
    growth[at] = head.growth(token);
    head.load_row(head.args.grad + head.row(token), upstream + at * padded);
  }
};

}  // namespace

// Scratch: states + 3 rows, in whole vectors.
template <typename T>
void ssd_sequences(const SsdArgs<T>& args, const ScanTask& task, T* scratch) {
  const Head<T> head(args, task.block);
  T* state = scratch;
  T* x = state + head.size();
  T* input = x + head.padded;
  T* y = input + head.padded;
  for (int64_t sequence = task.first_sequence; sequence < task.last_sequence; ++sequence) {
    const int64_t begin = args.offsets[sequence], end = args.offsets[sequence + 1];
    head.load_state(args.initial, sequence, state);
    for (int64_t place = 0; place < end - begin; ++place) {
      const int64_t token = token_at(args, begin, end, place);
      const T delta = head.step_width(token);
      head.load_row(args.x + head.row(token), x);
      for (int64_t p = 0; p < head.padded; ++p) input[p] = delta * x[p];
      advance<true>(head, exponential(delta * head.rate), input, args.b + head.group_row(token),
                    args.c + head.group_row(token), state, y);
      T* out = args.out + head.row(token);
      for (int64_t p = 0; p < args.width; ++p) out[p] = y[p] + head.skip * x[p];
    }
    if (args.final_state != nullptr) head.store_state(state, sequence, args.final_state);
  }
}

// Scratch: states in whole vectors, and (2 + kScanTokens + checkpoints of the longest sequence) states + 3 kScanTokens
// + 1 rows in whole vectors.
template <typename T>
void ssd_backward_sequences(const SsdArgs<T>& args, const ScanTask& task, T* scratch) {
  const Head<T> head(args, task.block);
  const int64_t size = head.size(), padded = head.padded, states = args.states;
  T* sums = scratch;
  T* state = sums + in_whole_vectors(states);
  T* flow = state + size;                          // the gradient to the state
  T* entered = flow + size;                        // [padded]
  T* rows_at = entered + padded;                   // [3, kScanTokens, padded]
  T* before = rows_at + 3 * kScanTokens * padded;  // [kScanTokens, size]
  T* kept = before + kScanTokens * size;           // [checkpoints, size]
  Rows<T> rows{};
  rows.x = rows_at;
  rows.input = rows_at + kScanTokens * padded;
  rows.upstream = rows_at + 2 * kScanTokens * padded;
  rows.padded = padded;
  T grad_rate(0), grad_skip(0), grad_bias(0);
  // A head without width writes none of them.
  for (int64_t n = 0; n < states; ++n) sums[n] = T(0);

  for (int64_t sequence = task.first_sequence; sequence < task.last_sequence; ++sequence) {
    const int64_t begin = args.offsets[sequence], end = args.offsets[sequence + 1], length = end - begin;
    const int64_t chunks = (length + kScanTokens - 1) / kScanTokens;
    head.load_state(args.initial, sequence, state);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      std::memcpy(kept + chunk * size, state, sizeof(T) * static_cast<size_t>(size));
      if (chunk + 1 == chunks) break;
      for (int64_t row = 0; row < kScanTokens; ++row) {
        const int64_t token = token_at(args, begin, end, chunk * kScanTokens + row);
        rows.load(head, token, row);
        advance<false, T>(head, rows.decay[row], rows.input + row * padded, args.b + head.group_row(token), nullptr,
                          state, nullptr);
      }
    }
    head.load_state(args.grad_final, sequence, flow);
    for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const int64_t count = length - chunk * kScanTokens < kScanTokens ? length - chunk * kScanTokens : kScanTokens;
      std::memcpy(state, kept + chunk * size, sizeof(T) * static_cast<size_t>(size));
      for (int64_t row = 0; row < count; ++row) {
        const int64_t token = token_at(args, begin, end, chunk * kScanTokens + row);
        rows.load(head, token, row);
        rows.load_gradients(head, token, row);
        advance_keeping(head, rows.decay[row], rows.input + row * padded, rows.upstream + row * padded,
                        args.b + head.group_row(token), state, before + row * size, sums);
        std::memcpy(args.grad_c + head.partial_row(token), sums, sizeof(T) * static_cast<size_t>(states));
      }
      for (int64_t row = count - 1; row >= 0; --row) {
        const int64_t token = token_at(args, begin, end, chunk * kScanTokens + row);
        const T* x = rows.x + row * padded;
        const T* upstream = rows.upstream + row * padded;
        const T slope =
            retreat(head, rows.decay[row], rows.input + row * padded, upstream, args.b + head.group_row(token),
                    args.c + head.group_row(token), before + row * size, flow, entered, sums);
        std::memcpy(args.grad_b + head.partial_row(token), sums, sizeof(T) * static_cast<size_t>(states));
        T* grad_x = args.grad_x + head.row(token);
        for (int64_t p = 0; p < args.width; ++p) grad_x[p] = rows.delta[row] * entered[p] + head.skip * upstream[p];
        const T through = rows.decay[row] * slope;
        const T to_raw = (through * head.rate + dot(entered, x, padded)) * rows.growth[row];
        args.grad_delta[token * args.heads + head.head] = to_raw;
        grad_rate += through * rows.delta[row];
        grad_skip += dot(upstream, x, padded);
        grad_bias += to_raw;
      }
    }
    if (args.grad_initial != nullptr) head.store_state(flow, sequence, args.grad_initial);
  }
  const int64_t at = task.group * args.heads + head.head;
  args.grad_a[at] = grad_rate;
  if (args.grad_skip != nullptr) args.grad_skip[at] = grad_skip;
  if (args.grad_delta_bias != nullptr) args.grad_delta_bias[at] = grad_bias;
}

template void ssd_sequences<float>(const SsdArgs<float>&, const ScanTask&, float*);
template void ssd_sequences<double>(const SsdArgs<double>&, const ScanTask&, double*);
template void ssd_backward_sequences<float>(const SsdArgs<float>&, const ScanTask&, float*);
template void ssd_backward_sequences<double>(const SsdArgs<double>&, const ScanTask&, double*);

}  // namespace gnnkit::GNNKIT_ISA
