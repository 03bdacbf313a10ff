"""Weights that make sums over the edges of a random subgraph estimates of those over the whole graph."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnkit.errors import DataError, ShapeError
from gnnkit.graph import Graph


class AggregatorNorm(NamedTuple):
    r"""What a convolution needs to work on a subgraph of GraphSAINT as it would, on average, on the whole graph.

    Where a layer sums :math:`c_{uv} m_u` over the in-edges of ``v``, with coefficients that the whole graph decides, it
    sums :math:`\alpha_{uv} c_{uv} m_u` over those that the subgraph has (Zeng et al., "GraphSAINT: graph sampling based
    inductive learning method", 2020). The coefficients stay those of the whole graph: the degrees in the symmetric
    normalisation of ``GCNConv`` and in the mean of ``SAGEConv`` are not those of the subgraph. A node's message to
    itself always arrives, and has :math:`\alpha = 1`. See :mod:`gnnkit.sample.saint` for what the estimate holds for.

    Attributes:
        edge_norm: :math:`\alpha` of each edge, in the caller's order, float ``[E]``.
        in_degree: Of each node in the whole graph, multi-edges and self-loops counted each, ``[N]``.
    """

    edge_norm: Tensor
    in_degree: Tensor

    @classmethod
    def of(cls, batch: Any) -> "AggregatorNorm":
        """The norm of a batch of one of GraphSAINT's samplers.

        Raises:
            DataError: If it has no ``edge_norm`` or ``in_degree``.
        """
        parts = []
        for name in cls._fields:
            value = getattr(batch, name, None)
            if not isinstance(value, Tensor):
                raise DataError(f"the batch has no {name}; take one of a GraphSAINT sampler with coverage above 0")
            parts.append(value)
        return cls(*parts)

    def check(self, graph: Graph) -> None:
        """Raises ShapeError if there is not one number per edge, and one per node."""
        for name, value, size in zip(self._fields, self, (graph.num_edges, graph.num_dst), strict=True):
            if value.shape != (size,):
                raise ShapeError(f"aggregator norm: expected {name} of shape [{size}], got {tuple(value.shape)}")

    def scaled(self, message: Tensor) -> Tensor:
        r"""Messages ``[E, F]``, each times its :math:`\alpha`."""
        return message * self.edge_norm.to(message.dtype).unsqueeze(1)

    def mean_weight(self, graph: Graph) -> Tensor:
        r""":math:`\alpha_{uv} / \deg(v)` of each edge, ``[E]``: weights of a sum that estimates a mean."""
        target = graph.edge_index[1].long()
        return self.edge_norm / self.in_degree.clamp(min=1).to(self.edge_norm.dtype)[target]

    def looped_degree(self, is_loop: Tensor, graph: Graph) -> Tensor:
        """Degrees where each node has exactly one self-loop, ``[N]``; a node's own loops are always in the subgraph.

        Args:
            is_loop: Whether an edge is a self-loop, bool ``[E]``.
            graph: The subgraph.
        """
        loops = torch.zeros_like(self.in_degree).index_add_(
            0, graph.edge_index[1].long(), is_loop.to(self.in_degree.dtype)
        )
        return self.in_degree - loops + 1
