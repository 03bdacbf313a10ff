"""One model that expresses the stacks of the tuned classic baselines."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import affine
from gnnkit.nn.config import ModelConfig
from gnnkit.nn.conv import EdgeSumConv, GatedGCNConv, GCNConv, GINConv, GINEConv, SAGEConv
from gnnkit.nn.encoders import AtomEncoder, BondEncoder, CategoricalEncoder, EncodingEncoder, LinearEncoder
from gnnkit.nn.epilogue import Activation, epilogue
from gnnkit.nn.global_attention import GlobalAttention, GraphBlocks
from gnnkit.nn.gps import GPSLayer
from gnnkit.nn.pool import graph_boundaries, pool, root_pool

Dims = int | Sequence[int] | None

_ACTIVATIONS = {"relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "silu": torch.nn.SiLU, "none": torch.nn.Identity}


class GraphModel(torch.nn.Module):
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
        super().__init__()
        self.config = config
        self.node_encoder = _encoder("node_encoder", config.node_encoder, node_dims, config.node_dim)
        self.encodings = torch.nn.ModuleList(EncodingEncoder(encoding) for encoding in config.encodings)
        self.edge_encoder = None
        if config.edge_encoder != "none":
            self.edge_encoder = _encoder("edge_encoder", config.edge_encoder, edge_dims, config.hidden_dim)
        layer = _Layer if config.global_layer == "none" else _GPSLayer
        self.layers = torch.nn.ModuleList(layer(config) for _ in range(config.num_layers))
        self.head = _Head(config, num_outputs)

    def forward(self, data: Any) -> Tensor:
        """Predicts.

        Args:
            data: A ``torch_geometric`` ``Data`` or ``Batch``, or any object with the attributes ``x``, ``edge_index``,
                ``num_nodes``, and where the configuration uses them ``edge_attr``, the encodings, ``root_mask``
                (bool ``[N]``, one True per graph), and ``ptr`` or ``batch``. A :class:`Graph` in ``data.graph`` is
                used in place of ``edge_index``.

        Returns:
            ``[G, num_outputs]``, or ``[N, num_outputs]`` with ``pool="none"``.

        Raises:
            DataError: If an attribute is missing.
            ShapeError: If an attribute has the wrong shape.
        """
        graph = getattr(data, "graph", None)
        if not isinstance(graph, Graph):
            graph = Graph.from_edge_index(_attribute(data, "edge_index"), num_nodes=data.num_nodes)
        x = self.encode_nodes(data)
        edge = None
        # Only layers that use edge features are given any, and only then are they encoded.
        if self.edge_encoder is not None and self.layers[0].uses_edges:
            edge = self.edge_encoder(_attribute(data, "edge_attr"))
        if self.config.global_layer == "none":
            for layer in self.layers:
                x, edge = layer(x, graph, edge)
            return self.head(self.readout(x, data))
        ptr = _boundaries(x, data)
        blocks = GraphBlocks.of(ptr)
        for layer in self.layers:
            x, edge = layer(x, graph, edge, ptr, blocks=blocks)
        return self.head(self.readout(x, data))

    def encode_nodes(self, data: Any) -> Tensor:
        """The input of the first layer, ``[N, hidden_dim]``: the encoded ``x``, then the encodings."""
        parts = [self.node_encoder(_attribute(data, "x"))]
        for encode, encoding in zip(self.encodings, self.config.encodings, strict=True):
            parts.append(encode(_attribute(data, encoding.attr)))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def readout(self, x: Tensor, data: Any) -> Tensor:
        """The input of the head: one row per graph, or ``x`` itself with ``pool="none"``."""
        if self.config.pool == "none":
            return x
        ptr = _boundaries(x, data)
        if self.config.pool == "root":
            return root_pool(x, _attribute(data, "root_mask"), ptr=ptr)
        return pool(x, ptr=ptr, reduce=self.config.pool)


class _Layer(torch.nn.Module):
    """Convolution, normalisation, activation, dropout, residual; then the feed-forward block where there is one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = _conv(config)
        self.uses_edges = self.conv.edge_input == "features"
        self.norm = None
        if config.norm == "batch" and config.conv != "gatedgcn":
            self.norm = torch.nn.BatchNorm1d(config.hidden_dim)
        self.feed_forward = _FeedForward(config) if config.feed_forward else None

    def forward(self, x: Tensor, graph: Graph, edge: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.conv, GatedGCNConv):
            x, edge = self.conv(x, graph, edge)
        else:
            x = self._convolve(x, graph, edge)
        return (x if self.feed_forward is None else self.feed_forward(x)), edge

    def _convolve(self, x: Tensor, graph: Graph, edge: Tensor | None) -> Tensor:
        edge = edge if self.uses_edges else None
        bias = None
        if self.norm is not None:
            out = self.norm(self.conv(x, graph, edge))
        elif isinstance(self.conv, GCNConv | EdgeSumConv):
            # These can leave their bias to the pass over the nodes that follows anyway.
            out, bias = self.conv.without_bias(x, graph, edge), self.conv.bias
        else:
            out = self.conv(x, graph, edge)
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
        self.norm_in = torch.nn.BatchNorm1d(width) if config.norm == "batch" else None
        self.expand = torch.nn.Linear(width, 2 * width)
        self.contract = torch.nn.Linear(2 * width, width)
        self.norm_out = torch.nn.BatchNorm1d(width) if config.norm == "batch" else None

    def forward(self, x: Tensor) -> Tensor:
        p, training = self.config.dropout, self.training
        if self.norm_in is not None:
            x = self.norm_in(x)
        hidden = affine(self.expand, x, None, p, self.config.activation, training)
        out = affine(self.contract, hidden, x, p, "none", training)
        return out if self.norm_out is None else self.norm_out(out)


