"""Effective resistance against closed forms, pseudo-inverses and NetworkX; curvature and commute times from it."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.geometry import (
    commute_time,
    effective_resistance,
    node_resistance_curvature,
    resistance_curvature,
    total_resistance,
)
from gnnkit.geometry import edge_resistance as edge_module
from gnnkit.geometry import laplacian as laplacian_module
from gnnkit.geometry import pair_resistance as pair_module
from gnnkit.geometry.sketch import num_sketch_rows
from tests.geometry.undirected import edge_index_of, matrix_of, random_graph, values_by_edge

bounded = settings(max_examples=40, deadline=None, derandomize=True, database=None)
BARBELL = nx.barbell_graph(5, 0)


def resistances_of(matrix: np.ndarray) -> np.ndarray:
    """All pairs, from a pseudo-inverse; infinite where no walk leads."""
    inverse = np.linalg.pinv(np.diag(matrix.sum(1)) - matrix)
    diagonal = np.diag(inverse)
    out = diagonal[:, None] + diagonal - 2 * inverse
    label = connected_components(matrix > 0, directed=False)[1]
    walks = label[:, None] == label
    return np.where(walks, out, np.inf)


def weighted(graph: Any, seed: int = 0) -> tuple[Tensor, int, Tensor, np.ndarray]:
    """A graph with weights, the same for both directions, and its matrix."""
    edge_index, num_nodes = edge_index_of(graph)
    values = np.exp(np.random.default_rng(seed).normal(size=(num_nodes, num_nodes)))
    matrix = matrix_of(graph) * (values + values.T)
    return edge_index, num_nodes, torch.from_numpy(matrix[tuple(edge_index.numpy())]), matrix


CLOSED_FORMS = {
    "path": (nx.path_graph(9), lambda i, j: abs(i - j), (9**3 - 9) / 6),
    "cycle": (nx.cycle_graph(9), lambda i, j: abs(i - j) * (9 - abs(i - j)) / 9, (9**3 - 9) / 12),
    "complete": (nx.complete_graph(7), lambda i, j: 2 / 7, 6),
    "star": (nx.star_graph(6), lambda i, j: 1 if 0 in (i, j) else 2, 36),
    "bipartite": (
        nx.complete_bipartite_graph(3, 4),
        lambda i, j: 6 / 12 if (i < 3) != (j < 3) else 2 / 4 if i < 3 else 2 / 3,
        12 * 0.5 + 3 * 0.5 + 6 * 2 / 3,
    ),
    "hypercube": (
        nx.convert_node_labels_to_integers(nx.hypercube_graph(3), ordering="sorted"),
        lambda i, j: (0, 7 / 12, 3 / 4, 5 / 6)[(i ^ j).bit_count()],
        58 / 3,
    ),
}
EDGES = {
    "dodecahedron": (nx.dodecahedral_graph(), 19 / 30, 548 / 3),
    "petersen": (nx.petersen_graph(), 3 / 5, 33),
    "icosahedron": (nx.icosahedral_graph(), 11 / 30, 28),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms_of_all_pairs(name):
    graph, resistance, total = CLOSED_FORMS[name]
    edge_index, num_nodes = edge_index_of(graph)
    pairs = [(i, j) for i in range(num_nodes) for j in range(num_nodes)]
    expected = torch.tensor([float(resistance(i, j)) if i != j else 0.0 for i, j in pairs], dtype=torch.float64)
    found = effective_resistance(edge_index, num_nodes, pairs="all")
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(found.diagonal(), torch.zeros(num_nodes, dtype=torch.float64))
    one_by_one = [effective_resistance(edge_index, num_nodes, pairs=torch.tensor([[i], [j]])) for i, j in pairs]
    torch.testing.assert_close(torch.cat(one_by_one), expected, rtol=1e-12, atol=1e-12)
    assert float(total_resistance(edge_index, num_nodes)) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", EDGES)
def test_closed_forms_of_edges(name):
    graph, resistance, total = EDGES[name]
    found = effective_resistance(*edge_index_of(graph))
    torch.testing.assert_close(found, torch.full_like(found, resistance), rtol=1e-12, atol=0)
    assert float(total_resistance(*edge_index_of(graph))) == pytest.approx(total, rel=1e-12)


def test_barbell():
    edge_index, num_nodes = edge_index_of(BARBELL)
    found = values_by_edge(edge_index, effective_resistance(edge_index, num_nodes))
    assert found.pop((4, 5)) == pytest.approx(1, rel=1e-12)
    assert list(found.values()) == pytest.approx([0.4] * 20, rel=1e-12)
    assert float(total_resistance(edge_index, num_nodes)) == pytest.approx(49, rel=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_equals_a_pseudo_inverse(seed):
    edge_index, num_nodes, weight, matrix = weighted(random_graph(seed, 40), seed)
    expected = torch.from_numpy(resistances_of(matrix))
    everything = effective_resistance(edge_index, num_nodes, pairs="all", weight=weight)
    torch.testing.assert_close(everything, expected, rtol=1e-9, atol=1e-12)
    edges = effective_resistance(edge_index, num_nodes, weight=weight)
    torch.testing.assert_close(edges, expected[edge_index[0], edge_index[1]], rtol=1e-9, atol=1e-12)
    for count in (1, 3, 200):
        pairs = torch.randint(num_nodes, (2, count))
        found = effective_resistance(edge_index, num_nodes, pairs=pairs, weight=weight, method="exact")
        torch.testing.assert_close(found, expected[pairs[0], pairs[1]], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_equals_networkx(seed):
    graph = nx.connected_watts_strogatz_graph(24, 4, 0.4, seed=seed)
    edge_index, num_nodes = edge_index_of(graph)
    pairs = torch.randint(num_nodes, (2, 6))
    expected = [nx.resistance_distance(graph, int(u), int(v)) if u != v else 0.0 for u, v in pairs.T]
    assert effective_resistance(edge_index, num_nodes, pairs=pairs).tolist() == pytest.approx(expected, rel=1e-10)
    assert float(total_resistance(edge_index, num_nodes)) == pytest.approx(
        nx.effective_graph_resistance(graph), rel=1e-10
    )


@pytest.mark.parametrize("largest", [0, 4096])
def test_large_cores_are_solved_by_columns(largest, monkeypatch):
    """Above the size for dense matrices, resistances of the core come from one solution per node."""
    for module in (edge_module, pair_module, laplacian_module):
        monkeypatch.setattr(module, "LARGEST_DENSE", largest)
    graph = nx.disjoint_union(nx.random_regular_graph(12, 200, seed=1), nx.gnm_random_graph(80, 700, seed=2))
    edge_index, num_nodes, weight, matrix = weighted(graph)
    expected = torch.from_numpy(resistances_of(matrix))
    found = effective_resistance(edge_index, num_nodes, weight=weight, method="exact")
    torch.testing.assert_close(found, expected[edge_index[0], edge_index[1]], rtol=1e-9, atol=1e-12)
    pairs = torch.randint(num_nodes, (2, 30))
    found = effective_resistance(edge_index, num_nodes, pairs=pairs, weight=weight, method="exact")
    torch.testing.assert_close(found, expected[pairs[0], pairs[1]], rtol=1e-9, atol=1e-12)
    parts = total_resistance(edge_index, num_nodes, weight=weight, per_component=True)
    assert parts.tolist() == pytest.approx(
        [float(expected[:200, :200].sum()) / 2, float(expected[200:, 200:].sum()) / 2], rel=1e-9
    )


def test_long_paths_and_trees_keep_their_digits():
    num_nodes = 20_001
    ends = torch.stack([torch.arange(num_nodes - 1), torch.arange(1, num_nodes)])
    edge_index = torch.cat([ends, ends.flip(0)], dim=1)
    found = effective_resistance(edge_index, num_nodes, pairs=torch.tensor([[0, 5], [num_nodes - 1, 1005]]))
    assert found.tolist() == pytest.approx([num_nodes - 1, 1000], rel=1e-13)
    assert torch.equal(effective_resistance(edge_index, num_nodes), torch.ones(2 * num_nodes - 2, dtype=torch.float64))
    total = (num_nodes**3 - num_nodes) / 6
    assert float(total_resistance(edge_index, num_nodes)) == pytest.approx(total, rel=1e-12)


@bounded
@given(seed=st.integers(0, 10**6))
def test_foster_rayleigh_and_the_triangle_inequality(seed):
    edge_index, num_nodes, weight, _ = weighted(random_graph(seed), seed)
    resistance = effective_resistance(edge_index, num_nodes, weight=weight)
    everything = effective_resistance(edge_index, num_nodes, pairs="all", weight=weight)
    components = nx.number_connected_components(random_graph(seed))
    assert float((weight * resistance).sum() / 2) == pytest.approx(num_nodes - components, abs=1e-9)
    detour = everything[:, :, None] + everything[None, :, :]
    assert bool((everything[:, None, :] <= detour + 1e-9).all())
    stronger = weight.clone()
    first = edge_index[:, 0]
    stronger[((edge_index == first[:, None]) | (edge_index == first.flip(0)[:, None])).all(0)] *= 3
    after = effective_resistance(edge_index, num_nodes, pairs="all", weight=stronger)
    assert bool((after <= everything + 1e-9).all())
    assert after[first[0], first[1]] < everything[first[0], first[1]]


@bounded
@given(seed=st.integers(0, 10**6))
def test_relabelling_and_disjoint_unions(seed):
    edge_index, num_nodes, weight, _ = weighted(random_graph(seed), seed)
    resistance = effective_resistance(edge_index, num_nodes, weight=weight)
    number = torch.from_numpy(np.random.default_rng(seed).permutation(num_nodes))
    torch.testing.assert_close(effective_resistance(number[edge_index], num_nodes, weight=weight), resistance)
    both = torch.cat([edge_index, edge_index + num_nodes], dim=1)
    twice = effective_resistance(both, 2 * num_nodes, weight=torch.cat([weight, weight]))
    torch.testing.assert_close(twice, torch.cat([resistance, resistance]))
    totals = total_resistance(edge_index, num_nodes, weight=weight, per_component=True)
    both_totals = total_resistance(both, 2 * num_nodes, weight=torch.cat([weight, weight]), per_component=True)
    torch.testing.assert_close(both_totals, torch.cat([totals, totals]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_adding_an_edge_lowers_the_total_by_the_identity(seed):
    graph = nx.connected_watts_strogatz_graph(15, 4, 0.5, seed=seed)
    missing = list(nx.non_edges(graph))
    s, t = missing[seed % len(missing)]
    inverse = np.linalg.pinv(nx.laplacian_matrix(graph, nodelist=sorted(graph)).toarray())
    v = inverse[s] - inverse[t]
    before = float(total_resistance(*edge_index_of(graph)))
    graph.add_edge(s, t)
    after = float(total_resistance(*edge_index_of(graph)))
    assert before - after == pytest.approx(15 * (v @ v) / (1 + v[s] - v[t]), rel=1e-10)


def test_edges_in_parallel_add_and_loops_carry_nothing():
    edge_index = torch.tensor([[0, 1, 0, 1, 1, 2, 2], [1, 0, 1, 0, 2, 1, 2]])
    weight = torch.tensor([2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 9.0])
    found = effective_resistance(edge_index, 3, weight=weight)
    assert found.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.25, 0.25, 0.0])
    assert float(total_resistance(edge_index, 3, weight=weight)) == pytest.approx(0.2 + 0.25 + 0.45)


def test_components_isolated_nodes_and_empty_graphs():
    edge_index = torch.tensor([[0, 1], [1, 0]], dtype=torch.int32)
    found = effective_resistance(edge_index, 4, pairs="all")
    inf = torch.inf
    expected = torch.tensor([[0, 1, inf, inf], [1, 0, inf, inf], [inf, inf, 0, inf], [inf, inf, inf, 0]])
    torch.testing.assert_close(found, expected.double(), rtol=1e-12, atol=0)
    pairs = torch.tensor([[0, 0, 3, 2], [1, 3, 3, 3]])
    assert effective_resistance(edge_index, 4, pairs=pairs).tolist() == [1, inf, 0, inf]
    assert commute_time(edge_index, 4, pairs=pairs).tolist() == [2, inf, 0, inf]
    assert float(total_resistance(edge_index, 4)) == inf
    assert total_resistance(edge_index, 4, per_component=True).tolist() == [1, 0, 0]
    nothing = torch.empty((2, 0), dtype=torch.int64)
    for method in ("auto", "exact", "sketch"):
        assert effective_resistance(nothing, 3, method=method).shape == (0,)
        assert effective_resistance(nothing, 0, method=method).shape == (0,)
        assert effective_resistance(nothing, 2, pairs=nothing, method=method).shape == (0,)
    assert effective_resistance(nothing, 0, pairs="all").shape == (0, 0)
    assert [float(total_resistance(nothing, count)) for count in (0, 1, 2)] == [0, 0, inf]
    assert node_resistance_curvature(nothing, 2).tolist() == [1, 1]
    assert resistance_curvature(nothing, 2).shape == (0,)


def test_pairs_come_back_as_they_were_asked():
    edge_index, num_nodes = edge_index_of(nx.path_graph(6))
    pairs = torch.tensor([[0, 3, 0, 5, 2, 0], [3, 0, 3, 4, 2, 5]], dtype=torch.int32)
    assert effective_resistance(edge_index, num_nodes, pairs=pairs).tolist() == pytest.approx([3, 3, 3, 1, 0, 5])


@pytest.mark.parametrize("epsilon", [0.2, 0.5])
def test_sketches_stay_within_epsilon(epsilon):
    graphs = [nx.gnm_random_graph(300, 1500, seed=1), nx.path_graph(60), nx.random_labeled_tree(50, seed=1), BARBELL]
    graph = nx.disjoint_union_all(graphs)
    edge_index, num_nodes, weight, matrix = weighted(graph)
    expected = torch.from_numpy(resistances_of(matrix))
    for pairs in ("edges", torch.randint(300, (2, 400)), torch.randint(300, 360, (2, 100))):
        ends = edge_index if isinstance(pairs, str) else pairs
        exact = expected[ends[0], ends[1]]
        arguments: dict[str, Any] = {"pairs": pairs, "weight": weight, "method": "sketch", "epsilon": epsilon}
        found = effective_resistance(edge_index, num_nodes, **arguments)
        assert bool(((found - exact).abs() <= epsilon * exact + 1e-12).all())
        assert torch.equal(found, effective_resistance(edge_index, num_nodes, **arguments))
        other = effective_resistance(edge_index, num_nodes, seed=1, **arguments)
        assert not torch.equal(found, other)


def test_sketch_knows_its_pairs_between_components():
    edge_index, num_nodes = edge_index_of(nx.disjoint_union(nx.path_graph(3), nx.path_graph(3)))
    found = effective_resistance(edge_index, num_nodes, pairs=torch.tensor([[0, 0], [3, 0]]), method="sketch")
    assert found.tolist() == [torch.inf, 0.0]


def test_number_of_rows_of_a_sketch_is_that_of_the_bound():
    rows = num_sketch_rows(10**6, 0.3)
    left = 1.3 / 1.003**2 - 1
    assert rows >= np.log(2e6 / 0.01) / (left**2 / 4 - left**3 / 6)
    assert rows < 8 * np.log(10**6) / 0.3**2


def test_auto_sketches_only_where_exact_solutions_would_be_more(monkeypatch):
    graph = nx.random_regular_graph(10, 300, seed=1)
    edge_index, num_nodes = edge_index_of(graph)
    exact = effective_resistance(edge_index, num_nodes, method="exact")
    assert torch.equal(effective_resistance(edge_index, num_nodes), exact)
    for module in (edge_module, pair_module):
        monkeypatch.setattr(module, "LARGEST_DENSE", 10)
        monkeypatch.setattr(module, "num_sketch_rows", lambda pairs, epsilon: 20)
    auto = effective_resistance(edge_index, num_nodes)
    assert torch.equal(auto, effective_resistance(edge_index, num_nodes, method="sketch"))
    assert not torch.equal(auto, exact)
    few, many = torch.randint(300, (2, 8)), torch.randint(300, (2, 80))
    for pairs, method in ((few, "exact"), (many, "sketch")):
        found = effective_resistance(edge_index, num_nodes, pairs=pairs)
        assert torch.equal(found, effective_resistance(edge_index, num_nodes, pairs=pairs, method=method))


def test_commute_time_is_the_time_a_walk_takes():
    edge_index, num_nodes, weight, matrix = weighted(nx.connected_watts_strogatz_graph(9, 4, 0.5, seed=3))
    step = matrix / matrix.sum(1, keepdims=True)
    hitting = np.zeros((num_nodes, num_nodes))
    for target in range(num_nodes):
        others = [node for node in range(num_nodes) if node != target]
        hitting[others, target] = np.linalg.solve(np.eye(num_nodes - 1) - step[np.ix_(others, others)], np.ones(8))
    expected = torch.from_numpy(hitting + hitting.T)
    torch.testing.assert_close(commute_time(edge_index, num_nodes, pairs="all", weight=weight), expected)
    torch.testing.assert_close(commute_time(edge_index, num_nodes, weight=weight), expected[tuple(edge_index)])


CURVATURES = {
    "cycle": (nx.cycle_graph(7), {1 / 7}, {2 / 3}),
    "complete": (nx.complete_graph(6), {1 / 6}, {2}),
    "bipartite": (nx.complete_bipartite_graph(3, 4), {0, 1 / 4}, {1}),
    "star": (nx.star_graph(5), {-3 / 2, 1 / 2}, {-2}),
    "path": (nx.path_graph(6), {0, 1 / 2}, {0, 1}),
    "hypercube": (nx.hypercube_graph(3), {1 / 8}, {6 / 7}),
    "dodecahedron": (nx.dodecahedral_graph(), {1 / 20}, {6 / 19}),
    "petersen": (nx.petersen_graph(), {1 / 10}, {2 / 3}),
    "icosahedron": (nx.icosahedral_graph(), {1 / 12}, {10 / 11}),
    "barbell": (BARBELL, {-0.3, 0.2}, {-1.2, -0.5, 2}),
}


@pytest.mark.parametrize("name", CURVATURES)
def test_curvature_has_the_values_of_the_paper(name):
    graph, nodes, edges = CURVATURES[name]
    found = node_resistance_curvature(*edge_index_of(graph)), resistance_curvature(*edge_index_of(graph))
    for values, expected in zip(found, (nodes, edges), strict=True):
        assert sorted({round(value, 10) + 0.0 for value in values.tolist()}) == pytest.approx(
            sorted(expected), abs=1e-9
        )


@bounded
@given(seed=st.integers(0, 10**6))
def test_curvature_sums_to_one_over_each_component(seed):
    graph = random_graph(seed)
    edge_index, num_nodes, weight, matrix = weighted(graph, seed)
    node = node_resistance_curvature(edge_index, num_nodes, weight=weight)
    for members in nx.connected_components(graph):
        assert float(node[list(members)].sum()) == pytest.approx(1, abs=1e-9)
    resistance = resistances_of(matrix)[tuple(edge_index.numpy())]
    expected = 2 * (node[edge_index[0]] + node[edge_index[1]]) / torch.from_numpy(resistance)
    torch.testing.assert_close(resistance_curvature(edge_index, num_nodes, weight=weight), expected)


def test_nodes_of_trees_have_half_the_missing_degree():
    edge_index, num_nodes = edge_index_of(nx.random_labeled_tree(40, seed=5))
    degree = torch.bincount(edge_index[0], minlength=num_nodes).double()
    torch.testing.assert_close(node_resistance_curvature(edge_index, num_nodes), 1 - degree / 2)


TRIANGLE = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: effective_resistance(TRIANGLE[:, :5], 3), DataError, "directed"),
        (lambda: effective_resistance(TRIANGLE, 2), IndexRangeError, "num_nodes = 2"),
        (lambda: effective_resistance(TRIANGLE, 3, weight=torch.full((6,), -1.0)), DataError, "finite and positive"),
        (lambda: effective_resistance(TRIANGLE, 3, weight=torch.full((6,), torch.nan)), DataError, "finite and positi"),
        (lambda: effective_resistance(TRIANGLE, 3, weight=torch.arange(1.0, 7.0)), DataError, "one weight"),
        (lambda: effective_resistance(TRIANGLE, 3, weight=torch.ones(5)), ShapeError, r"\[6\]"),
        (lambda: effective_resistance(TRIANGLE, 3, method="fast"), ConfigError, "auto, exact, sketch, got 'fast'"),
        (lambda: effective_resistance(TRIANGLE, 3, pairs="some"), ConfigError, "'all' or a tensor"),
        (lambda: effective_resistance(TRIANGLE, 3, pairs=[(0, 1)]), ConfigError, "a tensor"),  # type: ignore[arg-type]
        (lambda: effective_resistance(TRIANGLE, 3, pairs="all", method="sketch"), ConfigError, "cannot spare"),
        (lambda: effective_resistance(TRIANGLE, 3, pairs=torch.tensor([[0], [3]])), IndexRangeError, r"pairs\[1\]"),
        (lambda: effective_resistance(TRIANGLE, 3, pairs=torch.zeros(3, 2).long()), ShapeError, r"\[2, P\]"),
        (lambda: effective_resistance(TRIANGLE, 3, pairs=torch.zeros(2, 2)), ShapeError, "int32 or int64"),
        (lambda: effective_resistance(TRIANGLE, 3, epsilon=1.0), ConfigError, "between 0 and 1"),
        (lambda: effective_resistance(TRIANGLE, 3, method="sketch", seed=0.5), ConfigError, "seed"),  # type: ignore[arg-type]
        (lambda: resistance_curvature(torch.tensor([[0], [0]]), 1), DataError, "self-loop"),
        (lambda: node_resistance_curvature(torch.tensor([[0], [0]]), 1), DataError, "self-loop"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_weights_of_all_magnitudes():
    """Where conductances differ by twelve orders, elimination without subtraction keeps the digits."""
    num_nodes = 60
    ends = torch.stack([torch.arange(num_nodes - 1), torch.arange(1, num_nodes)])
    conductance = torch.logspace(-6, 6, num_nodes - 1, dtype=torch.float64)
    edge_index, weight = torch.cat([ends, ends.flip(0)], 1), torch.cat([conductance, conductance])
    torch.testing.assert_close(effective_resistance(edge_index, num_nodes, weight=weight), 1 / weight)
    found = effective_resistance(edge_index, num_nodes, weight=weight, pairs=torch.tensor([[0], [num_nodes - 1]]))
    assert float(found) == pytest.approx(float((1 / conductance).sum()), rel=1e-12)
