"""Curvature of graphs with lengths, and Sinkhorn's method, against POT, linear programs and the exact results."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.errors import DataError, ShapeError
from gnnkit.geometry import ollivier_ricci, ollivier_ricci_plan
from tests.geometry.peer import graph_ricci_curvature
from tests.geometry.undirected import edge_index_of, random_graph, values_by_edge

seeds = st.integers(0, 2**20)
few = settings(max_examples=20, deadline=None, derandomize=True, database=None)


def lengths_of(edge_index: Tensor, seed: int, spread: float = 0.7) -> Tensor:
    """The same in both directions."""
    low, high = edge_index.amin(0), edge_index.amax(0)
    _, edge = torch.unique(low * 10**6 + high, return_inverse=True)
    value = np.exp(spread * np.random.default_rng(seed).standard_normal(int(edge.max()) + 1 if edge.numel() else 0))
    return torch.from_numpy(value)[edge]


def weighted(graph: Any, seed: int, spread: float = 0.7) -> tuple[Any, Tensor, Tensor, int]:
    """As NetworkX has it, and as tensors."""
    edge_index, num_nodes = edge_index_of(graph)
    length = lengths_of(edge_index, seed, spread)
    made = nx.empty_graph(num_nodes)
    for u, v, w in zip(*edge_index.tolist(), length.tolist(), strict=True):
        made.add_edge(u, v, weight=w)
    return made, edge_index, length, num_nodes


def walk_of(graph: Any, node: int, alpha: float) -> dict[int, float]:
    square = {other: graph[node][other]["weight"] ** 2 for other in graph[node]}
    score = {other: np.exp(min(square.values()) - value) for other, value in square.items()}
    mass = {other: (1 - alpha) * value / sum(score.values()) for other, value in score.items()}
    mass[node] = alpha
    return {other: value for other, value in mass.items() if value > 0}


def problem_of(graph: Any, u: int, v: int, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    has, wants = walk_of(graph, u, alpha), walk_of(graph, v, alpha)
    distance = {s: nx.single_source_dijkstra_path_length(graph, s) for s in {*has, u}}
    cost = np.array([[distance[s][t] for t in wants] for s in has])
    return np.array(list(has.values())), np.array(list(wants.values())), cost, distance[u][v]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.123])
@pytest.mark.parametrize("spread", [0.3, 0.7, 2.0])
def test_equals_an_independent_optimal_transport(alpha: float, spread: float):
    ot = pytest.importorskip("ot")
    for seed in range(12):
        graph, edge_index, length, num_nodes = weighted(random_graph(seed, 16), seed, spread)
        found = values_by_edge(edge_index, ollivier_ricci(edge_index, num_nodes, alpha=alpha, weight=length))
        for (u, v), value in list(found.items())[:10]:
            has, wants, cost, between = problem_of(graph, u, v, alpha)
            expected = 1 - ot.emd2(has / has.sum(), wants / wants.sum(), cost) / between
            assert value == pytest.approx(expected, abs=1e-9 * max(1, cost.max() / between))


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.5])
@pytest.mark.parametrize("seed", range(2))
def test_searches_around_edges_find_the_shortest_ways(seed: int, spread: float):
    """Small graphs have a table of all distances; these are too large and sparse for one."""
    ot = pytest.importorskip("ot")
    graphs = (nx.gnm_random_graph(400, 1100, seed=seed), nx.connected_watts_strogatz_graph(300, 4, 0.1, seed=seed))
    graph, edge_index, length, num_nodes = weighted(graphs[seed], seed, spread)
    found = values_by_edge(edge_index, ollivier_ricci(edge_index, num_nodes, alpha=0.25, weight=length))
    for (u, v), value in list(found.items())[:40]:
        has, wants, cost, between = problem_of(graph, u, v, 0.25)
        expected = 1 - ot.emd2(has / has.sum(), wants / wants.sum(), cost) / between
        assert value == pytest.approx(expected, abs=1e-9 * max(1, cost.max() / between))


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_equals_graph_ricci_curvature_with_weights(alpha: float):
    graph, edge_index, length, num_nodes = weighted(nx.karate_club_graph(), 0, 0.4)
    expected = graph_ricci_curvature(graph, alpha).compute_ricci_curvature_edges()
    found = values_by_edge(edge_index, ollivier_ricci(edge_index, num_nodes, alpha=alpha, weight=length))
    for (u, v), value in expected.items():
        assert found[min(u, v), max(u, v)] == pytest.approx(value, abs=1e-8)


@few
@given(seeds, st.sampled_from([0.0, 0.5, 1.0]))
def test_lengths_of_one_are_no_lengths(seed: int, alpha: float):
    edge_index, num_nodes = edge_index_of(random_graph(seed))
    ones = torch.ones(edge_index.size(1))
    found = ollivier_ricci(edge_index, num_nodes, alpha=alpha, weight=ones)
    torch.testing.assert_close(found, ollivier_ricci(edge_index, num_nodes, alpha=alpha), atol=1e-12, rtol=0)


@few
@given(seeds)
def test_does_not_depend_on_the_numbers_of_nodes(seed: int):
    _, edge_index, length, num_nodes = weighted(random_graph(seed), seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(num_nodes))
    value = ollivier_ricci(edge_index, num_nodes, weight=length, alpha=0.4)
    renamed = ollivier_ricci(order[edge_index], num_nodes, weight=length, alpha=0.4)
    torch.testing.assert_close(renamed, value, atol=1e-9, rtol=1e-9)
    assert bool((value <= 1).all())


@pytest.mark.parametrize("seed", range(10))
def test_plans_have_the_masses_of_the_walks_and_the_least_cost(seed: int):
    graph, edge_index, length, num_nodes = weighted(random_graph(seed, 14), seed)
    plan = ollivier_ricci_plan(edge_index, num_nodes, alpha=0.3, weight=length)
    found = values_by_edge(edge_index, ollivier_ricci(edge_index, num_nodes, alpha=0.3, weight=length))
    for edge, (u, v) in enumerate(plan.ends.T.tolist()):
        here = plan.edge == edge
        shipments = list(zip(*(part[here].tolist() for part in plan[2:]), strict=True))
        distance = {s: nx.single_source_dijkstra_path_length(graph, s) for s in {*plan.source[here].tolist(), u}}
        cost = sum(mass * distance[s][t] for s, t, mass in shipments)
        assert 1 - cost / distance[u][v] == pytest.approx(found[u, v], abs=1e-10)
        for place, end in ((0, u), (1, v)):
            sums: dict[int, float] = {}
            for shipment in shipments:
                sums[shipment[place]] = sums.get(shipment[place], 0) + shipment[2]
            expected = walk_of(graph, end, 0.3)
            for node in {*sums, *expected}:
                assert sums.get(node, 0) == pytest.approx(expected.get(node, 0), abs=1e-12)


def test_an_edge_longer_than_a_way_around_it_has_the_distance_of_the_way():
    edge_index, num_nodes = edge_index_of(nx.cycle_graph(3))
    long = (edge_index.sum(0) == 3).double() * 9 + 1  # between nodes 1 and 2
    value = values_by_edge(edge_index, ollivier_ricci(edge_index, num_nodes, alpha=1.0, weight=long))
    assert value == {(0, 1): 0.0, (0, 2): 0.0, (1, 2): 0.0}
    plan = ollivier_ricci_plan(edge_index, num_nodes, alpha=1.0, weight=long)
    assert plan.mass.tolist() == [1.0, 1.0, 1.0]


def test_long_edges_still_share_the_mass():
    """exp(-w^2) is zero in float64 from 28 on; only differences count."""
    edge_index, num_nodes = edge_index_of(nx.star_graph(3))
    value = ollivier_ricci(edge_index, num_nodes, weight=torch.full((6,), 50.0))
    torch.testing.assert_close(value, ollivier_ricci(edge_index, num_nodes), atol=1e-12, rtol=0)


def test_of_multi_edges_the_shortest_counts():
    edge_index = torch.tensor([[0, 1, 0, 1, 1, 2], [1, 0, 1, 0, 2, 1]])
    found = ollivier_ricci(edge_index, 3, weight=torch.tensor([5.0, 5, 2, 2, 3, 3]), alpha=0.2)
    once = ollivier_ricci(edge_index[:, 2:], 3, weight=torch.tensor([2.0, 2, 3, 3]), alpha=0.2)
    assert torch.equal(found, once[[0, 1, 0, 1, 2, 3]])


@pytest.mark.parametrize("epsilon", [0.3, 0.1, 0.02])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_sinkhorn_is_never_above_the_exact_curvature_and_within_its_bound(alpha: float, epsilon: float):
    for seed in range(4):
        _, edge_index, length, num_nodes = weighted(random_graph(seed, 16), seed, 0.3)
        for weight in (None, length):
            exact = ollivier_ricci(edge_index, num_nodes, alpha=alpha, weight=weight)
            smooth = ollivier_ricci(
                edge_index, num_nodes, alpha=alpha, weight=weight, method="sinkhorn", epsilon=epsilon
            )
            degree = torch.bincount(edge_index[0], minlength=num_nodes)
            shortest = 1.0 if weight is None else 1 / float(weight.min())
            bound = epsilon * (degree[edge_index].amin(0) + 1).log() * max(1.0, shortest)
            assert bool((smooth <= exact + 1e-12).all())
            assert bool((exact - smooth <= bound + 1e-6).all())


def test_sinkhorn_equals_pot_where_both_have_converged():
    ot = pytest.importorskip("ot")
    for seed in range(6):
        graph, edge_index, length, num_nodes = weighted(random_graph(seed, 12), seed, 0.3)
        value = ollivier_ricci(
            edge_index, num_nodes, alpha=0.3, weight=length, method="sinkhorn", epsilon=0.2, max_iterations=10_000
        )
        for (u, v), found in list(values_by_edge(edge_index, value).items())[:8]:
            has, wants, cost, between = problem_of(graph, u, v, 0.3)
            expected = ot.sinkhorn2(has, wants, cost, 0.2, method="sinkhorn_log", numItermax=10_000, stopThr=1e-12)
            assert found == pytest.approx(1 - float(expected) / between, abs=1e-6)


def test_sinkhorn_that_was_stopped_early_still_has_the_right_masses():
    """Its cost is that of a transport, so never below the least."""
    for seed in range(8):
        edge_index, num_nodes = edge_index_of(random_graph(seed))
        exact = ollivier_ricci(edge_index, num_nodes)
        for iterations in (1, 2, 5):
            early = ollivier_ricci(edge_index, num_nodes, method="sinkhorn", epsilon=0.01, max_iterations=iterations)
            assert bool((early <= exact + 1e-12).all())
            assert bool((early >= -2 - 1e-12).all())


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), 1e200])
def test_lengths_that_are_none_are_refused(wrong: float):
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    weight = torch.tensor([wrong, wrong, 1.0, 1.0], dtype=torch.float64)
    for method in ("exact", "sinkhorn"):
        with pytest.raises(DataError, match=r"finite and positive|must be below"):
            ollivier_ricci(edge_index, 3, weight=weight, method=method)
    with pytest.raises(DataError, match=r"finite and positive|must be below"):
        ollivier_ricci_plan(edge_index, 3, weight=weight)


def test_lengths_that_do_not_fit_are_refused():
    edge_index = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(DataError, match="one weight"):
        ollivier_ricci(edge_index, 2, weight=torch.tensor([1.0, 2.0]))
    with pytest.raises(ShapeError, match="one number per column"):
        ollivier_ricci(edge_index, 2, weight=torch.ones(3))
