"""What the encodings share: the edges with their weights, checked, and the adjacency matrix."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from torch import Tensor

from gnnkit.errors import DataError, ShapeError

# By how much, relatively, the two directions of an edge may differ.
ASYMMETRY = 1e-6


class WeightedEdges(NamedTuple):
    """The edges of a graph as they are given, checked."""

    num_nodes: int
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    """Float64; ones where there are none."""


def weighted_edges(data: Any, weight_attr: str | None, *, transform: str) -> WeightedEdges:
    """The columns of ``data.edge_index`` with their weights.

    Raises:
        DataError: If ``edge_index`` is missing or leaves the range of the nodes, or a weight is negative or not finite.
        ShapeError: If there is not one weight per edge.
    """
    if not isinstance(data.edge_index, Tensor):
        raise DataError(f"{transform} needs data.edge_index, which is missing")
    source, target = data.edge_index.cpu().numpy()
    weight = np.ones(len(source))
    given = None if weight_attr is None else data.get(weight_attr)
    if given is not None:
        weight = checked_weights(given, len(source), f"{transform}: data.{weight_attr}")
    size = int(data.num_nodes)
    if len(source) > 0 and not 0 <= min(source.min(), target.min()) <= max(source.max(), target.max()) < size:
        raise DataError(f"{transform}: data.edge_index leaves the range of the {size} nodes")
    return WeightedEdges(size, source, target, weight)


def adjacency(data: Any, weight_attr: str | None, *, transform: str) -> scipy.sparse.csr_array:
    """``A[i, j]``: total weight of the edges from ``i`` to ``j``, float64 ``[N, N]``, without stored zeros.

    Raises as :func:`weighted_edges`.
    """
    size, source, target, weight = weighted_edges(data, weight_attr, transform=transform)
    matrix = scipy.sparse.csr_array((weight, (source, target)), shape=(size, size))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def num_nodes(matrix: scipy.sparse.csr_array) -> int:
    """Number of rows."""
    return len(matrix.indptr) - 1


def scaled(matrix: scipy.sparse.csr_array, left: np.ndarray, right: np.ndarray | None = None) -> scipy.sparse.csr_array:
    """``diag(left) @ matrix @ diag(right)``."""
    data = matrix.data * np.repeat(left, np.diff(matrix.indptr))
    if right is not None:
        data *= right[matrix.indices]
    return scipy.sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def checked_weights(given: Tensor, num_edges: int, name: str) -> np.ndarray:
    """Float64 ``[E]``; raises where there is not one weight per edge, or one is negative or not finite."""
    if given.numel() != num_edges or given.dim() > 2:
        raise ShapeError(f"{name} must hold one weight per edge, [{num_edges}], got shape {tuple(given.shape)}")
    weight = given.detach().cpu().double().numpy().reshape(-1)
    bad = np.flatnonzero(~np.isfinite(weight) | (weight < 0))
    if len(bad) > 0:
        raise DataError(
            f"{name} must be finite and not negative, but edge {bad[0]} has {weight[bad[0]]}; "
            "mend the weights, or choose weight_attr=None for an unweighted graph"
        )
    return weight


def directed_error(name: str, ends: tuple[int, int], forward: float, backward: float) -> DataError:
    """What to raise where the two directions of an edge weigh differently."""
    i, j = ends
    return DataError(
        f"{name} needs an undirected graph, but the edges {i} -> {j} weigh {forward} and the edges {j} -> {i} "
        f"weigh {backward}; apply torch_geometric.transforms.ToUndirected() first"
    )


def check_undirected(matrix: scipy.sparse.csr_array, name: str) -> None:
    """Raises DataError where the two directions of an edge weigh differently, relative to the largest weight."""
    difference = abs(matrix - matrix.T).tocoo()
    if difference.nnz == 0 or difference.data.max() <= ASYMMETRY * matrix.data.max():
        return
    worst = int(difference.data.argmax())
    i, j = int(difference.row[worst]), int(difference.col[worst])
    raise directed_error(name, (i, j), matrix[i, j], matrix[j, i])
