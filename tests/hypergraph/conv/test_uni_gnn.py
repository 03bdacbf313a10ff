"""The layers of UniGNN against their dense formulas."""

import pytest
import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.hypergraph import (
    Hypergraph,
    UniGATConv,
    UniGCNConv,
    UniGCNIIConv,
    UniGINConv,
    UniSAGEConv,
    add_self_loops,
)
from tests.hypergraph.conv.layer_cases import inverse, made, random_hypergraph
from tests.hypergraph.made_hypergraphs import SHAPES, dense, hypergraph_of

every_shape = pytest.mark.parametrize("shape", [*SHAPES, "random"])


def given(shape: str, width: int = 5) -> tuple[Hypergraph, Tensor, Tensor]:
    hypergraph = random_hypergraph() if shape == "random" else hypergraph_of(shape)
    return hypergraph, dense(hypergraph), torch.randn(hypergraph.num_nodes, width, dtype=torch.float64)


def means(incidence: Tensor, x: Tensor) -> Tensor:
    return inverse(incidence.sum(0))[:, None] * (incidence.t() @ x)


def uni_gcn(incidence: Tensor, x: Tensor) -> Tensor:
    degree = incidence.sum(1)
    of_hyperedge = means(incidence, degree[:, None])
    return inverse(degree, 0.5)[:, None] * (incidence @ (inverse(of_hyperedge, 0.5) * means(incidence, x)))


@every_shape
def test_uni_gcn(shape: str):
    hypergraph, incidence, x = given(shape)
    conv = UniGCNConv(5, 4).double()
    torch.testing.assert_close(conv(x, hypergraph), uni_gcn(incidence, x) @ conv.lin.weight.t() + conv.bias)


@pytest.mark.parametrize("widths", [(5, 4), (4, 5)])
@every_shape
def test_uni_gin_and_uni_sage(shape: str, widths: tuple[int, int]):
    hypergraph, incidence, x = given(shape, widths[0])
    total = incidence @ means(incidence, x)
    mean = inverse(incidence.sum(1))[:, None] * total
    for conv, combined in (
        (UniGINConv(*widths, eps=0.25), 1.25 * x + total),
        (UniGINConv(*widths, eps=-1.0, train_eps=False), total),
        (UniSAGEConv(*widths), x + mean),
        (UniSAGEConv(*widths, aggr="sum"), x + total),
    ):
        conv.double()
        torch.testing.assert_close(conv(x, hypergraph), combined @ conv.lin.weight.t() + conv.bias)


def test_epsilon_is_a_parameter_where_it_is_learned():
    assert "eps" in dict(UniGINConv(3, 4, eps=0.5).named_parameters())
    fixed = UniGINConv(3, 4, eps=0.5, train_eps=False)
    assert "eps" not in dict(fixed.named_parameters())
    assert fixed.state_dict()["eps"].tolist() == [0.5]


@pytest.mark.parametrize("concat", [True, False])
@every_shape
def test_uni_gat(shape: str, concat: bool):
    hypergraph, incidence, x = given(shape)
    conv = UniGATConv(5, 4, heads=3, concat=concat).double()
    h = means(incidence, x)
    heads = []
    for head in range(3):
        weight = conv.lin.weight[4 * head : 4 * head + 4].t()
        own, of_hyperedge = x @ weight @ conv.att_node[0, head], h @ weight @ conv.att_hyperedge[0, head]
        score = own[:, None] + of_hyperedge[None]
        weighted = incidence * torch.where(score > 0, score, 0.2 * score).exp()
        heads.append(weighted * inverse(weighted.sum(1, keepdim=True)) @ h @ weight)
    expected = torch.cat(heads, 1) if concat else torch.stack(heads).mean(0)
    torch.testing.assert_close(conv(x, hypergraph), expected + conv.bias)


def test_training_drops_from_the_weights_of_evaluation(monkeypatch: pytest.MonkeyPatch):
    """Where nothing is dropped, training gives what evaluation gives."""
    conv, (hypergraph, _, x) = UniGATConv(5, 4, heads=2, dropout=0.5).double(), given("random")
    expected = conv.eval()(x, hypergraph)
    assert not torch.allclose(conv.train()(x, hypergraph), expected)
    monkeypatch.setattr("gnnkit.nn.conv._attention.dropout", lambda value, *_: value)
    torch.testing.assert_close(conv(x, hypergraph), expected)


@every_shape
def test_uni_gcnii(shape: str):
    hypergraph, incidence, x = given(shape)
    x_0 = torch.randn_like(x)
    conv = UniGCNIIConv(5, alpha=0.3, beta=0.6).double()
    mixed = 0.7 * uni_gcn(incidence, x) + 0.3 * x_0
    identity = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(conv(x, hypergraph, x_0), mixed @ (0.4 * identity + 0.6 * conv.lin.weight.t()))


def test_a_graph_with_self_loops_gives_uni_gcn_that_of_the_graph():
    """Two nodes per hyperedge, and loops of one: the mean over the two ends, normalised by degrees with loops."""
    edges = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]])
    index = torch.stack([edges.flatten(), torch.arange(5).repeat_interleave(2)])
    hypergraph = add_self_loops(Hypergraph.from_incidence(index, num_nodes=4, num_hyperedges=5))
    conv = UniGCNConv(3, 3, bias=False).double()
    with torch.no_grad():
        conv.lin.weight.copy_(torch.eye(3))
    x = torch.randn(4, 3, dtype=torch.float64)
    degree = torch.tensor([4.0, 3, 4, 3], dtype=torch.float64)
    expected = x / degree[:, None]
    for i, j in edges.tolist():
        mean = (x[i] + x[j]) / 2 / ((degree[i] + degree[j]) / 2).sqrt()
        for end in (i, j):
            expected[end] += mean / degree[end].sqrt()
    torch.testing.assert_close(conv(x, hypergraph), expected)


def test_parameters_can_be_drawn_again_and_settings_are_printed():
    for name in ("unigcn", "unigin", "unisage", "unigat", "unigcnii"):
        conv = made(name)
        before = conv.lin.weight.clone()  # type: ignore[union-attr]
        conv.reset_parameters()  # type: ignore[operator]
        assert not torch.equal(conv.lin.weight, before)  # type: ignore[union-attr]
        assert str(getattr(conv, "channels", 5)) in repr(conv)


def test_bad_settings_are_named():
    for make, words in (
        (lambda: UniSAGEConv(5, 4, aggr="max"), "aggr must be one of mean, sum, got 'max'"),
        (lambda: UniGINConv(5, 4, eps="x"), "eps must be a real number"),  # type: ignore[arg-type]
        (lambda: UniGATConv(5, 4, heads=0), "heads must be an integer of at least 1"),
        (lambda: UniGATConv(5, 4, dropout=2.0), "dropout must be a probability"),
        (lambda: UniGCNIIConv(5, alpha=1.5), r"alpha must lie in \[0, 1\], got 1.5"),
        (lambda: UniGCNIIConv(5, beta=-0.5), r"beta must lie in \[0, 1\], got -0.5"),
    ):
        with pytest.raises(ConfigError, match=words):
            make()
