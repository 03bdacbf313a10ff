// Subgraphs induced by sets of nodes. Each thread keeps a table of the places of nodes in the set it is at. Places grow
// from set to set, so that the table is never cleared. Threads take ranges of members, not of sets: one large set is
// shared, and each thread that works on it writes its table once.
#include "cpu/sparse.h"

namespace gnnkit {

namespace {

constexpr int64_t kLongRow = 64;
constexpr int64_t kLongerThanSet = 8;  // from here on, looking for each member in a row is cheaper than reading the row

constexpr int64_t kRowsAhead = 4;
constexpr int64_t kEntriesAhead = 256;

template <typename I>
struct Sets {
  const I* rowptr;
  const I* col;
  int64_t nodes;
  int64_t edges;
  const int64_t* members;
  int64_t count;
  const int64_t* ptr;
  int64_t sets;

  int64_t degree(int64_t node) const { return rowptr[node + 1] - rowptr[node]; }
  // Rows are met in no order that the processor could guess.
  void prefetch_row(int64_t node) const { prefetch(col + rowptr[node], std::min(degree(node), kEntriesAhead)); }
  int64_t set_of(int64_t place) const { return std::upper_bound(ptr, ptr + sets + 1, place) - ptr - 1; }
  bool is_long(int64_t degree, int64_t size) const { return degree >= kLongRow && degree > kLongerThanSet * size; }
};

// An edge that is found: the place of its source, and its position in the rows of the graph.
template <typename I>
struct Hit {
  I source;
  I position;
};

template <typename I>
struct Hits {
  int64_t first_member = 0;
  std::unique_ptr<Hit<I>[]> hit;  // not a vector, which would write all its room before it is used
  size_t room = 0;
  size_t used = 0;

  Hit<I>* with_room(int64_t more) {
    if (room < used + more) {
      room = std::max({2 * room, used + static_cast<size_t>(more), kLeastRoom});
      std::unique_ptr<Hit<I>[]> larger(new Hit<I>[room]);
      std::copy(hit.get(), hit.get() + used, larger.get());
      hit.swap(larger);
    }
    return hit.get() + used;
  }

 private:
  static constexpr size_t kLeastRoom = 1 << 10;
};

// One bit per node, set for the members of one set: small enough to stay in the first-level cache where a table of
// places does not.
class Membership {
 public:
  void enter(const int64_t* begin, const int64_t* end, int64_t nodes) {
    if (bits_.empty()) bits_.assign(static_cast<size_t>(nodes / kWord + 1), 0);
    for (const int64_t* node = begin_; node < end_; ++node) bits_[*node / kWord] = 0;
    for (const int64_t* node = begin; node < end; ++node) bits_[*node / kWord] |= uint64_t{1} << (*node % kWord);
    begin_ = begin;
    end_ = end;
  }

  uint64_t has(uint64_t node) const { return bits_[node / kWord] >> (node % kWord) & 1; }

 private:
  static constexpr uint64_t kWord = 64;
  std::vector<uint64_t> bits_;
  const int64_t* begin_ = nullptr;
  const int64_t* end_ = nullptr;
};

template <typename P, typename I>
struct SetScratch {
  SlotTables<P> tables;
  Membership membership;
  int64_t set = -1;  // whose members are in a table
  std::vector<Hit<I>> by_search;
};

void keep_least(std::atomic<int64_t>& least, int64_t value) {
  int64_t seen = least;
  while (value < seen && !least.compare_exchange_weak(seen, value)) {
  }
}

// Sums of in-degrees: of all members, and of those whose row is long compared with their set.
struct Work {
  int64_t all = 0;
  int64_t in_long_rows = 0;
};

// Reads the boundaries of every row that will be visited: none is looked at again.
template <typename I>
Work checked_work(const Sets<I>& in) {
  check_range(in.members, in.count, in.nodes);
  std::atomic<bool> valid{true};
  std::atomic<int64_t> all{0}, in_long_rows{0};
  parallel_over_shares(in.count, chunks_for(in.count), [&](int64_t, int64_t begin, int64_t end) {
    Work work;
    int64_t set = in.set_of(begin);
    bool inside = true;
    for (int64_t place = begin; place < end; ++place) {
      while (place >= in.ptr[set + 1]) ++set;
      const I first = in.rowptr[in.members[place]], last = in.rowptr[in.members[place] + 1];
      inside &= first >= 0 && first <= last && last <= in.edges;
      if (!inside) break;
      work.all += last - first;
      if (in.is_long(last - first, in.ptr[set + 1] - in.ptr[set])) work.in_long_rows += last - first;
    }
    if (!inside) valid = false;
    all += work.all;
    in_long_rows += work.in_long_rows;
  });
  STD_TORCH_CHECK(valid, "row boundaries of the graph must not decrease and must run from 0 to the number of edges");
  return {all, in_long_rows};
}

// Positions of each long row in order of their source, then of themselves.
template <typename I>
std::vector<I> sorted_long_rows(const Sets<I>& in) {
  check_boundaries(in.rowptr, in.nodes, in.edges);
  check_range(in.col, in.edges, in.nodes);
  std::vector<I> order(static_cast<size_t>(in.edges));
  parallel_over_rows(in.rowptr, in.nodes, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (in.degree(row) < kLongRow) continue;
      I* const first = order.data() + in.rowptr[row];
      I* const last = order.data() + in.rowptr[row + 1];
      for (I* at = first; at < last; ++at) *at = static_cast<I>(at - order.data());
      if (std::is_sorted(in.col + in.rowptr[row], in.col + in.rowptr[row + 1])) continue;
      std::sort(first, last, [&](I a, I b) { return in.col[a] != in.col[b] ? in.col[a] < in.col[b] : a < b; });
    }
  });
  return order;
}

