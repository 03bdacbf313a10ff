"""Graph sequence models from configurations: the tables from names to classes."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from gnnkit._construct import construct
from gnnkit.nn._convolution import make_convolution
from gnnkit.nn.graph_network import Dims
from gnnkit.sequence.blocks import S4D, Attention, Bidirectional, DeltaProduct, Hybrid, Mamba, Mamba2
from gnnkit.sequence.body_model import BodyModel
from gnnkit.sequence.config import Kind, SequenceModelConfig
from gnnkit.sequence.gmn import GMN
from gnnkit.sequence.graph_mamba import GraphMamba, GraphMambaLayer
from gnnkit.sequence.graph_mixer import GraphMLPMixer, GraphViT
from gnnkit.sequence.gsm import GSMPlusPlus
from gnnkit.sequence.orderings import BFS, DFS, Degree, Eigenvector, HACOrder, PageRank, Random
from gnnkit.sequence.parts import Block, Ordering, TokenEncoder, Tokenizer
from gnnkit.sequence.token_encoders import NodeTokenEncoder, SubgraphTokenEncoder
from gnnkit.sequence.tokenizers import HACTokens, HopTokens, NodeTokens, PatchTokens, WalkTokens
from gnnkit.sequence.walk_features import WalkFeatureEncoder

_BLOCKS = {
    "mamba": Mamba,
    "mamba2": Mamba2,
    "s4d": S4D,
    "delta_product": DeltaProduct,
    "attention": Attention,
}
_ORDERINGS = {
    "degree": Degree,
    "page_rank": PageRank,
    "bfs": BFS,
    "dfs": DFS,
    "eigenvector": Eigenvector,
    "random": Random,
    "hac": HACOrder,
}
_TOKENIZERS = {
    "walks": WalkTokens,
    "hops": HopTokens,
    "hac": HACTokens,
    "nodes": NodeTokens,
    "patches": PatchTokens,
}
_TOKEN_ENCODERS = {
    "node": NodeTokenEncoder,
    "subgraph": SubgraphTokenEncoder,
    "walk_features": WalkFeatureEncoder,
}


def build_sequence_model(
    config: SequenceModelConfig, *, node_dims: Dims = None, edge_dims: Dims = None, num_outputs: int
) -> nn.Module:
    """Makes the model of a configuration, its weights drawn from torch's global generator.

    Args:
        config: The model.
        node_dims: As of :class:`gnnkit.nn.GraphModel`.
        edge_dims: As there.
        num_outputs: As there.

    Raises:
        ConfigError: If a part has no such option, lacks one it needs or refuses a value (the option is named), or a
            dimension that an encoder needs is missing.
    """
    dims = {"node_dims": node_dims, "edge_dims": edge_dims, "num_outputs": num_outputs}
    return _MODELS[config.kind](config, dims)


def _graph_mamba(config: SequenceModelConfig, dims: Mapping[str, Any]) -> nn.Module:
    return GraphMamba(config, _layers(config, bidirectional=False, eval_orders=config.eval_orders), **dims)


def _gmn(config: SequenceModelConfig, dims: Mapping[str, Any]) -> nn.Module:
    token_blocks = [_block(config, bidirectional=True) for _ in range(config.token_layers)]
    return GMN(
        config,
        tokenizer=_tokenizer(config),
        token_encoder=_token_encoder(config),
        token_block=Hybrid(token_blocks, dropout=config.dropout),
        layers=_layers(config, bidirectional=True, eval_orders=1),
        eval_orders=config.eval_orders,
        **dims,
    )


def _gsm_plus_plus(config: SequenceModelConfig, dims: Mapping[str, Any]) -> nn.Module:
    options = {"num_local_layers": config.num_layers, "dropout": config.dropout} | config.body_options
    return BodyModel(config, _body(GSMPlusPlus, config, options), gives_graphs=False, **dims)


def _patch_model(config: SequenceModelConfig, dims: Mapping[str, Any]) -> nn.Module:
    options = {"num_layers": config.num_layers, "dropout": config.dropout} | config.body_options
    tokens = {"num_patches": options["num_patches"]} if "num_patches" in options else {}
    tokenizer = _part(_TOKENIZERS, "patches", options=tokens | config.tokenizer_options, key="tokenizer")
    cls = GraphMLPMixer if config.kind == "graph_mlp_mixer" else GraphViT
    body = _body(cls, config, {"num_outputs": None, "tokenizer": tokenizer} | options)
    return BodyModel(config, body, gives_graphs=True, **dims)


def _body(cls: type[nn.Module], config: SequenceModelConfig, options: Mapping[str, Any]) -> nn.Module:
    return construct(cls, config.hidden_dim, options=options, section="model.body_options")


# A new kind of model: its name in config.Kind, and its builder here.
_MODELS: dict[Kind, Callable[[SequenceModelConfig, Mapping[str, Any]], nn.Module]] = {
    "graph_mamba": _graph_mamba,
    "gmn": _gmn,
    "gsm++": _gsm_plus_plus,
    "graph_mlp_mixer": _patch_model,
    "graph_vit": _patch_model,
}


def _layers(config: SequenceModelConfig, *, bidirectional: bool, eval_orders: int) -> list[GraphMambaLayer]:
    ordering = _ordering(config)
    return [
        GraphMambaLayer(
            config.hidden_dim,
            _block(config, bidirectional=bidirectional),
            ordering,
            local=_convolution(config),
            dropout=config.dropout,
            activation=config.activation,
            norm=config.norm,
            feed_forward=config.feed_forward,
            eval_orders=eval_orders,
            num_buckets=config.num_buckets,
        )
        for _ in range(config.num_layers)
    ]


def _ordering(config: SequenceModelConfig) -> Ordering:
    return _part(_ORDERINGS, config.ordering, options=config.ordering_options, key="ordering")


def _tokenizer(config: SequenceModelConfig) -> Tokenizer:
    options = config.tokenizer_options
    if config.tokenizer == "nodes":
        options = {"ordering": _ordering(config)} | options
    return _part(_TOKENIZERS, config.tokenizer, options=options, key="tokenizer")


def _token_encoder(config: SequenceModelConfig) -> TokenEncoder:
    width, options = config.hidden_dim, config.token_encoder_options
    if config.token_encoder != "node" and config.edge_encoder != "none" and options.get("conv") != "gcn":
        options = {"edge_dim": width} | options
    return _part(_TOKEN_ENCODERS, config.token_encoder, width, width, options=options, key="token_encoder")


def _convolution(config: SequenceModelConfig) -> nn.Module | None:
    if config.conv == "none":
        return None
    return make_convolution(
        config.conv, config.hidden_dim, dropout=config.dropout, residual=True, activation=config.activation
    )


def _block(config: SequenceModelConfig, *, bidirectional: bool) -> Block:
    """The block of the configuration; in both directions if it says so, or else if its kind's paper does."""
    if config.bidirectional is not None:
        bidirectional = config.bidirectional
    if not bidirectional:
        return _one_way(config)
    return Bidirectional(_one_way(config), _one_way(config), merge=config.merge)


def _one_way(config: SequenceModelConfig) -> Block:
    def part(name: str, options: Mapping[str, Any]) -> Any:
        return _part(_BLOCKS, name, config.hidden_dim, options=options, key="block")

    if config.block != "hybrid":
        return part(config.block, config.block_options)
    parts = [part("mamba", config.block_options), part("mamba", config.block_options), part("attention", {})]
    return Hybrid(parts, dropout=config.dropout)


def _part(table: Mapping[str, type], name: str, *arguments: Any, options: Mapping[str, Any], key: str) -> Any:
    return construct(table[name], *arguments, options=options, section=f"model.{key}_options")
