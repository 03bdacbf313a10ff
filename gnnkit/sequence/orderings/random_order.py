"""Nodes in random order."""

from torch import Tensor

from gnnkit.graph import Graph
from gnnkit.sequence._batch import ORDER, graph_of_nodes, random_keys, regrouped


class Random:
    """Every order of the nodes of a graph is as likely as every other; a new one for every seed.

    Attributes:
        is_random: True.

    Determinism: bitwise for a seed; where a node goes depends on the seed and on the places of nodes in the batch.
    Complexity: ``O(E + N log N)``; the edges are only checked.
    """

    is_random = True

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """The nodes in reading order, int64 ``[N]``; see :class:`~gnnkit.sequence.parts.Ordering`.

        Raises:
            DataError, IndexRangeError, ShapeError: If ``graph`` and ``ptr`` are not those of a batch.
            ConfigError: If ``seed`` is no integer.
        """
        number = graph_of_nodes(graph, ptr)
        order = random_keys(number.numel(), seed, ORDER, graph.device).argsort(stable=True)
        return regrouped(order, number, ptr.numel() - 1)

    def __repr__(self) -> str:
        """The name."""
        return "Random()"
