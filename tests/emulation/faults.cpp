// Kernels that are wrong, each in one way that a device would answer with a hang or with garbage. `faults NAME` runs
// one and prints what the emulation says of it; test_emulation.py knows what that should be.
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cuda/device.h"

namespace {

constexpr int kThreads = 128;

template <typename... Parameters, typename... Arguments>
void launch(int threads, void (*kernel)(Parameters...), Arguments... arguments) {
  gnnkit::emulation::launch("faulty", dim3(2), dim3(static_cast<unsigned>(threads)), 0, kernel, arguments...);
}

// Not a fault: what the others are variations of. Sums 0..127 in each of two blocks.
__global__ void sum_of_block(int* total) {
  GNNKIT_SHARED(int, part, kThreads / gnnkit::kWarp);
  int value = static_cast<int>(threadIdx.x);
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_down_sync(gnnkit::kAllLanes, value, distance);
  if (threadIdx.x % gnnkit::kWarp == 0) part[threadIdx.x / gnnkit::kWarp] = value;
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(total, part[0] + part[1] + part[2] + part[3]);
}

__global__ void half_at_the_barrier() {
  if (threadIdx.x % gnnkit::kWarp < 16) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

__global__ void exited_lanes() {
  if (threadIdx.x % gnnkit::kWarp >= 16) return;
  __syncthreads();
  __syncwarp();
}

__global__ void foreign_mask() { __syncwarp(0x0000FFFFu); }

__global__ void outside_of_mask() {
  if (threadIdx.x % gnnkit::kWarp < 16) __shfl_sync(0x0000FFFFu, 1, 20);
}

__global__ void two_masks() {
  const bool low = threadIdx.x % gnnkit::kWarp < 16;
  __syncwarp(low ? 0x0001FFFFu : gnnkit::kAllLanes);
}

__global__ void two_operations() {
  if (threadIdx.x % 2 == 0) {
    __syncwarp();
  } else {
    __ballot_sync(gnnkit::kAllLanes, 1);
  }
}

__global__ void failed_check() { GNNKIT_DEVICE_CHECK(threadIdx.x < 70 || blockIdx.x != 1); }

__global__ void too_much_memory() {
  GNNKIT_SHARED(double, much, 30000);
  much[threadIdx.x] = 0;
}

__global__ void beyond_shared_memory(int* seen) {
  GNNKIT_SHARED(int, value, kThreads);
  value[threadIdx.x] = 0;
  seen[0] = value[threadIdx.x + 1];
}

// Reads what no thread has written.
__global__ void unwritten_memory(float* seen) {
  GNNKIT_SHARED(float, value, 1);
  if (threadIdx.x == 0) seen[0] = value[0];
}

// Each thread reads what another one writes: without a barrier, some come too early.
__global__ void missing_barrier(int* sum, bool waits) {
  GNNKIT_SHARED(int, value, kThreads);
  value[threadIdx.x] = 1;
  if (waits) __syncthreads();
  atomicAdd(sum, value[kThreads - 1 - static_cast<int>(threadIdx.x)]);
}

__global__ void missing_warp_barrier(int* sum, bool waits) {
  GNNKIT_SHARED(int, value, kThreads);
  value[threadIdx.x] = 1;
  if (waits) __syncwarp();
  atomicAdd(sum, value[threadIdx.x ^ 1u]);
}

// Reads, lets others in, and writes.
__global__ void lost_update(int* counter, int* other) {
  const int before = *counter;
  atomicAdd(other, 1);
  *counter = before + 1;
}

int sum_with(void (*kernel)(int*, bool), bool waits) {
  int sum = 0;
  launch(kThreads, kernel, &sum, waits);
  return sum;
}

std::string number(double value) { return std::to_string(value); }

const std::map<std::string, std::function<std::string()>> kFaults = {
    {"none",
     [] {
       int total = 0;
       launch(kThreads, sum_of_block, &total);
       return std::to_string(total);
     }},
    {"half-at-the-barrier", [] { return launch(kThreads, half_at_the_barrier), ""; }},
    {"exited-lanes", [] { return launch(kThreads, exited_lanes), ""; }},
    {"foreign-mask", [] { return launch(kThreads, foreign_mask), ""; }},
    {"outside-of-mask", [] { return launch(kThreads, outside_of_mask), ""; }},
    {"two-masks", [] { return launch(kThreads, two_masks), ""; }},
    {"two-operations", [] { return launch(kThreads, two_operations), ""; }},
    {"failed-check", [] { return launch(kThreads, failed_check), ""; }},
    {"too-much-memory", [] { return launch(kThreads, too_much_memory), ""; }},
    {"odd-block", [] { return launch(33, foreign_mask), ""; }},
    {"empty-grid", [] { return gnnkit::emulation::launch("faulty", dim3(0), dim3(32), 0, foreign_mask), ""; }},
    {"tall-grid", [] { return gnnkit::emulation::launch("faulty", dim3(1, 65536), dim3(32), 0, foreign_mask), ""; }},
    {"beyond-shared-memory",
     [] {
       int seen = 0;
       launch(kThreads, beyond_shared_memory, &seen);
       return std::to_string(seen);
     }},
    {"unwritten-memory",
     [] {
       float seen = 0;
       launch(kThreads, unwritten_memory, &seen);
       return number(seen);
     }},
    {"missing-barrier", [] { return std::to_string(sum_with(missing_barrier, false)); }},
    {"barrier", [] { return std::to_string(sum_with(missing_barrier, true)); }},
    {"missing-warp-barrier", [] { return std::to_string(sum_with(missing_warp_barrier, false)); }},
    {"warp-barrier", [] { return std::to_string(sum_with(missing_warp_barrier, true)); }},
    {"lost-update",
     [] {
       int counter = 0, other = 0;
       launch(kThreads, lost_update, &counter, &other);
       return std::to_string(counter);
     }},
};

}  // namespace

int main(int count, char** arguments) {
  const auto fault = kFaults.find(count == 2 ? arguments[1] : "");
  if (fault == kFaults.end()) {
    std::puts("usage: faults NAME");
    return 2;
  }
  try {
    std::puts(fault->second().c_str());
  } catch (const std::exception& error) {
    std::puts(error.what());
    // An error must not spoil the next launch.
    std::puts(kFaults.at("none")().c_str());
  }
  return 0;
}
