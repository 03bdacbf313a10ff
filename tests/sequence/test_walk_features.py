"""Walk features of tokens against a network written out, and what must not change them."""

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, IndexRangeError, ShapeError
from gnnkit.sequence import HopTokens, NodeTokens, PatchTokens, TokenWalks, WalkFeatureEncoder, WalkTokens, token_walks
from gnnkit.sequence.parts import TokenEncoder
from tests.sequence.batches import whole
from tests.sequence.stand_ins import tokens_of
from tests.sequence.token_graphs import random_graph

GRAPH = random_graph(12, 40)
X = torch.linspace(-1, 1, 60, dtype=torch.float64).reshape(12, 5).sin()
EDGES = torch.linspace(0, 9, 120, dtype=torch.float64).reshape(40, 3).cos()
TOKENS = WalkTokens(2, 2, 1)(GRAPH, whole(GRAPH))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def encoder(**more) -> WalkFeatureEncoder:
    options = {"num_layers": 2, "edge_dim": 3, "window": 3, "walk_length": 4, **more}
    return WalkFeatureEncoder(5, 6, **options).double()


def written_out(tested: WalkFeatureEncoder, walks: TokenWalks) -> Tensor:
    """All of it with dense convolutions, walk by walk, in evaluation."""
    window, rows = tested.window, []
    joined = {pair for u, v in GRAPH.edge_index.T.tolist() for pair in ((u, v), (v, u))}
    for nodes, edges in zip(walks.nodes.tolist(), walks.edges.tolist(), strict=True):
        steps = []
        for i, node in enumerate(nodes):
            edge = torch.zeros(3).double() if i == 0 or edges[i - 1] < 0 else EDGES[edges[i - 1]]
            identity = [float(i >= j and node == nodes[i - j]) for j in range(1, window + 1)]
            adjacency = [float(i >= j and (node, nodes[i - j]) in joined) for j in range(2, window + 1)]
            h = tested.linear(X[node]) + tested.structure_linear(torch.tensor(identity + adjacency).double())
            steps.append(h if tested.edge_linear is None else h + tested.edge_linear(edge))
        h = torch.stack(steps, dim=1)
        for layer in tested.layers:
            padded = torch.nn.functional.pad(h, (window, 0))
            out = torch.nn.functional.conv1d(padded[None], layer.steps.weight, groups=6)[0]
            norm = layer.norm
            out = torch.nn.functional.batch_norm(
                layer.channels(out.T), norm.running_mean, norm.running_var, norm.weight, norm.bias
            )
            h = h + out.T.relu()
        rows.append(h.T)
    empty = torch.zeros(0, 6).double()
    parts, sizes = iter(rows), walks.walk_ptr.diff().tolist()
    return torch.stack([pooled(torch.cat([empty, *itertools.islice(parts, size)]), tested.pool) for size in sizes])


def pooled(h: Tensor, pool: str) -> Tensor:
    if h.size(0) == 0:
        return h.new_zeros(h.size(1))
    return {"mean": h.mean(0), "sum": h.sum(0), "max": h.amax(0), "min": h.amin(0)}[pool]


VARIANTS = ({}, {"pool": "max", "edge_dim": None}, {"pool": "sum", "window": 6}, {"pool": "min", "window": 1})


@pytest.mark.parametrize("tokenizer", [HopTokens(1), PatchTokens(14), NodeTokens()], ids=["hops", "patches", "nodes"])
@pytest.mark.parametrize("options", VARIANTS)
def test_the_encoder_is_its_formula(tokenizer, options):
    tokens = tokenizer(GRAPH, whole(GRAPH))
    tested = encoder(**options)
    for _ in range(3):
        tested(tokens, X, GRAPH, EDGES)
    tested.eval()
    walks = token_walks(tokens, GRAPH, 2, 4, seed=7)
    torch.testing.assert_close(tested(tokens, X, GRAPH, EDGES, seed=7), written_out(tested, walks))


def test_seeds():
    tested = encoder()
    assert tested.is_random
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = tested(TOKENS, X, GRAPH, EDGES), tested(TOKENS, X, GRAPH, EDGES)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(tested(TOKENS, X, GRAPH, EDGES), first)
    torch.testing.assert_close(
        tested(TOKENS, X, GRAPH, EDGES, seed=4),
        tested(TOKENS, X, GRAPH, EDGES, walks=token_walks(TOKENS, GRAPH, 2, 4, seed=4)),
    )
    tested.eval()
    state = torch.get_rng_state()
    found = tested(TOKENS, X, GRAPH, EDGES)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(tested(TOKENS, X, GRAPH, EDGES, seed=0), found)
    assert not torch.equal(tested(TOKENS, X, GRAPH, EDGES, seed=1), found)


