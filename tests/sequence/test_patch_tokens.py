"""Patches: parts by brute force, balance, expansion against NetworkX, dropped edges, METIS."""

import sys

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import BackendError, ConfigError
from gnnkit.sequence import PatchTokens, Tokens
from tests.sequence.batches import whole
from tests.sequence.token_graphs import batch_of, batches, random_graph, same, sets_of

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def undirected(network: nx.Graph) -> Graph:
    edges = torch.tensor(list(network.to_directed().edges), dtype=torch.int64).reshape(-1, 2).T
    return Graph.from_edge_index(edges, network.number_of_nodes())


def network_of(graph: Graph) -> nx.DiGraph:
    network = nx.DiGraph(list(zip(*graph.edge_index.tolist(), strict=True)))
    network.add_nodes_from(range(graph.num_nodes))
    return network


def cut(graph: Graph, tokens: Tokens) -> int:
    """Edges between parts."""
    part = torch.empty(graph.num_nodes, dtype=torch.int64)
    part[tokens.members] = tokens.token_of_member
    return int((part[graph.edge_index[0]] != part[graph.edge_index[1]]).sum())


def parts(graph: Graph, ptr: Tensor, num_patches: int, method: str = "ldg") -> Tokens:
    return PatchTokens(num_patches, 0, method).eval()(graph, ptr)


@few
@given(batch=batches())
@pytest.mark.parametrize("num_patches", [1, 2, 5])
def test_parts_are_a_balanced_partition_of_each_graph(num_patches, batch):
    graph, ptr = batch
    sequences = sets_of(parts(graph, ptr, num_patches))
    for number, sequence in enumerate(sequences):
        begin, end = ptr[number : number + 2].tolist()
        assert sorted(node for part in sequence for node in part) == list(range(begin, end))
        smaller, larger = divmod(end - begin, num_patches)
        assert [len(part) for part in sequence] == [smaller + (n < larger) for n in range(num_patches)]


def test_parts_of_small_graphs_by_hand():
    # Breadth-first: 0, 1, 2, 3. Node 1 joins 0, whose part is full then; 3 joins 2.
    path = undirected(nx.path_graph(4))
    assert sets_of(parts(path, whole(path), 2)) == [[[0, 1], [2, 3]]]
    # Two triangles with an edge between them, in one graph and as two graphs.
    pair = undirected(nx.Graph([(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)]))
    assert sets_of(parts(pair, whole(pair), 2)) == [[[0, 1, 2], [3, 4, 5]]]
    graph, ptr = batch_of([undirected(nx.complete_graph(3))] * 2)
    assert sets_of(parts(graph, ptr, 2)) == [[[0, 1], [2]], [[3, 4], [5]]]


def test_graphs_smaller_than_the_number_of_patches_keep_empty_ones():
    graph, ptr = batch_of([random_graph(2, 3), random_graph(0, 0), random_graph(3, 0)])
    tokens = parts(graph, ptr, 4)
    assert sets_of(tokens) == [[[0], [1], [], []], [[], [], [], []], [[2], [3], [4], []]]
    assert tokens.offsets.tolist() == [0, 4, 8, 12]
    assert [len(patch) > 0 for patch in sets_of(PatchTokens(4)(graph, ptr))[1]] == [False] * 4


@few
@given(batch=batches())
@pytest.mark.parametrize("num_hops", [1, 2])
def test_patches_take_in_what_is_near(num_hops, batch):
    graph, ptr = batch
    network = network_of(graph)
    core = sets_of(parts(graph, ptr, 3))
    found = sets_of(PatchTokens(3, num_hops).eval()(graph, ptr))
    for patch, part in zip((p for s in found for p in s), (p for s in core for p in s), strict=True):
        assert patch == sorted({node for v in part for node in nx.ego_graph(network, v, num_hops)})


def test_parts_hold_together():
    """Far fewer edges between them than between parts of a random partition."""
    grid = undirected(nx.convert_node_labels_to_integers(nx.grid_2d_graph(12, 12)))
    found = cut(grid, parts(grid, whole(grid), 12))
    at_random = torch.arange(144)[torch.randperm(144)] % 12
    between = int((at_random[grid.edge_index[0]] != at_random[grid.edge_index[1]]).sum())
    assert found < 0.55 * between


