// Reductions over the rows of a CSR structure: sums, extrema and softmax statistics, of weighted rows of a dense
// matrix.
//
// A team of lanes takes one row and one tile of features: `lanes` of them lie along the features, `slices` along the
// positions of the row. A team stages the indices and weights of its next positions in shared memory, one coalesced
// load each, and then reads them from there for all of its features (as in GE-SpMM: Huang et al., SC 2020). Rows of
// more than kChunk positions would make one team late, so they are cut at multiples of kChunk: other teams reduce the
// pieces, and a second kernel merges them. All of this depends on shapes and on the structure alone, so results repeat
// bit by bit.
#pragma once

#include "common/arguments.h"
#include "cuda/device.h"

namespace gnnkit {

constexpr int kChunk = 256;

enum class Weighting { kNone, kPerEdge, kPerHead };

// How the work is cut.
struct Teams {
  int64_t num_rows;
  int64_t x_rows;
  int64_t chunks;   // pieces of kChunk positions that long rows are cut into; 0: no row can be long
  int tiles;        // of lanes * V features
  bool open_ended;  // positions behind the last row belong to none
  int lanes;        // powers of two, lanes * slices <= 32
  int slices;
};

struct Range {
  int64_t begin;
  int64_t end;
};

template <typename Index>
__device__ __forceinline__ Range positions_of(const Index* rowptr, int64_t row, int64_t num_positions) {
  const Range range{static_cast<int64_t>(rowptr[row]), static_cast<int64_t>(rowptr[row + 1])};
  GNNKIT_DEVICE_CHECK(range.begin >= 0 && range.begin <= range.end && range.end <= num_positions);
  return range;
}

// Where every position must belong to a row, the first row begins with the first and the last ends with the last.
template <typename Index>
__device__ __forceinline__ void check_covered(const Index* rowptr, int64_t num_rows, int64_t num_positions) {
  GNNKIT_DEVICE_CHECK(rowptr[0] == 0 && static_cast<int64_t>(rowptr[num_rows]) == num_positions);
}

// Policies: what is kept per element, how a term enters it, how two of them merge, and what is written in the end.

template <typename T, typename Out>
struct SumTo {
  using A = Accumulate<T>;
  struct Element {
    A sum;
  };
  Out* out;
  bool mean;

  __device__ __forceinline__ Element start() const { return {A(0)}; }
  __device__ __forceinline__ void add(Element& element, A term, int64_t) const { element.sum += term; }
  __device__ __forceinline__ void add_product(Element& element, A weight, A value, int64_t) const {
    element.sum += weight * value;
  }
  __device__ __forceinline__ void merge(Element& element, const Element& other) const { element.sum += other.sum; }
  __device__ __forceinline__ Element of_lane(unsigned mask, const Element& element, int distance) const {
    return {__shfl_xor_sync(mask, element.sum, distance)};
  }
  __device__ __forceinline__ void store(const Element& element, int64_t where, int64_t count) const {
    const A value = mean && count > 0 ? element.sum / static_cast<A>(count) : element.sum;
    if constexpr (std::is_same_v<Out, T>) {
      out[where] = narrow<T>(value);
    } else {
      out[where] = value;
    }
  }
};

template <typename T, typename I>
struct ExtremumTo {
  using A = Accumulate<T>;
  struct Element {
    A best;
    I position;  // negative: nothing was seen
  };
  T* out;
  I* arg;
  const I* label;  // what `arg` holds for a position; null: the position
  bool largest;

