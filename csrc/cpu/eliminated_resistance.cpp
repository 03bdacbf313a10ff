// Elimination as an operator, and resistances between the nodes that it joins.
#include <algorithm>

#include "cpu/elimination.h"
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

template <typename T>
Tensor tensor_of(const std::vector<T>& values, const Tensor& like) {
  const Tensor out = empty({static_cast<int64_t>(values.size())}, like,
                           std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Long);
  std::copy(values.begin(), values.end(), write<T>(out));
  return out;
}

void check_types(const Tensor& index, const Tensor& value) {
  STD_TORCH_CHECK(index.scalar_type() == ScalarType::Long && value.scalar_type() == ScalarType::Double,
                  "indices must be int64 and values float64");
}

// Eliminated rows as an operator is given them.
struct EliminatedRows {
  Tensor ptr;
  Tensor neighbor;
  Tensor share;

  EliminatedRows(const Tensor& ptr_in, const Tensor& neighbor_in, const Tensor& share_in, int64_t nodes)
      : ptr(dense(ptr_in)), neighbor(dense(neighbor_in)), share(dense(share_in)) {
    check_structure(ptr, neighbor, std::nullopt);
    check_types(neighbor, share);
    STD_TORCH_CHECK(share.dim() == 1 && share.size(0) == neighbor.size(0), "there must be one share per neighbor");
    check_boundaries(read<int64_t>(ptr), rows(), neighbor.size(0));
    bool later = rows() <= nodes;
    for (int64_t j = 0; j < rows() && later; ++j) {
      for (int64_t e = read<int64_t>(ptr)[j]; e < read<int64_t>(ptr)[j + 1]; ++e)
        later &= read<int64_t>(neighbor)[e] > j && read<int64_t>(neighbor)[e] < nodes;
    }
    STD_TORCH_CHECK(later, "neighbors of an eliminated node must come after it, and be nodes");
  }

  int64_t rows() const { return ptr.size(0) - 1; }
};

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> eliminate_nodes(
    const Tensor& rowptr_in, const Tensor& col_in, const Tensor& weight_in, int64_t effort, int64_t late_effort) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), weight = dense(weight_in);
  check_structure(rowptr, col, std::nullopt);
  check_types(col, weight);
  STD_TORCH_CHECK(weight.dim() == 1 && weight.size(0) == col.size(0), "there must be one weight per position");
  const int64_t nodes = rowptr.size(0) - 1;
  check_boundaries(read<int64_t>(rowptr), nodes, col.size(0));
  check_range(read<int64_t>(col), col.size(0), nodes);
  const Elimination out =
      eliminate({read<int64_t>(rowptr), read<int64_t>(col), read<double>(weight), nodes}, effort, late_effort);
  return {tensor_of(out.order, col),    tensor_of(out.ptr, col),        tensor_of(out.neighbor, col),
          tensor_of(out.share, col),    tensor_of(out.pivot, col),      tensor_of(out.core_rowptr, col),
          tensor_of(out.core_col, col), tensor_of(out.core_weight, col)};
}

Tensor substitute(const Tensor& ptr, const Tensor& neighbor, const Tensor& share, const Tensor& block, bool backward) {
  STD_TORCH_CHECK(block.dim() == 2 && block.scalar_type() == ScalarType::Double, "block must be float64 [N, K]");
  const EliminatedRows rows(ptr, neighbor, share, block.size(0));
  const Tensor given = dense(block);
  const Tensor out = empty({block.size(0), block.size(1)}, block);
  std::copy_n(read<double>(given), given.numel(), write<double>(out));
  const int64_t width = block.size(1);
  constexpr int64_t kColumns = 16;
  const auto run = backward ? substitute_backward : substitute_forward;
  parallel_over_chunks((width + kColumns - 1) / kColumns, [&](int64_t chunk) {
    run(read<int64_t>(rows.ptr), read<int64_t>(rows.neighbor), read<double>(rows.share), rows.rows(),
        write<double>(out), width, chunk * kColumns, std::min(width, (chunk + 1) * kColumns));
  });
  return out;
}

// Resistances between the neighbors of one eliminated node, from those found already.
class Clique {
 public:
  Clique(int64_t nodes, const int64_t* ptr, const int64_t* neighbor, int64_t eliminated, const int64_t* core_rowptr,
         const int64_t* core_col)
      : ptr_(ptr),
        neighbor_(neighbor),
        eliminated_(eliminated),
        core_rowptr_(core_rowptr),
        core_col_(core_col),
        position_(static_cast<size_t>(nodes), -1) {}

