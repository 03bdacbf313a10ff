"""Ollivier-Ricci curvature against closed forms, linear programs and another library."""

from fractions import Fraction as F
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.geometry import lin_lu_yau, ollivier_ricci, ollivier_ricci_plan
from tests.geometry.peer import graph_ricci_curvature
from tests.geometry.undirected import edge_index_of, random_graph, values_by_edge
from tests.geometry.undirected import lin_lu_yau as lin_lu_yau_by_program

ALPHAS = (0.0, 0.5, 1 / 3, 0.123)
seeds = st.integers(0, 2**20)
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def curvatures(graph: Any, alpha: float = 0.0) -> set[float]:
    return set(ollivier_ricci(*edge_index_of(graph), alpha=alpha).tolist())


def walk_of(graph: Any, node: int, alpha: float) -> dict[int, float]:
    mass = dict.fromkeys(graph[node], (1 - alpha) / graph.degree[node])
    mass[node] = mass.get(node, 0) + alpha
    return mass


def by_program(graph: Any, u: int, v: int, alpha: float, distance: dict) -> float:
    """The definition, with everything NetworkX and HiGHS can do about it."""
    has, wants = walk_of(graph, u, alpha), walk_of(graph, v, alpha)
    cost = np.array([[distance[s][t] for t in wants] for s in has])
    rows, columns = np.kron(np.eye(len(has)), np.ones(len(wants))), np.kron(np.ones(len(has)), np.eye(len(wants)))
    found = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=[*has.values(), *wants.values()])
    return 1 - found.fun / distance[u][v]


# The curvature of all edges at idleness 0 and 1/2, and in the Lin-Lu-Yau limit.
UNIFORM: list[tuple[Any, F | int, F | int, F | int]] = [
    (nx.cycle_graph(3), F(1, 2), F(3, 4), F(3, 2)),
    (nx.cycle_graph(4), 0, F(1, 2), 1),
    (nx.cycle_graph(5), 0, F(1, 4), F(1, 2)),
    (nx.cycle_graph(6), 0, 0, 0),
    (nx.cycle_graph(11), 0, 0, 0),
    *((nx.complete_graph(n), F(n - 2, n - 1), F(n, 2 * (n - 1)), F(n, n - 1)) for n in (2, 3, 5, 9)),
    *((nx.complete_bipartite_graph(n, n), 0, F(1, n), F(2, n)) for n in (2, 3, 5)),
    (nx.complete_bipartite_graph(2, 4), 0, F(1, 4), F(1, 2)),
    *((nx.hypercube_graph(d), 0, F(1, d), F(2, d)) for d in (2, 3, 4)),
    *((nx.star_graph(k), 0, F(1, k), F(2, k)) for k in (2, 3, 7)),
    (nx.dodecahedral_graph(), F(-1, 3), 0, 0),
    (nx.icosahedral_graph(), F(1, 5), F(1, 5), F(2, 5)),
    (nx.petersen_graph(), F(-1, 3), 0, 0),
    (nx.grid_2d_graph(5, 5, periodic=True), 0, F(1, 8), F(1, 4)),
]


@pytest.mark.parametrize(("graph", "at_0", "at_half", "limit"), UNIFORM)
def test_closed_forms_of_edge_transitive_graphs(graph: Any, at_0: Any, at_half: Any, limit: Any):
    assert curvatures(graph) == {float(at_0)}
    assert curvatures(graph, 0.5) == {float(at_half)}
    assert lin_lu_yau(*edge_index_of(graph)).tolist() == pytest.approx([float(limit)] * 2 * graph.number_of_edges())