  __device__ __forceinline__ Element start() const { return {A(0), I(-1)}; }
  __device__ __forceinline__ bool beats(A value, A best) const { return largest ? value > best : value < best; }
  // Terms come in ascending order. The first value wins a tie; a NaN beats every number, and the first NaN stays.
  __device__ __forceinline__ void add(Element& element, A value, int64_t position) const {
    const bool poisoned = value != value && element.best == element.best;
    if (element.position < 0 || poisoned || beats(value, element.best)) element = {value, static_cast<I>(position)};
  }
  __device__ __forceinline__ void add_product(Element& element, A weight, A value, int64_t position) const {
    add(element, weight * value, position);
  }
  __device__ __forceinline__ void merge(Element& element, const Element& other) const {
    if (other.position < 0) return;
    const bool mine = element.best != element.best;
    const bool theirs = other.best != other.best;
    const bool tie = mine == theirs && (mine || element.best == other.best);
    const bool takes = tie ? other.position < element.position : theirs || (!mine && beats(other.best, element.best));
    if (element.position < 0 || takes) element = other;
  }
  __device__ __forceinline__ Element of_lane(unsigned mask, const Element& element, int distance) const {
    return {__shfl_xor_sync(mask, element.best, distance), __shfl_xor_sync(mask, element.position, distance)};
  }
  __device__ __forceinline__ void store(const Element& element, int64_t where, int64_t) const {
    out[where] = narrow<T>(element.best);
    arg[where] = element.position >= 0 && label != nullptr ? label[element.position] : element.position;
  }
};

// Maximum, and sum of exp(x - maximum), in one pass.
template <typename T>
struct SoftmaxTo {
  using A = Accumulate<T>;
  struct Element {
    A peak;
    A sum;
  };
  A* peak;
  A* sum;

  __device__ __forceinline__ Element start() const { return {-static_cast<A>(INFINITY), A(0)}; }
  // exp(x - peak), where a peak of minus infinity stands for nothing but masked scores.
  __device__ static __forceinline__ A power(A x, A peak) {
    return exp(x - (peak == -static_cast<A>(INFINITY) ? A(0) : peak));
  }
  __device__ __forceinline__ void add(Element& element, A value, int64_t) const {
    if (value > element.peak) {
      element.sum = element.sum * power(element.peak, value) + power(value, value);
      element.peak = value;
    } else {
      element.sum += power(value, element.peak);
    }
  }
  __device__ __forceinline__ void add_product(Element& element, A weight, A value, int64_t position) const {
    add(element, weight * value, position);
  }
  __device__ __forceinline__ void merge(Element& element, const Element& other) const {
    const A higher = other.peak > element.peak ? other.peak : element.peak;
    element.sum = element.sum * power(element.peak, higher) + other.sum * power(other.peak, higher);
    element.peak = higher;
  }
  __device__ __forceinline__ Element of_lane(unsigned mask, const Element& element, int distance) const {
    return {__shfl_xor_sync(mask, element.peak, distance), __shfl_xor_sync(mask, element.sum, distance)};
  }
  __device__ __forceinline__ void store(const Element& element, int64_t where, int64_t) const {
    peak[where] = element.peak == -static_cast<A>(INFINITY) ? A(0) : element.peak;
    sum[where] = element.sum == A(0) ? A(1) : element.sum;
  }
};

// A team's place: its lanes within the warp, and its part of a row.
template <int V>
struct Team {
  unsigned mask;
  int first_thread;  // of the block
  int size;
  int lane;   // within the team
  int slice;  // of the positions
  int slices;
  int lanes;
  int64_t feature;  // first of the V that this lane handles

  __device__ __forceinline__ Team(const Teams& teams, int tile)
      : size(teams.lanes * teams.slices), slices(teams.slices), lanes(teams.lanes) {
    lane = static_cast<int>(threadIdx.x) & (size - 1);
    first_thread = static_cast<int>(threadIdx.x) - lane;
    const unsigned members = size == kWarp ? kAllLanes : (1u << size) - 1u;
    mask = members << (first_thread & (kWarp - 1));
    slice = lane / lanes;
    feature = (static_cast<int64_t>(tile) * lanes + lane % lanes) * V;
  }
};

template <typename T, typename I, int V, Weighting weighting, typename Policy>
struct RowReducer {
  using A = Accumulate<T>;
  using Element = typename Policy::Element;

  const SpmmArgs<T, I>& args;
  const Policy& policy;
  const Teams& teams;
  const Team<V>& team;
  int64_t head;  // that this lane's features belong to, where weights are per head
  I* staged_source;
  I* staged_edge;
  A* staged_weight;

