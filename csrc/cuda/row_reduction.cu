#include "cuda/row_reduction.h"

#include "cuda/row_reduction.cuh"

namespace gnnkit {

namespace {

int power_of_two_from(int64_t value) {
  int power = 1;
  while (power < value) power *= 2;
  return power;
}

// Positions that a team handles at once. Must depend on shapes alone: it decides the order of sums.
int slices_for(int64_t width, int wide, int64_t num_rows, int64_t num_edges) {
  const int64_t packs = width % wide == 0 ? width / wide : width;
  const int64_t room = packs >= kWarp ? 1 : kWarp / power_of_two_from(packs);
  int slices = 1;
  while (slices * 2 <= room && slices * 4 * num_rows <= num_edges) slices *= 2;
  return slices;
}

template <int V, Weighting weighting, typename T, typename I, typename Policy>
void reduce(const SpmmArgs<T, I>& args, const Policy& policy, Teams teams, const Tensor& like, Stream stream) {
  using Element = typename Policy::Element;
  const int64_t packs = (args.width + V - 1) / V;
  teams.lanes =
      static_cast<int>(std::min<int64_t>(kWarp / teams.slices, packs >= kWarp ? kWarp : power_of_two_from(packs)));
  teams.tiles = static_cast<int>((packs + teams.lanes - 1) / teams.lanes);
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
void with_weighting(const SpmmArgs<T, I>& args, const Policy& policy, const Teams& teams, const Tensor& like,
                    Stream stream) {
  if (args.weight == nullptr) {
    reduce<V, Weighting::kNone>(args, policy, teams, like, stream);
  } else if (args.heads == 1) {
    reduce<V, Weighting::kPerEdge>(args, policy, teams, like, stream);
  } else {
    reduce<V, Weighting::kPerHead>(args, policy, teams, like, stream);
  }
}

template <typename T, typename I>
Teams cut(const SpmmArgs<T, I>& args, RowCounts counts, int wide) {
  Teams teams{};
  teams.num_rows = counts.rows;
  teams.x_rows = counts.x_rows;
  teams.chunks = args.num_edges > kChunk ? (args.num_edges + kChunk - 1) / kChunk : 0;
  teams.slices = slices_for(args.width, wide, counts.rows, args.num_edges);
  return teams;
}

// Whether V elements of a row can be loaded at once.
template <int V, typename T, typename I>
bool packs(const SpmmArgs<T, I>& args) {
  constexpr int64_t kBytes = sizeof(T) * V;
  const bool heads_fit = args.heads <= 1 || args.heads == args.width || args.width / args.heads % V == 0;
  return args.width % V == 0 && heads_fit && is_aligned(args.x, kBytes) &&
         (args.heads != args.width || is_aligned(args.weight, kBytes));
}

}  // namespace

template <typename T, typename I, typename Out>
void sum_rows(const SpmmArgs<T, I>& args, Out* out, RowCounts counts, const Tensor& like, Stream stream) {
  constexpr int kWide = 16 / sizeof(T);
  const SumTo<T, Out> policy{out, args.mean};
  const Teams teams = cut(args, counts, kWide);
  if (packs<kWide>(args)) {
    with_weighting<kWide>(args, policy, teams, like, stream);
  } else {
    with_weighting<1>(args, policy, teams, like, stream);
  }
}

template <typename T, typename I>
void extremum_of_rows(const SpmmArgs<T, I>& args, RowCounts counts, const Tensor& like, Stream stream) {
  // Elements carry a position each: wider packs would not stay in registers.
  constexpr int kWide = 8 / sizeof(T) > 2 ? 2 : 8 / sizeof(T);
  const ExtremumTo<T, I> policy{args.out, args.arg, args.arg_label, args.largest};
  const Teams teams = cut(args, counts, kWide);
  if (kWide > 1 && packs<kWide>(args)) {
    with_weighting<kWide>(args, policy, teams, like, stream);
  } else {
    with_weighting<1>(args, policy, teams, like, stream);
  }
}

template <typename T, typename I>
void softmax_of_rows(const SpmmArgs<T, I>& args, Accumulate<T>* peak, Accumulate<T>* sum, RowCounts counts,
                     const Tensor& like, Stream stream) {
  reduce<1, Weighting::kNone>(args, SoftmaxTo<T>{peak, sum}, cut(args, counts, 1), like, stream);
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
