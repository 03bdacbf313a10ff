"""Graph sequence models from configurations: every name makes a model that trains, and mistakes are named."""

from typing import Any

import pytest
import torch
from torch_geometric.data import Batch

from gnnkit.errors import ConfigError
from gnnkit.nn import GCNConv
from gnnkit.sequence import (
    GMN,
    GraphMamba,
    GraphMLPMixer,
    GraphViT,
    GSMPlusPlus,
    Hybrid,
    OrderedBlock,
    SequenceModelConfig,
    build_sequence_model,
)
from gnnkit.sequence import build as build_module
from tests.sequence.stand_ins import random_graph

SMALL = {"mamba": {"state_dim": 4}, "mamba2": {"state_dim": 4, "head_dim": 8}, "s4d": {"state_dim": 4}}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(**options: Any) -> torch.nn.Module:
    given = {"hidden_dim": 8, "num_layers": 2, "edge_encoder": "linear", "tokenizer_options": WALKS, **options}
    given.setdefault("block_options", SMALL.get(given.get("block", "mamba"), {}))
    return build_sequence_model(SequenceModelConfig(**given), node_dims=5, edge_dims=3, num_outputs=4)


WALKS = {"max_length": 2, "num_walks": 2, "repeats": 1}
BATCH = Batch.from_data_list([random_graph(size, 2 * size) for size in (5, 1, 7)])


def check_training(cls: type, **options: Any) -> None:
    """A model that has the part trains."""
    model = build(**options)
    assert cls in {type(part) for module in model.modules() for part in [module, *vars(module).values()]}
    out = model(BATCH)
    assert out.shape == (3, 4)
    out.square().mean().backward()
    missing = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    # The last edge update of a stack of gated layers leads nowhere.
    assert all(".bn_edge_e." in name for name in missing)
    model.eval()
    assert torch.equal(model(BATCH), model(BATCH))


