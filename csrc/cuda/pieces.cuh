// Long rows in pieces, without a scan over the rows and without a word from the host.
//
// The list of entries is cut at multiples of `cut` entries. A row of more than `cut` entries reaches over a boundary,
// so that a cut holds pieces of at most two such rows, of the one it begins with and of the one it ends with: two slots
// per cut hold all partial results. Where a row is cut depends on `ptr` alone, and so does the order of its slots.
#pragma once

#include "cuda/device.h"

namespace gnnkit::device {

// Entries [begin, end) of one row.
struct Span {
  int64_t row = 0;
  int64_t begin = 0;
  int64_t end = 0;

  __device__ int64_t length() const { return end - begin; }
};

// The slots of one long row, in ascending order of what they hold.
struct SlotList {
  int64_t first;
  int64_t count;

  __device__ int64_t slot(int64_t piece) const { return piece == 0 ? first : first / 2 * 2 + 2 * piece; }
};

template <typename I>
struct Rows {
  const I* ptr;  // [num_rows + 1]
  int64_t num_rows;
  int64_t num_entries;
  int64_t cut;

  // None where no row can be long.
  __host__ __device__ int64_t slots() const { return num_entries > cut ? 2 * ((num_entries + cut - 1) / cut) : 0; }
  __device__ bool is_long(const Span& span) const { return span.length() > cut; }

  __device__ Span row(int64_t index) const {
    const Span span{index, ptr[index], ptr[index + 1]};
    GNNKIT_DEVICE_CHECK(span.begin >= 0 && span.begin <= span.end && span.end <= num_entries);
    return span;
  }

  // The row that an entry belongs to.
  __device__ int64_t row_of(int64_t entry) const { return row_of_position(ptr, num_rows, entry); }

  // The piece of a long row that belongs to a slot; empty where there is none.
  __device__ Span piece(int64_t slot) const {
    const int64_t begin = slot / 2 * cut;
    const int64_t end = begin + cut < num_entries ? begin + cut : num_entries;
    const int64_t first_row = row_of(begin);
    const Span whole = row(slot % 2 == 0 ? first_row : row_of(end - 1));
    if (!is_long(whole) || (slot % 2 == 1 && whole.row == first_row)) return {whole.row, begin, begin};
    return {whole.row, whole.begin > begin ? whole.begin : begin, whole.end < end ? whole.end : end};
  }

  __device__ SlotList slots_of(const Span& whole) const {
    // A row that begins within a cut is the last one there; where it goes on, it is the first.
    const int64_t first = whole.begin / cut * 2 + (whole.begin % cut == 0 ? 0 : 1);
    return {first, (whole.end - 1) / cut - whole.begin / cut + 1};
  }
};

// Boundaries come straight from callers, and reading them on the host would wait for the device.
template <typename I>
__global__ void check_segments_kernel(const I* ptr, int64_t num_segments, int64_t num_rows) {
  const int64_t segment = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (segment >= num_segments) return;
  GNNKIT_DEVICE_CHECK(segment > 0 || ptr[0] == 0);
  GNNKIT_DEVICE_CHECK(ptr[segment] <= ptr[segment + 1]);
  GNNKIT_DEVICE_CHECK(segment + 1 < num_segments || static_cast<int64_t>(ptr[num_segments]) == num_rows);
}

}  // namespace gnnkit::device
