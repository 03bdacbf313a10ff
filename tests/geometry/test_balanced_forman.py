"""Balanced Forman curvature against closed forms, its definition in matrices, and the Lin-Lu-Yau curvature."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnkit.errors import DataError, IndexRangeError, ShapeError
from gnnkit.geometry import balanced_forman
from tests.geometry.undirected import edge_index_of, lin_lu_yau, matrix_of, random_graph, values_by_edge

seeds = st.integers(0, 2**20)
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def by_definition(a: np.ndarray, i: int, j: int) -> float:
    """Definition 1 of the paper, in rows of the adjacency matrix."""
    degree = a.sum(1)
    small, large = sorted((degree[i], degree[j]))
    if small <= 1:
        return 0.0
    triangles = a[i] @ a[j]
    squares, degeneracy = 0, []
    for near, far in ((i, j), (j, i)):
        for k in np.flatnonzero(a[near] * (1 - a[far])):
            closing = a[k] * a[far] * (1 - a[near])
            closing[near] = 0
            if k != far and closing.any():
                squares += 1
                degeneracy.append(a[k] @ (a[far] - a[near] * a[far]) - 1)
    value = 2 / small + 2 / large - 2 + 2 * triangles / large + triangles / small
    return value + squares / (max(degeneracy) * large) if squares else value


def curvature_by_edge(graph: Any) -> dict[tuple[int, int], float]:
    edge_index, num_nodes = edge_index_of(graph)
    return values_by_edge(edge_index, balanced_forman(edge_index, num_nodes))


TREE = nx.balanced_tree(2, 3)
CLOSED_FORMS = [
    ("C3", nx.cycle_graph(3), 1.5, 1.5),
    ("C4", nx.cycle_graph(4), 1, 1),
    ("C6", nx.cycle_graph(6), 0, 0),
    ("C9", nx.cycle_graph(9), 0, 0),
    *((f"K{n}", nx.complete_graph(n), n / (n - 1), n / (n - 1)) for n in (3, 4, 5, 9)),
    ("K3,3", nx.complete_bipartite_graph(3, 3), 0, 0),
    ("torus", nx.grid_graph((4, 4), periodic=True), 0.5, 0.5),
    ("path", nx.path_graph(5), 0, 0),
    ("star", nx.star_graph(6), 0, 0),
    ("binary tree", TREE, -2 / 3, 0),
    *((f"Q{d}", nx.hypercube_graph(d), 2 / d, 2 / d) for d in (2, 3, 4)),
    ("dodecahedron", nx.dodecahedral_graph(), -2 / 3, -2 / 3),
    ("Petersen", nx.petersen_graph(), -2 / 3, -2 / 3),
    ("barbell", nx.barbell_graph(5, 0), -1.2, 1.25),
]


@pytest.mark.parametrize(
    ("graph", "lowest", "highest"), [c[1:] for c in CLOSED_FORMS], ids=[c[0] for c in CLOSED_FORMS]
)
def test_closed_forms(graph, lowest, highest):
    values = curvature_by_edge(graph).values()
    assert min(values) == pytest.approx(lowest, abs=1e-14)
    assert max(values) == pytest.approx(highest, abs=1e-14)


def test_edges_of_trees_depend_on_degrees_alone():
    for (u, v), value in curvature_by_edge(TREE).items():
        leaf = 1 in (TREE.degree[u], TREE.degree[v])
        assert value == pytest.approx(0 if leaf else 2 / TREE.degree[u] + 2 / TREE.degree[v] - 2, abs=1e-15)


def test_published_kernels_are_not_followed():
    """The authors' CUDA code gives 1, 1.75 and 0 here, and its copy for the CPU leaves most edges at 0."""
    assert set(curvature_by_edge(nx.cycle_graph(5)).values()) == {0.0}
    assert set(curvature_by_edge(nx.complete_graph(5)).values()) == {1.25}
    assert list(curvature_by_edge(nx.dodecahedral_graph()).values()) == pytest.approx([-2 / 3] * 30)
    sparse = nx.gnm_random_graph(30, 60, seed=0)
    a = matrix_of(sparse)
    assert curvature_by_edge(sparse) == {(u, v): by_definition(a, u, v) for u, v in sparse.edges()}


