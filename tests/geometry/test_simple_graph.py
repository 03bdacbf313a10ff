"""What any edge_index is read as: a simple undirected graph, or an error that names the column."""

import networkx as nx
import numpy as np
import pytest
import torch

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.geometry.simple_graph import SimpleGraph


def both_ways(pairs: list[tuple[int, int]]) -> torch.Tensor:
    edges = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return torch.cat([edges, edges.flip(0)], dim=1)


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_and_edges_are_those_of_networkx(seed: int):
    graph = nx.gnm_random_graph(20, 40, seed=seed)
    edges = both_ways(list(graph.edges))
    edges = edges[:, torch.randperm(edges.size(1))]
    simple = SimpleGraph.from_edge_index(edges, 20)
    assert [tuple(pair) for pair in simple.ends.T.tolist()] == sorted(tuple(sorted(edge)) for edge in graph.edges)
    for node in range(20):
        neighbours = simple.col[simple.rowptr[node] : simple.rowptr[node + 1]]
        assert neighbours.tolist() == sorted(graph[node])
    assert simple.degree.tolist() == [degree for _, degree in graph.degree]
    rows = torch.arange(20).repeat_interleave(simple.degree)
    assert torch.equal(simple.ends[:, simple.edge].sort(0).values, torch.stack([rows, simple.col]).sort(0).values)
    assert torch.equal(simple.ends[:, simple.column_edge], edges.sort(0).values)
    labels = np.full(20, -1)
    for number, component in enumerate(sorted(nx.connected_components(graph), key=min)):
        labels[list(component)] = number
    assert simple.components().tolist() == labels.tolist()


def test_values_come_back_in_the_order_of_the_columns_and_pairs_are_found():
    edges = torch.tensor([[2, 0, 1, 2], [1, 2, 2, 0]], dtype=torch.int32)
    simple = SimpleGraph.from_edge_index(edges, 4)
    assert simple.per_column(torch.tensor([10.0, 20.0])).tolist() == [20.0, 10.0, 20.0, 10.0]
    assert simple.find(torch.tensor([[2, 1, 3], [0, 0, 2]])).tolist() == [0, -1, -1]
    assert simple.edge_index().tolist() == [[0, 1, 2, 2], [2, 2, 0, 1]]
    again = SimpleGraph.from_ends(torch.tensor([[2, 2], [1, 0]]), 4, torch.tensor([5.0, 6.0]))
    assert torch.equal(again.ends, simple.ends)
    assert again.column_edge.tolist() == [1, 0]
    assert again.weight is not None
    assert again.weight.tolist() == [6.0, 5.0]


def test_multi_edges_merge_and_loops_are_set_aside():
    edges = torch.tensor([[0, 1, 0, 1, 2], [1, 0, 1, 0, 2]])
    weight = torch.tensor([1.0, 2.0, 3.0, 2.0, 9.0])
    simple = SimpleGraph.from_edge_index(edges, 3, weight=weight, allow_self_loops=True)
    assert simple.column_edge.tolist() == [0, 0, 0, 0, -1]
    assert simple.weight is not None
    assert simple.weight.tolist() == [4.0]
    with pytest.raises(DataError, match=r"one weight, but \(0, 1\) has 1.0 and \(1, 0\) has 2.0"):
        SimpleGraph.from_edge_index(edges, 3, weight=weight, parallel="min", allow_self_loops=True)


@pytest.mark.parametrize("num_nodes", [0, 3])
def test_no_edges(num_nodes: int):
    simple = SimpleGraph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), num_nodes)
    assert simple.num_edges == 0
    assert simple.degree.tolist() == [0] * num_nodes
    assert simple.components().tolist() == list(range(num_nodes))
    assert simple.find(torch.tensor([[0], [0]])).tolist() == [-1]


PAIR = torch.tensor([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("edges", "num_nodes", "options", "error", "words"),
    [
        (torch.tensor([[0, 1, 2], [1, 0, 1]]), 3, {}, DataError, "nodes 2 and 1 .*to_undirected"),
        (torch.tensor([[0, 1, 0], [1, 0, 1]]), 3, {}, DataError, "equally often"),
        (torch.tensor([[0, 1, 2], [1, 0, 2]]), 3, {}, DataError, "column 2 .*self-loop at node 2"),
        (PAIR, 1, {}, IndexRangeError, "num_nodes = 1"),
        (PAIR, 2**31, {}, IndexRangeError, "fewer than"),
        (PAIR, -1, {}, ShapeError, "num_nodes"),
        (PAIR.float(), 2, {}, ShapeError, "int32 or int64"),
        (torch.zeros((3, 2), dtype=torch.int64), 2, {}, ShapeError, r"\[2, E\]"),
        (PAIR, 2, {"weight": torch.ones(3)}, ShapeError, "one number per column"),
        (PAIR, 2, {"weight": [1.0, 1.0]}, ShapeError, "one number per column"),
        (PAIR, 2, {"weight": torch.tensor([1.0, -1.0])}, DataError, "column 1 has -1.0"),
        (PAIR, 2, {"weight": torch.tensor([torch.nan, 1.0])}, DataError, "column 0 has nan"),
        (PAIR, 2, {"weight": torch.tensor([0.0, 0.0])}, DataError, "positive"),
        (PAIR, 2, {"weight": torch.tensor([1j, 1j])}, ShapeError, "real"),
        (PAIR, 2, {"weight": torch.ones(2), "parallel": "max"}, ConfigError, "'sum' or 'min'"),
    ],
)
def test_bad_input_is_named(edges, num_nodes, options, error, words):
    with pytest.raises(error, match=words):
        SimpleGraph.from_edge_index(edges, num_nodes, **options)


@pytest.mark.parametrize("seed", range(5))
def test_from_a_graph_directions_and_repeats_do_not_matter(seed: int):
    edges = torch.randint(20, (2, 50), generator=torch.Generator().manual_seed(seed))
    for given in (edges, edges.int()):
        simple = SimpleGraph.from_graph(Graph.from_edge_index(given, 20))
        kept = edges[:, edges[0] != edges[1]]
        expected = SimpleGraph.from_edge_index(torch.cat([kept, kept.flip(0)], 1), 20)
        for name in ("ends", "rowptr", "col", "edge"):
            assert torch.equal(getattr(simple, name), getattr(expected, name))
        loops = edges[0] == edges[1]
        assert torch.equal(simple.column_edge == -1, loops)
        assert torch.equal(simple.column_edge[~loops], expected.column_edge[: kept.size(1)])


def test_from_a_graph_without_edges_and_from_a_bipartite_one():
    simple = SimpleGraph.from_graph(Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), 3))
    assert (simple.num_nodes, simple.num_edges, simple.rowptr.tolist()) == (3, 0, [0, 0, 0, 0])
    with pytest.raises(ShapeError, match="no single number of nodes"):
        SimpleGraph.from_graph(Graph.from_edge_index(torch.tensor([[0], [1]]), num_src=1, num_dst=2))
