"""Discrete Ricci flow against another library and its own definition."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry import ollivier_ricci, ricci_flow
from tests.geometry.peer import graph_ricci_curvature
from tests.geometry.undirected import edge_index_of, random_graph, values_by_edge


def by_definition(graph: Any, steps: int, step_size: float, alpha: float) -> dict[tuple[int, int], float]:
    """Of a connected graph, without an end before the last step."""
    edge_index, num_nodes = edge_index_of(graph)
    length = torch.ones(edge_index.size(1), dtype=torch.float64)
    for _ in range(steps):
        length = length * (1 - step_size * ollivier_ricci(edge_index, num_nodes, alpha=alpha, weight=length))
        length = length / length.mean()
    return values_by_edge(edge_index, length)


def test_equals_graph_ricci_curvature_on_the_karate_club():
    graph = nx.Graph(nx.karate_club_graph().edges())
    peer = graph_ricci_curvature(graph, 0.5).compute_ricci_flow(iterations=4)
    edge_index, num_nodes = edge_index_of(graph)
    found = values_by_edge(edge_index, ricci_flow(edge_index, num_nodes, steps=4))
    for u, v, attributes in peer.edges(data=True):
        assert found[min(u, v), max(u, v)] == pytest.approx(attributes["weight"], rel=1e-6)


@pytest.mark.parametrize(("step_size", "alpha"), [(1.0, 0.5), (0.3, 0.0), (0.7, 0.8)])
def test_equals_its_definition(step_size: float, alpha: float):
    graph = nx.barbell_graph(4, 1)
    edge_index, num_nodes = edge_index_of(graph)
    found = ricci_flow(edge_index, num_nodes, steps=3, step_size=step_size, alpha=alpha)
    assert values_by_edge(edge_index, found) == pytest.approx(by_definition(graph, 3, step_size, alpha))


def test_edges_between_communities_come_out_longest():
    edge_index, num_nodes = edge_index_of(nx.connected_caveman_graph(4, 5))
    length = values_by_edge(edge_index, ricci_flow(edge_index, num_nodes, steps=5))
    longest = sorted(length, key=lambda edge: -length[edge])[:4]
    assert all(u // 5 != v // 5 for u, v in longest)


def test_components_flow_by_themselves():
    (a, n), (b, m) = edge_index_of(nx.barbell_graph(4, 0)), edge_index_of(nx.lollipop_graph(4, 2))
    together = ricci_flow(torch.cat([a, b + n + 1], 1), n + 1 + m, steps=4)
    alone = torch.cat([ricci_flow(a, n, steps=4), ricci_flow(b, m, steps=4)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)


def test_flat_components_are_left_as_they_were_given():
    edge_index, num_nodes = edge_index_of(nx.complete_graph(5))
    assert torch.equal(ricci_flow(edge_index, num_nodes), torch.ones(20, dtype=torch.float64))
    assert torch.equal(
        ricci_flow(edge_index, num_nodes, weight=torch.full((20,), 3.0)), torch.full((20,), 3.0).double()
    )
    edge_index, num_nodes = edge_index_of(nx.barbell_graph(4, 0))
    weight = torch.full((edge_index.size(1),), 2.0)
    assert torch.equal(ricci_flow(edge_index, num_nodes, weight=weight, steps=0), weight.double())
    assert torch.equal(ricci_flow(edge_index, num_nodes, weight=weight, tolerance=9.0), weight.double())


def test_the_flow_ends_where_curvature_is_even():
    """On a path, the lengths converge long before the last step."""
    edge_index, num_nodes = edge_index_of(nx.path_graph(4))
    length = ricci_flow(edge_index, num_nodes, steps=500, tolerance=1e-3)
    curvature = ollivier_ricci(edge_index, num_nodes, alpha=0.5, weight=length)
    assert float(curvature.max() - curvature.min()) < 1e-3


@pytest.mark.parametrize("seed", range(6))
def test_lengths_stay_lengths(seed: int):
    edge_index, num_nodes = edge_index_of(random_graph(seed, 14))
    weight = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2, num_nodes * num_nodes))
    weight = weight[edge_index.amin(0) * num_nodes + edge_index.amax(0)]
    length = ricci_flow(edge_index, num_nodes, weight=weight, steps=15, alpha=0.2)
    assert bool((length > 0).all())
    assert bool(length.isfinite().all())


def test_graphs_without_edges_have_no_lengths():
    for num_nodes in (0, 3):
        assert ricci_flow(torch.empty((2, 0), dtype=torch.int64), num_nodes).shape == (0,)


def test_bad_input_is_named():
    both = torch.tensor([[0, 1], [1, 0]])
    for settings, message in (
        ({"steps": -1}, "steps must not be negative"),
        ({"step_size": 0.0}, "step_size must lie in"),
        ({"step_size": 1.5}, "step_size must lie in"),
        ({"alpha": 2.0}, "alpha must lie in"),
        ({"tolerance": -1.0}, "tolerance must not be negative"),
        ({"tolerance": float("nan")}, "tolerance must not be negative"),
    ):
        with pytest.raises(ConfigError, match=message):
            ricci_flow(both, 2, **settings)
    with pytest.raises(DataError, match="directed"):
        ricci_flow(both[:, :1], 2)
    with pytest.raises(DataError, match="finite and positive"):
        ricci_flow(both, 2, weight=torch.tensor([-1.0, -1.0]))
