"""The bounds of Jost and Liu against the curvature between them."""

from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnkit.errors import DataError
from gnnkit.geometry import jost_liu_bounds, ollivier_ricci
from tests.geometry.undirected import edge_index_of, random_graph, values_by_edge

FAMILIES = [
    *(nx.cycle_graph(n) for n in (3, 4, 5, 8)),
    *(nx.complete_graph(n) for n in (2, 3, 6)),
    nx.complete_bipartite_graph(2, 4),
    nx.complete_bipartite_graph(3, 3),
    nx.hypercube_graph(3),
    nx.star_graph(6),
    nx.path_graph(5),
    nx.balanced_tree(2, 3),
    nx.balanced_tree(3, 2),
    nx.dodecahedral_graph(),
    nx.icosahedral_graph(),
    nx.petersen_graph(),
    nx.barbell_graph(5, 0),
    nx.lollipop_graph(6, 4),
    nx.grid_2d_graph(5, 5, periodic=True),
    nx.karate_club_graph(),
]


@pytest.mark.parametrize("graph", FAMILIES)
def test_curvature_lies_between_the_bounds(graph: Any):
    edge_index, num_nodes = edge_index_of(graph)
    curvature = ollivier_ricci(edge_index, num_nodes)
    lower, upper = jost_liu_bounds(edge_index, num_nodes)
    assert bool((lower <= curvature + 1e-12).all())
    assert bool((curvature <= upper + 1e-12).all())


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**20))
def test_curvature_lies_between_the_bounds_on_random_graphs(seed: int):
    test_curvature_lies_between_the_bounds(random_graph(seed))


@pytest.mark.parametrize("seed", range(5))
def test_the_lower_bound_is_met_on_trees(seed: int):
    edge_index, num_nodes = edge_index_of(nx.random_labeled_tree(30, seed=seed))
    lower, upper = jost_liu_bounds(edge_index, num_nodes)
    torch.testing.assert_close(lower, ollivier_ricci(edge_index, num_nodes), atol=1e-15, rtol=0)
    assert bool((upper == 0).all())


def test_equals_the_formula_with_triangles_counted_one_by_one():
    graph = nx.karate_club_graph()
    edge_index, num_nodes = edge_index_of(graph)
    lower, upper = (values_by_edge(edge_index, bound) for bound in jost_liu_bounds(edge_index, num_nodes))
    for u, v in graph.edges():
        small, large = sorted((graph.degree[u], graph.degree[v]))
        common = len(set(graph[u]) & set(graph[v]))
        room = 1 - 1 / small - 1 / large
        edge = (min(u, v), max(u, v))
        assert upper[edge] == pytest.approx(common / large)
        expected = -max(room - common / small, 0) - max(room - common / large, 0) + common / large
        assert lower[edge] == pytest.approx(expected)


def test_columns_multi_edges_and_isolated_nodes():
    edge_index = torch.tensor([[0, 1, 1, 0, 1, 2, 2, 0], [1, 0, 0, 1, 2, 1, 0, 2]])
    for bound in jost_liu_bounds(edge_index, 6):
        assert bound.shape == (8,)
        assert bound.dtype == torch.float64
    assert jost_liu_bounds(edge_index, 6)[1].tolist() == [0.5] * 8
    assert [len(bound) for bound in jost_liu_bounds(torch.empty((2, 0), dtype=torch.int64), 3)] == [0, 0]


def test_directed_graphs_and_self_loops_are_refused():
    with pytest.raises(DataError, match="directed"):
        jost_liu_bounds(torch.tensor([[0], [1]]), 2)
    with pytest.raises(DataError, match="self-loop"):
        jost_liu_bounds(torch.tensor([[0, 1, 1], [1, 0, 1]]), 2)
