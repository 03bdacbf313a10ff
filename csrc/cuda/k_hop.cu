#include "cuda/k_hop.cuh"

#include "cuda/ordering.h"

namespace gnnkit {

namespace {

// Bits of the nodes reached stay in shared memory up to this size.
constexpr int64_t kSharedBytes = 32 << 10;
// Memory for queues and bits beside the result: blocks are added as long as they fit.
constexpr int64_t kSearchBytes = int64_t{256} << 20;
constexpr int64_t kMostBlocks = 2048;

// Memory of the searches that run at once.
struct Searches {
  int64_t blocks;
  int64_t shared_bytes;
  Tensor reached, queues;
};

template <typename I>
Searches searches_for(const device::HopArgs<I>& args, const Tensor& like) {
  const int64_t nodes = args.rows.num_rows;
  const int64_t bit_bytes = args.words() * static_cast<int64_t>(sizeof(unsigned));
  const bool shared = bit_bytes <= kSharedBytes;
  const int64_t bytes = nodes * static_cast<int64_t>(sizeof(I)) + (shared ? 0 : bit_bytes);
  const int64_t blocks = std::min(nodes, std::clamp<int64_t>(kSearchBytes / bytes, 1, kMostBlocks));
  return {blocks, shared ? bit_bytes : 0, scratch(shared ? 0 : blocks * bit_bytes, like),
          scratch(blocks * nodes * static_cast<int64_t>(sizeof(I)), like)};
}

template <typename I>
void search(device::HopArgs<I> args, const Searches& searches, Stream stream) {
  if (searches.shared_bytes == 0) args.reached = write<unsigned>(searches.reached);
  GNNKIT_LAUNCH((device::k_hop_kernel<I>), grid_of_blocks(searches.blocks), device::kHopThreads,
                static_cast<uint64_t>(searches.shared_bytes), stream, args);
}

std::tuple<Tensor, Tensor, Tensor> k_hop(const Tensor& rowptr_in, const Tensor& col_in, int64_t k) {
  STD_TORCH_CHECK(rowptr_in.dim() == 1 && rowptr_in.size(0) >= 1 && col_in.dim() == 1,
                  "rowptr and col must be vectors");
  STD_TORCH_CHECK(rowptr_in.scalar_type() == col_in.scalar_type(), "rowptr and col must have one dtype");
  const OnDevice device(col_in);
  const Stream stream = device.stream();
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in);
  const int64_t nodes = rowptr.size(0) - 1;
  Tensor found_rowptr = empty({nodes + 1}, col), found_col = empty({0}, col);
  Tensor distance = longs(0, col);
  if (nodes == 0 || col.numel() == 0) {
    torch::stable::zero_(found_rowptr);
    return {found_rowptr, found_col, distance};
  }
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    device::HopArgs<I> args{};
    args.rows = {read<I>(rowptr), nodes, col.size(0), col.size(0)};
    args.col = read<I>(col);
    args.max_hops = std::min(k, nodes);
    const Searches searches = searches_for(args, col);
    const Tensor counts = longs(nodes, col);
    device::HopArgs<I> counting = args;
    counting.counts = write<int64_t>(counts);
    counting.queues = write<I>(searches.queues);
    search(counting, searches, stream);
    const Structure structure = structure_of(counts, col, stream);
    found_rowptr = structure.rowptr;
    if (structure.entries == 0) return;
    const Tensor unsorted = empty({structure.entries}, col);
    const Tensor hops = longs(structure.entries, col);
    args.out_rowptr = read<I>(found_rowptr);
    args.out_col = write<I>(unsorted);
    args.out_distance = write<int64_t>(hops);
    search(args, searches, stream);
    const Tensor order =
        order_within_rows<I>({args.out_rowptr, nodes, structure.entries, structure.entries}, unsorted, nodes, stream);
    found_col = gathered<I, I>(unsorted, order, stream);
    distance = gathered<int64_t, I>(hops, order, stream);
  });
  return {found_rowptr, found_col, distance};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, GNNKIT_DEVICE_KEY, library) { library.impl("k_hop", TORCH_BOX(&k_hop)); }

}  // namespace gnnkit
