"""The configuration of a graph sequence model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from gnnkit.errors import ConfigError
from gnnkit.nn.config import CHOICES, NetworkConfig, check_at_least_one, check_edges_of_conv
from gnnkit.sequence.blocks.bidirectional import Merge

Kind = Literal["graph_mamba", "gmn", "gsm++", "graph_mlp_mixer", "graph_vit"]


@dataclass(frozen=True)
class SequenceModelConfig(NetworkConfig):
    """The configuration of a model that reads graphs as sequences; :func:`build_sequence_model` makes it.

    Attributes, besides those of :class:`gnnkit.nn.NetworkConfig`:
        kind: ``"graph_mamba"``: :class:`GraphMamba`. ``"gmn"``: :class:`GMN`. ``"gsm++"``: :class:`GSMPlusPlus`.
            ``"graph_mlp_mixer"``: :class:`GraphMLPMixer`. ``"graph_vit"``: :class:`GraphViT`. The last three are
            :class:`BodyModel` s, and read ``num_layers``, ``dropout``, ``body_options`` and the options of
            ``tokenizer = "patches"`` alone.
        num_layers: Number of :class:`GraphMambaLayer` s; of ``"gsm++"`` local layers; of the others their layers.
        body_options: Other keyword arguments of the class of the last three kinds, such as ``{ num_patches = 32 }``.
        conv: Message passing beside the block, as of :class:`gnnkit.nn.ModelConfig`; ``"none"``: none.
        norm: ``"batch"``, ``"layer"``, ``"graph"`` or ``"none"``, as of :class:`gnnkit.nn.GPSLayer`.
        feed_forward: End each layer with ``d -> 2d -> d`` with a residual.
        block: ``"mamba"``, ``"mamba2"``, ``"s4d"``, ``"delta_product"``, ``"attention"``, or ``"hybrid"`` (two
            ``mamba`` and one ``attention``, one after the other).
        block_options: Its keyword arguments, such as ``{ state_dim = 16, conv_width = 4, expand = 1 }``; with
            ``"hybrid"`` those of its ``mamba`` s.
        bidirectional: Read in both directions, each with weights of its own. None: as the paper of the kind,
            False for ``"graph_mamba"`` and True for ``"gmn"``.
        merge: ``"sum"``, ``"concat"`` or ``"gate"``: how the two directions are joined.
        ordering: ``"degree"``, ``"page_rank"``, ``"bfs"``, ``"dfs"``, ``"eigenvector"``, ``"random"`` or ``"hac"``.
        ordering_options: Its keyword arguments, such as ``{ noise = false }``.
        tokenizer: Of ``"gmn"``: ``"walks"``, ``"hops"``, ``"hac"``, or ``"nodes"`` in the order of ``ordering``. Of
            ``"graph_mlp_mixer"`` and ``"graph_vit"``: ``"patches"``.
        tokenizer_options: Its keyword arguments.
        num_buckets: Of ``"graph_mamba"`` and ``"gmn"``: random buckets into which each layer splits the nodes of a
            graph, each read by itself; see :class:`GraphMambaLayer`. 1: none.
        token_encoder: Of ``"gmn"``: ``"subgraph"``, ``"walk_features"`` or ``"node"``.
        token_encoder_options: Its keyword arguments besides the widths.
        token_layers: Of ``"gmn"``: blocks over the tokens of each node, one after the other with residuals.
        eval_orders: Random orders (and draws of tokens) that evaluation averages over: see the model. 1: no averaging.

    Raises:
        ConfigError: If a value is unknown or out of range, or values contradict each other.
    """

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = CHOICES | {
        "kind": get_args(Kind),
        "norm": ("none", "batch", "layer", "graph"),
        "block": ("mamba", "mamba2", "s4d", "delta_product", "attention", "hybrid"),
        "merge": get_args(Merge),
        "ordering": ("degree", "page_rank", "bfs", "dfs", "eigenvector", "random", "hac"),
        "tokenizer": ("walks", "hops", "hac", "nodes", "patches"),
        "token_encoder": ("subgraph", "walk_features", "node"),
    }

    kind: Kind = "graph_mamba"
    num_layers: int = 3
    conv: str = "gatedgcn"
    norm: str = "batch"
    feed_forward: bool = True
    block: str = "mamba"
    block_options: dict[str, Any] = field(default_factory=dict)
    bidirectional: bool | None = None
    merge: Merge = "sum"
    ordering: str = "degree"
    ordering_options: dict[str, Any] = field(default_factory=dict)
    num_buckets: int = 1
    tokenizer: str = "walks"
    tokenizer_options: dict[str, Any] = field(default_factory=dict)
    token_encoder: str = "subgraph"
    token_encoder_options: dict[str, Any] = field(default_factory=dict)
    token_layers: int = 1
    body_options: dict[str, Any] = field(default_factory=dict)
    eval_orders: int = 1

    def __post_init__(self) -> None:
        """Checks the values. See the class."""
        super().__post_init__()
        for name in ("num_layers", "token_layers", "eval_orders", "num_buckets"):
            check_at_least_one(name, getattr(self, name))
        reads_patches = self.kind in ("graph_mlp_mixer", "graph_vit")
        if reads_patches != (self.tokenizer == "patches"):
            raise ConfigError(
                f'kind = "{self.kind}" with tokenizer = "{self.tokenizer}": "patches" belongs to "graph_mlp_mixer" and '
                '"graph_vit", which read nothing else'
            )
        if self.kind in ("graph_mamba", "gmn"):
            if self.body_options:
                raise ConfigError(f'body_options are not read by kind = "{self.kind}", got {self.body_options}')
            check_edges_of_conv(self.conv, self.edge_encoder)
        elif self.eval_orders != 1:
            raise ConfigError(f'kind = "{self.kind}" does not average over orders; set eval_orders to 1')
        elif self.num_buckets != 1:
            raise ConfigError(f'kind = "{self.kind}" has no buckets of nodes; set num_buckets to 1')
