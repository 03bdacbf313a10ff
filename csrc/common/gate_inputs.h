// What the gated aggregation of every device checks and hands to its kernels.
#pragma once

#include "common/arguments.h"
#include "common/dispatch.h"

namespace gnnkit {

// A topology and the features that belong to it, contiguous and checked against each other.
struct GateInputs {
  Tensor rowptr, col;
  OptionalTensor edge_id;
  Tensor sample;  // decides dtype and width

  int64_t num_rows() const { return rowptr.size(0) - 1; }
  int64_t num_edges() const { return col.size(0); }
  int64_t width() const { return sample.size(1); }

  // `tensor`, contiguous, if it is `[rows, width]` of the common dtype.
  Tensor rows(const Tensor& tensor, int64_t rows, const char* what) const {
    STD_TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == width() &&
                        tensor.scalar_type() == sample.scalar_type(),
                    what);
    return dense(tensor);
  }
  OptionalTensor rows(const OptionalTensor& tensor, int64_t count, const char* what) const {
    return tensor.has_value() ? OptionalTensor(rows(*tensor, count, what)) : std::nullopt;
  }
  Tensor statistic(const Tensor& tensor, int64_t rows) const {
    STD_TORCH_CHECK(
        tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == width() && tensor.scalar_type() == wide_type(),
        "total must be [num_dst, F] in the dtype of accumulation");
    return dense(tensor);
  }
  ScalarType wide_type() const {
    return sample.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  }
};

inline GateInputs gate_inputs(const Tensor& rowptr, const Tensor& col, const OptionalTensor& edge_id,
                              const Tensor& sample) {
  STD_TORCH_CHECK(rowptr.dim() == 1 && rowptr.size(0) >= 1 && col.dim() == 1, "rowptr and col must be vectors");
  STD_TORCH_CHECK(rowptr.scalar_type() == col.scalar_type(), "rowptr and col must have one dtype");
  if (edge_id.has_value())
    STD_TORCH_CHECK(
        edge_id->dim() == 1 && edge_id->scalar_type() == col.scalar_type() && edge_id->size(0) == col.size(0),
        "edge_id must match col");
  STD_TORCH_CHECK(sample.dim() == 2, "features must be [N, F]");
  return {dense(rowptr), dense(col), dense(edge_id), dense(sample)};
}

template <typename T>
GateArgs<T> gate_arguments(const GateInputs& in) {
  GateArgs<T> args{};
  args.topology.rowptr = in.rowptr.const_data_ptr();
  args.topology.col = in.col.const_data_ptr();
  args.topology.edge_id = in.edge_id.has_value() ? in.edge_id->const_data_ptr() : nullptr;
  args.topology.num_edges = in.num_edges();
  args.topology.wide = in.col.scalar_type() == ScalarType::Long;
  args.width = in.width();
  return args;
}

}  // namespace gnnkit
