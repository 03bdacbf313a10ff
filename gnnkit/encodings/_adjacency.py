"""What the encodings share: the weighted adjacency matrix, checked, and its connected components."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gnnkit.errors import DataError, ShapeError


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
        weight = _checked_weights(given, len(source), f"{transform}: data.{weight_attr}")
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


def _checked_weights(given: Tensor, num_edges: int, name: str) -> np.ndarray:
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


class Group(NamedTuple):
    """Connected components of one size."""

    nodes: np.ndarray
    """The nodes of each component, ascending, ``[components, size]``."""
    matrix: scipy.sparse.csr_array
    """The block-diagonal matrix of these components, in the order of ``nodes``."""

    def blocks(self, begin: int, end: int) -> scipy.sparse.csr_array:
        """The matrix of components ``begin:end`` alone."""
        size = self.nodes.shape[1]
        span = slice(begin * size, end * size)
        return self.matrix[span, span]

    def dense(self, begin: int, end: int) -> np.ndarray:
        """The same as dense blocks, ``[end - begin, size, size]``."""
        size = self.nodes.shape[1]
        entries = self.blocks(begin, end).tocoo()
        out = np.zeros((end - begin, size, size))
        out[entries.row // size, entries.row % size, entries.col % size] = entries.data
        return out


def components_by_size(matrix: scipy.sparse.csr_array) -> Iterator[Group]:
    """The (weakly) connected components, those of one size together, in ascending order of size."""
    if num_nodes(matrix) == 0:
        return
    _, label = connected_components(matrix, directed=True, connection="weak")
    size_of_node = np.bincount(label)[label]
    order = np.lexsort((np.arange(len(label)), label, size_of_node))
    sorted_matrix = matrix[order][:, order]
    sizes, begins = np.unique(size_of_node[order], return_index=True)
    for size, begin, end in zip(sizes, begins, [*begins[1:], len(order)], strict=True):
        yield Group(order[begin:end].reshape(-1, size), sorted_matrix[begin:end, begin:end])


def chunks(group: Group, per_component: int, limit: int) -> Iterator[tuple[int, int]]:
    """Ranges of components that together take at most ``limit``, where each takes ``per_component``; at least one."""
    count, step = len(group.nodes), max(1, limit // per_component)
    for begin in range(0, count, step):
        yield begin, min(begin + step, count)