  // The resistance between members a and b is at [a * size + b]. All pairs must have been joined; ones that are not
  // count as 0.
  const std::vector<double>& gather(int64_t node, const double* found, const double* core_found) {
    const int64_t first = ptr_[node], size = ptr_[node + 1] - first;
    between_.assign(static_cast<size_t>(size * size), 0.0);
    for (int64_t a = 0; a < size; ++a) position_[neighbor_[first + a]] = a;
    for (int64_t a = 0; a < size; ++a) {
      const int64_t member = neighbor_[first + a];
      if (member < eliminated_) {
        for (int64_t e = ptr_[member]; e < ptr_[member + 1]; ++e) set(a, position_[neighbor_[e]], size, found[e]);
        continue;
      }
      const int64_t* begin = core_col_ + core_rowptr_[member - eliminated_];
      const int64_t* end = core_col_ + core_rowptr_[member - eliminated_ + 1];
      for (int64_t b = a + 1; b < size; ++b) {
        begin = std::lower_bound(begin, end, neighbor_[first + b] - eliminated_);
        if (begin != end && *begin == neighbor_[first + b] - eliminated_)
          set(a, b, size, core_found[begin - core_col_]);
      }
    }
    for (int64_t a = 0; a < size; ++a) position_[neighbor_[first + a]] = -1;
    return between_;
  }

 private:
  void set(int64_t a, int64_t b, int64_t size, double value) {
    if (b >= 0) between_[a * size + b] = between_[b * size + a] = value;
  }

  const int64_t* ptr_;
  const int64_t* neighbor_;
  int64_t eliminated_;
  const int64_t* core_rowptr_;
  const int64_t* core_col_;
  std::vector<int64_t> position_;
  std::vector<double> between_;
};

std::tuple<Tensor, Tensor> eliminated_resistance(const Tensor& ptr, const Tensor& neighbor, const Tensor& share,
                                                 const Tensor& pivot_in, const Tensor& core_rowptr_in,
                                                 const Tensor& core_col_in, const Tensor& core_resistance_in) {
  const Tensor pivot = dense(pivot_in), core_rowptr = dense(core_rowptr_in), core_col = dense(core_col_in);
  const Tensor core_resistance = dense(core_resistance_in);
  check_structure(core_rowptr, core_col, std::nullopt);
  check_types(core_col, core_resistance);
  check_types(core_rowptr, pivot);
  const int64_t core_nodes = core_rowptr.size(0) - 1;
  const int64_t nodes = ptr.size(0) - 1 + core_nodes;
  const EliminatedRows rows(ptr, neighbor, share, nodes);
  STD_TORCH_CHECK(pivot.numel() == rows.rows() && core_resistance.numel() == core_col.size(0),
                  "there must be one pivot per eliminated node and one resistance per position of the core");
  check_boundaries(read<int64_t>(core_rowptr), core_nodes, core_col.size(0));
  const int64_t* starts = read<int64_t>(rows.ptr);
  Clique clique(nodes, starts, read<int64_t>(rows.neighbor), rows.rows(), read<int64_t>(core_rowptr),
                read<int64_t>(core_col));
  const Tensor out = empty({rows.neighbor.size(0)}, pivot);
  const Tensor excess = empty({rows.rows()}, pivot);
  double* found = write<double>(out);
  for (int64_t j = rows.rows() - 1; j >= 0; --j) {
    const int64_t size = starts[j + 1] - starts[j];
    const double* part = read<double>(rows.share) + starts[j];
    const std::vector<double>& between = clique.gather(j, found, read<double>(core_resistance));
    // From each neighbor to the point that is the mean of all, and of these the mean.
    double spread = 0;
    for (int64_t a = 0; a < size; ++a) {
      double mean = 0;
      for (int64_t b = 0; b < size; ++b) mean += part[b] * between[a * size + b];
      found[starts[j] + a] = mean;
      spread += part[a] * mean;
    }
    const double own = size == 0 ? 0.0 : 1 / read<double>(pivot)[j] - spread / 2;
    write<double>(excess)[j] = own;
    for (int64_t a = 0; a < size; ++a) found[starts[j] + a] += own;
  }
  return {out, excess};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("eliminate", TORCH_BOX(&eliminate_nodes));
  library.impl("substitute", TORCH_BOX(&substitute));
  library.impl("eliminated_resistance", TORCH_BOX(&eliminated_resistance));
}

}  // namespace gnnkit
