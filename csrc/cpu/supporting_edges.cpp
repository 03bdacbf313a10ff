// Edges that support others: for each edge given, one that closes a triangle over it.
#include <unordered_set>

#include "cpu/simple_rows.h"

namespace gnnkit {

namespace {

// Pairs already joined by an earlier edge of the list.
class Joined {
 public:
  explicit Joined(int64_t nodes) : nodes_(nodes) {}

  bool holds(int64_t u, int64_t v) const { return pairs_.count(key(u, v)) != 0; }
  void insert(int64_t u, int64_t v) { pairs_.insert(key(u, v)); }

 private:
  int64_t key(int64_t u, int64_t v) const { return std::min(u, v) * nodes_ + std::max(u, v); }

  int64_t nodes_;
  std::unordered_set<int64_t> pairs_;
};

// The lowest neighbour of u, other than v, that is not next to v and not joined to it; -1: there is none.
int64_t support(const SimpleRows& rows, int64_t u, int64_t v, const Joined& joined) {
  const int64_t* next = rows.begin(v);
  for (const int64_t* w = rows.begin(u); w != rows.end(u); ++w) {
    while (next != rows.end(v) && *next < *w) ++next;
    const bool adjacent = next != rows.end(v) && *next == *w;
    if (!adjacent && *w != v && !joined.holds(*w, v)) return *w;
  }
  return -1;
}

Tensor supporting_edges(const Tensor& rowptr_in, const Tensor& col_in, const Tensor& ends_in) {
  STD_TORCH_CHECK(ends_in.dim() == 2 && ends_in.size(0) == 2 && ends_in.scalar_type() == ScalarType::Long,
                  "ends must be int64 [2, K]");
  const Tensor rowptr = dense(rowptr_in);
  const Tensor col = dense(col_in);
  const Tensor ends = dense(ends_in);
  const SimpleRows rows = checked_simple_rows(rowptr, col);
  const int64_t count = ends.size(1);
  const int64_t* first = read<int64_t>(ends);
  check_range(first, 2 * count, rows.nodes);
  Joined joined(rows.nodes);
  std::vector<int64_t> one, other;
  for (int64_t e = 0; e < count; ++e) {
    const int64_t u = first[e], v = first[count + e];
    int64_t end = v;
    int64_t found = support(rows, u, v, joined);
    if (found < 0) {
      end = u;
      found = support(rows, v, u, joined);
    }
    if (found < 0) continue;
    joined.insert(found, end);
    one.push_back(std::min(found, end));
    other.push_back(std::max(found, end));
  }
  const Tensor out = empty({2, static_cast<int64_t>(one.size())}, col);
  std::copy(one.begin(), one.end(), write<int64_t>(out));
  std::copy(other.begin(), other.end(), write<int64_t>(out) + one.size());
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("supporting_edges", TORCH_BOX(&supporting_edges)); }

}  // namespace gnnkit
