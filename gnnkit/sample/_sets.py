"""Sets of nodes around targets, and what tells their members apart."""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit.graph import Graph


class Sets(NamedTuple):
    """One set for each root, its root first; with the score of each member where sets are ranked."""

    members: Tensor
    """``[M]``."""
    ptr: Tensor
    """Where each set begins, int64 ``[R + 1]``."""
    score: Tensor | None
    """Float32 ``[M]``."""

    def select(self, which: Tensor) -> "Sets":
        """Some of the sets, in the order given."""
        size = self.ptr.diff()[which]
        ptr = boundaries(size)
        place = torch.repeat_interleave(self.ptr[which] - ptr[:-1], size) + torch.arange(int(ptr[-1]))
        return Sets(self.members[place], ptr, None if self.score is None else self.score[place])

    def owner(self) -> Tensor:
        """The set of each member, ``[M]``."""
        return torch.repeat_interleave(self.ptr.diff(), output_size=self.members.numel())


def boundaries(size: Tensor) -> Tensor:
    """Where each of several parts begins, and where the last one ends, ``[P + 1]``."""
    return torch.cat([size.new_zeros(1), size.cumsum(0)])


def ranked_sets(members: Tensor, score: Tensor, ptr: Tensor, roots: Tensor, k: int, threshold: float) -> Sets:
    """Sets of the members whose score is at least ``threshold`` times the second largest, and of the root.

    Args:
        members: In descending order of score, ``[M]``; a root that is none of the ``k`` first is one more at the end.
        score: Float64 ``[M]``.
        ptr: Where those of each root begin.
        roots: Int64 ``[R]``.
        k: How many are ranked for each root.
        threshold: Not negative.
    """
    owner = torch.repeat_interleave(ptr.diff(), output_size=members.numel())
    rank = torch.arange(members.numel()) - ptr[owner]
    second = (ptr[:-1] + 1).minimum(ptr[1:] - 1)
    is_root = members == roots[owner]
    kept = is_root | ((rank < k) & (score >= threshold * score[second][owner]))
    # Of equal owners, the root comes first, and ranks keep their order.
    order = (2 * owner + (~is_root).long())[kept].sort(stable=True).indices
    chosen = kept.nonzero()[:, 0][order]
    size = torch.bincount(owner[chosen], minlength=roots.numel())
    return Sets(members[chosen], boundaries(size), score[chosen].float())


def united(one: Sets, two: Sets, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Members of the unions of two sets each, both roots first and the others ascending, and where each begins."""
    count = one.ptr.numel() - 1
    first, second = one.members[one.ptr[:-1]].long(), two.members[two.ptr[:-1]].long()
    owner = torch.cat([one.owner(), two.owner()])
    members = torch.cat([one.members, two.members]).long()
    other = (members != first[owner]) & (members != second[owner])
    pairs = (owner[other] * num_nodes + members[other]).unique()
    owner, members = pairs // max(num_nodes, 1), pairs % max(num_nodes, 1)
    size = torch.bincount(owner, minlength=count) + 2
    ptr = boundaries(size)
    out = members.new_empty(int(ptr[-1]))
    out[ptr[:-1]], out[ptr[:-1] + 1] = first, second
    out[torch.arange(members.numel()) + 2 * (owner + 1)] = members
    return out, ptr


def scores_in(sets: Sets, members: Tensor, ptr: Tensor, num_nodes: int) -> Tensor:
    """The score of each member of some sets in the sets ``sets`` of the same owners, 0 where it is not in there."""
    assert sets.score is not None
    known, order = (sets.owner() * num_nodes + sets.members.long()).sort()
    owner = torch.repeat_interleave(ptr.diff(), output_size=members.numel())
    wanted = owner * num_nodes + members.long()
    place = torch.searchsorted(known, wanted).clamp(max=known.numel() - 1)
    return torch.where(known[place] == wanted, sets.score[order][place], 0.0)


def hops(graph: Graph, ptr: Tensor, roots: Tensor, closed: Tensor | None = None) -> Tensor:
    """Number of edges on a shortest path to the root of its part, int64 ``[n]``; -1 where there is none."""
    closed = torch.full_like(roots, -1) if closed is None else closed
    return torch.ops.gnnkit.root_distance(graph.rowptr, graph.col, ptr, roots, closed)


def double_radius_labels(graph: Graph, ptr: Tensor) -> Tensor:
    r"""Double-radius node labels of parts whose first two nodes are the targets ``u`` and ``v``, int64 ``[n]``.

    .. math:: 1 + \min(d_u, d_v) + \lfloor d / 2 \rfloor (\lfloor d / 2 \rfloor + d \bmod 2 - 1), \qquad d = d_u + d_v

    with :math:`d_u` the distance to ``u`` in the part without ``v``, and the other way round; 1 at the targets, and 0
    where one of them cannot be reached (Zhang and Chen, "Link prediction based on graph neural networks", 2018).
    """
    first, second = ptr[:-1], ptr[:-1] + 1
    to_first, to_second = hops(graph, ptr, first, second), hops(graph, ptr, second, first)
    total = to_first + to_second
    label = 1 + torch.minimum(to_first, to_second) + total // 2 * (total // 2 + total % 2 - 1)
    label[(to_first < 0) | (to_second < 0)] = 0
    label[first] = 1
    label[second] = 1
    return label