// Edges from members of the set to the node of a row, by reading the row.
template <typename P, typename I>
int64_t read_row(const Sets<I>& in, const HashedSlots<P>& slots, const Membership&, int64_t set, int64_t node,
                 Hits<I>& out) {
  const P first = static_cast<P>(in.ptr[set]);
  Hit<I>* const hit = out.with_room(in.degree(node));
  int64_t found = 0;
  for (int64_t p = in.rowptr[node]; p < in.rowptr[node + 1]; ++p) {
    const P place = slots.find(static_cast<int64_t>(in.col[p]), first, in.members + first);
    // Written always, counted where it is one: which of them are is hard to predict.
    hit[found] = {static_cast<I>(place), static_cast<I>(p)};
    found += place >= first;
  }
  out.used += found;
  return found;
}

// The same with a table that does not fit into the first-level cache: only members are looked up in it.
template <typename P, typename I>
int64_t read_row(const Sets<I>& in, const ColumnSlots<P>& slots, const Membership& membership, int64_t set,
                 int64_t node, Hits<I>& out) {
  const P first = static_cast<P>(in.ptr[set]);
  Hit<I>* const hit = out.with_room(in.degree(node));
  int64_t found = 0;
  for (int64_t p = in.rowptr[node]; p < in.rowptr[node + 1]; ++p) {
    hit[found].position = static_cast<I>(p);
    found += membership.has(static_cast<uint64_t>(in.col[p]));
  }
  for (int64_t n = 0; n < found; ++n)
    hit[n].source =
        static_cast<I>(slots.find(static_cast<int64_t>(in.col[hit[n].position]), first, in.members + first));
  out.used += found;
  return found;
}

// The same by looking for each member in the row.
template <typename P, typename I, typename Slots>
int64_t search_row(const Sets<I>& in, const Slots& slots, const std::vector<I>& order, int64_t set, int64_t node,
                   std::vector<Hit<I>>& found, Hits<I>& out) {
  const P first = static_cast<P>(in.ptr[set]);
  const I* const begin = order.data() + in.rowptr[node];
  const I* const end = order.data() + in.rowptr[node + 1];
  found.clear();
  for (int64_t place = in.ptr[set]; place < in.ptr[set + 1]; ++place) {
    const int64_t member = in.members[place];
    if (slots.find(member, first, in.members + first) != place) continue;
    const I* at = std::lower_bound(begin, end, member, [&](I p, int64_t value) { return in.col[p] < value; });
    for (; at < end && in.col[*at] == member; ++at) found.push_back({static_cast<I>(place), *at});
  }
  std::sort(found.begin(), found.end(), [](const Hit<I>& a, const Hit<I>& b) { return a.position < b.position; });
  std::copy(found.begin(), found.end(), out.with_room(static_cast<int64_t>(found.size())));
  out.used += found.size();
  return static_cast<int64_t>(found.size());
}

// The members [begin, end), all of one set; writes the number of edges to each of them.
template <typename P, typename I, typename Slots>
bool visit_members(const Sets<I>& in, const Slots& slots, const std::vector<I>& order, int64_t set, int64_t begin,
                   int64_t end, SetScratch<P, I>& scratch, Hits<I>& out, I* count) {
  for (int64_t place = begin; place < end; ++place) {
    const int64_t node = in.members[place], degree = in.degree(node);
    if (place + kRowsAhead < end) in.prefetch_row(in.members[place + kRowsAhead]);
    if (!order.empty() && in.is_long(degree, in.ptr[set + 1] - in.ptr[set])) {
      count[place] = static_cast<I>(search_row<P>(in, slots, order, set, node, scratch.by_search, out));
      continue;
    }
    if (!all_inside(in.col, in.rowptr[node], in.rowptr[node + 1], in.nodes)) return false;
    count[place] = static_cast<I>(read_row<P>(in, slots, scratch.membership, set, node, out));
  }
  return true;
}

// Puts the members of a set into the table; the first of equal ones stays.
template <typename P, typename I, typename Slots>
void enter(const Sets<I>& in, const Slots& slots, int64_t set, std::atomic<int64_t>& repeated) {
  const P first = static_cast<P>(in.ptr[set]);
  for (int64_t place = in.ptr[set]; place < in.ptr[set + 1]; ++place) {
    P& slot = slots.find(in.members[place], first, in.members + first);
    if (slot >= first) {
      keep_least(repeated, place);
    } else {
      slot = static_cast<P>(place);
    }
  }
}

