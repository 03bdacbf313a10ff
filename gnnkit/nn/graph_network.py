"""What models of ``Data`` share: encoders before the layers, a readout and a head after them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import affine
from gnnkit.nn.config import EncodingConfig, NetworkConfig
from gnnkit.nn.encoders import AtomEncoder, BondEncoder, CategoricalEncoder, EncodingEncoder, LinearEncoder
from gnnkit.nn.encoding_encoders import DeepSetsEncoder
from gnnkit.nn.epilogue import Activation, epilogue
from gnnkit.nn.pool import graph_boundaries, pool, root_pool
from gnnkit.nn.sign_net import SignNet

Dims = int | Sequence[int] | None


class GraphNetwork(torch.nn.Module):
    """The base of models that read a ``Data`` or ``Batch`` and are configured by a :class:`NetworkConfig`.

    A subclass makes its layers after calling ``__init__``, and then ``self.head = Head(config, num_outputs)``; its
    ``forward`` encodes, applies the layers, and returns ``self.head(self.readout(x, data))``.

    Args:
        config: Of encoders, readout and head.
        node_dims: Of ``data.x``: its width (``"linear"``), or the number of categories of its column or columns
            (``"embedding"``); not used by ``"atom"``.
        edge_dims: Of ``data.edge_attr``, likewise.

    Raises:
        ConfigError: If a dimension that an encoder needs is missing.
    """

    head: "Head"

    def __init__(self, config: NetworkConfig, *, node_dims: Dims = None, edge_dims: Dims = None) -> None:
        super().__init__()
        self.config = config
        self.node_encoder = _encoder("node_encoder", config.node_encoder, node_dims, config.node_dim)
        self.encodings = torch.nn.ModuleList(_encoding_encoder(encoding) for encoding in config.encodings)
        self.edge_encoder = None
        if config.edge_encoder != "none":
            self.edge_encoder = _encoder("edge_encoder", config.edge_encoder, edge_dims, config.hidden_dim)

    def encode_nodes(self, data: Any) -> Tensor:
        """The input of the first layer, ``[N, hidden_dim]``: the encoded ``x``, then the encodings.

        Raises:
            DataError: If an attribute is missing.
        """
        parts = [self.node_encoder(attribute(data, "x"))]
        for encoder, encoding in zip(self.encodings, self.config.encodings, strict=True):
            parts.append(self._encoded(encoder, encoding, data))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def encode_edges(self, data: Any) -> Tensor | None:
        """``[E, hidden_dim]``, or None without an encoder of edges. Raises DataError where there are no features."""
        return None if self.edge_encoder is None else self.edge_encoder(attribute(data, "edge_attr"))

    def readout(self, x: Tensor, data: Any) -> Tensor:
        """The input of the head: one row per graph, or ``x`` itself with ``pool="none"``."""
        if self.config.pool == "none":
            return x
        ptr = boundaries(x, data)
        if self.config.pool == "root":
            return root_pool(x, attribute(data, "root_mask"), ptr=ptr)
        return pool(x, ptr=ptr, reduce=self.config.pool)

    def _encoded(self, encoder: torch.nn.Module, encoding: EncodingConfig, data: Any) -> Tensor:
        attr = encoding.attr
        if isinstance(encoder, SignNet):
            return encoder.encode_data(data, attr_name=attr)
        value = attribute(data, attr)
        if encoding.random_signs and self.training:
            value = value * (torch.randint(0, 2, value.shape[1:], device=value.device) * 2 - 1)
        if isinstance(encoder, DeepSetsEncoder):
            return encoder(value, attribute(data, f"{attr}_eigenvalue"), mask=attribute(data, f"{attr}_mask"))
        return encoder(value)


class Head(torch.nn.Module):
    """``head_layers`` affine maps, with dropout before each and the activation between them."""

    def __init__(self, config: NetworkConfig, num_outputs: int) -> None:
        super().__init__()
        self.activation: Activation = config.activation
        self.dropout = config.dropout if config.head_dropout is None else config.head_dropout
        widths = [config.hidden_dim] * config.head_layers + [num_outputs]
        self.linears = torch.nn.ModuleList(torch.nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """``[*, hidden_dim]`` to ``[*, num_outputs]``."""
        *hidden, last = cast(list[torch.nn.Linear], list(self.linears))
        if self.dropout > 0 and self.training:
            x = epilogue(x, None, None, self.dropout, "none", self.training)
        for linear in hidden:
            x = affine(linear, x, None, self.dropout, self.activation, self.training)
        return last(x)


def graph_of(data: Any) -> Graph:
    """``data.graph`` where it is a :class:`Graph`, else one of ``data.edge_index``. Raises DataError without either."""
    graph = getattr(data, "graph", None)
    if isinstance(graph, Graph):
        return graph
    return Graph.from_edge_index(attribute(data, "edge_index"), num_nodes=data.num_nodes)


def attribute(data: Any, name: str) -> Tensor:
    """``data.name``. Raises DataError where it is no tensor."""
    value = getattr(data, name, None)
    if not isinstance(value, Tensor):
        raise DataError(f"the model reads data.{name}, which is missing; check the dataset and its transforms")
    return value


def boundaries(x: Tensor, data: Any) -> Tensor:
    """First node of each graph of the data, and ``N`` at the end."""
    ptr = getattr(data, "ptr", None)
    if ptr is not None:
        return ptr
    return graph_boundaries(x, getattr(data, "batch", None), num_graphs=getattr(data, "num_graphs", None))


def _encoding_encoder(config: EncodingConfig) -> torch.nn.Module:
    match config.encoder:
        case "deep_sets":
            hidden, layers = config.hidden_dim or 2 * config.dim, config.num_layers or 2
            return DeepSetsEncoder(2, config.dim, hidden_dim=hidden, num_layers=layers, num_post_layers=0)
        case "sign_net":
            return SignNet(config.dim, hidden_channels=config.hidden_dim or 128, num_layers=config.num_layers or 8)
    return EncodingEncoder(config)


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
