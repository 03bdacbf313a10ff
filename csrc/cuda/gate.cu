#include "cuda/gate.cuh"

#include "common/gate_operators.h"
#include "cuda/row_walk.h"

namespace gnnkit {

namespace {

template <typename Pass>
void run(const Pass& pass, const GateInputs& in) {
  using A = typename Pass::A;
  const OnDevice device(in.sample);
  dispatch_index(in.col, [&](auto integer) {
    using I = decltype(integer);
    constexpr int64_t kItems = device::kGateItems;
    device::Walk<I> walk =
        walk_over<I>(in.rowptr, in.col, in.edge_id, in.sample.size(0), (in.width() + kItems - 1) / kItems);
    const int64_t tile = walk.group_lanes * kItems;
    walk.tiles = (in.width() + tile - 1) / tile;
    const int64_t partial_bytes = walk.rows.slots() * Pass::kSums * in.width() * static_cast<int64_t>(sizeof(A));
    const Tensor partial = scratch(partial_bytes, in.sample);
    GNNKIT_LAUNCH((device::gate_kernel<Pass, I>), grid_of_tasks(walk), kBlock, 0, device.stream(), pass, walk,
                  write<A>(partial));
    if (walk.rows.slots() == 0) return;
    GNNKIT_LAUNCH((device::gate_combine_kernel<Pass, I>), grid_of_slots(walk), kBlock, 0, device.stream(), pass, walk,
                  read<A>(partial));
  });
}

struct Device {
  template <typename T>
  static void forward(const GateArgs<T>& args, const GateInputs& in) {
    run(device::GateForward<T>{args}, in);
  }
  template <typename T>
  static void backward_dst(const GateArgs<T>& args, const GateInputs& in) {
    run(device::GateBackwardDst<T>{args}, in);
  }
  template <typename T>
  static void backward_src(const GateArgs<T>& args, const GateInputs& in) {
    run(device::GateBackwardSrc<T>{args}, in);
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) {
  library.impl("gated_aggregate", TORCH_BOX(&gated_aggregate<Device>));
  library.impl("gated_aggregate_backward_dst", TORCH_BOX(&gated_aggregate_backward_dst<Device>));
  library.impl("gated_aggregate_backward_src", TORCH_BOX(&gated_aggregate_backward_src<Device>));
}

}  // namespace gnnkit
