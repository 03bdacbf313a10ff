"""Nodes by PageRank."""

import math

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_number
from gnnkit.sequence._batch import ascending, graph_of_nodes

_ACCURACY = 1e-12
_TIE = 1e-9


class PageRank:
    r"""Ascending PageRank, so that the node where walks are most often comes last and has seen all others.

    .. math:: p_i = \frac{1 - d}{n} + d \Big(\sum_{j \to i} \frac{p_j}{\deg^+(j)} + \frac{1}{n} \sum_{\deg^+(j) = 0} p_j
        \Big)

    over each graph of ``n`` nodes by itself. Edges are followed in their direction, multi-edges as often as they are
    there. The iteration ends where no value has changed by more than a relative 1e-12. Values that differ by less than
    a relative 1e-9 are tied, and ties are broken by index (Page et al., "The PageRank citation ranking", 1999).

    Args:
        damping: Chance ``d`` that a walk goes on, in ``[0, 1)``.

    Attributes:
        is_random: False.

    Raises:
        ConfigError: If ``damping`` is no number in ``[0, 1)``.

    Determinism: bitwise, for any number of threads.
    Complexity: ``O(N log N + T (E + N))`` for at most ``T = log(10^{12} N / (1 - d)) / log(1 / d)`` steps.
    """

    is_random = False

    def __init__(self, damping: float = 0.85) -> None:
        self.damping = check_number("damping", damping)
        if not 0 <= self.damping < 1:
            raise ConfigError(f"damping must lie in [0, 1), got {damping}")

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """The nodes in reading order, int64 ``[N]``; see :class:`~gnnkit.sequence.parts.Ordering`.

        Raises:
            DataError, IndexRangeError, ShapeError: If ``graph`` and ``ptr`` are not those of a batch.
        """
        number = graph_of_nodes(graph, ptr)
        return ascending(self._shares(graph, ptr, number), number, ptr.numel() - 1, _TIE)

    def values(self, graph: Graph, ptr: Tensor) -> Tensor:
        """PageRank of each node, float64 ``[N]``, which adds up to 1 over each graph. Raises as a call does."""
        number = graph_of_nodes(graph, ptr)
        return self._shares(graph, ptr, number) / ptr.diff()[number]

    def _shares(self, graph: Graph, ptr: Tensor, number: Tensor) -> Tensor:
        """PageRank times the number of nodes of the graph: of mean 1 over each."""
        degree = graph.out_degree().double()
        inverse = torch.where(degree > 0, 1 / degree, 0.0)
        stuck = (degree == 0).double()
        share = torch.ones_like(degree)
        for _ in range(self._most_steps(graph.num_nodes)):
            arriving = ops.spmm(graph, share * inverse)
            jumping = ops.segment_reduce(share * stuck, ptr, "mean")[number]
            following = (1 - self.damping) + self.damping * (arriving + jumping)
            change = (following - share).abs()
            share = following
            if not bool((change > _ACCURACY * share).any()):
                break
        return share

    def _most_steps(self, num_nodes: int) -> int:
        """Steps that bring the sum of all errors, each step a factor ``d`` nearer to 0, to rounding."""
        if self.damping == 0:
            return 1
        return math.ceil(math.log(_ACCURACY * (1 - self.damping) / max(num_nodes, 1)) / math.log(self.damping))

    def __repr__(self) -> str:
        """The settings."""
        return f"PageRank(damping={self.damping})"
