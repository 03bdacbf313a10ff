#include "common/gate_operators.h"
#include "cpu/launch.h"

namespace gnnkit {

namespace {

template <typename T, typename Rows>
void run(const GateArgs<T>& pass, const GateInputs& in, const Rows& rows) {
  const GateRowsArgs<T> args{pass, topology_of(in.rowptr, in.col, in.edge_id)};
  parallel_over_graph(in.rowptr, in.col, in.edge_id, in.sample.size(0), in.width() * 8,
                      [&](int64_t begin, int64_t end) { rows(args, begin, end); });
}

struct Device {
  template <typename T>
  static void forward(const GateArgs<T>& pass, const GateInputs& in) {
    run(pass, in, [](const auto& args, int64_t begin, int64_t end) { GNNKIT_CALL(gate_rows, args, begin, end); });
  }
  template <typename T>
  static void backward_dst(const GateArgs<T>& pass, const GateInputs& in) {
    run(pass, in, [](const auto& args, int64_t begin, int64_t end) { GNNKIT_CALL(gate_dst_rows, args, begin, end); });
  }
  template <typename T>
  static void backward_src(const GateArgs<T>& pass, const GateInputs& in) {
    run(pass, in, [](const auto& args, int64_t begin, int64_t end) { GNNKIT_CALL(gate_src_rows, args, begin, end); });
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("gated_aggregate", TORCH_BOX(&gated_aggregate<Device>));
  library.impl("gated_aggregate_backward_dst", TORCH_BOX(&gated_aggregate_backward_dst<Device>));
  library.impl("gated_aggregate_backward_src", TORCH_BOX(&gated_aggregate_backward_src<Device>));
}

}  // namespace gnnkit
