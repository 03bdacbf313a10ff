"""Graph isomorphism networks, without and with edge features."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import NodeFeatures, edge_features, endpoint_features, no_edge_features
from gnnkit.nn.aggregator_norm import AggregatorNorm


class _Isomorphism(torch.nn.Module):
    eps: Tensor

    def __init__(self, nn: torch.nn.Module, eps: float, train_eps: bool) -> None:
        super().__init__()
        self.nn = nn
        if train_eps:
            self.eps = torch.nn.Parameter(torch.tensor([eps]))
        else:
            self.register_buffer("eps", torch.tensor([eps]))

    def transform(self, aggregated: Tensor, x_dst: Tensor | None) -> Tensor:
        if x_dst is None:
            return self.nn(aggregated)
        if x_dst.shape != aggregated.shape:
            raise ShapeError(
                f"{type(self).__name__} adds the neighbours to the destinations, so both need one width; got "
                f"{tuple(aggregated.shape)} and {tuple(x_dst.shape)}"
            )
        return self.nn(aggregated + (1 + self.eps) * x_dst)


class GINConv(_Isomorphism):
    r"""Graph isomorphism layer (Xu et al., "How powerful are graph neural networks?", 2019).

    .. math::
        x_i' = h\Bigl((1 + \epsilon)\, x_i + \sum_{j \to i} x_j\Bigr)

    Weights and results are those of ``torch_geometric.nn.GINConv``.

    Args:
        nn: The network :math:`h`, ``[N, F] -> [N, F']``.
        eps: :math:`\epsilon`, or its initial value.
        train_eps: Learn :math:`\epsilon`.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E F)`` time besides :math:`h`, no message per edge.
    """

    edge_input = "none"

    def __init__(self, nn: torch.nn.Module, *, eps: float = 0.0, train_eps: bool = False) -> None:
        super().__init__(nn, eps, train_eps)

    def forward(
        self, x: NodeFeatures, graph: Graph, edge_attr: None = None, *, norm: AggregatorNorm | None = None
    ) -> Tensor:
        """Aggregates the neighbours of every destination.

        Args:
            x: Node features ``[N, F]``, or ``(x_src, x_dst)`` of a bipartite graph; ``x_dst`` may be None.
            graph: The topology.
            edge_attr: Must be None: the layer has no use for it.
            norm: Of a random subgraph, see :class:`gnnkit.nn.AggregatorNorm`.

        Returns:
            ``[num_dst, F']``.

        Raises:
            ShapeError: If ``x`` or the norm does not fit the graph.
            ConfigError: If edge features are given.
        """
        no_edge_features(edge_attr, layer="GINConv")
        x_src, x_dst = endpoint_features(x, graph, layer="GINConv")
        if norm is None:
            return self.transform(ops.spmm(graph, x_src), x_dst)
        norm.check(graph)
        return self.transform(ops.spmm(graph, x_src, norm.edge_norm.to(x_src.dtype)), x_dst)


class GINEConv(_Isomorphism):
    r"""Graph isomorphism layer with edge features (Hu et al., "Strategies for pre-training GNNs", 2020).

    .. math::
        x_i' = h\Bigl((1 + \epsilon)\, x_i + \sum_{e : j \to i} \mathrm{relu}(x_j + a_e)\Bigr)

    Weights and results are those of ``torch_geometric.nn.GINEConv``.

    Args:
        nn: The network :math:`h`, ``[N, F] -> [N, F']``.
        eps: :math:`\epsilon`, or its initial value.
        train_eps: Learn :math:`\epsilon`.
        edge_dim: Width of the edge features, which are then projected to ``F``. None: they have width ``F``.
        in_channels: ``F``. None: read from the first layer of ``nn``; needed only with ``edge_dim``.

    Raises:
        ConfigError: If ``edge_dim`` is given and ``F`` is neither given nor to be read from ``nn``.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E F)`` time and memory besides :math:`h`.
    """

    edge_input = "features"

    def __init__(
        self,
        nn: torch.nn.Module,
        *,
        eps: float = 0.0,
        train_eps: bool = False,
        edge_dim: int | None = None,
        in_channels: int | None = None,
    ) -> None:
        super().__init__(nn, eps, train_eps)
        self.lin = None
        if edge_dim is not None:
            self.lin = torch.nn.Linear(edge_dim, _input_width(nn) if in_channels is None else in_channels)

    def forward(
        self, x: NodeFeatures, graph: Graph, edge_attr: Tensor | None = None, *, norm: AggregatorNorm | None = None
    ) -> Tensor:
        """Aggregates the neighbours of every destination.

        Args:
            x: Node features ``[N, F]``, or ``(x_src, x_dst)`` of a bipartite graph; ``x_dst`` may be None.
            graph: The topology.
            edge_attr: Edge features, ``[E, F]``, or ``[E, edge_dim]``.
            norm: Of a random subgraph, see :class:`gnnkit.nn.AggregatorNorm`.

        Returns:
            ``[num_dst, F']``.

        Raises:
            ShapeError: If ``x``, ``edge_attr`` or the norm does not fit the graph, or edge features are missing.
        """
        x_src, x_dst = endpoint_features(x, graph, layer="GINEConv")
        width = x_src.size(-1) if self.lin is None else self.lin.in_features
        edge = edge_features(edge_attr, graph, layer="GINEConv", width=width)
        if self.lin is not None:
            edge = self.lin(edge)
        messages = (ops.gather(graph, x_src, "src") + edge).relu()
        if norm is not None:
            norm.check(graph)
            messages = norm.scaled(messages)
        return self.transform(ops.aggregate(graph, messages), x_dst)


def _input_width(nn: torch.nn.Module) -> int:
    first = nn[0] if isinstance(nn, torch.nn.Sequential) else nn
    for name in ("in_features", "in_channels"):
        width = getattr(first, name, None)
        if isinstance(width, int):
            return width
    raise ConfigError("GINEConv cannot read the input width of nn; give in_channels together with edge_dim")