  __device__ __forceinline__ void stage(int64_t position) const {
    const int64_t source = args.col != nullptr ? static_cast<int64_t>(args.col[position]) : position;
    GNNKIT_DEVICE_CHECK(source >= 0 && source < teams.x_rows);
    staged_source[threadIdx.x] = static_cast<I>(source);
    if constexpr (weighting != Weighting::kNone) {
      const int64_t edge = args.edge_id != nullptr ? static_cast<int64_t>(args.edge_id[position]) : position;
      GNNKIT_DEVICE_CHECK(edge >= 0 && edge < args.num_edges);
      if constexpr (weighting == Weighting::kPerEdge) {
        staged_weight[threadIdx.x] = widen(args.weight[edge]);
      } else {
        staged_edge[threadIdx.x] = static_cast<I>(edge);
      }
    }
  }

  __device__ __forceinline__ void add_row(Element (&element)[V], int64_t source, int staged, int64_t position) const {
    const auto row = *reinterpret_cast<const Pack<T, V>*>(args.x + source * args.width + team.feature);
    if constexpr (weighting == Weighting::kNone) {
      for (int v = 0; v < V; ++v) policy.add(element[v], widen(row.lane[v]), position);
    } else if constexpr (weighting == Weighting::kPerEdge) {
      const A weight = staged_weight[staged];
      for (int v = 0; v < V; ++v) policy.add_product(element[v], weight, widen(row.lane[v]), position);
    } else {
      const T* weights = args.weight + static_cast<int64_t>(staged_edge[staged]) * args.heads;
      if (args.heads == args.width) {
        const auto weight = *reinterpret_cast<const Pack<T, V>*>(weights + team.feature);
        for (int v = 0; v < V; ++v) policy.add_product(element[v], widen(weight.lane[v]), widen(row.lane[v]), position);
      } else {
        const A weight = widen(weights[head]);
        for (int v = 0; v < V; ++v) policy.add_product(element[v], weight, widen(row.lane[v]), position);
      }
    }
  }

  // The team's sum over positions [begin, end), complete in the lanes of slice 0.
  __device__ __forceinline__ void reduce(Element (&element)[V], Range range) const {
    for (int v = 0; v < V; ++v) element[v] = policy.start();
    const bool has_features = team.feature < args.width;
    if (weighting == Weighting::kNone && args.col == nullptr) {
      GNNKIT_DEVICE_CHECK(range.end <= teams.x_rows);
      if (has_features) {
#pragma unroll 4
        for (int64_t position = range.begin + team.slice; position < range.end; position += team.slices)
          add_row(element, position, 0, position);
      }
    } else {
      for (int64_t base = range.begin; base < range.end; base += team.size) {
        if (base + team.lane < range.end) stage(base + team.lane);
        __syncwarp(team.mask);
        const int count = range.end - base < team.size ? static_cast<int>(range.end - base) : team.size;
        if (has_features) {
#pragma unroll 4
          for (int k = team.slice; k < count; k += team.slices) {
            const int staged = team.first_thread + k;
            add_row(element, static_cast<int64_t>(staged_source[staged]), staged, base + k);
          }
        }
        __syncwarp(team.mask);
      }
    }
    for (int distance = team.lanes; distance < team.size; distance *= 2) {
      for (int v = 0; v < V; ++v) {
        const Element other = policy.of_lane(team.mask, element[v], distance);
        policy.merge(element[v], other);
      }
    }
  }

