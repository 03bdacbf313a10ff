"""Walks inside tokens against loops: where they start and go, and what their structure is."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sequence import HopTokens, NodeTokens, PatchTokens, Tokens, TokenWalks, WalkTokens, token_walks
from tests.sequence.batches import few_examples, whole
from tests.sequence.stand_ins import tokens_of
from tests.sequence.token_graphs import batches, random_graph, sets_of

GRAPH = random_graph(12, 40)


def edges_within(graph: Graph, nodes: list[int]) -> list[tuple[int, int, int]]:
    """Number and ends of the edges between some nodes."""
    ends = enumerate(graph.edge_index.T.tolist())
    return [(number, u, v) for number, (u, v) in ends if u in nodes and v in nodes]


def check_walks(graph: Graph, tokens: Tokens, num_walks: int, length: int, backtracking: bool, seed: int) -> None:
    walks = token_walks(tokens, graph, num_walks, length, backtracking=backtracking, seed=seed)
    assert walks.length == length
    assert walks.walk_ptr.size(0) == tokens.num_tokens + 1
    every = [token for sequence in sets_of(tokens) for token in sequence]
    for token, (begin, end) in zip(every, itertools.pairwise(walks.walk_ptr.tolist()), strict=True):
        assert end - begin == (num_walks if token else 0)
        edges = edges_within(graph, token)
        starts = Counter(walks.nodes[begin:end, 0].tolist())
        assert set(starts) <= set(token)
        if token:
            counts = [starts[node] for node in token]
            assert min(counts) >= num_walks // len(token)
            assert max(counts) <= -(-num_walks // len(token))
        for nodes, taken in zip(walks.nodes[begin:end].tolist(), walks.edges[begin:end].tolist(), strict=True):
            for step, (u, v) in enumerate(itertools.pairwise(nodes)):
                leaving = [edge for edge in edges if edge[1] == u]
                if not backtracking and step > 0:
                    leaving = [edge for edge in leaving if edge[2] != nodes[step - 1]] or leaving
                assert (taken[step], u, v) in (leaving or [(-1, u, u)])


@few_examples
@given(batches(), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.integers(-9, 2**70))
def test_walks_follow_edges_of_their_token(batch, num_walks, length, backtracking, seed):
    graph, ptr = batch
    for tokenizer in (HopTokens(1), PatchTokens(2), NodeTokens()):
        check_walks(graph, tokenizer(graph, ptr), num_walks, length, backtracking, seed)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_indices_of_either_width(dtype: torch.dtype):
    graph = random_graph(12, 40, dtype=dtype)
    tokens = HopTokens(2)(graph, whole(graph))
    check_walks(graph, tokens, 3, 4, False, seed=1)
    assert same(token_walks(tokens, graph, 3, 4), token_walks(HopTokens(2)(GRAPH, whole(GRAPH)), GRAPH, 3, 4))


def test_starts_and_steps_are_uniform():
    # A token of the 4 corners of a square with one diagonal, walked from many times.
    pairs = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]]).T
    graph = Graph.from_edge_index(torch.cat([pairs, pairs.flip(0)], 1), 4)
    tokens = one_token(list(range(4)), 4, copies=4000)
    walks = token_walks(tokens, graph, 1, 3, backtracking=True, seed=3)
    assert (torch.bincount(walks.nodes[:, 0]) - 1000).abs().max() < 120
    for step in range(3):
        at, to = walks.nodes[:, step], walks.nodes[:, step + 1]
        for node, degree in enumerate((3, 2, 3, 2)):
            count = torch.bincount(to[at == node], minlength=4)
            share = count[count > 0] / count.sum()
            assert share.numel() == degree
            assert (share - 1 / degree).abs().max() < 0.08
    # From 1 over 0, where 2 and 3 are left.
    onward = token_walks(tokens, graph, 1, 2, seed=3).nodes
    onward = onward[(onward[:, 0] == 1) & (onward[:, 1] == 0), 2]
    share = torch.bincount(onward, minlength=4) / onward.numel()
    assert not share[:2].any()
    assert (share[2:] - 0.5).abs().max() < 0.08


def test_parallel_edges_are_told_apart():
    graph = Graph.from_edge_index(torch.tensor([[0, 0, 0, 1, 0], [1, 2, 1, 0, 1]]), 3)
    edges = token_walks(one_token([0, 1, 2], 3, copies=900), graph, 1, 1, seed=5).edges[:, 0]
    nodes = token_walks(one_token([0, 1, 2], 3, copies=900), graph, 1, 1, seed=5).nodes[:, 0]
    count = torch.bincount(edges[nodes == 0], minlength=5)
    assert count[3] == 0
    assert (count[[0, 1, 2, 4]] / count.sum() - 0.25).abs().max() < 0.1
    assert (edges[nodes == 1] == 3).all()
    assert (edges[nodes == 2] == -1).all()


def test_walks_do_not_turn_back_unless_they_must():
    path = torch.tensor([[0, 1, 2], [1, 2, 3]])
    graph = Graph.from_edge_index(torch.cat([path, path.flip(0)], 1), 4)
    there_and_back = [0, 1, 2, 3, 2, 1] * 3
    waves = [there_and_back[begin : begin + 7] for begin in range(6)]
    tokens = one_token([0, 1, 2, 3], 4, copies=20)
    assert {tuple(nodes) for nodes in token_walks(tokens, graph, 4, 6).nodes.tolist()} == set(map(tuple, waves))
    turned = token_walks(tokens, graph, 4, 6, backtracking=True).nodes.tolist()
    assert not all(nodes in waves for nodes in turned)


def test_isolated_nodes_and_dead_ends_stay():
    # 0 -> 1, which no edge leaves; 2 is joined to 3 only, which is not in its token.
    graph = Graph.from_edge_index(torch.tensor([[0, 2, 3], [1, 3, 2]]), 4)
    walks = token_walks(tokens_of([torch.tensor([0, 1]), torch.tensor([2])], [2], 4, "graph"), graph, 2, 3)
    assert sorted(walks.nodes.tolist()) == [[0, 1, 1, 1], [1, 1, 1, 1], [2, 2, 2, 2], [2, 2, 2, 2]]
    assert sorted(walks.edges.tolist()) == [[-1, -1, -1]] * 3 + [[0, -1, -1]]
    structure = walks.structure(graph, 2)
    # Identity with the one and two steps before; no self-loops, so that a node is no neighbour of itself.
    still = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]]
    assert structure[2].int().tolist() == still
    start = int(walks.nodes[0, 0])
    assert structure[1 - start if start else 0].int().tolist() in (still, [[0, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 0]])


@few_examples
@given(batches(), st.integers(1, 6), st.integers(1, 5))
def test_structure_is_that_of_brute_force(batch, length, window):
    graph, ptr = batch
    walks = token_walks(PatchTokens(2)(graph, ptr), graph, 3, length, backtracking=True, seed=1)
    found = walks.structure(graph, window)
    joined = {pair for u, v in graph.edge_index.T.tolist() for pair in ((u, v), (v, u))}
    for nodes, rows in zip(walks.nodes.tolist(), found.tolist(), strict=True):
        for i, row in enumerate(rows):
            identity = [i >= j and nodes[i] == nodes[i - j] for j in range(1, window + 1)]
            adjacency = [i >= j and (nodes[i], nodes[i - j]) in joined for j in range(2, window + 1)]
            assert row == identity + adjacency


def test_a_seed_gives_one_result_whatever_the_threads():
    graph = random_graph(3000, 9000)
    tokens = WalkTokens(2, 2, 1)(graph, whole(graph))
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(token_walks(tokens, graph, 2, 5, seed=4))
    finally:
        torch.set_num_threads(threads)
    assert all(same(results[0], other) for other in results[1:])
    assert not same(results[0], token_walks(tokens, graph, 2, 5, seed=5))
    longer = token_walks(tokens, graph, 2, 7, seed=4)
    assert torch.equal(longer.nodes[:, :6], results[0].nodes)


def test_walks_of_different_tokens_are_their_own():
    complete = torch.combinations(torch.arange(6)).T
    graph = Graph.from_edge_index(torch.cat([complete, complete.flip(0)], 1), 6)
    walks = token_walks(one_token(list(range(6)), 6, copies=50), graph, 2, 8).nodes
    assert walks.unique(dim=0).size(0) == 100


def test_no_tokens_and_empty_ones():
    empty = Graph.from_edge_index(torch.zeros((2, 0), dtype=torch.int64), 0)
    walks = token_walks(NodeTokens()(empty, torch.tensor([0])), empty, 2, 3)
    assert walks.nodes.shape == (0, 4)
    assert walks.structure(empty, 3).shape == (0, 4, 5)
    nothing = token_walks(tokens_of([torch.tensor([], dtype=torch.int64)], [1], 12, "graph"), GRAPH, 2, 3)
    assert nothing.walk_ptr.tolist() == [0, 0]
    assert nothing.nodes.shape == (0, 4)


def test_inputs_that_do_not_fit_are_named():
    tokens = HopTokens(1)(GRAPH, whole(GRAPH))
    for options, words in (
        ({"num_walks": 0}, "num_walks must be an integer of at least 1"),
        ({"length": 0}, "length must be an integer of at least 1"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"backtracking": 1}, "backtracking must be"),
    ):
        with pytest.raises(ConfigError, match=words):
            token_walks(tokens, GRAPH, **{"num_walks": 1, "length": 1, **options})
    with pytest.raises(DtypeError, match="graph must be a gnnkit"):
        token_walks(tokens, GRAPH.edge_index, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="tokens of 12 nodes need a graph of as many, got 5"):
        token_walks(tokens, random_graph(5, 5), 1, 1)
    with pytest.raises(IndexRangeError, match="set 0 has node 1 again"):
        token_walks(one_token([1, 1], 12), GRAPH, 1, 1)
    walks = token_walks(tokens, GRAPH, 1, 1)
    with pytest.raises(ShapeError, match="walks over 12 nodes need a graph of as many, got 5"):
        walks.structure(random_graph(5, 5), 2)
    with pytest.raises(ConfigError, match="window must be an integer of at least 1"):
        walks.structure(GRAPH, 0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"nodes": torch.zeros(2, 3)}, DtypeError, "nodes of walks must be int64"),
        ({"nodes": torch.zeros(2, 0, dtype=torch.int64)}, ShapeError, r"nodes of walks must have shape \[W, L \+ 1\]"),
        ({"edges": torch.zeros(2, 3, dtype=torch.int64)}, ShapeError, r"edges must have shape \[2, 2\]"),
        ({"nodes": torch.full((2, 3), 4)}, IndexRangeError, "nodes must lie in"),
        ({"edges": torch.full((2, 2), 5)}, IndexRangeError, "edges"),
        ({"edges": torch.full((2, 2), -2)}, IndexRangeError, "edges"),
        ({"walk_ptr": torch.tensor([0, 1])}, IndexRangeError, "ptr"),
    ],
)
def test_walks_that_are_none_are_named(change, error, words):
    given = {
        "nodes": torch.zeros(2, 3, dtype=torch.int64),
        "edges": torch.full((2, 2), -1),
        "walk_ptr": torch.tensor([0, 2]),
        "num_nodes": 4,
        "num_edges": 5,
    }
    assert TokenWalks(**given).length == 2
    with pytest.raises(error, match=words):
        TokenWalks(**{**given, **change})


def one_token(nodes: list[int], num_nodes: int, copies: int = 1) -> Tokens:
    return tokens_of([torch.tensor(nodes)] * copies, [copies], num_nodes, "graph")


def same(one: TokenWalks, two: TokenWalks) -> bool:
    parts: list[tuple[Tensor, Tensor]] = [(one.nodes, two.nodes), (one.edges, two.edges), (one.walk_ptr, two.walk_ptr)]
    return all(torch.equal(a, b) for a, b in parts)
