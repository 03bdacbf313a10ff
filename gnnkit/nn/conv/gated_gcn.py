"""Residual gated graph convolutions."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import NodeFeatures, edge_features, endpoint_features, no_edge_features, node_features
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.nn.epilogue import Activation, epilogue


class GatedGCNConv(torch.nn.Module):
    r"""Gated graph convolution with edge states, as GraphGPS and the LRGB benchmarks use it.

    Bresson and Laurent, "Residual gated graph convnets", 2017, with normalised gates:

    .. math::
        \hat e_{ji} &= D x_i + E x_j + C e_{ji}, \qquad \sigma_{ji} = \mathrm{sigmoid}(\hat e_{ji}) \\
        \hat x_i &= A x_i + \frac{\sum_{j \to i} \sigma_{ji} \odot B x_j}{\sum_{j \to i} \sigma_{ji} + 10^{-6}} \\
        x_i' &= x_i + \mathrm{dropout}(\phi(\mathrm{BN}(\hat x_i))), \qquad
        e_{ji}' = e_{ji} + \mathrm{dropout}(\phi(\mathrm{BN}(\hat e_{ji})))

    :math:`A, \ldots, E` are affine maps, named as in GraphGPS. ``residual=False`` leaves out :math:`x_i +` only: as in
    the released code of GraphGPS, the edge states always keep their residual.

    Args:
        in_channels: Width of nodes and of edges.
        out_channels: Width of both outputs.
        dropout: Probability of dropping an entry of either output.
        residual: Add the input to the output of the nodes.
        activation: :math:`\phi`: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"none"``.

    Raises:
        ConfigError: If the widths differ: the residual of the edges, at least, needs equal ones.

    Determinism: bitwise, forward and backward, for a given seed of torch's global generator.
    Complexity: ``O((N + E) F^2)`` time; ``O(E F)`` memory for the edge states, none for gates and messages.
    """

    edge_input = "features"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dropout: float = 0.0,
        residual: bool = True,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if in_channels != out_channels:
            raise ConfigError(f"GatedGCNConv needs equal widths (residuals), got {in_channels} and {out_channels}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.dropout = dropout
        self.residual = residual
        self.activation: Activation = activation
        self.A = torch.nn.Linear(in_channels, out_channels)
        self.B = torch.nn.Linear(in_channels, out_channels)
        self.C = torch.nn.Linear(in_channels, out_channels)
        self.D = torch.nn.Linear(in_channels, out_channels)
        self.E = torch.nn.Linear(in_channels, out_channels)
        self.bn_node_x = BatchNorm(out_channels)
        self.bn_edge_e = BatchNorm(out_channels)

    def reset_parameters(self) -> None:
        """Draws new weights and forgets the running statistics."""
        for module in (self.A, self.B, self.C, self.D, self.E, self.bn_node_x, self.bn_edge_e):
            module.reset_parameters()

    def forward(self, x: Tensor, graph: Graph, edge_attr: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Updates nodes and edges.

        Args:
            x: Node features, ``[N, in_channels]``.
            graph: The topology.
            edge_attr: Edge states, ``[E, in_channels]``. None: zeros, where the data has no edge features.

        Returns:
            Node features ``[N, out_channels]`` and edge states ``[E, out_channels]``.

        Raises:
            ShapeError: If ``x`` or ``edge_attr`` does not fit the graph, or the graph is bipartite.
        """
        x = node_features(x, graph, layer="GatedGCNConv", width=self.in_channels)
        if edge_attr is None:
            edge_attr = x.new_zeros((graph.num_edges, self.in_channels))
        edge_in = edge_features(edge_attr, graph, layer="GatedGCNConv", width=self.in_channels)
        gated, edge = ops.gated_aggregate(graph, self.D(x), self.E(x), self.B(x), self.C(edge_in))
        out = self.A(x) + gated
        return (
            self._finish(self.bn_node_x(out), x if self.residual else None),
            self._finish(self.bn_edge_e(edge), edge_in),
        )

    def _finish(self, value: Tensor, residual: Tensor | None) -> Tensor:
        return epilogue(value, None, residual, self.dropout, self.activation, self.training)

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.in_channels}, {self.out_channels}, dropout={self.dropout}, residual={self.residual}, "
            f"activation={self.activation!r}"
        )


