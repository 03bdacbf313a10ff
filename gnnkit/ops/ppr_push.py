"""Personalised PageRank by local push; see :class:`gnnkit.sample.ShaDow`."""

import heapq

import torch
from torch import Tensor

from gnnkit.ops._library import define


def reference(
    rowptr: Tensor, col: Tensor, roots: Tensor, alpha: float, epsilon: float, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One root after the other, with the residuals and estimates of the nodes that it reaches in dictionaries.

    Args:
        rowptr: Boundaries of the neighbours of each node, int32 or int64 ``[N + 1]``, at most ``2^32`` nodes.
        col: The neighbours, ``[E]``.
        roots: Where walks start, int64 ``[R]``.
        alpha: Probability that a lazy walk ends at a step, ``10^-6`` to 1.
        epsilon: Residual per neighbour that may stay, ``10^-15`` to 1.
        k: How many nodes to keep for each root, at least 1.

    Returns:
        For each root the ``k`` nodes of largest estimate, in descending order and of equal ones that of lowest number
        first, of the dtype of ``col``; the root follows as one more where it is none of them. Their estimates, float64;
        and where those of each root begin, int64 ``[R + 1]``.
    """
    bounds, neighbours = rowptr.tolist(), col.tolist()
    members: list[int] = []
    scores: list[float] = []
    begins = [0]
    for root in roots.tolist():
        estimate = _push(bounds, neighbours, root, alpha, epsilon)
        ranked = sorted(estimate, key=lambda node: (-estimate[node], node))[:k]
        ranked += [] if root in ranked else [root]
        members += ranked
        scores += [estimate.get(node, 0.0) for node in ranked]
        begins.append(len(members))
    return (
        torch.tensor(members, dtype=col.dtype),
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(begins, dtype=torch.int64),
    )


def _push(bounds: list[int], neighbours: list[int], root: int, alpha: float, epsilon: float) -> dict[int, float]:
    """Estimates of the nodes that have been pushed."""

    def is_active(node: int) -> bool:
        return residual[node] > epsilon * (bounds[node + 1] - bounds[node])

    residual, estimate = {root: 1.0}, dict[int, float]()
    queue = [root] if is_active(root) else []
    queued = set(queue)
    while queue:
        node = heapq.heappop(queue)
        queued.discard(node)
        row, mass = neighbours[bounds[node] : bounds[node + 1]], residual[node]
        if not row:  # the walk stays for ever
            estimate[node] = estimate.get(node, 0.0) + mass
            residual[node] = 0.0
            continue
        estimate[node] = estimate.get(node, 0.0) + alpha * mass
        residual[node] = (1 - alpha) * mass / 2
        share = residual[node] / len(row)
        for other in row:
            residual[other] = residual.get(other, 0.0) + share
        for other in (*row, node):
            if other not in queued and is_active(other):
                queued.add(other)
                heapq.heappush(queue, other)
    return estimate


def _fake(
    rowptr: Tensor, col: Tensor, roots: Tensor, alpha: float, epsilon: float, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    members = torch.library.get_ctx().new_dynamic_size()
    return col.new_empty(members), col.new_empty(members, dtype=torch.float64), roots.new_empty(roots.size(0) + 1)


define(
    "ppr_push(Tensor rowptr, Tensor col, Tensor roots, float alpha, float epsilon, int k) -> (Tensor, Tensor, Tensor)",
    reference=reference,
    fake=_fake,
)
