// Mistakes made on purpose: if these go unreported, the sanitizers are not at work and a clean run means nothing.
#include <cstdint>

#if defined(__GNUC__)
#define GNNKIT_EXPORT __attribute__((visibility("default")))
#else
#define GNNKIT_EXPORT
#endif

extern "C" {

GNNKIT_EXPORT float read_float(const float* values, int64_t position) { return values[position]; }

GNNKIT_EXPORT int64_t add(int64_t left, int64_t right) { return left + right; }
}
