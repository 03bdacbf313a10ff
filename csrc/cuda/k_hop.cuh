// Nodes within k hops: one block per node goes breadth first. A bit per node tells who has been reached, a queue holds
// them ring by ring. Within a ring their order depends on who comes first, so that the launcher sorts them in the end.
#pragma once

#include "cuda/pieces.cuh"

namespace gnnkit::device {

constexpr int kHopThreads = 128;

template <typename I>
struct HopArgs {
  Rows<I> rows;
  const I* col;
  int64_t max_hops;
  unsigned* reached;  // a bit per node, for each block; null: in shared memory
  I* queues;          // a number per node, for each block; null: the result is the queue
  int64_t* counts;    // nodes found for each node
  const I* out_rowptr;
  I* out_col;
  int64_t* out_distance;  // null: only counted

  __host__ __device__ int64_t words() const { return (rows.num_rows + 31) / 32; }
};

// What the threads of a block share on their way.
template <typename I>
struct HopSearch {
  unsigned* reached;
  I* queue;
  unsigned long long* found;  // length of the queue

  __device__ bool reach(int64_t node) const {
    const unsigned bit = 1u << (node % 32);
    return (atomicOr(reached + node / 32, bit) & bit) == 0;
  }

  __device__ void expand(const HopArgs<I>& args, int64_t node, int first, int step) const {
    const Span row = args.rows.row(node);
    for (int64_t at = row.begin + first; at < row.end; at += step) {
      const int64_t next = args.col[at];
      GNNKIT_DEVICE_CHECK(next >= 0 && next < args.rows.num_rows);
      if (reach(next)) queue[atomicAdd(found, 1ull)] = static_cast<I>(next);
    }
  }
};

template <typename I>
__device__ void search_from(const HopArgs<I>& args, const HopSearch<I>& search, int64_t node) {
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    *search.found = 0;
    search.reach(node);
  }
  __syncthreads();
  int64_t begin = 0;
  int64_t end = 0;
  for (int64_t hop = 1; hop <= args.max_hops; ++hop) {
    if (hop == 1) {
      search.expand(args, node, thread, kHopThreads);
    } else {
      for (int64_t at = begin + thread / kWarp; at < end; at += kHopThreads / kWarp)
        search.expand(args, search.queue[at], thread % kWarp, kWarp);
    }
    __syncthreads();
    begin = end;
    end = static_cast<int64_t>(*search.found);
    __syncthreads();
    if (begin == end) break;
    if (args.out_distance == nullptr) continue;
    for (int64_t at = begin + thread; at < end; at += kHopThreads) args.out_distance[args.out_rowptr[node] + at] = hop;
  }
  // Only what was set is cleared: most nodes are far away.
  for (int64_t at = thread; at < end; at += kHopThreads) search.reached[search.queue[at] / 32] = 0;
  if (thread == 0) {
    search.reached[node / 32] = 0;
    if (args.counts != nullptr) args.counts[node] = end;
  }
  __syncthreads();
}

template <typename I>
__global__ void __launch_bounds__(kHopThreads) k_hop_kernel(HopArgs<I> args) {
  GNNKIT_DYNAMIC_SHARED(unsigned, shared_words);
  GNNKIT_SHARED(unsigned long long, found, 1);
  HopSearch<I> search{shared_words, nullptr, found};
  if (args.reached != nullptr) search.reached = args.reached + blockIdx.x * args.words();
  for (int64_t word = threadIdx.x; word < args.words(); word += kHopThreads) search.reached[word] = 0;
  __syncthreads();
  for (int64_t node = blockIdx.x; node < args.rows.num_rows; node += gridDim.x) {
    search.queue =
        args.queues != nullptr ? args.queues + blockIdx.x * args.rows.num_rows : args.out_col + args.out_rowptr[node];
    search_from(args, search, node);
  }
}

}  // namespace gnnkit::device
