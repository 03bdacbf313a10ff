// A sparse product at the entries of a mask: a row's columns of the mask are put into a table, and those terms of the
// row are added that find theirs there.
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

template <typename A, typename P>
struct MaskScratch {
  SlotTables<P> tables;
  std::vector<A> sum;
};

template <typename A, typename I>
struct MaskedArgs {
  Sparse<A, I> a;
  Sparse<A, I> b;
  Sparse<A, I> mask;
  const I* mask_edge_id;
  A* out;
};

template <typename Slots, typename P, typename A, typename I>
void masked_row(const Slots& slots, const MaskedArgs<A, I>& args, int64_t i, P first, std::vector<A>& sum) {
  const Sparse<A, I>&a = args.a, &b = args.b;
  const int64_t start = args.mask.rowptr[i];
  const int64_t count = args.mask.rowptr[i + 1] - start;
  const I* col = args.mask.col + start;
  sum.assign(static_cast<size_t>(count), A(0));
  for (int64_t n = 0; n < count; ++n) {
    P& slot = slots.find(col[n], first, col);
    if (slot < first) slot = static_cast<P>(first + n);
  }
  for (int64_t q = a.rowptr[i], end = a.rowptr[i + 1]; q < end; ++q) {
    prefetch_row(a, b, q, end);
    const I k = a.col[q];
    const A factor = a.value[q];
    for (int64_t p = b.rowptr[k]; p < b.rowptr[k + 1]; ++p) {
      const P slot = slots.find(b.col[p], first, col);
      if (slot >= first) sum[slot - first] += factor * b.value[p];
    }
  }
  for (int64_t n = 0; n < count; ++n) {
    const int64_t edge = args.mask_edge_id == nullptr ? start + n : static_cast<int64_t>(args.mask_edge_id[start + n]);
    args.out[edge] = sum[slots.find(col[n], first, col) - first];
  }
}

template <typename P, typename A, typename I>
void masked_rows(const MaskedArgs<A, I>& args) {
  std::vector<int64_t> work_before = terms_before(args.a, args.b.rowptr);
  for (int64_t i = 0; i <= args.mask.rows; ++i) work_before[i] += args.mask.rowptr[i];
  parallel_over_work<MaskScratch<A, P>>(work_before, [&](MaskScratch<A, P>& scratch, int64_t i) {
    const int64_t start = args.mask.rowptr[i];
    const int64_t count = args.mask.rowptr[i + 1] - start;
    if (count == 0) return;
    with_slots(scratch.tables, args.mask.columns, work_before[i + 1] - work_before[i], count,
               [&](const auto& slots) { masked_row(slots, args, i, static_cast<P>(start), scratch.sum); });
  });
}

Tensor masked_spgemm(const Tensor& a_rowptr, const Tensor& a_col, const OptionalTensor& a_edge_id,
                     const OptionalTensor& a_weight, const Tensor& b_rowptr, const Tensor& b_col,
                     const OptionalTensor& b_edge_id, const OptionalTensor& b_weight, const Tensor& mask_rowptr,
                     const Tensor& mask_col, const OptionalTensor& mask_edge_id, int64_t num_cols) {
  const SparseInput a_in(a_rowptr, a_col, a_edge_id, a_weight);
  const SparseInput b_in(b_rowptr, b_col, b_edge_id, b_weight);
  const SparseInput mask_in(mask_rowptr, mask_col, mask_edge_id, std::nullopt);
  const ScalarType type = check_factors(a_in, a_weight, b_in, b_weight);
  STD_TORCH_CHECK(mask_in.rows() == a_in.rows() && mask_in.col.scalar_type() == a_in.col.scalar_type(),
                  "the mask must have one row per row of the product, and the factors' index dtype");
  const Tensor& like = a_in.weight.has_value() ? *a_in.weight : *b_in.weight;
  const Tensor out = empty({mask_in.entries()}, like);
  dispatch_wide(like, a_in.col, [&](auto real, auto integer) {
    using A = decltype(real);
    using I = decltype(integer);
    const SparseValues<A, I> a(a_in, b_in.rows()), b(b_in, num_cols);
    const MaskedArgs<A, I> args{a.matrix(), b.matrix(), checked_pattern<A, I>(mask_in, num_cols),
                                read<I>(mask_in.edge_id), write<A>(out)};
    dispatch_position(mask_in.entries(), [&](auto position) { masked_rows<decltype(position)>(args); });
  });
  return narrow_as(out, type);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("masked_spgemm", TORCH_BOX(&masked_spgemm)); }

}  // namespace gnnkit
