"""Means over the edges of nodes."""

import networkx as nx
import pytest
import torch

from gnnkit.errors import DataError, ShapeError
from gnnkit.geometry import node_curvature, ollivier_ricci
from tests.geometry.undirected import edge_index_of, random_graph, values_by_edge


@pytest.mark.parametrize("seed", range(8))
def test_is_the_mean_over_the_edges_at_a_node(seed: int):
    graph = random_graph(seed)
    edge_index, num_nodes = edge_index_of(graph)
    value = ollivier_ricci(edge_index, num_nodes)
    by_edge = values_by_edge(edge_index, value)
    for node, found in enumerate(node_curvature(edge_index, num_nodes, value).tolist()):
        around = [by_edge[min(node, other), max(node, other)] for other in graph[node]]
        assert found == pytest.approx(sum(around) / len(around) if around else 0.0, abs=1e-12)


def test_the_ends_of_a_bridge_between_cliques():
    """From -6/5 and four times 3/5."""
    edge_index, num_nodes = edge_index_of(nx.barbell_graph(5, 0))
    found = node_curvature(edge_index, num_nodes, ollivier_ricci(edge_index, num_nodes))
    assert found[[4, 5]].tolist() == pytest.approx([0.24, 0.24])


def test_isolated_nodes_have_none_and_multi_edges_count_once():
    edge_index = torch.tensor([[0, 1, 1, 0, 1, 2], [1, 0, 0, 1, 2, 1]])
    value = torch.tensor([1, 1, 1, 1, 3, 3])
    found = node_curvature(edge_index, 4, value)
    assert found.tolist() == [1.0, 2.0, 3.0, 0.0]
    assert found.dtype == torch.float64
    assert node_curvature(torch.empty((2, 0), dtype=torch.int64), 2, torch.empty(0)).tolist() == [0.0, 0.0]


def test_values_that_do_not_fit_are_refused():
    edge_index = torch.tensor([[0, 1], [1, 0]])
    for value in (torch.ones(3), torch.ones(2, 1), torch.ones(2, dtype=torch.complex64)):
        with pytest.raises(ShapeError, match="one real number per column"):
            node_curvature(edge_index, 2, value)
    with pytest.raises(DataError, match="directed"):
        node_curvature(edge_index[:, :1], 2, torch.ones(1))
