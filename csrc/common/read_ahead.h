// Asking for parts of a mapped file before they are read: the disk then works on many at once, not on one per thread.
#pragma once

#include <cstdint>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace gnnkit {

// Starts to read what of [data, data + bytes) is not in memory, and does not wait. Memory of no file is left as it is.
inline void read_ahead([[maybe_unused]] const void* data, [[maybe_unused]] int64_t bytes) {
#if (defined(__unix__) || defined(__APPLE__)) && defined(MADV_WILLNEED)
  static const intptr_t page = sysconf(_SC_PAGESIZE);
  const auto address = reinterpret_cast<intptr_t>(data);
  const intptr_t begin = address / page * page;
  madvise(reinterpret_cast<void*>(begin), static_cast<size_t>(address + bytes - begin), MADV_WILLNEED);
#endif
}

}  // namespace gnnkit
