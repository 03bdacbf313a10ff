// Large results in large pages. Memory fresh from the system comes page by page, and one interruption for each 4 KiB
// takes longer than most kernels need to fill it.
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gnnkit {

// Asks the system to back what it has not provided yet with huge pages, as NumPy does from the same size on. Only whole
// huge pages inside the range: no byte more is taken. Where the system has none, nothing happens.
inline void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr int64_t kPage = int64_t{2} << 20;
  if (bytes < 2 * kPage) return;
  const auto address = reinterpret_cast<intptr_t>(data);
  const intptr_t begin = (address + kPage - 1) / kPage * kPage;
  const intptr_t end = (address + bytes) / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), static_cast<size_t>(end - begin), MADV_HUGEPAGE);
#endif
}

}  // namespace gnnkit
