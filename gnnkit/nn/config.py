"""The configuration of a model."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

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
        norm: ``"batch"``: batch normalisation of the raw feature, with ``encoder="linear"``. ``"none"``: none.
        encoder: ``"linear"``: an affine map (:class:`EncodingEncoder`). ``"deep_sets"``: columns with their eigenvalues
            as a set (:class:`DeepSetsEncoder` without affine maps after the sum). ``"sign_net"``: :class:`SignNet`, a
            GIN for each column and its negative. The last two read what ``gnnkit.encodings.LaplacianEigenvectors``
            writes: ``attr``, ``attr + "_eigenvalue"`` and ``attr + "_mask"``.
        hidden_dim: Width within ``"deep_sets"`` (None: ``2 dim``) and ``"sign_net"`` (None: 128).
        num_layers: Affine maps within ``"deep_sets"`` (None: 2), layers of the GIN within ``"sign_net"`` (None: 8).
        random_signs: In training, multiply each column by a random sign, one for all graphs of a batch, from torch's
            global generator, as GraphGPS does with eigenvectors.
    """

    attr: str
    in_dim: int
    dim: int
    norm: str = "none"
    encoder: str = "linear"
    hidden_dim: int | None = None
    num_layers: int | None = None
    random_signs: bool = False

    def __post_init__(self) -> None:
        """Checks the values. Raises ConfigError."""
        for name in ("in_dim", "dim", "hidden_dim", "num_layers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"encoding {self.attr!r}: {name} must be at least 1, got {value}")
        check_choice("norm", self.norm, ("none", "batch"))
        check_choice("encoder", self.encoder, ("linear", "deep_sets", "sign_net"))
        if self.encoder == "linear":
            unused = [name for name in ("hidden_dim", "num_layers") if getattr(self, name) is not None]
        else:
            unused = ["norm"] if self.norm != "none" else []
            unused += ["random_signs"] if self.random_signs and self.encoder == "sign_net" else []
        if unused:
            raise ConfigError(
                f"encoding {self.attr!r}: {', '.join(unused)} cannot be set with encoder = {self.encoder!r}, which "
                "makes no use of it; leave it out"
            )


@dataclass(frozen=True)
class NetworkConfig:
    """What a :class:`GraphNetwork` has, whatever its layers are: encoders before them, readout and head after them.

    Attributes:
        hidden_dim: Width of nodes and edges throughout.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"none"``, everywhere in the model.
        dropout: Probability of dropping an entry after a layer, and in the feed-forward block.
        node_encoder: ``"linear"`` for real-valued ``x``, ``"atom"`` for OGB's atoms, ``"embedding"`` for categories.
        edge_encoder: The same for ``edge_attr``, with ``"bond"`` for OGB's bonds, and ``"none"``.
        encodings: Node features that are concatenated to the encoded ``x``.
        pool: ``"mean"``, ``"sum"``, ``"max"``, ``"min"``, ``"root"`` (one marked node per graph), or ``"none"``: one
            output per node.
        head_layers: Number of affine maps in the head, with dropout before each and the activation between them.
        head_dropout: Probability of dropping an entry in the head. None: as ``dropout``.

    Raises:
        ConfigError: If a value is unknown or out of range, or values contradict each other.
    """

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = CHOICES

    hidden_dim: int = 128
    activation: Activation = "relu"
    dropout: float = 0.0
    node_encoder: str = "linear"
    edge_encoder: str = "none"
    encodings: tuple[EncodingConfig, ...] = ()
    pool: str = "mean"
    head_layers: int = 1
    head_dropout: float | None = None

    def __post_init__(self) -> None:
        """Checks the values. See the class."""
        for field in fields(self):
            if field.name in self.choices:
                check_choice(field.name, getattr(self, field.name), self.choices[field.name])
        for name in ("hidden_dim", "head_layers"):
            check_at_least_one(name, getattr(self, name))
        for name in ("dropout", "head_dropout"):
            check_probability(name, getattr(self, name))
        object.__setattr__(self, "encodings", tuple(self.encodings))
        if self.node_dim < 1:
            raise ConfigError(
                f"the encodings take {self.hidden_dim - self.node_dim} of hidden_dim = {self.hidden_dim}, which leaves "
                "nothing for the node encoder; raise hidden_dim or lower the encodings' dim"
            )

    @property
    def node_dim(self) -> int:
        """Width of the encoded ``x``: what the encodings leave of ``hidden_dim``."""
        return self.hidden_dim - sum(encoding.dim for encoding in self.encodings)


@dataclass(frozen=True)
class ModelConfig(NetworkConfig):
    """The configuration of :class:`GraphModel`.

    A layer is convolution, normalisation, activation, dropout, residual, in this order, then the feed-forward block.
    The stack of Tönshoff et al. ("Where did the gap go?", 2023) is ``norm="none"``, ``feed_forward=False`` and three
    head layers; that of GNN+ (Luo et al., 2025) is ``norm="batch"``, with or without the feed-forward block.

    With ``global_layer="attention"`` every layer is a :class:`GPSLayer` of the convolution and a
    :class:`GlobalAttention`. That of Rampášek et al. ("Recipe for a general, powerful, scalable graph transformer",
    2022) is ``norm="batch"`` and ``feed_forward=True``. The activation is then inside of ``gatedgcn`` and the
    feed-forward block only, and normalisation follows the residuals.

    Attributes, besides those of :class:`NetworkConfig`:
        conv: ``"gcn"``, ``"sage"`` (mean), ``"gin"``, ``"gine"``, ``"gatedgcn"``, or ``"edge_sum"`` (which GNN+ calls
            ``gcne``). GIN and GINE apply a network of two affine maps. ``"none"``: no convolution, where there is a
            global layer.
        num_layers: Number of convolutions.
        residual: Add the input of a layer to its output.
        norm: ``"batch"``: batch normalisation after the convolution, and around the feed-forward block.
            ``gatedgcn`` always has its own.
        feed_forward: After each convolution, ``d -> 2d -> d`` with a residual.
        global_layer: ``"attention"``: attention among all nodes of each graph, beside the convolution. Or ``"none"``.
        num_heads: Heads of the attention, a divisor of ``hidden_dim``.
        attention_dropout: Probability of dropping an attention weight.

    Raises:
        ConfigError: If a value is unknown or out of range, or values contradict each other.
    """

    conv: str = "gcn"
    num_layers: int = 6
    residual: bool = True
    norm: str = "none"
    feed_forward: bool = False
    global_layer: str = "none"
    num_heads: int = 4
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        """Checks the values. See the class."""
        super().__post_init__()
        for name in ("num_layers", "num_heads"):
            check_at_least_one(name, getattr(self, name))
        check_probability("attention_dropout", self.attention_dropout)
        check_edges_of_conv(self.conv, self.edge_encoder)
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


def check_edges_of_conv(conv: str, edge_encoder: str) -> None:
    """Raises ConfigError where a convolution needs edge features and no encoder makes any."""
    if conv in ("gine", "edge_sum") and edge_encoder == "none":
        raise ConfigError(
            f"conv = {conv!r} needs edge features, got edge_encoder = 'none'; set it to one of "
            f"{', '.join(CHOICES['edge_encoder'][1:])}, or use conv = 'gin'"
        )


def check_at_least_one(name: str, value: int) -> None:
    """Raises ConfigError where ``value`` is below 1."""
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, got {value}")


def check_probability(name: str, value: float | None) -> None:
    """Raises ConfigError where ``value`` is neither None nor a probability below 1."""
    if value is not None and not 0.0 <= value < 1.0:
        raise ConfigError(f"{name} must lie in [0, 1), got {value}")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ConfigError, with the nearest valid value, where ``value`` is none of those allowed."""
    if value in allowed:
        return
    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}")
