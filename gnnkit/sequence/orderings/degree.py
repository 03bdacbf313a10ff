"""Nodes by degree, the order of Graph-Mamba."""

import torch
from torch import Tensor

from gnnkit.graph import Graph
from gnnkit.ops._checks import check_flag
from gnnkit.sequence._batch import TIES, graph_of_nodes, random_keys, regrouped


class Degree:
    r"""Ascending degree, so that the node of highest degree comes last and has seen all others.

    .. math:: \text{key}_i = \deg(i) + u_i, \qquad u_i \sim U[0, 1)

    The noise decides between nodes of one degree and nothing else. Degrees are numbers of edges that leave a node, as
    in the authors' code: multi-edges and self-loops count, and in an undirected graph it does not matter which end is
    taken (Wang et al., "Graph-Mamba: towards long-range graph sequence modeling with selective state spaces", 2024).

    Args:
        noise: Break ties at random, anew for every seed. False: by index.

    Attributes:
        is_random: Whether there is noise.

    Raises:
        ConfigError: If ``noise`` is no bool.

    Determinism: bitwise for a seed; the noise of a node depends on the seed and on the place of the node in the batch.
    Complexity: ``O(E + N log N)``.
    """

    def __init__(self, *, noise: bool = True) -> None:
        check_flag("noise", noise)
        self.is_random = noise

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """The nodes in reading order, int64 ``[N]``; see :class:`~gnnkit.sequence.parts.Ordering`.

        Raises:
            DataError, IndexRangeError, ShapeError: If ``graph`` and ``ptr`` are not those of a batch.
            ConfigError: If ``seed`` is no integer.
        """
        number = graph_of_nodes(graph, ptr)
        degree = graph.out_degree().long()
        if self.is_random:
            order = random_keys(number.numel(), seed, TIES, graph.device).argsort(stable=True)
        else:
            order = torch.arange(number.numel(), device=graph.device)
        # Where a node has many edges to itself, degrees go far beyond the number of nodes.
        order = order[degree[order].argsort(stable=True)]
        return regrouped(order, number, ptr.numel() - 1)

    def __repr__(self) -> str:
        """The settings."""
        return f"Degree(noise={self.is_random})"
