"""The k-hop graph."""

from typing import Any

from torch_geometric.transforms import BaseTransform

from gnnkit import Graph, ops
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
        # Rows of a graph are destinations: turned round, they are the sources of the edges, which thus come in order.
        turned = Graph.from_edge_index(data.edge_index.flip(0), num_nodes)
        pairs, distance = ops.k_hop(turned, self.k)
        attributes = {}
        if self.distance_attr is not None:
            attributes[self.distance_attr] = distance
        replace_edges(data, pairs.edge_index.flip(0), attributes)
        if data.num_nodes != num_nodes:
            data.num_nodes = num_nodes
        return data

    def __repr__(self) -> str:
        """The settings."""
        return f"KHop({self.k}, distance_attr={self.distance_attr!r})"
