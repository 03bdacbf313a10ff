#include "cuda/row_reduction.h"

#include "cuda/row_reduction.cuh"

namespace gnnkit {

namespace {

int power_of_two_from(int64_t value) {
  int power = 1;
  while (power < value) power *= 2;
  return power;
}

template <int V, Weighting weighting, typename T, typename I, typename Policy>
void reduce(const SpmmArgs<T, I>& args, const Policy& policy, RowCounts counts, const Tensor& like, Stream stream) {
  using Element = typename Policy::Element;
  Teams teams{};
  teams.num_rows = counts.rows;
  teams.x_rows = counts.x_rows;
  teams.open_ended = counts.open_ended;
  teams.chunks = args.num_edges > kChunk ? (args.num_edges + kChunk - 1) / kChunk : 0;
  const int64_t packs = (args.width + V - 1) / V;
  teams.lanes = packs >= kWarp ? kWarp : power_of_two_from(packs);
  teams.tiles = static_cast<int>((packs + teams.lanes - 1) / teams.lanes);
  // Lanes that features leave over share the positions of a row, where rows have several for each on average.
  teams.slices = 1;
  while (teams.slices * 2 * teams.lanes <= kWarp && teams.slices * 4 * counts.rows <= args.num_edges) teams.slices *= 2;
  const Tensor partial = scratch(teams.chunks * 2 * args.width * static_cast<int64_t>(sizeof(Element)), like);
  const Tensor hub = scratch(teams.chunks * static_cast<int64_t>(sizeof(int64_t)), like);
  const int64_t threads = (teams.chunks + teams.num_rows) * teams.tiles * teams.lanes * teams.slices;
  GNNKIT_LAUNCH((reduce_rows<T, I, V, weighting, Policy>), blocks_for_threads(threads), kBlock, 0, stream, args, policy,
                teams, write<Element>(partial), write<int64_t>(hub));
  if (teams.chunks == 0) return;
  GNNKIT_LAUNCH((merge_pieces<I, Policy>), blocks_for_threads(teams.chunks * args.width), kBlock, 0, stream,
                args.rowptr, args.width, teams.chunks, policy, read<Element>(partial), read<int64_t>(hub));
}

template <int V, typename T, typename I, typename Policy>
void with_weighting(const SpmmArgs<T, I>& args, const Policy& policy, RowCounts counts, const Tensor& like,
                    Stream stream) {
  if (args.weight == nullptr) {
    reduce<V, Weighting::kNone>(args, policy, counts, like, stream);
  } else if (args.heads == 1) {
    reduce<V, Weighting::kPerEdge>(args, policy, counts, like, stream);
  } else {
    reduce<V, Weighting::kPerHead>(args, policy, counts, like, stream);
  }
}

// Whether V elements of a row, and their weights, can be loaded at once. Rows begin at aligned addresses if the first
// does.
template <int V, typename T, typename I>
bool packs(const SpmmArgs<T, I>& args) {
  return args.width % V == 0 && (args.heads <= 1 || args.heads == args.width || args.width / args.heads % V == 0);
}

}  // namespace

template <typename T, typename I, typename Out>
void sum_rows(const SpmmArgs<T, I>& args, Out* out, RowCounts counts, const Tensor& like, Stream stream) {
  constexpr int kWide = 16 / sizeof(T);
  const SumTo<T, Out> policy{out, args.mean};
  if (packs<kWide>(args)) {
    with_weighting<kWide>(args, policy, counts, like, stream);
  } else {
    with_weighting<1>(args, policy, counts, like, stream);
  }
}

template <typename T, typename I>
void extremum_of_rows(const SpmmArgs<T, I>& args, RowCounts counts, const Tensor& like, Stream stream) {
  // Elements carry a position each: wider packs would not stay in registers.
  constexpr int kWide = 8 / sizeof(T) > 2 ? 2 : 8 / sizeof(T);
  const ExtremumTo<T, I> policy{args.out, args.arg, args.arg_label, args.largest};
  if (kWide > 1 && packs<kWide>(args)) {
    with_weighting<kWide>(args, policy, counts, like, stream);
  } else {
    with_weighting<1>(args, policy, counts, like, stream);
  }
}

template <typename T, typename I>
void softmax_of_rows(const SpmmArgs<T, I>& args, Accumulate<T>* peak, Accumulate<T>* sum, RowCounts counts,
                     const Tensor& like, Stream stream) {
  reduce<1, Weighting::kNone>(args, SoftmaxTo<T>{peak, sum}, counts, like, stream);
}

#define GNNKIT_INSTANTIATE_REDUCTIONS(T, I)                                                                            \
  template void sum_rows<T, I, T>(const SpmmArgs<T, I>&, T*, RowCounts, const Tensor&, Stream);                        \
  template void extremum_of_rows<T, I>(const SpmmArgs<T, I>&, RowCounts, const Tensor&, Stream);                       \
  template void softmax_of_rows<T, I>(const SpmmArgs<T, I>&, Accumulate<T>*, Accumulate<T>*, RowCounts, const Tensor&, \
                                      Stream);
GNNKIT_INSTANTIATE_REDUCTIONS(float, int32_t)
GNNKIT_INSTANTIATE_REDUCTIONS(float, int64_t)
GNNKIT_INSTANTIATE_REDUCTIONS(double, int32_t)
GNNKIT_INSTANTIATE_REDUCTIONS(double, int64_t)
GNNKIT_INSTANTIATE_REDUCTIONS(BFloat16, int32_t)
GNNKIT_INSTANTIATE_REDUCTIONS(BFloat16, int64_t)
template void sum_rows<BFloat16, int32_t, float>(const SpmmArgs<BFloat16, int32_t>&, float*, RowCounts, const Tensor&,
                                                 Stream);
template void sum_rows<BFloat16, int64_t, float>(const SpmmArgs<BFloat16, int64_t>&, float*, RowCounts, const Tensor&,
                                                 Stream);

}  // namespace gnnkit
