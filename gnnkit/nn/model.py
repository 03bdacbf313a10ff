"""One model that expresses the stacks of the tuned classic baselines."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import affine
from gnnkit.nn._convolution import ESTIMATING, Convolution, make_convolution
from gnnkit.nn.aggregator_norm import AggregatorNorm
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.nn.config import ModelConfig
from gnnkit.nn.conv import EdgeSumConv, GatedGCNConv, GCNConv
from gnnkit.nn.epilogue import epilogue
from gnnkit.nn.global_attention import GlobalAttention, GraphBlocks
from gnnkit.nn.gps import GPSLayer
from gnnkit.nn.graph_network import Dims, GraphNetwork, Head, boundaries, graph_of


class GraphModel(GraphNetwork):
    """Encoders, a stack of convolutions, a readout and a head, as a :class:`ModelConfig` says.

    Args:
        config: The model.
        node_dims: Of ``data.x``: its width (``"linear"``), or the number of categories of its column or columns
            (``"embedding"``); not used by ``"atom"``.
        edge_dims: Of ``data.edge_attr``, likewise.
        num_outputs: Number of outputs per graph, or per node with ``pool="none"``.

    Raises:
        ConfigError: If a dimension that an encoder needs is missing.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    """

    def __init__(
        self, config: ModelConfig, *, node_dims: Dims = None, edge_dims: Dims = None, num_outputs: int
    ) -> None:
        super().__init__(config, node_dims=node_dims, edge_dims=edge_dims)
        self.config = config
        layer = _Layer if config.global_layer == "none" else _GPSLayer
        self.layers = torch.nn.ModuleList(layer(config) for _ in range(config.num_layers))
        self.head = Head(config, num_outputs)

    def forward(self, data: Any) -> Tensor:
        """Predicts.

        Args:
            data: A ``torch_geometric`` ``Data`` or ``Batch``, or any object with the attributes ``x``, ``edge_index``,
                ``num_nodes``, and where the configuration uses them ``edge_attr``, the encodings, ``root_mask``
                (bool ``[N]``, one True per graph), and ``ptr`` or ``batch``. A :class:`Graph` in ``data.graph`` is
                used in place of ``edge_index``. Of a random subgraph, an :class:`AggregatorNorm` in
                ``data.aggregator_norm`` is given to each convolution.

        Returns:
            ``[G, num_outputs]``, or ``[N, num_outputs]`` with ``pool="none"``.

        Raises:
            DataError: If an attribute is missing.
            ShapeError: If an attribute has the wrong shape.
            ConfigError: If there is an ``aggregator_norm``, and the layers take none (:meth:`takes_aggregator_norm`).
        """
        graph = graph_of(data)
        x = self.encode_nodes(data)
        # Only layers that use edge features are given any, and only then are they encoded.
        edge = self.encode_edges(data) if self.layers[0].uses_edges else None
        norm = getattr(data, "aggregator_norm", None)
        if norm is not None and not self.takes_aggregator_norm(self.config):
            raise ConfigError(
                "data.aggregator_norm is given, but the layers are no sums over edges with coefficients of the graph "
                f"alone; remove it, or take a conv of {', '.join(ESTIMATING)} without a global layer"
            )
        if self.config.global_layer == "none":
            for layer in self.layers:
                x, edge = layer(x, graph, edge, norm)
            return self.head(self.readout(x, data))
        ptr = boundaries(x, data)
        blocks = GraphBlocks.of(ptr)
        for layer in self.layers:
            x, edge = layer(x, graph, edge, ptr, blocks=blocks)
        return self.head(self.readout(x, data))

    @staticmethod
    def takes_aggregator_norm(config: ModelConfig) -> bool:
        """Whether a model of this configuration has use for an :class:`AggregatorNorm`."""
        return config.conv in ESTIMATING and config.global_layer == "none"


class _Layer(torch.nn.Module):
    """Convolution, normalisation, activation, dropout, residual; then the feed-forward block where there is one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = _conv(config)
        self.uses_edges = self.conv.edge_input == "features"
        self.norm = None
        if config.norm == "batch" and config.conv != "gatedgcn":
            self.norm = BatchNorm(config.hidden_dim)
        self.feed_forward = _FeedForward(config) if config.feed_forward else None

    def forward(
        self, x: Tensor, graph: Graph, edge: Tensor | None, norm: AggregatorNorm | None = None
    ) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.conv, GatedGCNConv):
            x, edge = self.conv(x, graph, edge)
        else:
            x = self._convolve(x, graph, edge, norm)
        return (x if self.feed_forward is None else self.feed_forward(x)), edge

    def _convolve(self, x: Tensor, graph: Graph, edge: Tensor | None, norm: AggregatorNorm | None) -> Tensor:
        edge = edge if self.uses_edges else None
        bias = None
        if self.norm is not None:
            out = self.norm(self.conv(x, graph, edge, norm=norm))
        elif isinstance(self.conv, GCNConv | EdgeSumConv):
            # These can leave their bias to the pass over the nodes that follows anyway.
            out, bias = self.conv.without_bias(x, graph, edge, norm=norm), self.conv.bias
        else:
            out = self.conv(x, graph, edge, norm=norm)
        residual = x if self.config.residual else None
        return epilogue(out, bias, residual, self.config.dropout, self.config.activation, self.training)


class _GPSLayer(GPSLayer):
    """A GPS layer whose parts are those of the configuration."""

    def __init__(self, config: ModelConfig) -> None:
        conv = None if config.conv == "none" else _conv(config)
        super().__init__(
            config.hidden_dim,
            conv,
            GlobalAttention(config.hidden_dim, config.num_heads, dropout=config.attention_dropout),
            dropout=config.dropout,
            activation=config.activation,
            norm=config.norm,
            feed_forward=config.feed_forward,
        )
        self.uses_edges = conv is not None and conv.edge_input == "features"


class _FeedForward(torch.nn.Module):
    """Two affine maps over twice the width with a residual, between normalisations where the model has them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_dim
        self.norm_in = BatchNorm(width) if config.norm == "batch" else None
        self.expand = torch.nn.Linear(width, 2 * width)
        self.contract = torch.nn.Linear(2 * width, width)
        self.norm_out = BatchNorm(width) if config.norm == "batch" else None

    def forward(self, x: Tensor) -> Tensor:
        p, training = self.config.dropout, self.training
        if self.norm_in is not None:
            x = self.norm_in(x)
        hidden = affine(self.expand, x, None, p, self.config.activation, training)
        out = affine(self.contract, hidden, x, p, "none", training)
        return out if self.norm_out is None else self.norm_out(out)


def _conv(config: ModelConfig) -> Convolution:
    return make_convolution(
        config.conv,
        config.hidden_dim,
        dropout=config.dropout,
        residual=config.residual,
        activation=config.activation,
    )