template <typename P, typename I>
std::vector<Hits<I>> find_edges(const Sets<I>& in, I* count, std::atomic<int64_t>& repeated) {
  const Work work = checked_work(in);
  const std::vector<I> order = work.in_long_rows > in.edges ? sorted_long_rows(in) : std::vector<I>();
  const int64_t chunks = std::min(chunks_for(work.all + in.count), std::max<int64_t>(in.count, 1));
  std::vector<Hits<I>> found(static_cast<size_t>(chunks));
  std::atomic<bool> valid{true};
  parallel_with_scratch<SetScratch<P, I>>(chunks, [&](SetScratch<P, I>& scratch, int64_t chunk) {
    int64_t place = in.count * chunk / chunks;
    const int64_t end = in.count * (chunk + 1) / chunks;
    found[chunk].first_member = place;
    for (int64_t set = in.set_of(place); place < end; ++set) {
      const int64_t stop = std::min(end, in.ptr[set + 1]), size = in.ptr[set + 1] - in.ptr[set];
      if (place >= stop) continue;
      with_slots(scratch.tables, in.nodes, size, size, [&](const auto& slots) {
        if (scratch.set != set) {
          enter<P>(in, slots, set, repeated);
          if constexpr (std::is_same_v<std::decay_t<decltype(slots)>, ColumnSlots<P>>)
            scratch.membership.enter(in.members + in.ptr[set], in.members + in.ptr[set + 1], in.nodes);
        }
        scratch.set = set;
        if (!visit_members<P>(in, slots, order, set, place, stop, scratch, found[chunk], count)) valid = false;
      });
      place = stop;
    }
  });
  STD_TORCH_CHECK(valid, "sources of the graph must lie in [0, number of nodes)");
  return found;
}

// From numbers of edges, at rowptr[i + 1] that of row i, to boundaries.
template <typename I>
void accumulate(I* rowptr, int64_t rows) {
  int64_t total = 0;
  rowptr[0] = 0;
  for (int64_t i = 1; i <= rows; ++i) {
    total += rowptr[i];
    STD_TORCH_CHECK(total <= std::numeric_limits<I>::max(),
                    "the subgraphs have more edges than int32 indices can count; give int64 indices");
    rowptr[i] = static_cast<I>(total);
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor> induced_subgraphs(const Tensor& rowptr_in, const Tensor& col_in,
                                                             const OptionalTensor& edge_id_in, const Tensor& members_in,
                                                             const Tensor& ptr_in) {
  const Tensor rowptr = dense(rowptr_in), col = dense(col_in), members = dense(members_in), ptr = dense(ptr_in);
  const OptionalTensor edge_id = dense(edge_id_in);
  check_structure(rowptr, col, edge_id);
  STD_TORCH_CHECK(members.dim() == 1 && members.scalar_type() == ScalarType::Long && ptr.dim() == 1 &&
                      ptr.scalar_type() == ScalarType::Long && ptr.size(0) >= 1,
                  "members and token_ptr must be vectors of int64, and token_ptr not empty");
  const int64_t count = members.size(0);
  check_boundaries(read<int64_t>(ptr), ptr.size(0) - 1, count);
  const Tensor out_rowptr = empty({count + 1}, rowptr), repeated = empty({}, members);
  Tensor out_col, edge;
  dispatch_index(col, [&](auto integer) {
    using I = decltype(integer);
    STD_TORCH_CHECK(count <= std::numeric_limits<I>::max(), "more members than int32 indices can count");
    const Sets<I> in{read<I>(rowptr),        read<I>(col), rowptr.size(0) - 1, col.size(0),
                     read<int64_t>(members), count,        read<int64_t>(ptr), ptr.size(0) - 1};
    std::atomic<int64_t> first_repeated{count};
    I* const bounds = write<I>(out_rowptr);
    std::vector<Hits<I>> found;
    dispatch_position(count,
                      [&](auto position) { found = find_edges<decltype(position)>(in, bounds + 1, first_repeated); });
    *write<int64_t>(repeated) = first_repeated < count ? first_repeated.load() : -1;
    accumulate(bounds, count);
    out_col = empty({bounds[count]}, col);
    edge = empty({bounds[count]}, members);
    const I* const number = read<I>(edge_id);
    parallel_over_chunks(static_cast<int64_t>(found.size()), [&](int64_t chunk) {
      I* to_col = write<I>(out_col) + bounds[found[chunk].first_member];
      int64_t* to_edge = write<int64_t>(edge) + bounds[found[chunk].first_member];
      for (size_t n = 0; n < found[chunk].used; ++n) {
        const Hit<I> hit = found[chunk].hit[n];
        *to_col++ = hit.source;
        *to_edge++ = number == nullptr ? hit.position : number[hit.position];
      }
    });
  });
  return {out_rowptr, out_col, edge, repeated};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnkit, CPU, library) { library.impl("induced_subgraphs", TORCH_BOX(&induced_subgraphs)); }

}  // namespace gnnkit
