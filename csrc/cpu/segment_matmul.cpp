// One matrix product per segment of rows. Work is cut into blocks of rows and columns whose sizes follow from the
// shapes and the boundaries alone; threads take blocks as they get free.
#include "cpu/launch.h"

namespace gnnkit {

namespace {

constexpr int64_t kBlockColumns = 256;
// Products a thread should have to itself: fewer are not worth a thread, or a turn at the counter of blocks.
constexpr int64_t kSerialProducts = 1 << 18;

// Rows [begin, end) of a segment; partial sums of long segments are numbered from `slot` on.
struct Block {
  int64_t segment;
  int64_t begin;
  int64_t end;
  int64_t slot;  // -1: the block is its whole segment
};

template <typename I>
std::vector<Block> blocks_of(const I* ptr, int64_t num_segments, int64_t limit, bool keep_empty) {
  std::vector<Block> blocks;
  int64_t slot = 0;
  for (int64_t segment = 0; segment < num_segments; ++segment) {
    const int64_t first = ptr[segment], last = ptr[segment + 1];
    if (first == last && keep_empty) blocks.push_back({segment, first, last, -1});
    for (int64_t begin = first; begin < last; begin += limit)
      blocks.push_back({segment, begin, std::min(last, begin + limit), last - first > limit ? slot++ : -1});
  }
  return blocks;
}

// Calls run(i) for i in [0, count), each costing some `products`: many small ones share a turn.
template <typename Run>
void parallel_over_products(int64_t count, int64_t products, const Run& run) {
  const int64_t total = count * std::max<int64_t>(products, 1);
  int64_t chunks = 1;
  if (torch::stable::get_num_threads() > 1 && total > kSerialProducts)
    chunks = std::min(count, std::max<int64_t>(2, total / (kSerialProducts / 4)));
  parallel_over_chunks(chunks, [&](int64_t chunk) {
    for (int64_t i = count * chunk / chunks; i < count * (chunk + 1) / chunks; ++i) run(i);
  });
}

int64_t tiles(int64_t size, int64_t tile) { return (size + tile - 1) / tile; }

void check_ptr(const Tensor& ptr, int64_t num_segments, int64_t num_rows) {
  STD_TORCH_CHECK(ptr.dim() == 1 && ptr.size(0) == num_segments + 1, "ptr must hold one boundary more than segments");
  dispatch_index(ptr, [&](auto integer) {
    using I = decltype(integer);
    check_boundaries(read<I>(ptr), num_segments, num_rows);
  });
}

Tensor segment_matmul(const Tensor& x_in, const Tensor& ptr_in, const Tensor& weight) {
  STD_TORCH_CHECK(x_in.dim() == 2 && weight.dim() == 3 && x_in.size(1) == weight.size(1),
                  "x must be [E, K] and weight [R, K, N]");
  STD_TORCH_CHECK(x_in.scalar_type() == weight.scalar_type(), "x and weight must have one dtype");
  const Tensor x = dense(x_in), ptr = dense(ptr_in);
  const int64_t num_segments = weight.size(0), depth = x.size(1), columns = weight.size(2);
  check_ptr(ptr, num_segments, x.size(0));
  Tensor out = empty({x.size(0), columns}, x);
  if (out.numel() == 0) return out;
  dispatch(x, ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    const std::vector<Block> blocks = blocks_of(read<I>(ptr), num_segments, kProductRows, false);
    const int64_t across = tiles(columns, kBlockColumns);
    const int64_t count = static_cast<int64_t>(blocks.size()) * across;
    parallel_over_products(count, x.size(0) * depth * columns / count, [&](int64_t i) {
      const Block& block = blocks[static_cast<size_t>(i / across)];
      const int64_t column = i % across * kBlockColumns;
      ProductArgs<T> args{};
      args.a = read<T>(x) + block.begin * depth;
      args.a_row = depth;
      args.a_depth = 1;
      args.b = read<T>(weight) + block.segment * weight.stride(0) + column * weight.stride(2);
      args.b_depth = weight.stride(1);
      args.b_column = weight.stride(2);
      args.out = write<T>(out) + block.begin * columns + column;
      args.out_row = columns;
      args.rows = block.end - block.begin;
      args.depth = depth;
      args.columns = std::min(kBlockColumns, columns - column);
      GNNKIT_CALL(product_block, args);
    });
  });
  return out;
}

// Adds up the partial sums of the segments that were too long for one block.
template <typename T>
void add_partials(const std::vector<Block>& blocks, const Tensor& partial, const Tensor& out) {
  const int64_t size = out.size(1) * out.size(2);
  for (size_t first = 0; first < blocks.size();) {
    size_t last = first + 1;
    while (last < blocks.size() && blocks[last].segment == blocks[first].segment) ++last;
    if (blocks[first].slot >= 0) {
      PartialArgs<T> args{};
      args.partial = read<Accumulate<T>>(partial) + blocks[first].slot * size;
      args.out = write<T>(out) + blocks[first].segment * size;
      args.count = static_cast<int64_t>(last - first);
      args.size = size;
      const int64_t chunks = std::min(chunks_for(args.count * size), tiles(size, kBlockColumns));
      parallel_over_chunks(chunks, [&](int64_t chunk) {
        GNNKIT_CALL(sum_partials, args, size * chunk / chunks, size * (chunk + 1) / chunks);
      });
    }
    first = last;
  }
}

Tensor segment_outer(const Tensor& x_in, const Tensor& grad_in, const Tensor& ptr_in) {
  STD_TORCH_CHECK(x_in.dim() == 2 && grad_in.dim() == 2 && x_in.size(0) == grad_in.size(0),
                  "x must be [E, K] and grad [E, N]");
  STD_TORCH_CHECK(x_in.scalar_type() == grad_in.scalar_type(), "x and grad must have one dtype");
  STD_TORCH_CHECK(ptr_in.dim() == 1 && ptr_in.size(0) >= 1, "ptr must be a vector of at least one boundary");
  const Tensor x = dense(x_in), grad = dense(grad_in), ptr = dense(ptr_in);
  const int64_t num_segments = ptr.size(0) - 1, rows = x.size(1), columns = grad.size(1);
  check_ptr(ptr, num_segments, x.size(0));
  Tensor out = empty({num_segments, rows, columns}, x);
  if (out.numel() == 0) return out;
  // Long enough that all partial sums together are at most a quarter of what is read.
  const int64_t limit = std::max<int64_t>(2048, 4 * rows * columns / (rows + columns));
  dispatch(x, ptr, [&](auto value, auto integer) {
    using T = decltype(value);
    using I = decltype(integer);
    const std::vector<Block> blocks = blocks_of(read<I>(ptr), num_segments, limit, true);
    int64_t slots = 0;
    for (const Block& block : blocks) slots = std::max(slots, block.slot + 1);
    const auto held = x.scalar_type() == ScalarType::BFloat16 ? ScalarType::Float : x.scalar_type();
    const Tensor partial = empty({slots, rows, columns}, x, held);
    const int64_t across = tiles(columns, kBlockColumns), down = tiles(rows, kProductRows);
    const int64_t count = static_cast<int64_t>(blocks.size()) * across * down;
    parallel_over_products(count, x.size(0) * rows * columns / count, [&](int64_t i) {
      const Block& block = blocks[static_cast<size_t>(i / (across * down))];
      const int64_t row = i / across % down * kProductRows;
      const int64_t column = i % across * kBlockColumns;
      ProductArgs<T> args{};
      args.a = read<T>(x) + block.begin * rows + row;
      args.a_row = 1;
      args.a_depth = rows;
      args.b = read<T>(grad) + block.begin * columns + column;
      args.b_depth = columns;
      args.b_column = 1;
      if (block.slot < 0) {
        args.out = write<T>(out) + (block.segment * rows + row) * columns + column;
      } else {
        args.partial = write<Accumulate<T>>(partial) + (block.slot * rows + row) * columns + column;
      }
      args.out_row = columns;
      args.rows = std::min(kProductRows, rows - row);
      args.depth = block.end - block.begin;
      args.columns = std::min(kBlockColumns, columns - column);
      GNNKIT_CALL(product_block, args);
    });
    add_partials<T>(blocks, partial, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("segment_matmul", TORCH_BOX(&segment_matmul));
  library.impl("segment_outer", TORCH_BOX(&segment_outer));
}

}  // namespace gnnkit