def test_a_batch_gives_the_parts_of_its_graphs_one_by_one():
    graphs = [undirected(nx.gnm_random_graph(20 + n, 30, seed=n)) for n in range(5)]
    graph, ptr = batch_of(graphs)
    together = sets_of(PatchTokens(4).eval()(graph, ptr))
    for number, one in enumerate(graphs):
        begin = int(ptr[number])
        alone = sets_of(PatchTokens(4).eval()(one, whole(one)))[0]
        assert [[node - begin for node in patch] for patch in together[number]] == alone


def test_edges_are_dropped_in_training_only():
    graph = undirected(nx.gnm_random_graph(80, 200, seed=1))
    ptr = torch.tensor([0, 80])
    tokenizer = PatchTokens(8, 0, drop_edges=0.5)
    assert tokenizer.is_random
    drawn = [tokenizer(graph, ptr, seed=seed) for seed in range(3)]
    assert not same(drawn[0], drawn[1])
    assert same(drawn[2], tokenizer(graph, ptr, seed=2))
    plain = PatchTokens(8, 0, drop_edges=0.0)
    assert not plain.is_random
    assert not tokenizer.eval().is_random
    assert same(tokenizer(graph, ptr, seed=0), plain(graph, ptr, seed=1))
    # Without any edge, parts are filled in turn, in order of the nodes: that of fewest nodes comes next.
    none = PatchTokens(8, 0, drop_edges=1.0)(graph, ptr)
    assert sets_of(none)[0] == [list(range(part, 80, 8)) for part in range(8)]


def test_dropped_edges_come_back_for_the_hops():
    star = undirected(nx.star_graph(6))
    tokens = sets_of(PatchTokens(7, 1, drop_edges=1.0)(star, whole(star)))[0]
    assert tokens == [list(range(7)), *([0, leaf] for leaf in range(1, 7))]


def test_about_so_many_edges_are_dropped():
    """Of three nodes, the two that an edge joins are a part; without it 1 is left alone."""
    graph, ptr = batch_of([Graph.from_edge_index(torch.tensor([[0], [1]]), 3)] * 2000)
    sequences = sets_of(PatchTokens(2, 0, drop_edges=0.3)(graph, ptr, seed=4))
    dropped = sum(len(first) == 2 and first[1] - first[0] == 2 for first, _ in sequences)
    assert abs(dropped - 600) < 4 * (2000 * 0.21) ** 0.5


def test_metis_needs_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pymetis", None)
    with pytest.raises(BackendError, match=r"needs pymetis: pip install 'gnnkit\[metis\]'"):
        PatchTokens(4, method="metis")


def test_metis_divides_each_graph_by_itself():
    pytest.importorskip("pymetis", reason="pymetis is not installed")
    cliques = nx.disjoint_union_all([nx.complete_graph(5)] * 3)
    cliques.add_edges_from([(0, 5), (5, 10)])
    graph, ptr = batch_of([undirected(cliques), random_graph(3, 2), random_graph(0, 0)])
    sequences = sets_of(parts(graph, ptr, 3, "metis"))
    assert sorted(sequences[0]) == [list(range(begin, begin + 5)) for begin in (0, 5, 10)]
    assert sequences[1:] == [[[15], [16], [17]], [[], [], []]]
    expanded = sets_of(PatchTokens(3, 1, "metis").eval()(graph, ptr))[0]
    assert sorted(map(len, expanded)) == [6, 6, 7]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_patches": 0}, "num_patches must be an integer of at least 1"),
        ({"num_patches": 2**21}, r"num_patches must be at most 2\^20"),
        ({"num_hops": -1}, "num_hops must be an integer of at least 0"),
        ({"method": "kmeans"}, "method must be one of ldg, metis, got 'kmeans'"),
        ({"drop_edges": 1.5}, "drop_edges must be a probability, got 1.5"),
        ({"drop_edges": float("nan")}, "drop_edges must be a probability"),
    ],
)
def test_settings_out_of_range_are_named(arguments, words):
    with pytest.raises(ConfigError, match=words):
        PatchTokens(**arguments)


def test_settings_are_printed():
    assert repr(PatchTokens(4)) == "PatchTokens(num_patches=4, num_hops=1, method='ldg', drop_edges=0.3)"
