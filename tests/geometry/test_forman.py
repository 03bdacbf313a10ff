"""Forman curvature, plain, weighted and augmented, against closed forms, NetworkX and GraphRicciCurvature."""

from itertools import permutations
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.geometry import augmented_forman, forman
from tests.geometry.undirected import edge_index_of, random_graph, values_by_edge

seeds = st.integers(0, 2**20)
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def three_curvatures(graph: Any) -> list[set[float]]:
    edge_index, num_nodes = edge_index_of(graph)
    values = [forman(edge_index, num_nodes), *(augmented_forman(edge_index, num_nodes, cycles=c) for c in (3, 4))]
    return [set(value.tolist()) for value in values]


CLOSED_FORMS = [
    ("C3", nx.cycle_graph(3), 0, 3, 3),
    ("C4", nx.cycle_graph(4), 0, 0, 2),
    *((f"C{n}", nx.cycle_graph(n), 0, 0, 0) for n in (5, 6, 9)),
    *((f"K{n}", nx.complete_graph(n), 6 - 2 * n, n, n + 2 * (n - 2) * (n - 3)) for n in (3, 4, 5, 8)),
    ("path of three", nx.path_graph(3), 1, 1, 1),
    ("K2", nx.path_graph(2), 2, 2, 2),
    ("K2,3", nx.complete_bipartite_graph(2, 3), -1, -1, 3),
    ("cube", nx.hypercube_graph(3), -2, -2, 2),
    ("Petersen", nx.petersen_graph(), -2, -2, -2),
]


@pytest.mark.parametrize(("graph", "plain", "triangles", "squares"), [c[1:] for c in CLOSED_FORMS])
def test_closed_forms(graph, plain, triangles, squares):
    assert three_curvatures(graph) == [{plain}, {triangles}, {squares}]


def test_inner_edges_of_regular_trees():
    edge_index, num_nodes = edge_index_of(nx.balanced_tree(3, 3))  # inner nodes have degree 4, but for the root
    values = values_by_edge(edge_index, forman(edge_index, num_nodes))
    assert values[1, 4] == 4 - 2 * 4
    assert values[0, 1] == 4 - 3 - 4


def test_each_edge_of_four_complete_nodes_lies_in_two_squares():
    """Published code counts three, and another overwrites all values with zeros."""
    edge_index, num_nodes = edge_index_of(nx.complete_graph(4))
    assert augmented_forman(edge_index, num_nodes, cycles=3).tolist() == [4.0] * 12
    assert augmented_forman(edge_index, num_nodes, cycles=4).tolist() == [8.0] * 12


def test_vector_of_the_reference_library():
    edge_index = torch.tensor([[0, 1, 2, 1, 1, 2, 3, 3], [1, 2, 3, 3, 0, 1, 2, 1]])
    assert forman(edge_index, 4).tolist() == [0, -1, 0, -1, 0, -1, 0, -1]
    assert augmented_forman(edge_index, 4).tolist() == [0, 2, 3, 2, 0, 2, 3, 2]


@pytest.mark.parametrize("seed", range(40))
def test_counts_of_cycles_are_those_of_enumeration(seed):
    graph = random_graph(seed, most_nodes=12)
    edge_index, num_nodes = edge_index_of(graph)
    found = [values_by_edge(edge_index, augmented_forman(edge_index, num_nodes, cycles=c)) for c in (3, 4)]
    for u, v in graph.edges():
        pair = (min(u, v), max(u, v))
        triangles = len(list(nx.common_neighbors(graph, u, v)))
        squares = sum(
            graph.has_edge(v, x) and graph.has_edge(x, w) and graph.has_edge(w, u)
            for x, w in permutations(set(graph) - {u, v}, 2)
        )
        plain = 4 - graph.degree[u] - graph.degree[v]
        assert found[0][pair] == plain + 3 * triangles
        assert found[1][pair] == plain + 3 * triangles + 2 * squares


def test_weighted_curvature_is_the_sum_of_its_definition():
    rng = np.random.default_rng(0)
    graph = nx.gnm_random_graph(15, 40, seed=1)
    weights = {(min(e), max(e)): float(rng.uniform(0.1, 9)) for e in graph.edges()}
    edge_index, num_nodes = edge_index_of(graph)
    weight = torch.tensor([weights[min(e), max(e)] for e in edge_index.T.tolist()], dtype=torch.float64)
    found = values_by_edge(edge_index, forman(edge_index, num_nodes, weight=weight))
    for edge, w in weights.items():
        others = [weights[min(e), max(e)] for e in graph.edges(edge) if {*e} != {*edge}]
        assert found[edge] == pytest.approx(w * (2 / w - sum((w * other) ** -0.5 for other in others)), rel=1e-12)
    scaled = values_by_edge(edge_index, forman(edge_index, num_nodes, weight=1000 * weight))
    assert scaled == pytest.approx(found, rel=1e-12)


