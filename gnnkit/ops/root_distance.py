"""Distances from one node of each part of a graph; see :class:`gnnkit.sample.ShaDow`."""

import torch
from torch import Tensor

from gnnkit.ops._library import define


def reference(rowptr: Tensor, col: Tensor, ptr: Tensor, roots: Tensor, closed: Tensor) -> Tensor:
    """Searches of all parts, one hop further at a time.

    Args:
        rowptr: Boundaries of the neighbours of each node, int32 or int64 ``[N + 1]``.
        col: The neighbours, ``[E]``; those in other parts are passed over.
        ptr: First node of each part, and ``N`` at the end, int64 ``[P + 1]``.
        roots: A node of each part, int64 ``[P]``.
        closed: A node of each part that no path may pass or end at, int64 ``[P]``. -1: none.

    Returns:
        Number of hops from the root of its part to each node, int64 ``[N]``; -1 where no path leads.
    """
    num_nodes = rowptr.size(0) - 1
    part = torch.repeat_interleave(ptr.diff(), output_size=num_nodes)
    row = torch.repeat_interleave(rowptr.diff().long(), output_size=col.size(0))
    target = col.long()
    inside = part.index_select(0, row) == part.index_select(0, target)
    row, target = row[inside], target[inside]
    is_closed = torch.zeros(num_nodes, dtype=torch.bool)
    is_closed[closed[closed >= 0]] = True
    distance = torch.full((num_nodes,), -1, dtype=torch.int64)
    distance[roots] = 0
    hop = 0
    while True:
        reached = target[(distance[row] == hop) & (distance[target] < 0) & ~is_closed[target]]
        if reached.numel() == 0:
            return distance
        hop += 1
        distance[reached] = hop


define(
    "root_distance(Tensor rowptr, Tensor col, Tensor ptr, Tensor roots, Tensor closed) -> Tensor",
    reference=reference,
    fake=lambda rowptr, col, ptr, roots, closed: rowptr.new_empty(rowptr.size(0) - 1, dtype=torch.int64),
)
