"""The network for classifying nodes: what it is made of, batches, learning, refusals."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.hypergraph import HyperData, Hypergraph, HypergraphModel, add_self_loops
from gnnkit.hypergraph.model import CONVS
from tests.hypergraph.conv.layer_cases import random_hypergraph
from tests.hypergraph.made_hypergraphs import data_of

every_conv = pytest.mark.parametrize("conv", CONVS)


def random_data(**attributes: object) -> HyperData:
    return data_of(random_hypergraph(), x=torch.randn(12, 6), **attributes)


def model_of(conv: str, **settings: Any) -> HypergraphModel:
    return HypergraphModel(6, 3, conv=conv, hidden_channels=8, heads=2, **settings)


@every_conv
def test_one_row_per_node_and_gradients_for_every_parameter(conv: str):
    for num_layers in (1, 3):
        model, data = model_of(conv, num_layers=num_layers), random_data()
        out = model(data)
        assert out.shape == (12, 3)
        out.square().sum().backward()
        assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in model.parameters())


@pytest.mark.parametrize("conv", ["hgnn", "unigat"])
def test_the_last_layer_of_a_plain_stack_gives_the_outputs(conv: str):
    model, data = model_of(conv, self_loops=False, activation="silu").eval(), random_data()
    hypergraph = Hypergraph.from_data(data)
    first, second = model.layers
    assert model.head is None
    expected = second(torch.nn.functional.silu(first(data.x, hypergraph)), hypergraph)
    torch.testing.assert_close(model(data), expected)


def test_all_sets_are_followed_by_an_affine_map():
    model, data = model_of("allsettransformer", self_loops=False, num_layers=1).eval(), random_data()
    assert model.head is not None
    torch.testing.assert_close(model(data), model.head(model.layers[0](data.x, Hypergraph.from_data(data)).relu()))


def test_uni_gcnii_starts_from_an_affine_map_that_all_layers_see():
    model, data = model_of("unigcnii", alpha=0.2, lambda_=0.7).eval(), random_data()
    assert [layer.alpha for layer in model.layers] == [0.2, 0.2]
    assert [layer.beta for layer in model.layers] == [math.log(1.7), math.log(1.35)]
    looped = add_self_loops(Hypergraph.from_data(data))
    assert model.encoder is not None
    assert model.head is not None
    x = x_0 = model.encoder(data.x).relu()
    for layer in model.layers:
        x = layer(x, looped, x_0).relu()
    torch.testing.assert_close(model(data), model.head(x))


@every_conv
def test_a_batch_is_its_hypergraphs_side_by_side(conv: str):
    model, parts = model_of(conv).double().eval(), [random_data() for _ in range(3)]
    for part in parts:
        assert isinstance(part.x, Tensor)
        part.x = part.x.double()
    joined = model(Batch.from_data_list(parts))
    torch.testing.assert_close(joined, torch.cat([model(part) for part in parts]))


def test_a_ready_hypergraph_is_taken_in_place_of_incidences():
    model, data = model_of("hgnn").eval(), random_data()
    expected = model(data)
    ready = HyperData(x=data.x)
    ready.hypergraph = Hypergraph.from_data(data)
    assert torch.equal(model(ready), expected)


@pytest.mark.parametrize("conv", ["hypergraph", "hgnn", "hypergcn"])
def test_weights_are_used_and_self_loops_weigh_one(conv: str):
    model, weight = model_of(conv).eval(), torch.rand(7) + 0.5
    data = random_data(hyperedge_weight=weight)
    looped = add_self_loops(Hypergraph.from_data(data))
    whole = torch.cat([weight, torch.ones(looped.num_hyperedges - 7)])
    first, second = model.layers
    expected = second(first(data.x, looped, whole).relu(), looped, whole)
    torch.testing.assert_close(model(data), expected)
    data.hyperedge_weight = torch.ones(7)
    assert not torch.allclose(model(data), expected)


@every_conv
def test_learns_which_hyperedge_a_node_is_in(conv: str):
    """Classes are two hyperedges, features noise but for one node of each."""
    index = torch.stack([torch.arange(20), torch.arange(20) % 2])
    x = 0.1 * torch.randn(20, 6)
    x[0, 0] = x[1, 1] = 10.0
    data = HyperData(x=x, hyperedge_index=index, num_hyperedges=2, y=torch.arange(20) % 2)
    model = HypergraphModel(6, 2, conv=conv, hidden_channels=16, dropout=0.0, num_layers=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    assert isinstance(data.y, Tensor)
    for _ in range(80):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(data), data.y).backward()
        optimizer.step()
    assert (model(data).argmax(1) == data.y).double().mean() > 0.95


def test_dropout_only_in_training_and_by_the_global_generator():
    model, data = model_of("unigcnii", dropout=0.5, input_dropout=0.3), random_data()
    torch.manual_seed(3)
    first = model(data)
    torch.manual_seed(3)
    assert torch.equal(model(data), first)
    assert not torch.equal(model(data), first)
    model.eval()
    assert torch.equal(model(data), model(data))


def test_parameters_can_be_drawn_again_and_settings_are_printed():
    model = model_of("unigcnii")
    before = model.layers[0].lin.weight.clone()  # type: ignore[union-attr]
    model.reset_parameters()
    assert not torch.equal(model.layers[0].lin.weight, before)  # type: ignore[union-attr]
    assert "conv='unigcnii'" in repr(model)
    assert "aggr='sum'" in repr(model_of("unisage", layer_options={"aggr": "sum"}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"conv": "gcn"}, "conv must be one of hypergraph, hgnn, .* got 'gcn'"),
        ({"num_layers": 0}, "num_layers must be an integer of at least 1"),
        ({"hidden_channels": 0}, "hidden_channels must be"),
        ({"heads": 5}, "multiple of heads, got 64 and 5"),
        ({"dropout": 1.0}, "dropout must lie"),
        ({"input_dropout": -1.0}, "input_dropout must lie"),
        ({"attention_dropout": 1.0}, "attention_dropout must lie"),
        ({"activation": "tanh"}, "activation must be one of"),
        ({"lambda_": 2.0}, r"lambda_ must lie in \[0, e - 1\]"),
        ({"alpha": 2.0}, r"alpha must lie in \[0, 1\]"),
        ({"self_loops": 1}, "self_loops must be True or False"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        HypergraphModel(6, 3, **settings)


def test_bad_data_are_named():
    model, data = model_of("unigcnii"), random_data(hyperedge_weight=torch.ones(7))
    with pytest.raises(ConfigError, match="'unigcnii' takes no weights of hyperedges"):
        model(data)
    with pytest.raises(ShapeError, match="hyperedge_weight must be one number per hyperedge"):
        model_of("hgnn")(random_data(hyperedge_weight=torch.ones(6)))
    data = random_data()
    data.x = None
    with pytest.raises(DataError, match=r"reads data\.x"):
        model(data)
    with pytest.raises(DataError, match="num_hyperedges is missing"):
        model(HyperData(x=torch.randn(3, 6), hyperedge_index=torch.zeros(2, 1, dtype=torch.int64)))