@pytest.mark.parametrize("training", [False, True])
def test_renumbering_nodes_and_edges_changes_nothing_where_walks_follow(training):
    tested = encoder().train(training)
    place, edge_place = torch.randperm(12), torch.randperm(40)
    walks = token_walks(TOKENS, GRAPH, 3, 5, seed=2)
    moved, edges = torch.empty_like(X), torch.empty_like(EDGES)
    moved[place], edges[edge_place] = X, EDGES
    ends = torch.empty_like(GRAPH.edge_index)
    ends[:, edge_place] = place[GRAPH.edge_index]
    renamed = Graph.from_edge_index(ends, 12)
    steps = torch.where(walks.edges < 0, -1, edge_place[walks.edges])
    followed = dataclasses.replace(walks, nodes=place[walks.nodes], edges=steps)
    tokens = dataclasses.replace(TOKENS, members=place[TOKENS.members])
    other = tested(tokens, moved, renamed, edges, walks=followed)
    torch.testing.assert_close(other, tested(TOKENS, X, GRAPH, EDGES, walks=walks))


def test_walks_are_apart_from_each_other():
    tested = encoder().eval()
    walks = token_walks(TOKENS, GRAPH, 1, 4)
    found = tested(TOKENS, X, GRAPH, EDGES, walks=walks)
    last = int(walks.walk_ptr[-1]) - 1
    alone = dataclasses.replace(
        walks, nodes=walks.nodes[last:], edges=walks.edges[last:], walk_ptr=walks.walk_ptr.clamp(min=last) - last
    )
    torch.testing.assert_close(tested(TOKENS, X, GRAPH, EDGES, walks=alone)[-1], found[-1])


def test_single_nodes_are_themselves_without_edges():
    # Walks of a node without a self-loop stay: what it says depends on its own features alone.
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]), 3)
    tested = encoder().eval()
    x = X[[2, 3, 2]]
    found = tested(NodeTokens()(graph, whole(graph)), x, graph, EDGES[:2])
    torch.testing.assert_close(found[0], found[2])
    assert not torch.allclose(found[0], found[1])


def test_walks_tell_a_triangle_from_a_star():
    # Without features, by identity and adjacency alone.
    triangle, path = torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.tensor([[0, 1], [1, 2]])
    tested = encoder(edge_dim=None, num_walks=6).eval()
    out = []
    for pairs in (triangle, path):
        graph = Graph.from_edge_index(torch.cat([pairs, pairs.flip(0)], 1), 3)
        out.append(tested(tokens_of([torch.arange(3)], [1], 3, "graph"), torch.ones(3, 5).double(), graph))
    assert not torch.allclose(*out, atol=1e-3)


def test_gradients_reach_everything():
    tokens = HopTokens(2)(GRAPH, whole(GRAPH))
    tested = encoder(num_kinds=3)
    x, edges = X.clone().requires_grad_(), EDGES.clone().requires_grad_()
    found = tested(tokens, x, GRAPH, edges)
    (found * torch.linspace(-1, 1, found.numel(), dtype=torch.float64).reshape(found.shape)).sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in tested.parameters())
    assert x.grad is not None
    assert x.grad.any(1).all()
    assert edges.grad is not None
    assert edges.grad.any()


def test_gradient_is_that_of_differences():
    tested = encoder().eval()
    inputs = (X.clone().requires_grad_(), EDGES.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda x, edge: tested(TOKENS, x, GRAPH, edge), inputs, fast_mode=True)


def test_kinds_add_a_vector():
    tokens = HopTokens(2)(GRAPH, whole(GRAPH))
    plain, tested = encoder().eval(), encoder(num_kinds=3).eval()
    tested.load_state_dict(plain.state_dict(), strict=False)
    assert tested.kinds is not None
    difference = tested(tokens, X, GRAPH, EDGES) - plain(tokens, X, GRAPH, EDGES)
    torch.testing.assert_close(difference, tested.kinds.weight[tokens.kind])


