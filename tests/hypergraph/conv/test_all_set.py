"""AllDeepSets and AllSetTransformer, set by set."""

import pytest
import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.hypergraph import AllDeepSetsConv, AllSetTransformerConv, Hypergraph
from gnnkit.hypergraph.conv.all_set import Perceptron, SetAttention
from tests.hypergraph.conv.layer_cases import made, random_hypergraph
from tests.hypergraph.made_hypergraphs import SHAPES, dense, hypergraph_of


def layer_norm(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


def sets_of(incidence: Tensor) -> list[list[int]]:
    """Members of each column, repeated as often as they are in it."""
    return [[v for v, count in enumerate(column.long().tolist()) for _ in range(count)] for column in incidence.t()]


def attended(attention: SetAttention, members: Tensor) -> Tensor:
    """The function of one set, head by head."""
    heads = []
    width = attention.seed.size(1)
    for head, seed in enumerate(attention.seed):
        rows = slice(head * width, (head + 1) * width)
        total = torch.zeros(width, dtype=torch.float64)
        if len(members):
            score = (members @ attention.lin_key.weight[rows].t()) @ seed
            value = members @ attention.lin_value.weight[rows].t() + attention.lin_value.bias[rows]
            total = score.softmax(0) @ value
        heads.append(seed + total)
    y = layer_norm(torch.cat(heads), attention.norm_in)
    first, second = attention.mlp.linears
    hidden = (first.weight @ y + first.bias).clamp(min=0)  # type: ignore[operator]
    return layer_norm(y + second.weight @ hidden + second.bias, attention.norm_out)  # type: ignore[operator]


@pytest.mark.parametrize("shape", [*SHAPES, "random"])
def test_all_set_transformer_is_attention_of_its_seed_to_each_set(shape: str):
    hypergraph = random_hypergraph() if shape == "random" else hypergraph_of(shape)
    conv = made("allsettransformer")
    assert isinstance(conv, AllSetTransformerConv)
    x, incidence = torch.randn(hypergraph.num_nodes, 5, dtype=torch.float64), dense(hypergraph)
    empty = x.new_empty((0, 4))
    hyperedges = torch.stack([*[attended(conv.to_hyperedges, x[nodes]) for nodes in sets_of(incidence)], empty.sum(0)])
    nodes = [attended(conv.to_nodes, hyperedges[members]) for members in sets_of(incidence.t())]
    torch.testing.assert_close(conv(x, hypergraph), torch.stack(nodes) if nodes else empty)


def perceived(perceptron: Perceptron, x: Tensor) -> Tensor:
    norms = perceptron.norms
    for place, linear in enumerate(perceptron.linears):
        x = x.clamp(min=0) if place else x
        x = x if norms is None else layer_norm(x, norms[place])  # type: ignore[arg-type]
        x = linear.weight @ x + linear.bias  # type: ignore[operator]
    return x


@pytest.mark.parametrize("name", ["alldeepsets", "alldeepsets, mean"])
@pytest.mark.parametrize("shape", [*SHAPES, "random"])
def test_all_deep_sets_are_perceptrons_of_sums_of_perceptrons(shape: str, name: str):
    hypergraph = random_hypergraph() if shape == "random" else hypergraph_of(shape)
    conv = made(name)
    assert isinstance(conv, AllDeepSetsConv)

    def of_sets(rows: Tensor, incidence: Tensor, encode: Perceptron, decode: Perceptron) -> Tensor:
        out = []
        for members in sets_of(incidence):
            total = sum((perceived(encode, rows[member]) for member in members), torch.zeros(4, dtype=torch.float64))
            out.append(perceived(decode, total / max(len(members), 1) if conv.aggr == "mean" else total))
        return torch.stack(out) if out else rows.new_empty((0, 4))

    x, incidence = torch.randn(hypergraph.num_nodes, 5, dtype=torch.float64), dense(hypergraph)
    hyperedges = of_sets(x, incidence, conv.encode_nodes, conv.decode_hyperedges)
    expected = of_sets(hyperedges, incidence.t(), conv.encode_hyperedges, conv.decode_nodes)
    torch.testing.assert_close(conv(x, hypergraph), expected)


def test_large_scores_do_not_overflow():
    conv, hypergraph = made("allsettransformer", torch.float32), random_hypergraph()
    x = torch.randn(12, 5)
    with torch.no_grad():
        for attention in (conv.to_hyperedges, conv.to_nodes):
            attention.lin_key.weight.mul_(1e6)  # type: ignore[union-attr]
    assert bool(conv(x, hypergraph).isfinite().all())


def test_attention_without_dropout_stores_no_message(monkeypatch: pytest.MonkeyPatch):
    def refuse(*given: object) -> Tensor:
        raise AssertionError("rows per incidence")

    monkeypatch.setattr(ops, "gather", refuse)
    conv = AllSetTransformerConv(5, 4, heads=2, dropout=0.5)
    hypergraph, x = random_hypergraph(), torch.randn(12, 5)
    conv.eval()(x, hypergraph)
    with pytest.raises(AssertionError, match="rows per incidence"):
        conv.train()(x, hypergraph)


def test_training_drops_from_the_weights_of_evaluation(monkeypatch: pytest.MonkeyPatch):
    """Where nothing is dropped, training gives what evaluation gives."""
    conv, hypergraph, x = AllSetTransformerConv(5, 4, heads=2, dropout=0.5), random_hypergraph(), torch.randn(12, 5)
    expected = conv.eval()(x, hypergraph)
    monkeypatch.setattr("gnnkit.nn.conv._attention.dropout", lambda value, *_: value)
    torch.testing.assert_close(conv.train()(x, hypergraph), expected)


@pytest.mark.parametrize("kind", [AllDeepSetsConv, AllSetTransformerConv])
def test_parameters_can_be_drawn_again(kind: type[torch.nn.Module]):
    conv = kind(5, 4)
    before = [value.clone() for value in conv.parameters()]
    conv.reset_parameters()  # type: ignore[operator]
    changed = [not torch.equal(*pair) for pair in zip(before, conv.parameters(), strict=True)]
    norms = [value.dim() == 1 for value in conv.parameters()]
    assert all(change or norm for change, norm in zip(changed, norms, strict=True))
    hypergraph = Hypergraph.from_incidence(torch.zeros(2, 1, dtype=torch.int64), num_nodes=1, num_hyperedges=1)
    assert conv(torch.ones(1, 5), hypergraph).shape == (1, 4)


def test_bad_settings_are_named():
    for make, words in (
        (lambda: AllDeepSetsConv(5, 4, aggr="max"), "aggr must be one of sum, mean, got 'max'"),
        (lambda: AllDeepSetsConv(5, 4, mlp_layers=0), "mlp_layers must be an integer of at least 1"),
        (lambda: AllDeepSetsConv(5, 4, norm="layer"), "norm must be True or False"),  # type: ignore[arg-type]
        (lambda: AllDeepSetsConv(5, 4, dropout=1.0), r"dropout must lie in \[0, 1\)"),
        (lambda: AllSetTransformerConv(5, 4, heads=3), "multiple of heads, got 4 and 3"),
        (lambda: AllSetTransformerConv(5, 4, heads=0), "heads must be an integer of at least 1"),
        (lambda: AllSetTransformerConv(5, 4, dropout=-0.1), r"dropout must lie in \[0, 1\)"),
    ):
        with pytest.raises(ConfigError, match=words):
            make()
