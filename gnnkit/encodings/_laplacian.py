"""The undirected graph that a Laplacian is made of, its components, and their Laplacians."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from threadpoolctl import ThreadpoolController

from gnnkit.encodings._adjacency import ASYMMETRY, directed_error, weighted_edges
from gnnkit.errors import ConfigError, DataError

NORMALIZATIONS = ("sym", "rw", None)
_DENSE_ENTRIES = 2**22


def check_normalization(normalization: object) -> None:
    """Raises ConfigError where it is none of the known ones."""
    if normalization not in NORMALIZATIONS:
        raise ConfigError(f"normalization must be 'sym', 'rw' or None, got {normalization!r}")


def single_threaded_blas() -> AbstractContextManager[object]:
    """While it lasts, BLAS and LAPACK use one thread.

    Waking threads costs more than matrices of this size take, a hundredfold on a busy machine, and the number of
    threads must not show in the last bits.
    """
    return _controller().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@dataclass(frozen=True, eq=False)
class UndirectedGraph:
    """Undirected, multi-edges added up, without self-loops and edges of weight 0.

    Attributes:
        low: The smaller node of each edge, ``[M]``.
        high: The larger one.
        weight: Positive, float64 ``[M]``.
        degree: Total weight of the edges of each node, ``[N]``.
        component: The lowest node of the connected component of each node, ``[N]``.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    degree: np.ndarray
    component: np.ndarray

    @classmethod
    def from_data(cls, data: Any, weight_attr: str | None, *, transform: str) -> "UndirectedGraph":
        """Reads ``data.edge_index``, which must hold both directions of every edge.

        Raises:
            DataError: If ``edge_index`` is missing or leaves the range of the nodes; a weight is negative, not finite,
                or differs by more than a relative 1e-6 between directions (else the mean is taken); or weights add up
                to more than float64 can hold.
            ShapeError: If there is not one weight per edge.
        """
        size, source, target, weight = weighted_edges(data, weight_attr, transform=transform)
        kept = (source != target) & (weight > 0)
        source, target, weight = source[kept].astype(np.int64), target[kept].astype(np.int64), weight[kept]
        up = source < target
        keys, edge = np.unique(np.where(up, source * size + target, target * size + source), return_inverse=True)
        low, high = np.divmod(keys, max(size, 1))
        with np.errstate(over="ignore"):
            upwards, downwards = np.bincount(2 * edge + up, weight, 2 * len(keys)).reshape(-1, 2).T[::-1]
            total = (upwards + downwards) / 2
            degree = np.bincount(low, total, size) + np.bincount(high, total, size)
        if not np.isfinite(degree).all():
            raise DataError(f"{transform}: the weights add up to more than float64 can hold; scale them down")
        bad = np.flatnonzero(np.abs(upwards - downwards) > ASYMMETRY * np.maximum(upwards, downwards))
        if len(bad) > 0:
            ends = int(low[bad[0]]), int(high[bad[0]])
            raise directed_error(transform, ends, upwards[bad[0]], downwards[bad[0]])
        return cls(low, high, total, degree, _components(low, high, size))

    @property
    def num_nodes(self) -> int:
        """``N``."""
        return len(self.degree)


def _components(low: np.ndarray, high: np.ndarray, size: int) -> np.ndarray:
    """The lowest node of the connected component of each node."""
    label = np.arange(size)
    while len(low) > 0:
        # Of two neighbouring trees, the root of the higher number is hung below the other one's.
        np.minimum.at(label, high, low)
        above = label[label]
        while (above != label).any():
            label, above = above, above[above]
        ends = label[low], label[high]
        apart = ends[0] != ends[1]
        low, high = np.minimum(*ends)[apart], np.maximum(*ends)[apart]
    return label


class Components(NamedTuple):
    """Connected components of one size: ``G`` of ``n`` nodes each."""

    nodes: np.ndarray
    """Ascending within each component, ``[G, n]``."""
    weights: np.ndarray | scipy.sparse.csr_array
    """Dense ``[G, n, n]``, or the sparse ``[n, n]`` of a single component."""
    degree: np.ndarray
    """``[G, n]``."""


def components(graph: UndirectedGraph, dense_size: int) -> Iterator[Components]:
    """All components in ascending order of size: those of up to ``dense_size`` nodes many at a time, others singly."""
    if graph.num_nodes == 0:
        return
    size_of = np.bincount(graph.component)
    order = np.lexsort((graph.component, size_of[graph.component]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    by_rank = np.argsort(rank[graph.low], kind="stable")
    low, high, weight = rank[graph.low][by_rank], rank[graph.high][by_rank], graph.weight[by_rank]
    sizes, begins = np.unique(size_of[graph.component[order]], return_index=True)
    for size, begin, end in zip(sizes.tolist(), begins.tolist(), [*begins[1:].tolist(), len(order)], strict=True):
        step = size * max(1, _DENSE_ENTRIES // size**2) if size <= dense_size else size
        for first in range(begin, end, step):
            last = min(first + step, end)
            edges = slice(*np.searchsorted(low, (first, last)))
            local = low[edges] - first, high[edges] - first
            nodes = order[first:last].reshape(-1, size)
            if size <= dense_size:
                weights = np.zeros((len(nodes), size, size))
                weights[local[0] // size, local[0] % size, local[1] % size] = weight[edges]
                weights += weights.transpose(0, 2, 1)
            else:
                upper = scipy.sparse.csr_array((weight[edges], local), shape=(size, size))
                weights = scipy.sparse.csr_array(upper + upper.T)
                weights.sort_indices()
            yield Components(nodes, weights, graph.degree[nodes])


class Laplacians(NamedTuple):
    r"""Laplacians of the components of one size, scaled so that no eigenvalue exceeds 2."""

    matrix: np.ndarray | scipy.sparse.csr_array
    """Dense ``[G, n, n]`` or sparse ``[n, n]``."""
    null: np.ndarray
    """The eigenvector of the eigenvalue 0, of length 1, ``[G, n]``."""
    scale: np.ndarray
    """What the eigenvalues are to be multiplied by, ``[G]``."""


def laplacians(part: Components, *, normalized: bool) -> Laplacians:
    """``I - D^-1/2 A D^-1/2``, or ``D - A`` divided by the largest degree; of components of at least two nodes."""
    weights, degree = part.weights, part.degree
    largest = degree.max(axis=1)
    if normalized:
        share = degree / largest[:, None]
        null = np.sqrt(share / share.sum(axis=1, keepdims=True))
        root, diagonal, scale = 1 / np.sqrt(degree), np.ones_like(degree), np.ones_like(largest)
    else:
        null = np.full_like(degree, degree.shape[1] ** -0.5)
        root, diagonal, scale = None, degree / largest[:, None], largest
    if isinstance(weights, np.ndarray):
        factor = 1 / largest[:, None, None] if root is None else 1.0
        matrix = weights * -factor
        if root is not None:
            matrix *= root[:, :, None]
            matrix *= root[:, None, :]
        place = np.arange(degree.shape[1])
        matrix[:, place, place] = diagonal
        return Laplacians(matrix, null, scale)
    row, col = weights.tocoo().coords
    values: Any = weights.data
    data = values / -largest[0] if root is None else -values * root[0][row] * root[0][col]
    off = scipy.sparse.csr_array((data, weights.indices, weights.indptr), shape=weights.shape)
    matrix = scipy.sparse.csr_array(off + scipy.sparse.diags_array(diagonal[0]))
    matrix.sort_indices()
    return Laplacians(matrix, null, scale)
