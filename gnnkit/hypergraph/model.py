"""A network that classifies the nodes of a hypergraph."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from gnnkit.errors import ConfigError
from gnnkit.hypergraph.conv import (
    AllDeepSetsConv,
    AllSetTransformerConv,
    HGNNConv,
    HyperGCNConv,
    HypergraphConv,
    UniGATConv,
    UniGCNConv,
    UniGCNIIConv,
    UniGINConv,
    UniSAGEConv,
)
from gnnkit.hypergraph.hypergraph import Hypergraph, check_hyperedge_weight
from gnnkit.hypergraph.self_loops import add_self_loops
from gnnkit.nn._blocks import check_block, check_dropout
from gnnkit.nn.epilogue import epilogue
from gnnkit.nn.graph_network import attribute
from gnnkit.ops._checks import check_count, check_flag, check_number
from gnnkit.ops.dropout import Activation

_PLAIN = {
    "hypergraph": HypergraphConv,
    "hgnn": HGNNConv,
    "hypergcn": HyperGCNConv,
    "unigcn": UniGCNConv,
    "unigin": UniGINConv,
    "unisage": UniSAGEConv,
}
_WEIGHTED = ("hypergraph", "hgnn", "hypergcn")
_WITH_HEAD = ("alldeepsets", "allsettransformer", "unigcnii")
CONVS = (*_PLAIN, "unigat", *_WITH_HEAD)
"""Names of the layers that a model can be made of."""


class HypergraphModel(torch.nn.Module):
    r"""A stack of hypergraph layers for classifying nodes.

    After each layer come activation and dropout, and dropout before the first. With ``"unigcnii"``, ``"alldeepsets"``
    and ``"allsettransformer"`` all layers are ``hidden_channels`` wide, and an affine map gives the outputs; before the
    layers of ``"unigcnii"`` stands another affine map with the activation, whose result is :math:`x^{(0)}` of all
    layers. With the others the last layer gives the outputs itself; that of ``"unigat"`` has one head.

    Args:
        in_channels: Width of the node features.
        out_channels: Number of outputs per node.
        conv: ``"hypergraph"``, ``"hgnn"``, ``"hypergcn"``, ``"unigcn"``, ``"unigin"``, ``"unisage"``, ``"unigat"``,
            ``"unigcnii"``, ``"alldeepsets"`` or ``"allsettransformer"``.
        num_layers: Number of layers.
        hidden_channels: Width between the layers, of all heads together.
        heads: Heads of ``"unigat"`` and ``"allsettransformer"``, a divisor of ``hidden_channels``.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"none"``.
        dropout: Probability of dropping an entry after a layer; within the perceptrons of ``"alldeepsets"`` too.
        input_dropout: Probability of dropping an entry of the features. None: as ``dropout``.
        attention_dropout: Probability of dropping an attention weight.
        alpha: Share of :math:`x^{(0)}` in ``"unigcnii"``.
        lambda_: :math:`\lambda` of ``"unigcnii"``, whose layer :math:`\ell` has :math:`\beta_\ell = \log(\lambda / \ell
            + 1)`.
        self_loops: Give every node that is nowhere alone a hyperedge of its own, of weight 1
            (:func:`gnnkit.hypergraph.add_self_loops`).
        layer_options: Further keyword arguments of every layer, such as ``aggr`` or ``mediators``.

    Raises:
        ConfigError: If a setting is unknown or out of range.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: that of the layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        conv: str = "unigcnii",
        num_layers: int = 2,
        hidden_channels: int = 64,
        heads: int = 1,
        activation: Activation = "relu",
        dropout: float = 0.5,
        input_dropout: float | None = None,
        attention_dropout: float = 0.0,
        alpha: float = 0.1,
        lambda_: float = 0.5,
        self_loops: bool = True,
        layer_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if conv not in CONVS:
            raise ConfigError(f"conv must be one of {', '.join(CONVS)}, got {conv!r}")
        for name, value in (("num_layers", num_layers), ("hidden_channels", hidden_channels), ("heads", heads)):
            check_count(name, value, 1)
        check_block(dropout=dropout, activation=activation, norm="none")
        check_dropout("attention_dropout", attention_dropout)
        check_flag("self_loops", self_loops)
        if hidden_channels % heads != 0:
            raise ConfigError(f"hidden_channels must be a multiple of heads, got {hidden_channels} and {heads}")
        if not 0.0 <= check_number("lambda_", lambda_) <= math.e - 1:
            raise ConfigError(f"lambda_ must lie in [0, e - 1], for beta to lie in [0, 1], got {lambda_}")
        self.conv = conv
        self.activation: Activation = activation
        self.dropout = dropout
        self.input_dropout = dropout if input_dropout is None else input_dropout
        check_dropout("input_dropout", self.input_dropout)
        self.self_loops = self_loops
        self.has_head = conv in _WITH_HEAD
        self.encoder = torch.nn.Linear(in_channels, hidden_channels) if conv == "unigcnii" else None
        self.head = torch.nn.Linear(hidden_channels, out_channels) if self.has_head else None
        widths = [hidden_channels if self.encoder else in_channels, *[hidden_channels] * (num_layers - 1)]
        widths.append(hidden_channels if self.has_head else out_channels)
        options = layer_options or {}

        def layer(place: int) -> torch.nn.Module:
            width, out = widths[place], widths[place + 1]
            match conv:
                case "unigcnii":
                    return UniGCNIIConv(width, alpha=alpha, beta=math.log(lambda_ / (place + 1) + 1), **options)
                case "alldeepsets":
                    return AllDeepSetsConv(width, out, dropout=dropout, **options)
                case "allsettransformer":
                    return AllSetTransformerConv(width, out, heads=heads, dropout=attention_dropout, **options)
                case "unigat":
                    count = 1 if place == num_layers - 1 else heads
                    return UniGATConv(width, out // count, count, dropout=attention_dropout, **options)
            return _PLAIN[conv](width, out, **options)

        self.layers = torch.nn.ModuleList(layer(place) for place in range(num_layers))

    def reset_parameters(self) -> None:
        """Draws new weights."""
        for part in (self.encoder, *self.layers, self.head):
            if part is not None:
                part.reset_parameters()  # type: ignore[operator]

    def forward(self, data: Any) -> Tensor:
        """Predicts.

        Args:
            data: A :class:`gnnkit.hypergraph.HyperData` or a ``Batch`` of them with ``x``, ``hyperedge_index``,
                ``num_hyperedges``, and perhaps ``hyperedge_weight``. A :class:`gnnkit.hypergraph.Hypergraph` in
                ``data.hypergraph`` is used in place of ``hyperedge_index``: what follows from it is then computed once,
                and not in every call.

        Returns:
            ``[N, out_channels]``.

        Raises:
            DataError: If an attribute is missing.
            ShapeError: If an attribute has the wrong shape.
            ConfigError: If there are ``hyperedge_weight``, and the layers take none.
        """
        hypergraph = getattr(data, "hypergraph", None)
        if not isinstance(hypergraph, Hypergraph):
            hypergraph = Hypergraph.from_data(data)
        x = attribute(data, "x")
        given = self._weights(getattr(data, "hyperedge_weight", None), hypergraph)
        if self.self_loops:
            looped = add_self_loops(hypergraph)
            if given:
                given = (torch.cat([given[0], given[0].new_ones(looped.num_hyperedges - given[0].size(0))]),)
            hypergraph = looped
        x = self._drop(x, self.input_dropout)
        if self.encoder is not None:
            x = linear(x, self.encoder.weight)
            x = epilogue(x, self.encoder.bias, None, 0.0, self.activation, self.training)
            given = (x,)
            x = self._drop(x, self.dropout)
        last = len(self.layers) - 1
        for place, layer in enumerate(self.layers):
            x = layer(x, hypergraph, *given)
            if place < last or self.has_head:
                x = epilogue(x, None, None, self.dropout, self.activation, self.training)
        return x if self.head is None else self.head(x)

    def _weights(self, weight: Tensor | None, hypergraph: Hypergraph) -> tuple[Tensor, ...]:
        if weight is None:
            return ()
        if self.conv not in _WEIGHTED:
            raise ConfigError(
                f"{self.conv!r} takes no weights of hyperedges, and data.hyperedge_weight is given; remove it, or take "
                f"one of {', '.join(_WEIGHTED)}"
            )
        check_hyperedge_weight("hyperedge_weight", weight, hypergraph.num_hyperedges)
        return (weight,)

    def _drop(self, x: Tensor, p: float) -> Tensor:
        return epilogue(x, None, None, p, "none", self.training) if p > 0 and self.training else x

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"conv={self.conv!r}, activation={self.activation!r}, dropout={self.dropout}, "
            f"input_dropout={self.input_dropout}, self_loops={self.self_loops}"
        )