# By degrees of the ends.
MIXED: list[tuple[Any, dict[tuple[int, int], tuple[F | int, F | int, F | int]]]] = [
    (nx.path_graph(4), {(2, 2): (0, 0, 0), (1, 2): (0, F(1, 2), 1)}),
    (
        nx.balanced_tree(2, 3),
        {(3, 3): (F(-2, 3), F(-1, 3), F(-2, 3)), (2, 3): (F(-1, 3), F(-1, 6), F(-1, 3)), (1, 3): (0, F(1, 3), F(2, 3))},
    ),
    (nx.balanced_tree(3, 2), {(3, 4): (F(-5, 6), F(-5, 12), F(-5, 6)), (1, 4): (0, F(1, 4), F(1, 2))}),
    (
        nx.barbell_graph(5, 0),
        {
            (5, 5): (F(-6, 5), F(-3, 5), F(-6, 5)),
            (4, 5): (F(3, 5), F(17, 40), F(17, 20)),
            (4, 4): (F(3, 4), F(5, 8), F(5, 4)),
        },
    ),
]


@pytest.mark.parametrize(("graph", "values"), MIXED)
def test_closed_forms_by_degrees(graph: Any, values: dict):
    edge_index, num_nodes = edge_index_of(graph)
    found = [
        values_by_edge(edge_index, result)
        for result in (
            ollivier_ricci(edge_index, num_nodes),
            ollivier_ricci(edge_index, num_nodes, alpha=0.5),
            lin_lu_yau(edge_index, num_nodes),
        )
    ]
    for u, v in found[0]:
        expected = values[tuple(sorted((graph.degree[u], graph.degree[v])))]
        assert [result[u, v] for result in found] == pytest.approx([float(value) for value in expected], abs=1e-15)


def test_the_karate_club_has_the_published_values():
    edge_index, num_nodes = edge_index_of(nx.karate_club_graph())
    at_0, at_half = (ollivier_ricci(edge_index, num_nodes, alpha=alpha) for alpha in (0.0, 0.5))
    assert (float(at_0.min()), float(at_0.max())) == (pytest.approx(-0.85417, abs=1e-5), 0.5)
    assert (float(at_half.min()), float(at_half.max())) == (pytest.approx(-0.42708, abs=1e-5), 0.5)
    means = (float(at_0.mean()), float(at_half.mean()), float(lin_lu_yau(edge_index, num_nodes).mean()))
    assert means == pytest.approx((0.00672, 0.07086, 0.14171), abs=1e-5)
    edges = values_by_edge(edge_index, at_half)
    first = [edges[edge] for edge in sorted(edges)][:5]
    assert first == pytest.approx([0.111111, -0.143750, 0.041667, -0.114583, -0.281250], abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_equals_graph_ricci_curvature_on_the_karate_club(alpha: float):
    graph = nx.Graph(nx.karate_club_graph().edges())
    expected = graph_ricci_curvature(graph, alpha).compute_ricci_curvature_edges()
    edge_index, num_nodes = edge_index_of(graph)
    found = values_by_edge(edge_index, ollivier_ricci(edge_index, num_nodes, alpha=alpha))
    for (u, v), value in expected.items():
        assert found[min(u, v), max(u, v)] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("block", range(8))
def test_equals_a_linear_program_on_random_graphs(block: int):
    for seed in range(25 * block, 25 * block + 25):
        graph, alpha = random_graph(seed, 18), ALPHAS[seed % 4]
        edge_index, num_nodes = edge_index_of(graph)
        found = values_by_edge(edge_index, ollivier_ricci(edge_index, num_nodes, alpha=alpha))
        distance = dict(nx.all_pairs_shortest_path_length(graph))
        assert len(found) == graph.number_of_edges()
        for (u, v), value in list(found.items())[:14]:
            assert value == pytest.approx(by_program(graph, u, v, alpha, distance), abs=1e-9)


def test_lin_lu_yau_equals_a_linear_program_and_the_limit():
    for seed in range(12):
        graph = random_graph(seed, 14)
        edge_index, num_nodes = edge_index_of(graph)
        found = lin_lu_yau(edge_index, num_nodes)
        for (u, v), value in list(values_by_edge(edge_index, found).items())[:15]:
            assert value == pytest.approx(lin_lu_yau_by_program(graph, u, v), abs=1e-9)
        near = ollivier_ricci(edge_index, num_nodes, alpha=0.999) / 0.001
        torch.testing.assert_close(near, found, atol=1e-9, rtol=0)


def test_a_walk_that_stays_is_flat():
    assert curvatures(nx.karate_club_graph(), 1.0) == {0.0}


@few
@given(seeds, st.sampled_from(ALPHAS))
def test_does_not_depend_on_the_numbers_of_nodes(seed: int, alpha: float):
    edge_index, num_nodes = edge_index_of(random_graph(seed))
    renamed = torch.from_numpy(np.random.default_rng(seed).permutation(num_nodes))[edge_index]
    value = ollivier_ricci(edge_index, num_nodes, alpha=alpha)
    assert torch.equal(ollivier_ricci(renamed, num_nodes, alpha=alpha), value)
    assert bool((value > -2).all())
    assert bool((value <= 1).all())


@few
@given(seeds, seeds, st.integers(0, 3))
def test_other_components_and_isolated_nodes_do_not_matter(first: int, second: int, alone: int):
    (a, n), (b, m) = (edge_index_of(random_graph(seed)) for seed in (first, second))
    together = ollivier_ricci(torch.cat([a, b + n + alone], 1), n + alone + m)
    assert torch.equal(together, torch.cat([ollivier_ricci(a, n), ollivier_ricci(b, m)]))


@few
@given(seeds)
def test_curvature_grows_piecewise_linearly_with_laziness(seed: int):
    """Concave in alpha, and linear from 1 / (D + 1) on (Bourne et al.)."""
    edge_index, num_nodes = edge_index_of(random_graph(seed, 15))
    at = {alpha: ollivier_ricci(edge_index, num_nodes, alpha=alpha) for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)}
    for low, middle, high in ((0.0, 0.25, 0.5), (0.25, 0.5, 0.75)):
        assert bool((at[middle] >= (at[low] + at[high]) / 2 - 1e-12).all())
    torch.testing.assert_close(at[0.5], 2 * at[0.75], atol=1e-12, rtol=0)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(12))
