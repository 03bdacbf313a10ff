"""Partitions of graphs in one pass over their nodes; see :class:`gnnkit.sequence.PatchTokens`."""

import torch
from torch import Tensor

from gnnkit.ops._library import define


def reference(rowptr: Tensor, col: Tensor, order: Tensor, ptr: Tensor, num_parts: int) -> Tensor:
    r"""Linear deterministic greedy partitioning with parts of equal size, one graph after the other.

    Each node joins the part ``p`` with room that has the largest :math:`|N(v) \cap p| (1 - |p| / C_p)`; ties go to the
    part of fewest nodes, then to the one of lowest number. The first ``n mod P`` parts of a graph of ``n`` nodes have
    room for :math:`\lceil n / P \rceil` nodes, the others for :math:`\lfloor n / P \rfloor`, so that all are full in the
    end.

    Args:
        rowptr: Boundaries of the neighbours of each node, int64 ``[N + 1]``.
        col: The neighbours, int64 ``[E]``; those in other graphs are passed over.
        order: In which nodes are placed, those of one graph after those of another, int64 ``[N]``.
        ptr: First node of each graph, and ``N`` at the end, int64 ``[G + 1]``.
        num_parts: Parts of each graph, 1 to ``2^20``.

    Returns:
        Part of each node, below ``num_parts``, int64 ``[N]``.
    """
    bounds, neighbours = rowptr.tolist(), col.tolist()
    part = [-1] * (len(bounds) - 1)
    starts, nodes = ptr.tolist(), order.tolist()
    for begin, end in zip(starts[:-1], starts[1:], strict=True):
        small, larger = divmod(end - begin, num_parts)
        room = [small + (p < larger) for p in range(num_parts)]
        size = [0] * num_parts
        for node in nodes[begin:end]:
            shared = [0] * num_parts
            for other in neighbours[bounds[node] : bounds[node + 1]]:
                if begin <= other < end and part[other] >= 0:
                    shared[part[other]] += 1
            open_parts = [p for p in range(num_parts) if size[p] < room[p]]
            best = max(open_parts, key=lambda p: (shared[p] * (1 - size[p] / room[p]), -size[p], -p))
            part[node] = best
            size[best] += 1
    return torch.tensor(part, dtype=torch.int64)


define(
    "greedy_partition(Tensor rowptr, Tensor col, Tensor order, Tensor ptr, int num_parts) -> Tensor",
    reference=reference,
    fake=lambda rowptr, col, order, ptr, num_parts: torch.empty_like(order),
)
