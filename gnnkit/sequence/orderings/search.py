"""Nodes in the order in which a search meets them."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.sequence._batch import graph_of_nodes, regrouped, simple_graph

PRIORITIES = ("degree", "low_degree", "index")


class _Search:
    """What both searches share; see them."""

    is_random = False
    _depth_first: bool

    def __init__(self, *, start: str = "degree", neighbours: str = "index") -> None:
        for name, value in (("start", start), ("neighbours", neighbours)):
            if value not in PRIORITIES:
                raise ConfigError(f"{name} must be one of {', '.join(PRIORITIES)}, got {value!r}")
        self.start = start
        self.neighbours = neighbours

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """The nodes in reading order, int64 ``[N]``; see :class:`~gnnkit.sequence.parts.Ordering`.

        Raises:
            DataError, IndexRangeError, ShapeError: If ``graph`` and ``ptr`` are not those of a batch.
        """
        number = graph_of_nodes(graph, ptr).cpu()
        simple = simple_graph(graph)
        roots = regrouped(_by_priority(simple.degree, self.start), number, ptr.numel() - 1)
        col = simple.col
        if self.neighbours != "index":
            preferred = _by_priority(simple.degree, self.neighbours)
            rank = torch.empty_like(preferred)
            rank[preferred] = torch.arange(preferred.numel())
            row = torch.arange(preferred.numel()).repeat_interleave(simple.degree)
            order = ops.sort_index(rank[col], preferred.numel())[1]
            col = col[regrouped(order, row, preferred.numel())]
        order = torch.ops.gnnkit.traversal_order(simple.rowptr, col, roots, self._depth_first)
        return order.to(graph.device)

    def __repr__(self) -> str:
        """The settings."""
        return f"{type(self).__name__}(start={self.start!r}, neighbours={self.neighbours!r})"


class BFS(_Search):
    """Breadth-first: a node, its neighbours, theirs, each in the order of the nodes that they are reached from.

    Searches go along edges in both directions; multi-edges and self-loops do not matter, and the degree of a node is
    the number of its neighbours. Where a graph is not connected, one component follows another: each search starts at
    the first node in the order of ``start`` that has not been met.

    Args:
        start: Which node comes first: that of highest ``"degree"``, of ``"low_degree"``, or of lowest ``"index"``.
        neighbours: Which neighbours of a node come first, by the same names. Ties of degrees are broken by index.

    Attributes:
        is_random: False.

    Raises:
        ConfigError: If a name is unknown.

    Determinism: exact.
    Complexity: ``O(E + N log N)``, on one thread of the CPU.
    """

    _depth_first = False


class DFS(_Search):
    """Depth-first: a node, then all that is first reached through its first neighbour, then through the next.

    Otherwise as :class:`BFS`, with the same arguments, errors and complexity. Nodes stand in the order in which they
    are first met (preorder).
    """

    _depth_first = True


def _by_priority(degree: Tensor, priority: str) -> Tensor:
    """All nodes, the preferred ones first, equal ones by index."""
    if priority == "index":
        return torch.arange(degree.numel())
    return degree.sort(descending=priority == "degree", stable=True).indices
