// What the boxed operators call: row kernels, declared once for each instruction set they are compiled for.
#pragma once

#include <cstdint>

#include "common/arguments.h"

namespace gnnkit {

// A graph, or its transpose, at either index width.
struct Topology {
  const void* rowptr;
  const void* col;
  const void* edge_id;  // the caller's edge at each position; null: the position itself
  int64_t num_edges;
  bool wide;  // int64 indices
};

// In the dtype of accumulation: the launcher widens.
template <typename A>
struct AttentionRowsArgs : AttentionArgs<A> {
  Topology topology;
  // [num_dst, 3, heads]: peak, inverse and delta side by side; second half of the backward pass. Packed kernels have q
  // as a fourth where the score is a sum.
  const A* statistics;
};

template <typename T>
struct GateRowsArgs : GateArgs<T> {
  Topology topology;
};

// One block of a dense product, out = a b. Any strides: a transposed factor is read as it lies.
template <typename T>
struct ProductArgs {
  using A = Accumulate<T>;
  const T* a;
  int64_t a_row;
  int64_t a_depth;
  const T* b;
  int64_t b_depth;
  int64_t b_column;
  T* out;      // null: the block is a partial sum
  A* partial;  // where such a block goes
  int64_t out_row;
  int64_t rows;  // at most kProductRows
  int64_t depth;
  int64_t columns;
};

// A block of `a` and the results of a block must fit on the stack of a thread.
constexpr int64_t kProductRows = 192;

template <typename T>
struct PartialArgs {
  const Accumulate<T>* partial;  // [count, size]
  T* out;                        // [size]
  int64_t count;
  int64_t size;
};

// The part of a scan that one thread does at a time: all sequences of a group, and of each some channels or one head.
struct ScanTask {
  int64_t group;
  int64_t first_sequence;
  int64_t last_sequence;
  int64_t block;
};

#define GNNKIT_DECLARE_KERNELS(isa)                                                  \
  namespace isa {                                                                    \
  template <typename T, typename I>                                                  \
  void spmm_rows(const SpmmArgs<T, I>&, int64_t begin, int64_t end);                 \
  template <typename T, typename I>                                                  \
  void spmm_extremum_rows(const SpmmArgs<T, I>&, int64_t begin, int64_t end);        \
  template <typename T, typename I>                                                  \
  void sddmm_rows(const SddmmArgs<T, I>&, int64_t begin, int64_t end);               \
  template <typename T, typename I>                                                  \
  void segment_expand_rows(const SegmentArgs<T, I>&, int64_t begin, int64_t end);    \
  template <typename T, typename I>                                                  \
  void segment_softmax_rows(const SegmentArgs<T, I>&, int64_t begin, int64_t end);   \
  template <typename T, typename I>                                                  \
  void softmax_backward_rows(const SegmentArgs<T, I>&, int64_t begin, int64_t end);  \
  template <typename A>                                                              \
  void attention_rows(const AttentionRowsArgs<A>&, int64_t begin, int64_t end);      \
  template <typename A>                                                              \
  void attention_dst_rows(const AttentionRowsArgs<A>&, int64_t begin, int64_t end);  \
  template <typename A>                                                              \
  void attention_src_rows(const AttentionRowsArgs<A>&, int64_t begin, int64_t end);  \
  template <typename T>                                                              \
  void gate_rows(const GateRowsArgs<T>&, int64_t begin, int64_t end);                \
  template <typename T>                                                              \
  void gate_dst_rows(const GateRowsArgs<T>&, int64_t begin, int64_t end);            \
  template <typename T>                                                              \
  void gate_src_rows(const GateRowsArgs<T>&, int64_t begin, int64_t end);            \
  void packed_attention_rows(const AttentionRowsArgs<float>&, int64_t, int64_t);     \
  void packed_attention_dst_rows(const AttentionRowsArgs<float>&, int64_t, int64_t); \
  void packed_attention_src_rows(const AttentionRowsArgs<float>&, int64_t, int64_t); \
  template <typename T>                                                              \
  void epilogue_range(const EpilogueArgs<T>&, int64_t begin, int64_t end);           \
  template <typename T>                                                              \
  void epilogue_backward_range(const EpilogueArgs<T>&, int64_t begin, int64_t end);  \
  template <typename T>                                                              \
  void product_block(const ProductArgs<T>&);                                         \
  template <typename T>                                                              \
  void scan_block(const ScanArgs<T>&, const ScanTask&, T* scratch);                  \
  template <typename T>                                                              \
  void scan_backward_block(const ScanArgs<T>&, const ScanTask&, T* scratch);         \
  template <typename T>                                                              \
  void ssd_sequences(const SsdArgs<T>&, const ScanTask&, T* scratch);                \
  template <typename T>                                                              \
  void ssd_backward_sequences(const SsdArgs<T>&, const ScanTask&, T* scratch);       \
  template <typename T>                                                              \
  void delta_sequences(const DeltaArgs<T>&, const ScanTask&, T* scratch);            \
  template <typename T>                                                              \
  void delta_backward_sequences(const DeltaArgs<T>&, const ScanTask&, T* scratch);   \
  template <typename T>                                                              \
  void conv_rows(const ConvArgs<T>&, int64_t begin, int64_t end);                    \
  template <typename T>                                                              \
  void conv_activation_rows(const ConvArgs<T>&, int64_t begin, int64_t end);         \
  template <typename T>                                                              \
  void conv_backward_rows(const ConvArgs<T>&, int64_t begin, int64_t end);           \
  template <typename T>                                                              \
  void sum_partials(const PartialArgs<T>&, int64_t begin, int64_t end);              \
  }

#if defined(GNNKIT_HAS_BASELINE)
GNNKIT_DECLARE_KERNELS(baseline)
#define GNNKIT_CASE_BASELINE(kernel, ...)    \
  case ::gnnkit::Isa::kBaseline:             \
    ::gnnkit::baseline::kernel(__VA_ARGS__); \
    break;
#else
#define GNNKIT_CASE_BASELINE(kernel, ...)
#endif

#if defined(GNNKIT_HAS_AVX2)
GNNKIT_DECLARE_KERNELS(avx2)
#define GNNKIT_CASE_AVX2(kernel, ...)    \
  case ::gnnkit::Isa::kAvx2:             \
    ::gnnkit::avx2::kernel(__VA_ARGS__); \
    break;
#else
#define GNNKIT_CASE_AVX2(kernel, ...)
#endif

#if defined(GNNKIT_HAS_AVX512)
GNNKIT_DECLARE_KERNELS(avx512)
#define GNNKIT_CASE_AVX512(kernel, ...)    \
  case ::gnnkit::Isa::kAvx512:             \
    ::gnnkit::avx512::kernel(__VA_ARGS__); \
    break;
#else
#define GNNKIT_CASE_AVX512(kernel, ...)
#endif

enum class Isa { kBaseline, kAvx2, kAvx512 };
// The best instruction set that was compiled and that this processor has, or the one that GNNKIT_CPU_ISA names
// (baseline, avx2, avx512) where it is one of those.
Isa active_isa();

#define GNNKIT_CALL(kernel, ...)                \
  do {                                          \
    switch (::gnnkit::active_isa()) {           \
      GNNKIT_CASE_BASELINE(kernel, __VA_ARGS__) \
      GNNKIT_CASE_AVX2(kernel, __VA_ARGS__)     \
      GNNKIT_CASE_AVX512(kernel, __VA_ARGS__)   \
      default:                                  \
        __builtin_unreachable();                \
    }                                           \
  } while (false)

// Instantiates a row kernel for every element and index type.
#define GNNKIT_INSTANTIATE(kernel, Args)                                                     \
  template void kernel<float, int32_t>(const Args<float, int32_t>&, int64_t, int64_t);       \
  template void kernel<float, int64_t>(const Args<float, int64_t>&, int64_t, int64_t);       \
  template void kernel<double, int32_t>(const Args<double, int32_t>&, int64_t, int64_t);     \
  template void kernel<double, int64_t>(const Args<double, int64_t>&, int64_t, int64_t);     \
  template void kernel<BFloat16, int32_t>(const Args<BFloat16, int32_t>&, int64_t, int64_t); \
  template void kernel<BFloat16, int64_t>(const Args<BFloat16, int64_t>&, int64_t, int64_t)

}  // namespace gnnkit
