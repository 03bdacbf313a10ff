#include <cstdlib>
#include <cstring>
#include <vector>

#include "cpu/kernels.h"

namespace gnnkit {

namespace {

// What was compiled and runs here, the best last. Where none of it runs, the first is kept: a build for one instruction
// set alone is the builder's word that the processor has it.
std::vector<Isa> usable() {
  std::vector<Isa> found;
#if defined(GNNKIT_HAS_BASELINE)
  found.push_back(Isa::kBaseline);
#endif
#if defined(GNNKIT_HAS_AVX2)
  if (found.empty() || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) found.push_back(Isa::kAvx2);
#endif
#if defined(GNNKIT_HAS_AVX512)
  if (found.empty() || (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")))
    found.push_back(Isa::kAvx512);
#endif
  return found;
}

Isa choose_isa() {
  const std::vector<Isa> isas = usable();
  const char* wanted = std::getenv("GNNKIT_CPU_ISA");
  if (wanted == nullptr) return isas.back();
  for (const Isa isa : isas) {
    const char* name = isa == Isa::kBaseline ? "baseline" : isa == Isa::kAvx2 ? "avx2" : "avx512";
    if (std::strcmp(wanted, name) == 0) return isa;
  }
  return isas.back();
}

}  // namespace

Isa active_isa() {
  static const Isa isa = choose_isa();
  return isa;
}

}  // namespace gnnkit
