"""Edge types read back from a few clusters of edges."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import DataError
from gnnkit.hypergraph.conv import HypergraphConv
from gnnkit.hypergraph.edge_learning._edges import (
    dual_of_edges,
    edge_boundaries,
    edge_features_of,
    node_boundaries,
    required,
)
from gnnkit.hypergraph.edge_learning.hyper_cluster import HyperCluster, SoftmaxOver
from gnnkit.ops._checks import check_count


class EdgeReconstruction(torch.nn.Module):
    r"""Pools the edges of each graph into clusters, and tells the type of every edge from these.

    The model of Jo et al. ("Edge Representation Learning with Hypergraphs", 2021), which shows how much of the edges a
    pooling keeps:

    .. math::
        O, A = \mathrm{HyperCluster}(E, H^*), \qquad E' = A^\top O, \qquad
        E' \leftarrow \mathrm{relu}(\mathrm{HypergraphConv}_l(E', H^*)) \quad (l = 1 \ldots L), \qquad
        \text{logits} = \mathrm{HypergraphConv}(E', H^*)

    Which edges share a node is known on the way back, and :math:`A` is; their features are not.

    Args:
        in_channels: Width of the edge features.
        num_types: Number of edge types.
        num_seeds: Clusters of each graph; :func:`num_seeds_of` tells it from a ratio.
        hidden_channels: Width of edges and clusters.
        num_convs: :math:`L`, before and after pooling.
        num_heads: As of :class:`GMPool`.
        softmax_over: As of :class:`GMPool`.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E d (L d + k))`` time.
    """

    def __init__(
        self,
        in_channels: int,
        num_types: int,
        num_seeds: int,
        *,
        hidden_channels: int = 32,
        num_convs: int = 2,
        num_heads: int = 1,
        softmax_over: SoftmaxOver = "seeds",
    ) -> None:
        super().__init__()
        check_count("num_types", num_types, 1)
        self.in_channels = in_channels
        self.encoder = HyperCluster(
            in_channels,
            hidden_channels,
            num_seeds,
            num_convs=num_convs,
            num_heads=num_heads,
            softmax_over=softmax_over,
        )
        widths = [*[hidden_channels] * (num_convs + 1), num_types]
        self.decoder = torch.nn.ModuleList(HypergraphConv(*pair) for pair in pairwise(widths))

    def forward(self, data: Any) -> Tensor:
        """Predicts the type of each edge.

        Args:
            data: A ``Data`` or ``Batch``, or any object with the attributes ``edge_index`` ``[2, E]``, ``edge_attr``
                ``[E, in_channels]``, ``num_nodes``, and ``ptr`` or ``batch`` where there are several graphs; edges are
                in order of their graphs.

        Returns:
            Logits, ``[E, num_types]``.

        Raises:
            DataError: If an attribute is missing, edges are not in order of their graphs, or one joins two.
            ShapeError: If an attribute has the wrong shape.
        """
        edge_index, num_nodes = required(data, "edge_index"), getattr(data, "num_nodes", None)
        if num_nodes is None:
            raise DataError("data.num_nodes is missing; the model needs it")
        dual = dual_of_edges(edge_index, num_nodes)
        edge = edge_features_of(data, self.in_channels, self.encoder.pool.seeds.dtype)
        ptr = edge_boundaries(edge_index, node_boundaries(data, num_nodes))
        edge = self.encoder(edge, dual, ptr).unpool()
        *hidden, last = self.decoder
        for conv in hidden:
            edge = conv(edge, dual).relu()
        return last(edge, dual)
