"""Hypergraph convolution and attention against dense matrices and PyTorch Geometric."""

from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.hypergraph import Hypergraph, HypergraphConv
from tests.hypergraph.conv.layer_cases import inverse, random_hypergraph
from tests.hypergraph.made_hypergraphs import SHAPES, dense, hypergraph_of

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "over hyperedges": {"use_attention": True, "attention_mode": "edge"},
    "over nodes, three heads": {"use_attention": True, "attention_mode": "node", "heads": 3, "negative_slope": 0.1},
    "mean of heads": {"use_attention": True, "attention_mode": "edge", "heads": 2, "concat": False},
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_is_the_dense_formula(shape: str, weighted: bool):
    hypergraph = hypergraph_of(shape)
    incidence = dense(hypergraph)
    conv = HypergraphConv(5, 3).double()
    x = torch.randn(hypergraph.num_nodes, 5, dtype=torch.float64)
    weight = torch.rand(hypergraph.num_hyperedges, dtype=torch.float64) if weighted else None
    w = torch.ones(hypergraph.num_hyperedges, dtype=torch.float64) if weight is None else weight
    node, hyperedge = torch.diag(inverse(incidence @ w)), torch.diag(inverse(incidence.sum(0)))
    expected = node @ incidence @ torch.diag(w) @ hyperedge @ incidence.t() @ x @ conv.lin.weight.t() + conv.bias
    torch.testing.assert_close(conv(x, hypergraph, weight), expected)


@pytest.mark.parametrize("sizes", [(200, 5, 30), (5, 200, 30)])
@pytest.mark.parametrize("widths", [(9, 2), (2, 9)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_map_goes_to_nodes_or_hyperedges_and_changes_nothing(sizes: tuple, widths: tuple, weighted: bool):
    hypergraph = random_hypergraph(*sizes)
    conv = HypergraphConv(*widths).double()
    weight = torch.rand(hypergraph.num_hyperedges, dtype=torch.float64) if weighted else None
    w = torch.ones(hypergraph.num_hyperedges, dtype=torch.float64) if weight is None else weight
    x = torch.randn(hypergraph.num_nodes, widths[0], dtype=torch.float64)
    rows: list[int] = []
    conv.lin.register_forward_hook(lambda module, given, out: rows.append(given[0].size(0)))
    out = conv(x, hypergraph, weight)
    assert rows == [5]
    incidence = dense(hypergraph)
    matrix = inverse(incidence @ w)[:, None] * incidence * (w * inverse(incidence.sum(0))) @ incidence.t()
    torch.testing.assert_close(out, matrix @ (x @ conv.lin.weight.t()) + conv.bias)


def test_rows_of_the_matrix_sum_to_one_with_any_weights():
    hypergraph = hypergraph_of("trailing ones empty")
    conv = HypergraphConv(1, 1, bias=False).double()
    torch.nn.init.ones_(conv.lin.weight)
    weight = torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0], dtype=torch.float64)
    out = conv(torch.ones(6, 1, dtype=torch.float64), hypergraph, weight)
    torch.testing.assert_close(out.squeeze(1), torch.tensor([1.0, 1, 1, 1, 0, 0], dtype=torch.float64))
    # Hyperedges without weight leave no more than hyperedges that are not there.
    assert torch.equal(conv(torch.ones(6, 1, dtype=torch.float64), hypergraph, torch.zeros_like(weight)), 0 * out)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "nothing"])
