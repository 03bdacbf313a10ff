// Random sums of a sketch of effective resistances, and the distances that are read off it.
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

// Every edge has one random sign per column, which is a bit of its word. A node gets the sum over its edges of sign *
// root, once more negated where the node is the larger end.
Tensor sketch_sums(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& edge_in, const Tensor& root_in,
                   const Tensor& word_in, int64_t width) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), edge = dense(edge_in);
  const Tensor root = dense(root_in), word = dense(word_in);
  check_structure(rowptr, col, edge);
  STD_TORCH_CHECK(col.scalar_type() == ScalarType::Long && word.scalar_type() == ScalarType::Long &&
                      root.scalar_type() == ScalarType::Double,
                  "indices and words must be int64 and roots float64");
  STD_TORCH_CHECK(root.dim() == 1 && word.dim() == 1 && root.size(0) == word.size(0),
                  "there must be one word and one root per edge");
  STD_TORCH_CHECK(width >= 0 && width <= 64, "a word has 64 bits");
  const int64_t nodes = rowptr.size(0) - 1;
  check_boundaries(read<int64_t>(rowptr), nodes, col.size(0));
  check_range(read<int64_t>(edge), edge.size(0), root.size(0));
  const Tensor out = zeros({nodes, width}, root);
  parallel_over_rows(read<int64_t>(rowptr), nodes, width, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double* sum = write<double>(out) + i * width;
      for (int64_t p = read<int64_t>(rowptr)[i]; p < read<int64_t>(rowptr)[i + 1]; ++p) {
        const int64_t number = read<int64_t>(edge)[p];
        const uint64_t bits = static_cast<uint64_t>(read<int64_t>(word)[number]);
        const double value = i < read<int64_t>(col)[p] ? read<double>(root)[number] : -read<double>(root)[number];
        for (int64_t c = 0; c < width; ++c) sum[c] += (bits >> c & 1) != 0 ? value : -value;
      }
    }
  });
  return out;
}

Tensor squared_distances(const Tensor& z_in, const Tensor& pairs_in) {
  const Tensor z = dense(z_in), pairs = dense(pairs_in);
  STD_TORCH_CHECK(z.dim() == 2 && z.scalar_type() == ScalarType::Double, "z must be float64 [N, K]");
  STD_TORCH_CHECK(pairs.dim() == 2 && pairs.size(0) == 2 && pairs.scalar_type() == ScalarType::Long,
                  "pairs must be int64 [2, P]");
  check_range(read<int64_t>(pairs), pairs.numel(), z.size(0));
  const int64_t count = pairs.size(1), width = z.size(1);
  const Tensor out = empty({count}, z);
  const int64_t chunks = chunks_for(count * std::max<int64_t>(width, 1));
  parallel_over_chunks(chunks, [&](int64_t chunk) {
    const auto start = [&](int64_t part) { return count / chunks * part + count % chunks * part / chunks; };
    for (int64_t p = start(chunk); p < start(chunk + 1); ++p) {
      const double* a = read<double>(z) + read<int64_t>(pairs)[p] * width;
      const double* b = read<double>(z) + read<int64_t>(pairs)[count + p] * width;
      double sum = 0;
      for (int64_t c = 0; c < width; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
      write<double>(out)[p] = sum;
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("sketch_sums", TORCH_BOX(&sketch_sums));
  library.impl("squared_distances", TORCH_BOX(&squared_distances));
}

}  // namespace gnnkit
