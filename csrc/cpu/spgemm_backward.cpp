// Gradients of a sparse product to the values of its factors: goes once through the terms of every row, with that row
// of the product's gradient at hand in a table. Both gradients come from the same pass.
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

template <typename A, typename P>
struct GradientScratch {
  SlotTables<P> tables;
  std::vector<A> by_column;  // zero but for the current row
  std::vector<A> by_place;
};

// The gradient of one row as a vector over all columns.
template <typename A>
struct DenseRow {
  const A* value;

  template <typename I>
  A at(I column) const {
    return value[column];
  }
};

// The same behind a hash table: zero for what is not in it.
template <typename A, typename I, typename P>
struct HashedRow {
  const HashedSlots<P>& slots;
  P first;
  const I* col;
  const A* value;

  A at(I column) const {
    const P place = slots.find(column, first, col);
    return place >= first ? value[place - first] : A(0);
  }
};

// Adds up equal columns of row i of g in `scratch` and calls visit(row).
template <typename A, typename I, typename P, typename Visit>
void with_row(GradientScratch<A, P>& scratch, const Sparse<A, I>& g, int64_t i, int64_t work, const Visit& visit) {
  const int64_t start = g.rowptr[i];
  const int64_t end = g.rowptr[i + 1];
  if (table_by_column(g.columns, work)) {
    if (scratch.by_column.empty()) scratch.by_column.assign(static_cast<size_t>(g.columns), A(0));
    A* row = scratch.by_column.data();
    for (int64_t p = start; p < end; ++p) row[g.col[p]] += g.value[p];
    visit(DenseRow<A>{row});
    for (int64_t p = start; p < end; ++p) row[g.col[p]] = A(0);
    return;
  }
  const HashedSlots<P> slots(scratch.tables.hashed, std::min(end - start, g.columns));
  const P first = static_cast<P>(start);
  const I* col = g.col + start;
  scratch.by_place.assign(static_cast<size_t>(end - start), A(0));
  for (int64_t p = 0; p < end - start; ++p) {
    P& slot = slots.find(col[p], first, col);
    if (slot < first) slot = static_cast<P>(first + p);
    scratch.by_place[slot - first] += g.value[start + p];
  }
  visit(HashedRow<A, I, P>{slots, first, col, scratch.by_place.data()});
}

// Rows of the product in blocks. A block adds its share of the gradient to b in a buffer of its own, over the positions
// that it can reach.
struct Blocks {
  std::vector<int64_t> first_row;
  std::vector<int64_t> low;     // first position of b that the block reaches
  std::vector<int64_t> high;    // one past the last
  std::vector<int64_t> offset;  // of the block's buffer; the last one is the size of all

  int64_t size() const { return static_cast<int64_t>(low.size()); }
};

template <typename A, typename I>
Blocks make_blocks(const Sparse<A, I>& a, const Sparse<A, I>& b, const std::vector<int64_t>& work_before,
                   int64_t count) {
  Blocks blocks;
  blocks.offset.push_back(0);
  for (int64_t block = 0; block < count; ++block) {
    const int64_t begin = row_at_share(work_before, block, count);
    const int64_t end = row_at_share(work_before, block + 1, count);
    blocks.first_row.push_back(begin);
    const auto [least, most] = std::minmax_element(a.col + a.rowptr[begin], a.col + a.rowptr[end]);
    const bool empty = a.rowptr[begin] == a.rowptr[end];
    blocks.low.push_back(empty ? 0 : b.rowptr[*least]);
    blocks.high.push_back(empty ? 0 : b.rowptr[*most + 1]);
    blocks.offset.push_back(blocks.offset.back() + blocks.high.back() - blocks.low.back());
  }
  blocks.first_row.push_back(a.rows);
  return blocks;
}

// As many blocks, up to 32, as keep the buffers within the size of b and half the number of terms: filling and adding
// them up then costs little beside the terms. A matter of the operands alone, so that the sums are the same for any
// number of threads.
template <typename A, typename I>
Blocks choose_blocks(const Sparse<A, I>& a, const Sparse<A, I>& b, const std::vector<int64_t>& work_before) {
  const int64_t limit = b.rowptr[b.rows] + work_before.back() / 2;
  for (int64_t count = work_before.back() < kSerialWork ? 1 : 32; count > 1; count /= 2) {
    Blocks blocks = make_blocks(a, b, work_before, count);
    if (blocks.offset.back() <= limit) return blocks;
  }
  return make_blocks(a, b, work_before, 1);
}

template <typename A, typename I>
struct GradientArgs {
  Sparse<A, I> a;
  Sparse<A, I> b;
  Sparse<A, I> g;
  const I* a_edge_id;
  const I* b_edge_id;
  std::vector<int64_t> work_before;  // terms and entries of g
  A* grad_a;
  A* grad_b;
};

// Row i of the gradient to a, and its part of the gradient to b, which `share` holds from position `low` on.
template <bool to_a, bool to_b, typename Row, typename A, typename I>
void gradient_row(const Row& row, const GradientArgs<A, I>& args, int64_t i, A* share, int64_t low) {
  const Sparse<A, I>&a = args.a, &b = args.b;
  for (int64_t q = a.rowptr[i], end = a.rowptr[i + 1]; q < end; ++q) {
    prefetch_row(a, b, q, end);
    const I k = a.col[q];
    const A factor = a.value[q];
    A sum = 0;
    for (int64_t p = b.rowptr[k]; p < b.rowptr[k + 1]; ++p) {
      const A grad = row.at(b.col[p]);
      if constexpr (to_a) sum += grad * b.value[p];
      if constexpr (to_b) share[p - low] += factor * grad;
    }
    if constexpr (to_a) args.grad_a[args.a_edge_id == nullptr ? q : static_cast<int64_t>(args.a_edge_id[q])] = sum;
  }
}

