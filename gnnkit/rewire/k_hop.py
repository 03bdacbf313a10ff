"""The k-hop graph."""

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch_geometric.transforms import BaseTransform

from gnnkit.compat.pyg import replace_edges
from gnnkit.errors import ConfigError, DataError


class KHop(BaseTransform):
    r"""Connects every node to all nodes it can reach in at most ``k`` hops.

    .. math::
        E' = \{(i, j) : 1 \le d(i, j) \le k\}

    with :math:`d` the number of edges on a shortest path from :math:`i` to :math:`j`, along the direction of the
    edges. Neither self-loops nor multi-edges remain, and on a ``Batch`` no edge joins two graphs. Attributes of nodes
    and of the graph are kept; those of the old edges (by their name, with ``edge`` in it) are dropped, since the new
    edges have no such attribute.

    Args:
        k: Largest distance, at least 1.
        distance_attr: Name of an edge attribute that holds :math:`d(i, j)`, int64 ``[E']``. None: it is not kept.

    Raises:
        ConfigError: If ``k`` is below 1.

    Determinism: exact; edges are ordered by source, then destination.
    Complexity: ``O(E' \bar d)`` time for mean degree :math:`\bar d`, ``O(E')`` memory. :math:`E'` approaches
    :math:`N^2` as ``k`` approaches the diameter.
    """

    def __init__(self, k: int, *, distance_attr: str | None = None) -> None:
        if k < 1:
            raise ConfigError(f"k must be at least 1, got {k}")
        self.k = k
        self.distance_attr = distance_attr

    def forward(self, data: Any) -> Any:
        """Replaces the edges of a ``Data`` or ``Batch``.

        Raises:
            DataError: If ``data`` has no ``edge_index``.
        """
        if data.edge_index is None:
            raise DataError("KHop needs data.edge_index, which is missing")
        num_nodes = int(data.num_nodes)
        source, target, distance = hop_distances(data.edge_index.cpu().numpy(), num_nodes, self.k)
        edge_index = torch.from_numpy(np.stack([source, target]))
        attributes = {}
        if self.distance_attr is not None:
            attributes[self.distance_attr] = torch.from_numpy(distance).to(data.edge_index.device)
        replace_edges(data, edge_index.to(data.edge_index.device, data.edge_index.dtype), attributes)
        if data.num_nodes != num_nodes:
            data.num_nodes = num_nodes
        return data

    def __repr__(self) -> str:
        """The settings."""
        return f"KHop({self.k}, distance_attr={self.distance_attr!r})"


def hop_distances(edge_index: np.ndarray, num_nodes: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All ordered pairs at hop distance 1 to ``k``.

    Args:
        edge_index: ``[2, E]``.
        num_nodes: Number of nodes.
        k: Largest distance.

    Returns:
        Sources, targets and distances, int64 ``[E']``, ordered by source, then target.
    """
    source, target = edge_index
    ones = np.ones(len(source), dtype=np.int32)
    step = _pattern(scipy.sparse.csr_array((ones, (source, target)), shape=(num_nodes, num_nodes)))
    nodes = np.arange(num_nodes)
    seen = scipy.sparse.csr_array((np.ones(num_nodes, np.int32), (nodes, nodes)), shape=(num_nodes, num_nodes))
    frontier, rings = seen, []
    for _ in range(k):
        reached = _pattern(frontier @ step)
        frontier = scipy.sparse.csr_array(reached - reached.multiply(seen))
        frontier.eliminate_zeros()
        if frontier.nnz == 0:
            break
        rings.append(frontier.tocoo())
        seen = seen + frontier
    distance = np.concatenate([np.full(ring.nnz, hop + 1, np.int64) for hop, ring in enumerate(rings)] or [_NONE])
    rows = np.concatenate([ring.row.astype(np.int64) for ring in rings] or [_NONE])
    columns = np.concatenate([ring.col.astype(np.int64) for ring in rings] or [_NONE])
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], distance[order]


_NONE = np.empty(0, dtype=np.int64)


def _pattern(matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """The same entries, each once and with the value 1."""
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