class ResGatedGraphConv(torch.nn.Module):
    r"""Residual gated graph convolution (Bresson and Laurent, 2017) in the form of PyTorch Geometric.

    .. math::
        x_i' = W_s x_i + b + \sum_{e : j \to i} \phi(W_k [x_i, a_e] + W_q [x_j, a_e]) \odot W_v [x_j, a_e]

    Weights and results are those of ``torch_geometric.nn.ResGatedGraphConv``.

    Args:
        in_channels: Width of the input features, or of the sources' and of the destinations'.
        out_channels: Width of the output features.
        act: The gate :math:`\phi`. None: the logistic function.
        edge_dim: Width of the edge features. None: the layer takes none.
        root_weight: Add :math:`W_s x_i`.
        bias: Add :math:`b`.

    Determinism: bitwise, forward and backward.
    Complexity: ``O((N + E) F F')`` time with edge features and ``O(N F F' + E F')`` without; ``O(E F')`` memory.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        *,
        act: Callable[[Tensor], Tensor] | None = None,
        edge_dim: int | None = None,
        root_weight: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._widths = in_channels if isinstance(in_channels, tuple) else (in_channels, in_channels)
        source, destination = self._widths
        extra = edge_dim or 0
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.edge_dim = edge_dim
        self.edge_input = "none" if edge_dim is None else "features"
        self.act = torch.sigmoid if act is None else act
        self.lin_key = torch.nn.Linear(destination + extra, out_channels)
        self.lin_query = torch.nn.Linear(source + extra, out_channels)
        self.lin_value = torch.nn.Linear(source + extra, out_channels)
        self.lin_skip = torch.nn.Linear(destination, out_channels, bias=False) if root_weight else None
        self.bias = torch.nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: NodeFeatures, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        """Aggregates the gated neighbours of every destination.

        Args:
            x: Node features ``[N, in_channels]``, or ``(x_src, x_dst)`` of a bipartite graph.
            graph: The topology.
            edge_attr: Edge features, ``[E, edge_dim]``; None exactly where ``edge_dim`` is None.

        Returns:
            ``[num_dst, out_channels]``.

        Raises:
            ShapeError: If ``x`` or ``edge_attr`` does not fit the graph.
            ConfigError: If edge features are given to a layer without ``edge_dim``.
        """
        x_src, x_dst = endpoint_features(x, graph, layer="ResGatedGraphConv", widths=self._widths)
        if x_dst is None:
            raise ShapeError("ResGatedGraphConv needs features of the destinations, got (x_src, None)")
        key, query, value = self._node_part(x_src, x_dst)
        gate = ops.gather(graph, key, "dst") + ops.gather(graph, query, "src")
        if self.edge_dim is None:
            no_edge_features(edge_attr, layer="ResGatedGraphConv without edge_dim")
            gate, edge_value = self.act(gate), None
        else:
            edge = edge_features(edge_attr, graph, layer="ResGatedGraphConv", width=self.edge_dim)
            by_edge = [part.weight[:, -self.edge_dim :] for part in (self.lin_key, self.lin_query, self.lin_value)]
            gate = self.act(gate + linear(edge, by_edge[0] + by_edge[1]))
            edge_value = linear(edge, by_edge[2])
        out = ops.spmm(graph, value.unsqueeze(-1), gate).squeeze(-1)
        if edge_value is not None:
            out = out + ops.aggregate(graph, gate * edge_value)
        if self.lin_skip is not None:
            out = out + self.lin_skip(x_dst)
        return out if self.bias is None else out + self.bias

    def _node_part(self, x_src: Tensor, x_dst: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The affine maps without the columns that belong to edge features: once per node instead of per edge."""
        maps = ((self.lin_key, x_dst), (self.lin_query, x_src), (self.lin_value, x_src))
        key, query, value = (linear(x, part.weight[:, : x.size(-1)], part.bias) for part, x in maps)
        return key, query, value

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, {self.out_channels}, edge_dim={self.edge_dim}"
