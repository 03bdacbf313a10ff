// Asking for memory before it is read.
#pragma once

#include <cstdint>

namespace gnnkit {

// GCC takes a function that does nothing but prefetch for one without effects, and drops the calls of it: the empty
// statement is an effect.
[[gnu::always_inline]] inline void prefetch(const void* address) {
  __builtin_prefetch(address);
  asm volatile("");
}

// The cache lines of `count` elements; all but the last of them where the first element starts no line.
template <typename T>
[[gnu::always_inline]] inline void prefetch(const T* row, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t element = 0; element < count; element += kLine) prefetch(row + element);
}

}  // namespace gnnkit
