"""Breadth-first and depth-first search; see :mod:`gnnkit.sequence.orderings.search`."""

from collections.abc import Iterator

import torch
from torch import Tensor

from gnnkit.ops._library import define


def reference(rowptr: Tensor, col: Tensor, roots: Tensor, depth_first: bool) -> Tensor:
    """Nodes in the order in which searches meet them.

    Args:
        rowptr: Boundaries of the nodes, int64 ``[N + 1]``.
        col: Where a search may go on from each node, the first choice first, int64 ``[E]``.
        roots: Where searches begin, one after the other, int64 ``[R]``; those met before are passed over. Together they
            must reach all nodes.
        depth_first: Whether a search goes on from the last node met that leads on, or from the first one.

    Returns:
        Int64 ``[N]``.
    """
    search = _depth_first if depth_first else _breadth_first
    begins, columns, met = rowptr.tolist(), col.tolist(), [False] * (rowptr.numel() - 1)
    order: list[int] = []
    for root in roots.tolist():
        if not met[root]:
            order.extend(search(begins, columns, root, met))
    return torch.tensor(order, dtype=torch.int64)


def _breadth_first(begins: list[int], columns: list[int], root: int, met: list[bool]) -> list[int]:
    queue = [root]
    met[root] = True
    for node in queue:
        for other in columns[begins[node] : begins[node + 1]]:
            if not met[other]:
                met[other] = True
                queue.append(other)
    return queue


def _depth_first(begins: list[int], columns: list[int], root: int, met: list[bool]) -> list[int]:
    def neighbours(node: int) -> Iterator[int]:
        return iter(columns[begins[node] : begins[node + 1]])

    found, stack = [root], [neighbours(root)]
    met[root] = True
    while stack:
        other = next((node for node in stack[-1] if not met[node]), None)
        if other is None:
            stack.pop()
        else:
            met[other] = True
            found.append(other)
            stack.append(neighbours(other))
    return found


define(
    "traversal_order(Tensor rowptr, Tensor col, Tensor roots, bool depth_first) -> Tensor",
    reference=reference,
    fake=lambda rowptr, col, roots, depth_first: rowptr.new_empty(rowptr.size(0) - 1),
)
