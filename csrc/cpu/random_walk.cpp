// Return probabilities of random walks: diagonals of the powers of a matrix, some columns of them at once.
#include "cpu/walk_dense.h"

namespace gnnkit {

namespace {

struct Task {
  WalkSpan span;
  const DenseWalk* dense;  // null: the component is sparse
};

// Writes the diagonals that follow from S^(t - 1) and S^t of a symmetric S, two for each multiplication:
// (S^(a + b))_ii = <S^a e_i, S^b e_i>.
template <typename Block>
void write_halves(const Block& block, const WalkGraph& graph, const WalkSpan& span, int64_t t, int64_t before,
                  int64_t now, double* out, int64_t steps) {
  constexpr int kColumns = Block::kColumns;
  double odd[kColumns] = {}, even[kColumns] = {};
  for (int64_t n = 0; n < before; ++n) {
    const double* a = block.previous(block.reached(n));
    const double* b = block.current(block.reached(n));
    for (int c = 0; c < kColumns; ++c) {
      odd[c] += a[c] * b[c];
      even[c] += b[c] * b[c];
    }
  }
  for (int64_t n = before; n < now; ++n) {
    const double* b = block.current(block.reached(n));
    for (int c = 0; c < kColumns; ++c) even[c] += b[c] * b[c];
  }
  for (int64_t i = span.first; i < span.last; ++i) {
    double* row = out + graph.node[i] * steps;
    row[2 * t - 2] = odd[i - span.first];
    if (2 * t <= steps) row[2 * t - 1] = even[i - span.first];
  }
}

class Returns {
 public:
  Returns(const WalkGraph& graph, double* out, int64_t steps) : graph_(graph), out_(out), steps_(steps) {
    dense_.reserve(graph.components.size());  // tasks point into it
    for (const WalkComponent& component : graph.components) {
      const bool dense = DenseWalkBlock::suits(graph, component);
      if (dense) dense_.emplace_back(graph.out, component);
      std::vector<WalkSpan> spans;
      add_spans(component, dense ? DenseWalkBlock::kColumns : WalkBlock::kColumns, spans);
      for (const WalkSpan& span : spans) tasks_.push_back({span, dense ? &dense_.back() : nullptr});
    }
  }

  int64_t tasks() const { return static_cast<int64_t>(tasks_.size()); }

  struct Scratch {
    std::unique_ptr<WalkBlock> sparse;
    DenseWalkBlock dense;
  };

  void run(Scratch& scratch, int64_t number) const {
    const Task& task = tasks_[number];
    const WalkSpan& span = task.span;
    // Both kinds of steps: half of the powers where the matrix is symmetric, all of them where not.
    const bool halves = span.component->symmetric;
    const int64_t multiplications = halves ? (steps_ + 1) / 2 : steps_;
    const auto write = [&](const auto& block) {
      return [&, this](int64_t t, int64_t before, int64_t now) {
        if (t == 0) return;
        if (halves) return write_halves(block, graph_, span, t, before, now, out_, steps_);
        for (int64_t i = span.first; i < span.last; ++i)
          out_[graph_.node[i] * steps_ + t - 1] = block.current(i)[i - span.first];
      };
    };
    if (task.dense != nullptr) {
      scratch.dense.walk(*task.dense, span.first, span.last, multiplications, write(scratch.dense));
      return;
    }
    if (scratch.sparse == nullptr) scratch.sparse = std::make_unique<WalkBlock>(graph_.components);
    const WalkRows& pattern = halves ? graph_.out : graph_.in;
    scratch.sparse->walk(graph_.out, pattern, span, multiplications, halves ? steps_ / 2 : steps_,
                         write(*scratch.sparse));
  }

 private:
  const WalkGraph& graph_;
  double* out_;
  int64_t steps_;
  std::vector<DenseWalk> dense_;
  std::vector<Task> tasks_;
};

Tensor return_probabilities(const Tensor& rowptr, const Tensor& col, const OptionalTensor& weight, int64_t steps) {
  const WalkInput input(rowptr, col, weight);
  STD_TORCH_CHECK(steps >= 1, "steps must be at least 1");
  const Tensor out = empty({input.nodes(), steps}, input.rowptr, ScalarType::Double);
  const WalkGraph graph = walk_graph(input, true);
  const Returns returns(graph, write<double>(out), steps);
  const int64_t tasks = returns.tasks(), chunks = walk_chunks(graph, tasks, steps);
  parallel_with_scratch<Returns::Scratch>(chunks, [&](Returns::Scratch& scratch, int64_t chunk) {
    for (int64_t n = tasks * chunk / chunks; n < tasks * (chunk + 1) / chunks; ++n) returns.run(scratch, n);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) {
  library.impl("return_probabilities", TORCH_BOX(&return_probabilities));
}

}  // namespace gnnkit