def test_plans_have_the_masses_of_the_walks_and_the_least_cost(seed: int, alpha: float):
    graph = random_graph(seed)
    edge_index, num_nodes = edge_index_of(graph)
    plan = ollivier_ricci_plan(edge_index, num_nodes, alpha=alpha)
    assert plan.mass.dtype == torch.float64
    assert bool((plan.mass > 0).all())
    assert bool((plan.edge.diff() >= 0).all())
    distance = dict(nx.all_pairs_shortest_path_length(graph))
    found = values_by_edge(edge_index, ollivier_ricci(edge_index, num_nodes, alpha=alpha))
    for edge, (u, v) in enumerate(plan.ends.T.tolist()):
        here = plan.edge == edge
        shipments = list(zip(plan.source[here].tolist(), plan.target[here].tolist(), plan.mass[here], strict=True))
        assert len({(s, t) for s, t, _ in shipments}) <= len(shipments)
        cost = sum(float(mass) * distance[s][t] for s, t, mass in shipments)
        assert 1 - cost == pytest.approx(found[u, v], abs=1e-12)
        for place, end in ((0, u), (1, v)):
            sums: dict[int, float] = {}
            for shipment in shipments:
                sums[shipment[place]] = sums.get(shipment[place], 0) + float(shipment[2])
            expected = {node: mass for node, mass in walk_of(graph, end, alpha).items() if mass > 0}
            assert sums == pytest.approx(expected)


def test_what_both_walks_have_stays_where_it_is():
    plan = ollivier_ricci_plan(*edge_index_of(nx.complete_graph(4)), alpha=0.25)
    assert torch.equal(plan.source, plan.target)
    assert curvatures(nx.complete_graph(4), 0.25) == {1.0}