  __device__ __forceinline__ bool writes() const { return team.slice == 0 && team.feature < args.width; }
};

// Items are (chunk, tile) pairs, which come first since they take longest, and then (row, tile) pairs.
// `partial` is [chunks, 2, width]: the piece of the long row that a chunk begins in, and of the one that begins in it.
// `hub` is [chunks]: the long row that begins in a chunk, or -1.
template <typename T, typename I, int V, Weighting weighting, typename Policy>
__global__ void __launch_bounds__(kBlock) reduce_rows(const SpmmArgs<T, I> args, const Policy policy, const Teams teams,
                                                      typename Policy::Element* const partial, int64_t* const hub) {
  using A = Accumulate<T>;
  GNNKIT_SHARED(I, staged_source, kBlock);
  GNNKIT_SHARED(I, staged_edge, weighting == Weighting::kPerHead ? kBlock : 1);
  GNNKIT_SHARED(A, staged_weight, weighting == Weighting::kPerEdge ? kBlock : 1);
  const unsigned team_size = static_cast<unsigned>(teams.lanes * teams.slices);
  const int64_t item = static_cast<int64_t>(blockIdx.x) * (kBlock / team_size) + threadIdx.x / team_size;
  const Quotient place = divide(item, teams.tiles);
  const int64_t unit = place.whole;
  if (unit >= teams.chunks + teams.num_rows) return;
  const Team<V> team(teams, static_cast<int>(place.rest));
  const int64_t head = weighting == Weighting::kPerHead ? divide(team.feature * args.heads, args.width).whole : 0;
  const RowReducer<T, I, V, weighting, Policy> reducer{args, policy,        teams,       team,
                                                       head, staged_source, staged_edge, staged_weight};
  typename Policy::Element element[V];
  if (unit >= teams.chunks) {
    const int64_t row = unit - teams.chunks;
    if (row == 0 && !teams.open_ended) check_covered(args.rowptr, teams.num_rows, args.num_edges);
    const Range range = positions_of(args.rowptr, row, args.num_edges);
    if (range.end - range.begin > kChunk) return;
    reducer.reduce(element, range);
    if (!reducer.writes()) return;
    for (int v = 0; v < V; ++v) policy.store(element[v], row * args.width + team.feature + v, range.end - range.begin);
    return;
  }
  const int64_t first = unit * kChunk;
  const int64_t last = first + kChunk < args.num_edges ? first + kChunk : args.num_edges;
  // Rows between these two lie inside of the chunk, and so are not long.
  const int64_t first_row = row_of_position(args.rowptr, teams.num_rows, first);
  const int64_t last_row = row_of_position(args.rowptr, teams.num_rows, last - 1);
  int64_t begins_here = -1;
  for (int64_t r = first_row;; r = last_row) {
    const Range row = positions_of(args.rowptr, r, args.num_edges);
    if (row.end - row.begin > kChunk && row.end > first && row.begin < last) {
      if (row.begin >= first) begins_here = r;
      const Range piece{row.begin > first ? row.begin : first, row.end < last ? row.end : last};
      reducer.reduce(element, piece);
      if (reducer.writes()) {
        const int64_t slot = unit * 2 + (row.begin > first ? 1 : 0);
        for (int v = 0; v < V; ++v) partial[slot * args.width + team.feature + v] = element[v];
      }
    }
    if (r == last_row) break;
  }
  if (team.lane == 0 && team.feature == 0) hub[unit] = begins_here;
}

// Merges the pieces of each long row in ascending order; one thread per chunk and feature.
template <typename I, typename Policy>
__global__ void __launch_bounds__(kBlock)
    merge_pieces(const I* const rowptr, const int64_t width, const int64_t chunks, const Policy policy,
                 const typename Policy::Element* const partial, const int64_t* const hub) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const Quotient place = divide(thread, width);
  const int64_t chunk = place.whole;
  if (chunk >= chunks) return;
  const int64_t row = hub[chunk];
  if (row < 0) return;
  const int64_t feature = place.rest;
  const int64_t begin = rowptr[row];
  const int64_t end = rowptr[row + 1];
  typename Policy::Element element = partial[(chunk * 2 + (begin > chunk * kChunk ? 1 : 0)) * width + feature];
#pragma unroll 4
  for (int64_t next = chunk + 1; next * kChunk < end; ++next)
    policy.merge(element, partial[next * 2 * width + feature]);
  policy.store(element, row * width + feature, end - begin);
}

}  // namespace gnnkit
