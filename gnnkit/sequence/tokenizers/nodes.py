"""Every node a token."""

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import describe
from gnnkit.sequence._batch import graph_of_nodes
from gnnkit.sequence.parts import Ordering
from gnnkit.sequence.tokens import Tokens


class NodeTokens:
    """The nodes of each graph as its sequence, one token for each: of level ``"graph"``.

    Args:
        ordering: Puts the nodes in order. None: the order in which they are given.

    Attributes:
        is_random: Whether the ordering is.

    Determinism: that of the ordering.
    Complexity: that of the ordering, and ``O(N + E)``.
    """

    def __init__(self, ordering: Ordering | None = None) -> None:
        self.ordering = ordering

    @property
    def is_random(self) -> bool:
        """Whether the ordering depends on the seed."""
        return self.ordering is not None and self.ordering.is_random

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tokens:
        """The tokens of all graphs of a batch; see :class:`~gnnkit.sequence.parts.Tokenizer`.

        Raises:
            DataError, IndexRangeError, ShapeError: If ``graph`` and ``ptr`` are not those of a batch.
            ShapeError: If the ordering does not give one node for each.
        """
        graph_of_nodes(graph, ptr)
        num_nodes = graph.num_nodes
        if self.ordering is None:
            order = torch.arange(num_nodes, device=graph.device)
        else:
            order = self.ordering(graph, ptr, x, seed=seed)
        if order.shape != (num_nodes,):
            raise ShapeError(f"an ordering must give all {num_nodes} nodes, got {describe(order)}")
        return tokens_in_order(order, ptr)

    def __repr__(self) -> str:
        """The settings."""
        return f"NodeTokens(ordering={self.ordering!r})"


def tokens_in_order(order: Tensor, ptr: Tensor) -> Tokens:
    """A token for each node, in an order that is known already."""
    num_nodes = order.size(0)
    return Tokens(order, torch.arange(num_nodes + 1, device=order.device), ptr.long(), "graph", num_nodes)