def test_multi_edges_count_once_and_keep_their_columns():
    edge_index = torch.tensor([[0, 1, 1, 0, 1, 2], [1, 0, 0, 1, 2, 1]])
    assert ollivier_ricci(edge_index, 3).tolist() == [0.0] * 6
    once = ollivier_ricci(edge_index[:, [0, 1, 4, 5]], 3, alpha=0.3)
    assert torch.equal(ollivier_ricci(edge_index, 3, alpha=0.3), once[[0, 1, 1, 0, 2, 3]])


@pytest.mark.parametrize("num_nodes", [0, 1, 5])
def test_graphs_without_edges_have_no_curvature(num_nodes: int):
    nothing = torch.empty((2, 0), dtype=torch.int64)
    for weight in (None, torch.empty(0)):
        assert ollivier_ricci(nothing, num_nodes, weight=weight).shape == (0,)
        assert ollivier_ricci_plan(nothing, num_nodes, weight=weight).mass.shape == (0,)
    assert lin_lu_yau(nothing, num_nodes).shape == (0,)
    assert ollivier_ricci(nothing, num_nodes, method="sinkhorn").shape == (0,)


def test_hubs_of_ten_thousand_neighbours_take_no_more_memory_than_their_edges():
    """Two hubs next to each other: a table of distances between their neighbours would take 800 megabytes."""
    leaves = torch.arange(2, 20_002)
    hub = (leaves >= 10_002).long()
    edge_index = torch.cat([torch.tensor([[0], [1]]), torch.stack([hub, leaves])], 1)
    value = ollivier_ricci(torch.cat([edge_index, edge_index.flip(0)], 1), 20_002)
    assert float(value[0]) == pytest.approx(-2 * (1 - 2 / 10_001), abs=1e-15)
    assert value[1:20_001].tolist() == [0.0] * 20_000


def test_answers_are_on_the_indices_of_any_integer_dtype():
    edge_index, num_nodes = edge_index_of(nx.barbell_graph(4, 1))
    value = ollivier_ricci(edge_index.int(), num_nodes, alpha=1)
    assert value.dtype == torch.float64
    assert torch.equal(value, ollivier_ricci(edge_index, num_nodes, alpha=1.0))


def test_bad_input_is_named():
    both = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(DataError, match="directed"):
        ollivier_ricci(torch.tensor([[0], [1]]), 2)
    with pytest.raises(DataError, match="self-loop"):
        ollivier_ricci(torch.tensor([[0, 1, 1], [1, 0, 1]]), 2)
    with pytest.raises(IndexRangeError):
        lin_lu_yau(both, 1)
    with pytest.raises(ShapeError, match=r"\[2, E\]"):
        ollivier_ricci(torch.zeros(3, 2, dtype=torch.int64), 3)
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=r"alpha must lie in \[0, 1\]"):
            ollivier_ricci(both, 2, alpha=alpha)
        with pytest.raises(ConfigError, match=r"alpha must lie in \[0, 1\]"):
            ollivier_ricci_plan(both, 2, alpha=alpha)
    with pytest.raises(ShapeError, match="exact, sinkhorn"):
        ollivier_ricci(both, 2, method="approximate")
    for epsilon in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="epsilon must be positive"):
            ollivier_ricci(both, 2, method="sinkhorn", epsilon=epsilon)
    with pytest.raises(ConfigError, match="max_iterations must be at least 1"):
        ollivier_ricci(both, 2, method="sinkhorn", max_iterations=0)


def test_masses_beyond_64_bits_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gnnkit.geometry.ollivier._MOST_UNITS", 1000)
    edge_index, num_nodes = edge_index_of(nx.barbell_graph(7, 0))
    assert ollivier_ricci(edge_index, num_nodes, alpha=0.5).isfinite().all()
    with pytest.raises(DataError, match="6 and 7 neighbours.*denominator 100,.*simpler fraction"):
        ollivier_ricci(edge_index, num_nodes, alpha=0.01)
    with pytest.raises(DataError, match="simpler fraction"):
        ollivier_ricci_plan(edge_index, num_nodes, alpha=0.01)
