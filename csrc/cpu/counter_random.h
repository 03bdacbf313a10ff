// Random numbers by counter, one block at a time; see gnnkit/ops/_philox.py for the same in NumPy.
#pragma once

#include <array>
#include <cstdint>

#include "common/philox.h"

namespace gnnkit {

// The four words of Philox4x32-10 that belong to a counter under a key.
inline std::array<uint32_t, 4> philox_block(uint64_t key, std::array<uint32_t, 4> word) {
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < philox::kRounds; ++round) {
    const uint64_t product0 = philox::kMultiplier0 * word[0];
    const uint64_t product1 = philox::kMultiplier1 * word[2];
    word = {static_cast<uint32_t>(product1 >> 32) ^ word[1] ^ key0, static_cast<uint32_t>(product1),
            static_cast<uint32_t>(product0 >> 32) ^ word[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += philox::kWeyl0;
    key1 += philox::kWeyl1;
  }
  return word;
}

// Uniform in [0, 1), a multiple of 2^-53.
inline double unit_interval(uint32_t high, uint32_t low) {
  return static_cast<double>((static_cast<uint64_t>(high) << 32 | low) >> 11) * 0x1p-53;
}

}  // namespace gnnkit
