// Gradients of a sparse product on the patterns of its factors, as inner products: one group of lanes adds up the terms
// of one entry, in a fixed order. The gradient to the product is given with ascending columns within rows, so that a
// term finds its number by binary search.
#pragma once

#include "cuda/spgemm.cuh"

namespace gnnkit::device {

template <typename T, typename I>
struct SpgemmBackwardArgs {
  SparseMatrix<T, I> a;
  SparseMatrix<T, I> b;
  Rows<I> product;         // rows of the gradient
  const I* product_col;    // ascending within rows
  const I* product_entry;  // where the gradient of each lies
  const T* grad;
  const I* turned_ptr;    // entries of a by column: boundaries,
  const I* turned_entry;  // and positions, ascending within columns
  const I* a_row;         // row of each entry of a
  T* grad_a;              // null: not wanted
  T* grad_b;              // null: not wanted
  int group_lanes;        // a power of two
};

// The gradient at (row, column): the sum over equal entries, zero where there is none.
template <typename T, typename I>
__device__ Accumulate<T> gradient_at(const SpgemmBackwardArgs<T, I>& args, const Span& row, unsigned column) {
  int64_t low = row.begin;
  int64_t high = row.end;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (static_cast<int64_t>(args.product_col[middle]) < column) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  Accumulate<T> sum = 0;
  for (; low < row.end && static_cast<int64_t>(args.product_col[low]) == column; ++low)
    sum += widen(args.grad[args.product_entry[low]]);
  return sum;
}

// The sum over a group of lanes, in each of them; all lanes of the warp must call it.
template <typename A>
__device__ A group_sum(A value, int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

struct EntryOfGroup {
  int64_t entry;
  int lane;
};
__device__ inline EntryOfGroup entry_of_group(int lanes) {
  return {(static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / lanes, static_cast<int>(threadIdx.x) % lanes};
}

// To A[i, k]: the sum over the entries j of row k of B.
template <typename T, typename I>
__global__ void spgemm_grad_a_kernel(SpgemmBackwardArgs<T, I> args) {
  using A = Accumulate<T>;
  const EntryOfGroup own = entry_of_group(args.group_lanes);
  A sum = 0;
  if (own.entry < args.a.rows.num_entries) {
    const Span row = args.product.row(args.a_row[own.entry]);
    const Span inner = args.b.rows.row(args.a.column(own.entry));
    for (int64_t at = inner.begin + own.lane; at < inner.end; at += args.group_lanes)
      sum += gradient_at(args, row, args.b.column(at)) * args.b.value(at);
  }
  sum = group_sum(sum, args.group_lanes);
  if (own.lane == 0 && own.entry < args.a.rows.num_entries) args.grad_a[args.a.edge(own.entry)] = narrow<T>(sum);
}

// To B[k, j]: the sum over the entries i of column k of A.
template <typename T, typename I>
__global__ void spgemm_grad_b_kernel(SpgemmBackwardArgs<T, I> args) {
  using A = Accumulate<T>;
  const EntryOfGroup own = entry_of_group(args.group_lanes);
  A sum = 0;
  if (own.entry < args.b.rows.num_entries) {
    const int64_t middle = args.b.rows.row_of(own.entry);
    const unsigned column = args.b.column(own.entry);
    for (int64_t at = args.turned_ptr[middle] + own.lane; at < args.turned_ptr[middle + 1]; at += args.group_lanes) {
      const int64_t left = args.turned_entry[at];
      sum += args.a.value(left) * gradient_at(args, args.product.row(args.a_row[left]), column);
    }
  }
  sum = group_sum(sum, args.group_lanes);
  if (own.lane == 0 && own.entry < args.b.rows.num_entries) args.grad_b[args.b.edge(own.entry)] = narrow<T>(sum);
}

}  // namespace gnnkit::device