@pytest.mark.parametrize("name", SETTINGS)
def test_weights_results_and_gradients_are_those_of_pyg(name: str, shape: str):
    hypergraph, settings = hypergraph_of(shape), SETTINGS[name]
    ours, theirs = HypergraphConv(5, 4, **settings), pyg.HypergraphConv(5, 4, **settings)
    assert ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(hypergraph.num_nodes, 5, requires_grad=True)
    attr = torch.randn(hypergraph.num_hyperedges, 5, requires_grad=True) if "use_attention" in settings else None
    mine = ours(x, hypergraph, None, attr)
    peer = theirs(x, hypergraph.hyperedge_index, None, attr, hypergraph.num_hyperedges)
    if not peer.numel():
        # Where there are no rows, PyTorch Geometric cannot tell widths apart.
        assert mine.numel() == 0
        return
    torch.testing.assert_close(mine, peer.reshape(mine.shape), rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(mine)
    inputs = [x, *([] if attr is None else [attr])]
    found, expected = (
        torch.autograd.grad(
            out.reshape(mine.shape), [*inputs, *layer.parameters()], upstream, allow_unused=True, materialize_grads=True
        )
        for out, layer in ((mine, ours), (peer, theirs))
    )
    names = [*range(len(inputs)), *dict(ours.named_parameters())]
    wanted = dict(zip([*range(len(inputs)), *dict(theirs.named_parameters())], expected, strict=True))
    for key, grad in zip(names, found, strict=True):
        torch.testing.assert_close(grad, wanted[key], rtol=1e-5, atol=1e-5)


def dense_attention(conv: HypergraphConv, x: Tensor, attr: Tensor, hypergraph: Hypergraph, w: Tensor) -> Tensor:
    """One head after the other, with softmax over the hyperedges of each node, one incidence at a time."""
    incidence = dense(hypergraph)
    assert conv.att is not None
    heads = []
    for head in range(conv.heads):
        theta = conv.lin.weight.t()[:, head * conv.out_channels : (head + 1) * conv.out_channels]
        value, z = x @ theta, attr @ theta
        score = (torch.cat([value[:, None].expand(-1, len(z), -1), z[None].expand(len(value), -1, -1)], 2)) @ conv.att[
            0, head
        ]
        score = torch.where(score > 0, score, conv.negative_slope * score)
        weighted = incidence * score.exp()
        alpha = weighted * inverse(weighted.sum(1, keepdim=True))
        means = inverse(incidence.sum(0))[:, None] * (alpha.t() @ value)
        heads.append(inverse(incidence @ w)[:, None] * (alpha @ (w[:, None] * means)))
    out = torch.cat(heads, 1) if conv.concat else torch.stack(heads).mean(0)
    return out if conv.bias is None else out + conv.bias


@pytest.mark.parametrize("concat", [True, False])
@pytest.mark.parametrize("shape", ["trailing ones empty", "one node each", "one hyperedge of all", "no hyperedges"])
def test_attention_over_hyperedges_is_the_dense_formula(shape: str, concat: bool):
    hypergraph = hypergraph_of(shape)
    conv = HypergraphConv(4, 3, use_attention=True, heads=2, concat=concat).double()
    x = torch.randn(hypergraph.num_nodes, 4, dtype=torch.float64)
    attr = torch.randn(hypergraph.num_hyperedges, 4, dtype=torch.float64)
    weight = torch.rand(hypergraph.num_hyperedges, dtype=torch.float64)
    expected = dense_attention(conv, x, attr, hypergraph, weight)
    torch.testing.assert_close(conv(x, hypergraph, weight, attr), expected)
    ones = torch.ones_like(weight)
    torch.testing.assert_close(conv(x, hypergraph, None, attr), dense_attention(conv, x, attr, hypergraph, ones))


def test_dropout_of_attention_is_off_in_evaluation_and_seeded():
    hypergraph = random_hypergraph()
    conv = HypergraphConv(4, 3, use_attention=True, dropout=0.5)
    x, attr = torch.randn(12, 4), torch.randn(7, 4)
    conv.eval()
    whole = conv(x, hypergraph, None, attr)
    assert torch.equal(conv(x, hypergraph, None, attr), whole)
    conv.train()
    torch.manual_seed(1)
    first = conv(x, hypergraph, None, attr)
    torch.manual_seed(1)
    assert torch.equal(conv(x, hypergraph, None, attr), first)
    assert not torch.allclose(first, whole)


def test_bad_settings_and_missing_features_are_named():
    for settings, words in (
        ({"heads": 2}, "2 heads need attention"),
        ({"heads": 0}, "heads must be an integer of at least 1"),
        ({"attention_mode": "both"}, "attention_mode must be one of edge, node, got 'both'"),
        ({"dropout": 1.5}, "dropout must be a probability"),
    ):
        with pytest.raises(ConfigError, match=words):
            HypergraphConv(4, 3, **settings)
    hypergraph, x = random_hypergraph(), torch.randn(12, 4)
    with pytest.raises(ShapeError, match=r"hyperedge_attr of shape \[7, 4\], got None; the mean of their nodes"):
        HypergraphConv(4, 3, use_attention=True)(x, hypergraph)
    with pytest.raises(ConfigError, match="without attention does not use hyperedge_attr"):
        HypergraphConv(4, 3)(x, hypergraph, None, torch.randn(7, 4))
