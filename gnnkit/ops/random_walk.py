"""Random walks on weighted graphs; see :mod:`gnnkit.encodings.random_walk`."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.ops._library import define

_COLUMNS = 256
_ROWS = 64


def returns_reference(rowptr: Tensor, col: Tensor, weight: Tensor | None, steps: int) -> Tensor:
    """Diagonals of the first powers of ``P = D^{-1} A``.

    One node of every component starts at once, since no walk leaves its component.

    Args:
        rowptr: Boundaries of the out-edges of each node, int64 ``[N + 1]``.
        col: Where they lead, int64 ``[E]``; several edges between the same nodes add up.
        weight: Weight of each, float64 ``[E]``, not negative. None: all are 1.
        steps: Number of powers ``K``, at least 1.

    Returns:
        ``(P^t)_ii`` for ``t = 1..K``, float64 ``[N, K]``.
    """
    import numpy as np
    from scipy.sparse.csgraph import connected_components

    num_nodes = rowptr.numel() - 1
    out = np.zeros((num_nodes, steps))
    if num_nodes == 0:
        return torch.from_numpy(out)
    walk = _walk_matrix(rowptr, col, weight)
    _, label = connected_components(walk, directed=True, connection="weak")
    order = np.argsort(label, kind="stable")
    size = np.bincount(label)
    rank = np.empty_like(order)
    rank[order] = np.arange(num_nodes) - np.repeat(np.cumsum(size) - size, size)
    for begin in range(0, int(size.max()), _COLUMNS):
        node = np.flatnonzero((rank >= begin) & (rank < begin + _COLUMNS))
        column = rank[node] - begin
        power = np.zeros((num_nodes, int(column.max()) + 1))
        power[node, column] = 1
        for step in range(steps):
            power = walk @ power
            out[node, step] = power[node, column]
    return torch.from_numpy(out)


def pairs_reference(
    rowptr: Tensor, col: Tensor, weight: Tensor | None, steps: int, max_hops: int | None, threshold: float
) -> tuple[Tensor, Tensor]:
    """Walks of 0 to ``K - 1`` steps from every node to every other, some rows of the powers at a time.

    Args:
        rowptr: As in :func:`returns_reference`; so are the next two.
        col: See there.
        weight: See there.
        steps: Number of powers ``K``, at least 1.
        max_hops: Only pairs with a walk of so many steps, and of ``K - 1``, at most; not negative. None: all pairs.
        threshold: In ``[0, 1]``; where ``max_hops`` is given, only pairs of which one probability is as large.

    Returns:
        The pairs ``(i, j)`` in order, int64 ``[2, M]``; and ``(P^t)_ij`` for ``t = 0..K - 1``, float32 ``[M, K]``, in
        which precision they are compared.
    """
    import numpy as np

    num_nodes = rowptr.numel() - 1
    walk = _walk_matrix(rowptr, col, weight)
    pairs, values = [np.zeros((2, 0), dtype=np.int64)], [np.zeros((0, steps), dtype=np.float32)]
    for begin in range(0, num_nodes, _ROWS):
        end = min(begin + _ROWS, num_nodes)
        power = np.eye(end - begin, num_nodes, begin)
        found = np.empty((end - begin, num_nodes, steps), dtype=np.float32)
        for step in range(steps):
            found[:, :, step] = power
            power = power @ walk
        keep = np.ones(found.shape[:2], dtype=bool)
        if max_hops is not None:
            keep = (found[:, :, : max_hops + 1] > 0).any(axis=2) & (found.max(axis=2) >= np.float32(threshold))
        row, column = keep.nonzero()
        pairs.append(np.stack([row + begin, column]))
        values.append(found[keep])
    return torch.from_numpy(np.concatenate(pairs, axis=1)), torch.from_numpy(np.concatenate(values))


def _walk_matrix(rowptr: Tensor, col: Tensor, weight: Tensor | None) -> Any:
    """``P``, sparse, without zeros; the row of a node without out-edges is empty."""
    import numpy as np
    from scipy.sparse import csr_array

    num_nodes = rowptr.numel() - 1
    value = np.ones(col.numel()) if weight is None else weight.numpy().copy()
    matrix = csr_array((value, col.numpy().copy(), rowptr.numpy().copy()), shape=(num_nodes, num_nodes))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.data /= np.repeat(matrix.sum(axis=1), np.diff(matrix.indptr))
    return matrix


def _returns_fake(rowptr: Tensor, col: Tensor, weight: Tensor | None, steps: int) -> Tensor:
    return rowptr.new_empty((rowptr.size(0) - 1, steps), dtype=torch.float64)


define(
    "return_probabilities(Tensor rowptr, Tensor col, Tensor? weight, int steps) -> Tensor",
    reference=returns_reference,
    fake=_returns_fake,
)


def _pairs_fake(
    rowptr: Tensor, col: Tensor, weight: Tensor | None, steps: int, max_hops: int | None, threshold: float
) -> tuple[Tensor, Tensor]:
    num_nodes = rowptr.size(0) - 1
    pairs = num_nodes * num_nodes if max_hops is None else torch.library.get_ctx().new_dynamic_size()
    return rowptr.new_empty((2, pairs)), rowptr.new_empty((pairs, steps), dtype=torch.float32)


define(
    "walk_pairs(Tensor rowptr, Tensor col, Tensor? weight, int steps, int? max_hops, float threshold) "
    "-> (Tensor, Tensor)",
    reference=pairs_reference,
    fake=_pairs_fake,
)
