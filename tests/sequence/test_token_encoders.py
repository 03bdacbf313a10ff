"""Encoders of tokens against loops over tokens, each with its own small graph."""

import pytest
import torch
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, IndexRangeError, ShapeError
from gnnkit.sequence import (
    HopTokens,
    NodeTokenEncoder,
    NodeTokens,
    PatchTokens,
    SubgraphTokenEncoder,
    Tokens,
    WalkTokens,
)
from tests.sequence.batches import whole
from tests.sequence.token_graphs import random_graph, sets_of

KINDS = {
    "gatedgcn": {"conv": "gatedgcn", "edge_dim": 3},
    "gatedgcn-plain": {"conv": "gatedgcn"},
    "gine": {"conv": "gine", "edge_dim": 3, "pool": "sum"},
    "gine-plain": {"conv": "gine", "pool": "max"},
    "gcn": {"conv": "gcn", "pool": "min"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)
GRAPH = random_graph(12, 40)
X = torch.linspace(-1, 1, 60, dtype=torch.float64).reshape(12, 5).sin()
EDGES = torch.linspace(0, 9, 120, dtype=torch.float64).reshape(40, 3).cos()


def encoder(kind: str, **more) -> SubgraphTokenEncoder:
    return SubgraphTokenEncoder(5, 6, num_layers=2, **{**KINDS[kind], **more}).double()


def one_token(nodes: list[int], num_nodes: int) -> Tokens:
    return Tokens(torch.tensor(nodes), torch.tensor([0, len(nodes)]), torch.tensor([0, 1]), "graph", num_nodes)


def by_loop(tested: SubgraphTokenEncoder, tokens: Tokens) -> Tensor:
    """Each token's subgraph as a graph of its own."""
    rows = []
    source, target = GRAPH.edge_index
    for nodes in (token for sequence in sets_of(tokens) for token in sequence):
        inside = (torch.isin(source, torch.tensor(nodes)) & torch.isin(target, torch.tensor(nodes))).nonzero()[:, 0]
        place = torch.full((12,), -1)
        place[nodes] = torch.arange(len(nodes))
        part = Graph.from_edge_index(place[GRAPH.edge_index[:, inside]], len(nodes))
        rows.append(tested(one_token(list(range(len(nodes))), len(nodes)), X[nodes], part, EDGES[inside]))
    return torch.cat(rows)


@pytest.mark.parametrize("tokens", [NodeTokens(), WalkTokens(2, 2, 2), HopTokens(2), PatchTokens(14)])
def test_node_tokens_are_means_of_linear_images(tokens):
    made = tokens(GRAPH, whole(GRAPH))
    tested = NodeTokenEncoder(5, 4).double()
    found = tested(made, X, GRAPH, EDGES)
    images = X @ tested.linear.weight.T + tested.linear.bias
    wanted = [images[token].mean(0) if token else images[0] * 0 for s in sets_of(made) for token in s]
    torch.testing.assert_close(found, torch.stack(wanted))


@every_kind
@pytest.mark.parametrize("tokenizer", [WalkTokens(2, 2, 1), PatchTokens(3)], ids=["walk", "patch"])
def test_subgraphs_are_encoded_as_if_alone(kind, tokenizer):
    tokens = tokenizer(GRAPH, whole(GRAPH))
    tested = encoder(kind).eval()
    torch.testing.assert_close(tested(tokens, X, GRAPH, EDGES), by_loop(tested, tokens))


@every_kind
def test_gradients_reach_everything(kind):
    tokens = WalkTokens(2, 2, 2)(GRAPH, whole(GRAPH))
    tested = encoder(kind, num_kinds=3)
    x, edges = X.clone().requires_grad_(), EDGES.clone().requires_grad_()
    found = tested(tokens, x, GRAPH, edges)
    (found * torch.linspace(-1, 1, found.numel(), dtype=torch.float64).reshape(found.shape)).sum().backward()
    # What normalisation takes away again, and states of edges behind the last layer, have no say.
    last = {"layers.1.bn_edge_e.weight", "layers.1.bn_edge_e.bias"}
    assert all(value.grad is not None for name, value in tested.named_parameters() if name not in last)
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert (edges.grad is not None) == (tested.edge_linear is not None)


def test_gradient_is_that_of_differences():
    tokens = WalkTokens(2, 2, 1)(GRAPH, whole(GRAPH))
    tested = encoder("gatedgcn").eval()
    inputs = (X.clone().requires_grad_(), EDGES.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda x, edge: tested(tokens, x, GRAPH, edge), inputs, fast_mode=True)
    plain = NodeTokenEncoder(5, 2).double()
    assert torch.autograd.gradcheck(lambda x: plain(tokens, x, GRAPH).tanh(), inputs[0], fast_mode=True)


@every_kind
def test_kinds_add_a_vector(kind):
    tokens = HopTokens(2)(GRAPH, whole(GRAPH))
    plain, tested = encoder(kind).eval(), encoder(kind, num_kinds=3).eval()
    tested.load_state_dict(plain.state_dict(), strict=False)
    assert tested.kinds is not None
    difference = tested(tokens, X, GRAPH, EDGES) - plain(tokens, X, GRAPH, EDGES)
    torch.testing.assert_close(difference, tested.kinds.weight[tokens.kind])


@every_kind
def test_empty_tokens_and_no_tokens(kind):
    empty = Graph.from_edge_index(torch.zeros((2, 0), dtype=torch.int64), 0)
    tested = encoder(kind)
    none = NodeTokens()(empty, torch.tensor([0]))
    assert tested(none, X[:0], empty, EDGES[:0]).shape == (0, 6)
    assert NodeTokenEncoder(5, 6).double()(none, X[:0], empty).shape == (0, 6)
    patches = PatchTokens(20)(GRAPH, whole(GRAPH))
    found = tested(patches, X, GRAPH, EDGES)
    assert found.shape == (20, 6)
    assert not found[12:].any()
    assert found[:12].any(dim=1).all()


def test_renumbering_nodes_changes_nothing_for_hops():
    permutation = torch.randperm(12)
    renamed = Graph.from_edge_index(permutation[GRAPH.edge_index], 12)
    tested = encoder("gatedgcn").eval()
    found = tested(HopTokens(2)(GRAPH, whole(GRAPH)), X, GRAPH, EDGES).reshape(12, 3, 6)
    moved = torch.empty_like(X)
    moved[permutation] = X
    other = tested(HopTokens(2)(renamed, whole(GRAPH)), moved, renamed, EDGES).reshape(12, 3, 6)
    torch.testing.assert_close(other[permutation], found)


def test_same_bits_twice():
    tokens = WalkTokens(3, 2, 2)(GRAPH, whole(GRAPH))
    tested, results = encoder("gatedgcn", dropout=0.2), []
    state = {name: value.clone() for name, value in tested.state_dict().items()}
    for _ in range(2):
        torch.manual_seed(1)
        tested.load_state_dict(state)
        tested.zero_grad()
        found = tested(tokens, X, GRAPH, EDGES)
        found.sum().backward()
        results.append([found, *(value.grad for value in tested.parameters() if value.grad is not None)])
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NodeTokenEncoder(0, 4), "in_dim must be an integer of at least 1"),
        (lambda: NodeTokenEncoder(4, 0), "dim must be an integer of at least 1"),
        (lambda: SubgraphTokenEncoder(4, 4, num_layers=0), "num_layers must be an integer of at least 1"),
        (lambda: SubgraphTokenEncoder(4, 4, conv="gat"), "conv must be one of gatedgcn, gine, gcn"),  # type: ignore[arg-type]
        (lambda: SubgraphTokenEncoder(4, 4, pool="last"), "pool must be one of sum, mean, max, min"),
        (lambda: SubgraphTokenEncoder(4, 4, conv="gcn", edge_dim=3), "reads no edge features"),
        (lambda: SubgraphTokenEncoder(4, 4, edge_dim=0), "edge_dim must be an integer of at least 1"),
        (lambda: SubgraphTokenEncoder(4, 4, num_kinds=0), "num_kinds must be an integer of at least 1"),
        (lambda: SubgraphTokenEncoder(4, 4, dropout=1.0), r"dropout must lie in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_inputs_that_do_not_fit_are_named():
    tokens = HopTokens(2)(GRAPH, whole(GRAPH))
    for tested in (NodeTokenEncoder(5, 4).double(), encoder("gatedgcn")):
        with pytest.raises(ShapeError, match=r"needs x of shape \[12, 5\]"):
            tested(tokens, X[:, :4], GRAPH, EDGES)
        with pytest.raises(ShapeError, match="tokens of 11 nodes and features of 12"):
            tested(one_token([0], 11), X, GRAPH, EDGES)
    with pytest.raises(ShapeError, match="needs edge features"):
        encoder("gine")(tokens, X, GRAPH)
    with pytest.raises(ShapeError, match="edge features of width 3"):
        encoder("gatedgcn")(tokens, X, GRAPH, EDGES[:, :2])
    with pytest.raises(IndexRangeError, match=r"kinds must lie in \[0, 1\], got 0 to 2"):
        encoder("gatedgcn", num_kinds=2)(tokens, X, GRAPH, EDGES)
    with pytest.raises(ShapeError, match="need tokens that have kinds"):
        encoder("gatedgcn", num_kinds=2).eval()(one_token([0, 1], 12), X, GRAPH, EDGES)
    with pytest.raises(IndexRangeError, match="set 0 has node 1 again"):
        encoder("gatedgcn")(one_token([1, 1], 12), X, GRAPH, EDGES)


def test_settings_are_printed():
    assert "NodeTokenEncoder(\n  5, 4" in repr(NodeTokenEncoder(5, 4))
    assert "conv='gatedgcn', pool='mean', dropout=0.0" in repr(SubgraphTokenEncoder(5, 4))