@pytest.mark.parametrize("seed", range(60))
def test_equals_the_definition(seed):
    graph = random_graph(seed)
    a = matrix_of(graph)
    assert curvature_by_edge(graph) == {(u, v): by_definition(a, u, v) for u, v in graph.edges()}


def test_hubs_equal_the_definition():
    """Neighbours of so high degree are looked up from the other side."""
    graph = nx.star_graph(60)
    graph.add_edges_from([(1, 61), (61, 62), (62, 2), (3, 63), (63, 64), (64, 0), (4, 61), (5, 6), (61, 63)])
    a = matrix_of(graph)
    assert curvature_by_edge(graph) == {(u, v): by_definition(a, u, v) for u, v in curvature_by_edge(graph)}


@pytest.mark.parametrize("seed", range(30))
def test_is_a_lower_bound_of_the_lin_lu_yau_curvature(seed):
    graph = random_graph(seed, most_nodes=10)
    for (u, v), value in curvature_by_edge(graph).items():
        assert value <= lin_lu_yau(graph, u, v) + 1e-9


def test_the_lin_lu_yau_oracle_knows_its_closed_forms():
    assert lin_lu_yau(nx.complete_graph(5), 0, 1) == pytest.approx(5 / 4)
    assert lin_lu_yau(nx.cycle_graph(5), 0, 1) == pytest.approx(1 / 2)
    assert lin_lu_yau(nx.star_graph(4), 0, 1) == pytest.approx(2 / 4)


def test_equals_the_reference_library():
    library = pytest.importorskip("GraphRicciCurvature.FormanRicci")
    graph = nx.karate_club_graph()
    peer = library.FormanRicci(graph, method="balanced")
    peer.compute_ricci_curvature()
    for (u, v), value in curvature_by_edge(graph).items():
        assert value == pytest.approx(peer.G[u][v]["formanCurvature"], abs=1e-12)


@few
@given(seeds)
def test_relabelled_nodes_have_relabelled_values(seed):
    edge_index, num_nodes = edge_index_of(random_graph(seed))
    label = torch.from_numpy(np.random.default_rng(seed).permutation(num_nodes))
    assert torch.equal(balanced_forman(label[edge_index], num_nodes), balanced_forman(edge_index, num_nodes))


@few
@given(seeds, seeds)
def test_a_disjoint_union_has_the_values_of_its_parts(one, other):
    (first, m), (second, n) = (edge_index_of(random_graph(seed)) for seed in (one, other))
    union = balanced_forman(torch.cat([first, second + m], dim=1), m + n)
    assert torch.equal(union, torch.cat([balanced_forman(first, m), balanced_forman(second, n)]))


def test_multi_edges_count_once_and_isolated_nodes_do_nothing():
    edge_index, num_nodes = edge_index_of(nx.complete_graph(5))
    assert balanced_forman(edge_index.repeat(1, 2), num_nodes + 2).tolist() == [1.25] * 40


@pytest.mark.parametrize("num_nodes", [0, 5])
def test_no_edges_have_no_values(num_nodes):
    value = balanced_forman(torch.empty(2, 0, dtype=torch.int64), num_nodes)
    assert value.shape == (0,)
    assert value.dtype == torch.float64


@pytest.mark.parametrize(
    ("edge_index", "error", "message"),
    [
        (torch.tensor([[0], [1]]), DataError, "the graph is directed"),
        (torch.tensor([[0, 1, 1], [1, 0, 1]]), DataError, "self-loop at node 1"),
        (torch.tensor([[0, 5], [5, 0]]), IndexRangeError, "num_nodes"),
        (torch.tensor([0, 1]), ShapeError, "edge_index"),
    ],
)
def test_bad_input_is_named(edge_index, error, message):
    with pytest.raises(error, match=message):
        balanced_forman(edge_index, 2)