def test_equal_weights_change_nothing():
    edge_index, num_nodes = edge_index_of(nx.karate_club_graph())
    weight = torch.full((edge_index.size(1),), 4.0)
    plain = forman(edge_index, num_nodes)
    torch.testing.assert_close(forman(edge_index, num_nodes, weight=weight), plain, rtol=1e-14, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_reference_library(weighted):
    library = pytest.importorskip("GraphRicciCurvature.FormanRicci")
    graph = nx.karate_club_graph()
    if not weighted:
        nx.set_edge_attributes(graph, 1.0, "weight")
    edge_index, num_nodes = edge_index_of(graph)
    weight = torch.tensor([float(graph[u][v]["weight"]) for u, v in edge_index.T.tolist()])
    found = {"1d": forman(edge_index, num_nodes, weight=weight)}
    if not weighted:
        found["augmented"] = augmented_forman(edge_index, num_nodes)
    for method, values in found.items():
        peer = library.FormanRicci(graph, method=method)
        peer.compute_ricci_curvature()
        for (u, v), value in values_by_edge(edge_index, values).items():
            assert value == pytest.approx(peer.G[u][v]["formanCurvature"], abs=1e-9)


@few
@given(seeds)
def test_relabelled_nodes_have_relabelled_values(seed):
    edge_index, num_nodes = edge_index_of(random_graph(seed))
    label = torch.from_numpy(np.random.default_rng(seed).permutation(num_nodes))
    for cycles in (3, 4):
        before = augmented_forman(edge_index, num_nodes, cycles=cycles)
        assert torch.equal(augmented_forman(label[edge_index], num_nodes, cycles=cycles), before)


@few
@given(seeds, seeds)
def test_a_disjoint_union_has_the_values_of_its_parts(one, other):
    (first, m), (second, n) = (edge_index_of(random_graph(seed)) for seed in (one, other))
    for cycles in (3, 4):
        parts = [augmented_forman(e, k, cycles=cycles) for e, k in ((first, m), (second, n))]
        union = augmented_forman(torch.cat([first, second + m], dim=1), m + n, cycles=cycles)
        assert torch.equal(union, torch.cat(parts))


def test_multi_edges_count_once_and_isolated_nodes_do_nothing():
    edge_index, num_nodes = edge_index_of(nx.complete_graph(4))
    twice = augmented_forman(edge_index.repeat(1, 2), num_nodes + 3, cycles=4)
    assert twice.tolist() == [8.0] * 24


@pytest.mark.parametrize("num_nodes", [0, 5])
def test_no_edges_have_no_values(num_nodes):
    nothing = torch.empty(2, 0, dtype=torch.int64)
    for value in (forman(nothing, num_nodes), augmented_forman(nothing, num_nodes, cycles=4)):
        assert value.shape == (0,)
        assert value.dtype == torch.float64


def test_narrow_indices_are_taken():
    edge_index, num_nodes = edge_index_of(nx.cycle_graph(4))
    assert augmented_forman(edge_index.int(), num_nodes, cycles=4).tolist() == [2.0] * 8


PAIR = torch.tensor([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: augmented_forman(PAIR, 2, cycles=5), ConfigError, "cycles must be 3"),
        (lambda: augmented_forman(PAIR, 2, cycles=True), ConfigError, "cycles must be 3"),
        (lambda: augmented_forman(PAIR[:, :1], 2), DataError, "the graph is directed"),
        (lambda: forman(torch.tensor([[0, 1, 1], [1, 0, 1]]), 2), DataError, "self-loop at node 1"),
        (lambda: forman(PAIR, 1), IndexRangeError, "num_nodes"),
        (lambda: forman(PAIR[0], 2), ShapeError, "edge_index"),
        (lambda: forman(PAIR, 2, weight=torch.tensor([1.0, -1.0])), DataError, "finite and positive"),
        (lambda: forman(PAIR, 2, weight=torch.tensor([1.0, float("nan")])), DataError, "finite and positive"),
        (lambda: forman(PAIR, 2, weight=torch.tensor([1.0, 2.0])), DataError, "one weight"),
        (lambda: forman(PAIR, 2, weight=torch.ones(3)), ShapeError, "one number per column"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
