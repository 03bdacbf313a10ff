// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): constants and the layout that
// every backend shares. Element i of a tensor takes word (i % 64) / 16 of the block with counter i / 64 * 16 + i % 16.
#pragma once

#include <cstdint>

namespace gnnkit::philox {

constexpr uint64_t kMultiplier0 = 0xD2511F53u;
constexpr uint64_t kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u;
constexpr uint32_t kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;
constexpr int64_t kGroup = 64;          // elements that share one run of counters
constexpr int64_t kBlocksInGroup = 16;  // counters in that run

// An element is kept where its random number is at least this.
inline uint32_t drop_threshold(double p) {
  const double scaled = p * 4294967296.0;
  // Round half to even, as Python does: the reference must agree on every p.
  const double floor = static_cast<double>(static_cast<uint64_t>(scaled));
  const double rest = scaled - floor;
  const uint64_t base = static_cast<uint64_t>(floor);
  const bool up = rest > 0.5 || (rest == 0.5 && (base & 1) != 0);
  const uint64_t rounded = base + (up ? 1 : 0);
  return rounded > 0xFFFFFFFFu ? 0xFFFFFFFFu : static_cast<uint32_t>(rounded);
}

}  // namespace gnnkit::philox