template <bool to_a, bool to_b, typename P, typename A, typename I>
void gradient_rows(GradientScratch<A, P>& scratch, const GradientArgs<A, I>& args, int64_t begin, int64_t end, A* share,
                   int64_t low) {
  for (int64_t i = begin; i < end; ++i) {
    if (args.a.rowptr[i] == args.a.rowptr[i + 1]) continue;
    const int64_t work = args.work_before[i + 1] - args.work_before[i];
    with_row(scratch, args.g, i, work, [&](const auto& row) { gradient_row<to_a, to_b>(row, args, i, share, low); });
  }
}

template <typename A, typename I>
void add_blocks(const Blocks& blocks, const A* shares, int64_t entries, const I* edge_id, A* grad_b) {
  const int64_t chunks = chunks_for(blocks.offset.back() + entries);
  parallel_over_chunks(chunks, [&](int64_t chunk) {
    const int64_t end = entries * (chunk + 1) / chunks;
    for (int64_t p = entries * chunk / chunks; p < end; ++p) {
      A sum = 0;
      for (int64_t block = 0; block < blocks.size(); ++block) {
        const int64_t low = blocks.low[block];
        if (p >= low && p < blocks.high[block]) sum += shares[blocks.offset[block] + p - low];
      }
      grad_b[edge_id == nullptr ? p : static_cast<int64_t>(edge_id[p])] = sum;
    }
  });
}

template <typename P, typename A, typename I>
void gradient_to_a(const GradientArgs<A, I>& args) {
  const int64_t chunks = chunks_for(args.work_before.back() + args.a.rows);
  parallel_with_scratch<GradientScratch<A, P>>(chunks, [&](GradientScratch<A, P>& scratch, int64_t chunk) {
    const int64_t begin = row_at_share(args.work_before, chunk, chunks);
    gradient_rows<true, false>(scratch, args, begin, row_at_share(args.work_before, chunk + 1, chunks),
                               static_cast<A*>(nullptr), 0);
  });
}

template <bool to_a, typename P, typename A, typename I>
void gradient_to_b(const GradientArgs<A, I>& args) {
  const Blocks blocks = choose_blocks(args.a, args.b, args.work_before);
  const std::unique_ptr<A[]> shares(new A[static_cast<size_t>(blocks.offset.back())]);
  parallel_with_scratch<GradientScratch<A, P>>(blocks.size(), [&](GradientScratch<A, P>& scratch, int64_t block) {
    A* share = shares.get() + blocks.offset[block];
    std::fill(share, shares.get() + blocks.offset[block + 1], A(0));
    gradient_rows<to_a, true>(scratch, args, blocks.first_row[block], blocks.first_row[block + 1], share,
                              blocks.low[block]);
  });
  add_blocks(blocks, shares.get(), args.b.rowptr[args.b.rows], args.b_edge_id, args.grad_b);
}

std::tuple<Tensor, Tensor> spgemm_backward(const Tensor& a_rowptr, const Tensor& a_col, const OptionalTensor& a_edge_id,
                                           const OptionalTensor& a_weight, const Tensor& b_rowptr, const Tensor& b_col,
                                           const OptionalTensor& b_edge_id, const OptionalTensor& b_weight,
                                           const Tensor& rowptr, const Tensor& col, const Tensor& grad,
                                           int64_t num_cols, bool to_a, bool to_b) {
  const SparseInput a_in(a_rowptr, a_col, a_edge_id, a_weight);
  const SparseInput b_in(b_rowptr, b_col, b_edge_id, b_weight);
  const SparseInput g_in(rowptr, col, std::nullopt, grad);
  check_factors(a_in, a_weight, g_in, grad);
  check_factors(b_in, b_weight, g_in, grad);
  STD_TORCH_CHECK(g_in.rows() == a_in.rows(), "the gradient must have one row per row of the product");
  const Tensor& like = *g_in.weight;
  const Tensor grad_a = empty({to_a ? a_in.entries() : 0}, like);
  const Tensor grad_b = empty({to_b ? b_in.entries() : 0}, like);
  dispatch_wide(like, a_in.col, [&](auto real, auto integer) {
    using A = decltype(real);
    using I = decltype(integer);
    const SparseValues<A, I> a(a_in, b_in.rows()), b(b_in, num_cols), g(g_in, num_cols);
    GradientArgs<A, I> args{a.matrix(), b.matrix(),       g.matrix(),      read<I>(a_in.edge_id), read<I>(b_in.edge_id),
                            {},         write<A>(grad_a), write<A>(grad_b)};
    args.work_before = terms_before(args.a, args.b.rowptr);
    for (int64_t i = 0; i <= args.a.rows; ++i) args.work_before[i] += args.g.rowptr[i];
    dispatch_position(g_in.entries(), [&](auto position) {
      using P = decltype(position);
      if (to_a && to_b) return gradient_to_b<true, P>(args);
      if (to_b) return gradient_to_b<false, P>(args);
      if (to_a) gradient_to_a<P>(args);
    });
  });
  return {narrow_as(grad_a, grad.scalar_type()), narrow_as(grad_b, grad.scalar_type())};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("spgemm_backward", TORCH_BOX(&spgemm_backward)); }

}  // namespace gnnkit
