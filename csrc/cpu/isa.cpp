#include <cstdlib>
#include <cstring>

#include "cpu/kernels.h"

namespace gnnkit {

namespace {

Isa best_isa() {
#if defined(GNNKIT_X86)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    return Isa::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::kAvx2;
#endif
  return Isa::kBaseline;
}

Isa choose_isa() {
  const Isa best = best_isa();
  const char* wanted = std::getenv("GNNKIT_CPU_ISA");
  if (wanted == nullptr) return best;
  if (std::strcmp(wanted, "baseline") == 0) return Isa::kBaseline;
  // What the processor lacks stays out of reach.
  if (std::strcmp(wanted, "avx2") == 0 && best != Isa::kBaseline) return Isa::kAvx2;
  return best;
}

}  // namespace

Isa active_isa() {
  static const Isa isa = choose_isa();
  return isa;
}

}  // namespace gnnkit
