"""The graph classifier of EHGNN: graph convolutions on nodes, hypergraph convolutions on edges, edges dropped."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ShapeError
from gnnkit.graph import Graph
from gnnkit.hypergraph.conv import HypergraphConv
from gnnkit.hypergraph.edge_learning._edges import (
    dual_of_edges,
    edge_boundaries,
    edge_features_of,
    node_boundaries,
    required,
)
from gnnkit.hypergraph.edge_learning.hyper_drop import HyperDrop
from gnnkit.nn._blocks import check_dropout
from gnnkit.nn.conv import GCNConv
from gnnkit.ops._checks import check_count, describe


class EHGNNClassifier(torch.nn.Module):
    r"""Classifies graphs while edges are dropped (Jo et al., "Edge Representation Learning with Hypergraphs", 2021).

    For each of the layers :math:`l`,

    .. math::
        X \leftarrow \mathrm{relu}(\mathrm{GCN}_l(X, A, w)), \qquad
        r \leftarrow r + [\max\nolimits_g X \,\Vert\, \mathrm{mean}_g X \,\Vert\, \mathrm{sum}_g X]

    and after all but the last one

    .. math::
        E \leftarrow \mathrm{relu}(\mathrm{HypergraphConv}_l(E, H^*)), \qquad
        A, E, w \leftarrow \mathrm{HyperDrop}(E, A)

    with the dual :math:`H^*` of the edges that are still there, :math:`w = 1` at first, and one :class:`HyperDrop` for
    all layers. The readout :math:`r` then goes through affine maps ``3 d -> d -> d / 2 -> num_outputs`` with rectifiers
    and dropout between them.

    Args:
        in_channels: Width of the node features.
        num_outputs: Number of classes.
        edge_channels: Width of the edge features. 1: of graphs without edge features too, whose edges have the feature
            1.
        hidden_channels: Width :math:`d` of nodes.
        edge_hidden_channels: Width of edges. None: as of nodes.
        num_convs: Number of layers.
        ratio: Share of edges kept after each layer, in [0, 1].
        symmetric: Keep and drop both directions of an edge together; see :class:`HyperDrop`.
        dropout: Probability of dropping an entry in the head, by torch's global generator.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: per layer ``O(N d^2 + E d_E^2)`` time.
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        *,
        edge_channels: int = 1,
        hidden_channels: int = 128,
        edge_hidden_channels: int | None = None,
        num_convs: int = 3,
        ratio: float = 0.8,
        symmetric: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        edge_hidden = hidden_channels if edge_hidden_channels is None else edge_hidden_channels
        counts = {"in_channels": in_channels, "edge_channels": edge_channels, "edge_hidden_channels": edge_hidden}
        for name, value in (counts | {"num_convs": num_convs}).items():
            check_count(name, value, 1)
        self.in_channels = in_channels
        self.edge_channels = edge_channels
        self.head = ReadoutHead(3 * hidden_channels, hidden_channels, num_outputs, dropout=dropout)
        widths = [in_channels, *[hidden_channels] * num_convs]
        self.convs = torch.nn.ModuleList(GCNConv(*pair) for pair in pairwise(widths))
        widths = [edge_channels, *[edge_hidden] * (num_convs - 1)]
        self.edge_convs = torch.nn.ModuleList(HypergraphConv(*pair) for pair in pairwise(widths))
        self.drop = HyperDrop(edge_hidden, ratio, symmetric=symmetric)

    def forward(self, data: Any) -> Tensor:
        """Predicts.

        Args:
            data: A ``Data`` or ``Batch``, or any object with the attributes ``x`` ``[N, in_channels]``, ``edge_index``
                ``[2, E]``, ``edge_attr`` ``[E, edge_channels]`` (None: ones), and ``ptr`` or ``batch`` where there are
                several graphs; edges are in order of their graphs.

        Returns:
            Logits, ``[G, num_outputs]``.

        Raises:
            DataError: If an attribute is missing, edges are not in order of their graphs, or one joins two; with
                ``symmetric``, if a direction of an edge is missing.
            ShapeError: If an attribute has the wrong shape.
        """
        x, edge_index = required(data, "x"), required(data, "edge_index")
        if x.dim() != 2 or x.size(1) != self.in_channels:
            raise ShapeError(f"data.x must have shape [N, {self.in_channels}], got {describe(x)}")
        num_nodes = x.size(0)
        graph, weight = Graph.from_edge_index(edge_index, num_nodes=num_nodes), None
        edge = edge_features_of(data, self.edge_channels, x.dtype)
        ptr = node_boundaries(data, num_nodes)
        edge_ptr = edge_boundaries(edge_index, ptr)
        x = self.convs[0](x, graph).relu()
        out = readout(x, ptr)
        for conv, edge_conv in zip(self.convs[1:], self.edge_convs, strict=True):
            dual = dual_of_edges(edge_index, num_nodes)
            edge = edge_conv(edge, dual).relu()
            edge_index, edge, weight, edge_ptr, _ = self.drop(edge, edge_index, num_nodes, edge_ptr, dual=dual)
            x = conv(x, Graph.from_edge_index(edge_index, num_nodes=num_nodes), weight).relu()
            out = out + readout(x, ptr)
        return self.head(out)


class ReadoutHead(torch.nn.Module):
    """Affine maps ``in_channels -> d -> d / 2 -> num_outputs``, with rectifiers and dropout between them.

    Args:
        in_channels: Width of the readout.
        hidden_channels: ``d``, at least 2.
        num_outputs: Width of the output.
        dropout: Probability of dropping an entry, by torch's global generator.

    Raises:
        ConfigError: If a setting is out of range.
    """

    def __init__(self, in_channels: int, hidden_channels: int, num_outputs: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        check_count("hidden_channels", hidden_channels, 2)
        check_count("num_outputs", num_outputs, 1)
        check_dropout("dropout", dropout)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(in_channels, hidden_channels),
            torch.nn.ReLU(),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(hidden_channels, hidden_channels // 2),
            torch.nn.ReLU(),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(hidden_channels // 2, num_outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[G, in_channels]`` to ``[G, num_outputs]``."""
        return self.layers(x)


def readout(x: Tensor, ptr: Tensor) -> Tensor:
    """Maximum, mean and sum over the nodes of each graph side by side, ``[N, d]`` to ``[G, 3 d]``; zero without nodes.

    Args:
        x: Node features.
        ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``.
    """
    return torch.cat([ops.segment_reduce(x, ptr, reduce) for reduce in ("max", "mean", "sum")], dim=1)
