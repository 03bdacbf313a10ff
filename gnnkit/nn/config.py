"""The configuration of a model."""

import difflib
from dataclasses import dataclass, fields

from gnnkit.errors import ConfigError
from gnnkit.ops.dropout import Activation

CHOICES = {
    "conv": ("gcn", "sage", "gin", "gine", "gatedgcn", "edge_sum", "none"),
    "global_layer": ("none", "attention"),
    "activation": ("relu", "gelu", "silu", "none"),
    "norm": ("none", "batch"),
    "node_encoder": ("linear", "atom", "embedding"),
    "edge_encoder": ("none", "bond", "linear", "embedding"),
    "pool": ("mean", "sum", "max", "min", "root", "none"),
}


@dataclass(frozen=True)
class EncodingConfig:
    """One positional or structural node feature that is already computed.

    Attributes:
        attr: Name of the attribute of the data, ``[N, in_dim]``, e.g. ``"random_walk_pe"``.
        in_dim: Its width.
        dim: Width to which it is mapped; taken off the width of the node encoder.
        norm: ``"batch"``: batch normalisation of the raw feature. ``"none"``: none.
    """

    attr: str
    in_dim: int
    dim: int
    norm: str = "none"

    def __post_init__(self) -> None:
        """Checks the values. Raises ConfigError."""
        for name in ("in_dim", "dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"encoding {self.attr!r}: {name} must be at least 1, got {getattr(self, name)}")
        _check_choice("norm", self.norm, ("none", "batch"))


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of :class:`GraphModel`.

    A layer is convolution, normalisation, activation, dropout, residual, in this order, then the feed-forward block.
    The stack of Tönshoff et al. ("Where did the gap go?", 2023) is ``norm="none"``, ``feed_forward=False`` and three
    head layers; that of GNN+ (Luo et al., 2025) is ``norm="batch"``, with or without the feed-forward block.

    With ``global_layer="attention"`` every layer is a :class:`GPSLayer` of the convolution and a
    :class:`GlobalAttention`. That of Rampášek et al. ("Recipe for a general, powerful, scalable graph transformer",
    2022) is ``norm="batch"`` and ``feed_forward=True``. The activation is then inside of ``gatedgcn`` and the
    feed-forward block only, and normalisation follows the residuals.

    Attributes:
        conv: ``"gcn"``, ``"sage"`` (mean), ``"gin"``, ``"gine"``, ``"gatedgcn"``, or ``"edge_sum"`` (which GNN+ calls
            ``gcne``). GIN and GINE apply a network of two affine maps. ``"none"``: no convolution, where there is a
            global layer.
        num_layers: Number of convolutions.
        hidden_dim: Width of nodes and edges throughout.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"none"``, everywhere in the model.
        dropout: Probability of dropping an entry after a convolution, and in the feed-forward block.
        residual: Add the input of a layer to its output.
        norm: ``"batch"``: batch normalisation after the convolution, and around the feed-forward block.
            ``gatedgcn`` always has its own.
        feed_forward: After each convolution, ``d -> 2d -> d`` with a residual.
        node_encoder: ``"linear"`` for real-valued ``x``, ``"atom"`` for OGB's atoms, ``"embedding"`` for categories.
        edge_encoder: The same for ``edge_attr``, with ``"bond"`` for OGB's bonds, and ``"none"``.
        encodings: Node features that are concatenated to the encoded ``x``.
        pool: ``"mean"``, ``"sum"``, ``"max"``, ``"min"``, ``"root"`` (one marked node per graph), or ``"none"``: one
            output per node.
        head_layers: Number of affine maps in the head, with dropout before each and the activation between them.
        head_dropout: Probability of dropping an entry in the head. None: as ``dropout``.
        global_layer: ``"attention"``: attention among all nodes of each graph, beside the convolution. Or ``"none"``.
        num_heads: Heads of the attention, a divisor of ``hidden_dim``.
        attention_dropout: Probability of dropping an attention weight.

    Raises:
        ConfigError: If a value is unknown or out of range, or values contradict each other.
    """

    conv: str = "gcn"
    num_layers: int = 6
    hidden_dim: int = 128
    activation: Activation = "relu"
    dropout: float = 0.0
    residual: bool = True
    norm: str = "none"
    feed_forward: bool = False
    node_encoder: str = "linear"
    edge_encoder: str = "none"
    encodings: tuple[EncodingConfig, ...] = ()
    pool: str = "mean"
    head_layers: int = 1
    head_dropout: float | None = None
    global_layer: str = "none"
    num_heads: int = 4
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        """Checks the values. See the class."""
        for field in fields(self):
            if field.name in CHOICES:
                _check_choice(field.name, getattr(self, field.name), CHOICES[field.name])
        for name in ("num_layers", "hidden_dim", "head_layers", "num_heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("dropout", "head_dropout", "attention_dropout"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < 1.0:
                raise ConfigError(f"{name} must lie in [0, 1), got {value}")
        object.__setattr__(self, "encodings", tuple(self.encodings))
        if self.node_dim < 1:
            raise ConfigError(
                f"the encodings take {self.hidden_dim - self.node_dim} of hidden_dim = {self.hidden_dim}, which leaves "
                "nothing for the node encoder; raise hidden_dim or lower the encodings' dim"
            )
        if self.conv in ("gine", "edge_sum") and self.edge_encoder == "none":
            raise ConfigError(
                f"conv = {self.conv!r} needs edge features, got edge_encoder = 'none'; set it to one of "
                f"{', '.join(CHOICES['edge_encoder'][1:])}, or use conv = 'gin'"
            )
        self._check_global_layer()

    def _check_global_layer(self) -> None:
        if self.global_layer == "none":
            if self.conv == "none":
                raise ConfigError("conv = 'none' needs a global layer; set global_layer = 'attention'")
            return
        if self.hidden_dim % self.num_heads != 0:
            raise ConfigError(f"hidden_dim must be a multiple of num_heads, got {self.hidden_dim} and {self.num_heads}")
        if not self.residual:
            raise ConfigError(
                f"global_layer = {self.global_layer!r} makes GPS layers, which have residuals; set residual = true"
            )

    @property
    def node_dim(self) -> int:
        """Width of the encoded ``x``: what the encodings leave of ``hidden_dim``."""
        return self.hidden_dim - sum(encoding.dim for encoding in self.encodings)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value in allowed:
        return
    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}")