@pytest.mark.parametrize("block", SequenceModelConfig.choices["block"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_block_trains(block: str, bidirectional: bool):
    check_training({**build_module._BLOCKS, "hybrid": Hybrid}[block], block=block, bidirectional=bidirectional)


@pytest.mark.parametrize("ordering", SequenceModelConfig.choices["ordering"])
def test_every_ordering_trains(ordering: str):
    check_training(build_module._ORDERINGS[ordering], ordering=ordering)


@pytest.mark.parametrize("kind", ["graph_mamba", "gmn"])
@pytest.mark.parametrize("ordering", ["bfs", "degree"])
def test_buckets_train(kind: str, ordering: str):
    check_training(OrderedBlock, kind=kind, ordering=ordering, num_buckets=3, eval_orders=2)


@pytest.mark.parametrize("conv", SequenceModelConfig.choices["conv"])
@pytest.mark.parametrize("norm", SequenceModelConfig.choices["norm"])
def test_every_convolution_and_normalisation_trains(conv: str, norm: str):
    edges = "linear" if conv in ("gine", "edge_sum", "gatedgcn") else "none"
    check_training(GraphMamba, conv=conv, norm=norm, edge_encoder=edges, dropout=0.1)


@pytest.mark.parametrize(
    ("tokenizer", "options"), [("walks", WALKS), ("hops", {"num_hops": 2}), ("hac", {}), ("nodes", {})]
)
def test_every_tokenizer_trains(tokenizer: str, options: dict[str, Any]):
    cls = build_module._TOKENIZERS[tokenizer]
    check_training(cls, kind="gmn", tokenizer=tokenizer, tokenizer_options=options, merge="gate")


@pytest.mark.parametrize("encoder", SequenceModelConfig.choices["token_encoder"])
@pytest.mark.parametrize("edges", ["none", "linear"])
def test_every_token_encoder_trains(encoder: str, edges: str):
    cls = build_module._TOKEN_ENCODERS[encoder]
    check_training(cls, kind="gmn", token_encoder=encoder, edge_encoder=edges, token_layers=2)


@pytest.mark.parametrize(
    ("kind", "cls", "options"),
    [
        ("gsm++", GSMPlusPlus, {"num_levels": 3, "num_heads": 2}),
        ("graph_mlp_mixer", GraphMLPMixer, {"num_patches": 3}),
        ("graph_vit", GraphViT, {"num_patches": 3, "attention": "graph", "num_heads": 2}),
    ],
)
def test_every_other_kind_trains(kind: Any, cls: type, options: dict[str, Any]):
    patches = {"tokenizer": "walks" if kind == "gsm++" else "patches", "tokenizer_options": {}}
    check_training(cls, kind=kind, body_options=options, **patches)
    model = build(kind=kind, body_options=options, **patches)
    if kind != "gsm++":
        assert model.body.tokenizer.num_patches == 3
        assert model.body.head is None
    assert len(model.head.linears) == 1


def test_the_kinds_are_what_their_papers_say():
    mamba, network = build(), build(kind="gmn")
    assert isinstance(mamba, GraphMamba)
    assert isinstance(network, GMN)
    assert type(mamba.layers[0].gps.global_layer.block).__name__ == "Mamba"
    assert type(network.layers[0].gps.global_layer.block).__name__ == "Bidirectional"
    assert type(build(kind="gmn", bidirectional=False).layers[0].gps.global_layer.block).__name__ == "Mamba"
    assert type(build(bidirectional=True).layers[0].gps.global_layer.block).__name__ == "Bidirectional"
    assert network.tokenizer.max_length == 2


def test_options_reach_the_parts():
    model = build(block_options={"state_dim": 3, "expand": 1}, ordering_options={"noise": False}, conv="gcn")
    layer = model.layers[1]
    assert not layer.ordering.is_random
    assert layer.gps.global_layer.block.state_dim == 3
    assert isinstance(layer.gps.local, GCNConv)
    assert build(eval_orders=5).layers[0].eval_orders == 5
    assert [layer.num_buckets for layer in build(num_buckets=3).layers] == [3, 3]
    assert build(kind="gmn", num_buckets=2).layers[0].num_buckets == 2
    encoder = build(kind="gmn", token_encoder="walk_features", token_encoder_options={"num_walks": 3}).token_encoder
    assert (encoder.num_walks, encoder.edge_linear.in_features) == (3, 8)
    assert build(kind="gmn", eval_orders=5).eval_orders == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"block_options": {"state_dmi": 4}},
            '[model.block_options]: unknown key "state_dmi"; did you mean "state_dim"?',
        ),
        ({"block_options": {"state_dim": 0}}, "[model.block_options]: state_dim must be"),
        ({"block_options": {"dim": 4}}, '[model.block_options]: unknown key "dim"'),
        ({"ordering_options": {"noize": True}}, 'did you mean "noise"?'),
        ({"kind": "gmn", "tokenizer_options": {"num_walks": 2, "repeats": 1}}, 'needs a key "max_length"'),
        ({"kind": "gmn", "token_encoder_options": {"pol": "sum"}}, 'did you mean "pool"?'),
        ({"eval_orders": 3, "ordering": "bfs"}, "would average equal results"),
        ({"kind": "gnm"}, "did you mean 'gmn'?"),
        ({"block": "mambo"}, "did you mean 'mamba'?"),
        ({"merge": "product"}, "merge must be one of 'sum', 'concat', 'gate'"),
        ({"ordering": "degre"}, "did you mean 'degree'?"),
        ({"token_encoder": "graph"}, "token_encoder must be one of"),
        ({"norm": "layr"}, "did you mean 'layer'?"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"eval_orders": 0}, "eval_orders must be at least 1"),
        ({"body_options": {"num_heads": 2}}, "body_options are not read"),
        ({"kind": "gsm++", "eval_orders": 2}, "does not average over orders"),
        ({"kind": "gsm++", "num_buckets": 2}, "has no buckets of nodes"),
        ({"num_buckets": 0}, "num_buckets must be at least 1"),
        (
            {"kind": "gmn", "token_encoder": "walk_features", "token_encoder_options": {"num_walk": 2}},
            'did you mean "num_walks"?',
        ),
        ({"kind": "gsm++", "body_options": {"num_head": 2}}, 'did you mean "num_heads"?'),
        ({"kind": "graph_vit"}, '"patches" belongs to'),
        ({"kind": "gmn", "tokenizer": "patches"}, '"patches" belongs to'),
        ({"kind": "graph_vit", "tokenizer": "patches", "tokenizer_options": {}, "pool": "sum"}, "pool must be"),
        ({"conv": "gine", "edge_encoder": "none"}, "needs edge features"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], words: str):
    with pytest.raises(ConfigError) as error:
        build(**options)
    assert words in str(error.value)