class _Head(torch.nn.Module):
    """``head_layers`` affine maps, with dropout before each and the activation between them."""

    def __init__(self, config: ModelConfig, num_outputs: int) -> None:
        super().__init__()
        self.activation: Activation = config.activation
        self.dropout = config.dropout if config.head_dropout is None else config.head_dropout
        widths = [config.hidden_dim] * config.head_layers + [num_outputs]
        self.linears = torch.nn.ModuleList(torch.nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = cast(list[torch.nn.Linear], list(self.linears))
        if self.dropout > 0 and self.training:
            x = epilogue(x, None, None, self.dropout, "none", self.training)
        for linear in hidden:
            x = affine(linear, x, None, self.dropout, self.activation, self.training)
        return last(x)


def _conv(config: ModelConfig) -> GCNConv | SAGEConv | GINConv | GINEConv | EdgeSumConv | GatedGCNConv:
    width = config.hidden_dim
    match config.conv:
        case "gcn":
            return GCNConv(width, width)
        case "sage":
            return SAGEConv(width, width)
        case "gin":
            return GINConv(_isomorphism_network(config))
        case "gine":
            return GINEConv(_isomorphism_network(config))
        case "edge_sum":
            return EdgeSumConv(width, width)
    return GatedGCNConv(width, width, dropout=config.dropout, residual=config.residual, activation=config.activation)


def _isomorphism_network(config: ModelConfig) -> torch.nn.Sequential:
    width = config.hidden_dim
    return torch.nn.Sequential(
        torch.nn.Linear(width, width), _ACTIVATIONS[config.activation](), torch.nn.Linear(width, width)
    )


def _encoder(name: str, kind: str, dims: Dims, dim: int) -> torch.nn.Module:
    if kind == "atom":
        return AtomEncoder(dim)
    if kind == "bond":
        return BondEncoder(dim)
    if kind == "linear" and isinstance(dims, int):
        return LinearEncoder(dims, dim)
    if kind == "embedding" and dims is not None:
        return CategoricalEncoder((dims,) if isinstance(dims, int) else dims, dim)
    which = "node_dims" if name == "node_encoder" else "edge_dims"
    what = "the width of the features" if kind == "linear" else "the number of categories of each column"
    raise ConfigError(f"{name} = {kind!r} needs {which}, {what}; got {dims!r}")


def _attribute(data: Any, name: str) -> Tensor:
    value = getattr(data, name, None)
    if not isinstance(value, Tensor):
        raise DataError(f"the model reads data.{name}, which is missing; check the dataset and its transforms")
    return value


def _boundaries(x: Tensor, data: Any) -> Tensor:
    """First node of each graph of the data, and ``N`` at the end."""
    ptr = getattr(data, "ptr", None)
    if ptr is not None:
        return ptr
    return graph_boundaries(x, getattr(data, "batch", None), num_graphs=getattr(data, "num_graphs", None))