def test_empty_tokens_and_no_tokens():
    empty = Graph.from_edge_index(torch.zeros((2, 0), dtype=torch.int64), 0)
    tested = encoder()
    none = NodeTokens()(empty, torch.tensor([0]))
    x, edges = X[:0].clone().requires_grad_(), EDGES[:0].clone().requires_grad_()
    found = tested(none, x, empty, edges)
    assert found.shape == (0, 6)
    found.sum().backward()
    nothing = tokens_of([torch.tensor([], dtype=torch.int64)] * 2, [2], 12, "graph")
    assert torch.equal(tested(nothing, X, GRAPH, EDGES), torch.zeros(2, 6).double())
    single = tokens_of([torch.tensor([4])], [1], 12, "graph")
    assert tested(single, X, GRAPH, EDGES).isfinite().all()


def test_same_bits_twice_and_for_any_number_of_threads():
    tested, results = encoder(dropout=0.2).float(), []
    state = {name: value.clone() for name, value in tested.state_dict().items()}
    threads = torch.get_num_threads()
    try:
        for count in (1, 1, 2):
            torch.set_num_threads(count)
            torch.manual_seed(1)
            tested.load_state_dict(state)
            tested.zero_grad()
            found = tested(TOKENS, X.float(), GRAPH, EDGES.float())
            found.sum().backward()
            results.append([found, *(value.grad for value in tested.parameters())])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*results[:2], strict=True))
    # Products of torch may round otherwise with more threads; the walks must not differ.
    torch.testing.assert_close(results[2], results[0], rtol=1e-4, atol=1e-5)


def test_autocast_narrows_products():
    tested = encoder().float().eval()
    wide = tested(TOKENS, X.float(), GRAPH, EDGES.float())
    with torch.autocast("cpu", torch.bfloat16):
        narrow = tested(TOKENS, X.float(), GRAPH, EDGES.float())
    torch.testing.assert_close(narrow.float(), wide, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_walks": 0}, "num_walks must be an integer of at least 1"),
        ({"walk_length": 0}, "walk_length must be an integer of at least 1"),
        ({"window": 0}, "window must be an integer of at least 1"),
        ({"num_layers": 0}, "num_layers must be an integer of at least 1"),
        ({"pool": "last"}, "pool must be one of sum, mean, max, min"),
        ({"backtracking": 1}, "backtracking must be"),
        ({"edge_dim": 0}, "edge_dim must be an integer of at least 1"),
        ({"num_kinds": 0}, "num_kinds must be an integer of at least 1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        encoder(**options)
    with pytest.raises(ConfigError, match="in_dim must be"):
        WalkFeatureEncoder(0, 4)
    with pytest.raises(ConfigError, match="dim must be"):
        WalkFeatureEncoder(4, 0)


def test_inputs_that_do_not_fit_are_named():
    tested: TokenEncoder = encoder()
    with pytest.raises(ShapeError, match=r"needs x of shape \[12, 5\]"):
        tested(TOKENS, X[:, :4], GRAPH, EDGES)
    with pytest.raises(ShapeError, match="tokens of 11 nodes and features of 12"):
        tested(tokens_of([torch.tensor([0])], [1], 11, "graph"), X, GRAPH, EDGES)
    with pytest.raises(ShapeError, match="needs edge features"):
        tested(TOKENS, X, GRAPH)
    with pytest.raises(ShapeError, match="edge features of width 3"):
        tested(TOKENS, X, GRAPH, EDGES[:, :2])
    with pytest.raises(IndexRangeError, match=r"kinds must lie in \[0, 1\], got 0 to 2"):
        encoder(num_kinds=2)(TOKENS, X, GRAPH, EDGES)
    with pytest.raises(ShapeError, match="need tokens that have kinds"):
        encoder(num_kinds=2)(tokens_of([torch.tensor([0])], [1], 12, "graph"), X, GRAPH, EDGES)
    with pytest.raises(IndexRangeError, match="set 0 has node 1 again"):
        tested(tokens_of([torch.tensor([1, 1])], [1], 12, "graph"), X, GRAPH, EDGES)
    with pytest.raises(ConfigError, match="seed must be an integer"):
        encoder()(TOKENS, X, GRAPH, EDGES, seed=0.5)  # type: ignore[arg-type]
    walks = token_walks(HopTokens(2)(GRAPH, whole(GRAPH)), GRAPH, 2, 3)
    fewer = dataclasses.replace(walks, walk_ptr=walks.walk_ptr[[0, -1]])
    with pytest.raises(ShapeError, match="walks must be of as many tokens, nodes and edges as there are, 36, 12, 40"):
        encoder()(TOKENS, X, GRAPH, EDGES, walks=fewer)


def test_settings_are_printed():
    assert "5, 6, num_walks=2, walk_length=4, window=3, pool='mean', dropout=0.0" in repr(encoder())
