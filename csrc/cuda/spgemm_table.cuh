// Hash tables of columns, and the threads that share one.
//
// Which slot a column takes depends on who comes first. What is kept there does not: the earliest term of a column is a
// minimum, and terms are added in ascending order.
#pragma once

#include "cuda/device.h"

namespace gnnkit::device {

constexpr unsigned kNoKey = 0xFFFFFFFFu;

// Threads that do one row together: a warp, or a block of several.
template <int kWarps>
struct RowTeam {
  static constexpr int kThreads = kWarps * kWarp;

  __device__ int thread() const { return static_cast<int>(threadIdx.x) % kThreads; }
  __device__ int warp() const { return thread() / kWarp; }
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % kWarp; }
  __device__ void sync() const {
    if constexpr (kWarps == 1) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }

  // How many threads before this one, and how many in all, have a predicate. `counts` is shared: one for each warp.
  struct Place {
    unsigned before;
    unsigned total;
  };
  __device__ Place place(bool predicate, unsigned* counts) const {
    const unsigned set = __ballot_sync(kAllLanes, predicate);
    Place place{static_cast<unsigned>(__popc(set & ((1u << lane()) - 1u))), static_cast<unsigned>(__popc(set))};
    if constexpr (kWarps > 1) {
      if (lane() == 0) counts[warp()] = place.total;
      sync();
      place.total = 0;
      for (int other = 0; other < kWarps; ++other) {
        if (other < warp()) place.before += counts[other];
        place.total += counts[other];
      }
      sync();
    }
    return place;
  }
};

// Open addressing with linear probing, at most half full.
template <typename A>
struct ColumnTable {
  unsigned* key;
  unsigned* order;  // number of the first term of the column, then its place in the row
  A* value;
  unsigned mask;

  static constexpr int64_t kSlotBytes = 2 * sizeof(unsigned) + sizeof(A);

  __host__ __device__ static int64_t slots_for(int64_t columns) {
    int64_t slots = kWarp;
    while (slots < 2 * columns) slots *= 2;
    return slots;
  }

  __device__ ColumnTable(unsigned char* memory, int64_t slots)
      : key(reinterpret_cast<unsigned*>(memory)),
        order(key + slots),
        value(reinterpret_cast<A*>(order + slots)),
        mask(static_cast<unsigned>(slots - 1)) {}

  template <typename Team>
  __device__ void clear(const Team& team) const {
    for (int64_t slot = team.thread(); slot <= mask; slot += Team::kThreads) {
      key[slot] = kNoKey;
      order[slot] = kNoKey;
      value[slot] = A(0);
    }
    team.sync();
  }

  // Consecutive columns must not crowd together: the upper bits of a product with an odd constant (Knuth).
  __device__ unsigned home(unsigned column) const { return (column * 2654435769u >> 7) & mask; }

  struct Found {
    unsigned slot;
    bool fresh;
  };
  __device__ Found insert(unsigned column) const {
    unsigned slot = home(column);
    for (unsigned probes = 0; probes <= mask; ++probes, slot = (slot + 1) & mask) {
      const unsigned before = atomicCAS(key + slot, kNoKey, column);
      if (before == kNoKey || before == column) return {slot, before == kNoKey};
    }
    GNNKIT_DEVICE_CHECK(false && "a table of columns is full");
    return {0, false};
  }

  // The slot of a column; kNoKey: it is not there. Not while others insert.
  __device__ unsigned find(unsigned column) const {
    unsigned slot = home(column);
    for (unsigned probes = 0; probes <= mask; ++probes, slot = (slot + 1) & mask) {
      if (key[slot] == column) return slot;
      if (key[slot] == kNoKey) return kNoKey;
    }
    return kNoKey;
  }

  // Adds one term of each thread to its slot (kNoKey: none), in the order of the threads: lanes with one slot are added
  // up by the first of them, and warps take turns.
  template <int kWarps>
  __device__ void add_in_order(const RowTeam<kWarps>& team, unsigned slot, A term) const {
    const unsigned lane = static_cast<unsigned>(team.lane());
    const bool active = slot != kNoKey;
    // No slot has these numbers: tables are smaller.
    const unsigned peers = __match_any_sync(kAllLanes, active ? slot : kNoKey - 1u - lane);
    const bool first = active && (peers & ((1u << lane) - 1u)) == 0;
    A sum = term;
    unsigned rest = first ? peers & ~(1u << lane) : 0u;
    while (__any_sync(kAllLanes, rest != 0)) {
      const A other =
          __shfl_sync(kAllLanes, term, rest != 0 ? __ffs(static_cast<int>(rest)) - 1 : static_cast<int>(lane));
      if (rest != 0) sum += other;
      rest &= rest - 1u;
    }
    for (int turn = 0; turn < kWarps; ++turn) {
      if (first && team.warp() == turn) value[slot] += sum;
      team.sync();
    }
  }
};

}  // namespace gnnkit::device
