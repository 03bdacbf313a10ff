"""Spectral gaps against closed forms and dense eigenvalues."""

import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry import cheeger_bounds, laplacian_spectrum, spectral_gap
from tests.geometry.undirected import edge_index_of, matrix_of, random_graph

bounded = settings(max_examples=60, deadline=None, derandomize=True, database=None)
GAPS = {
    "cycle": (nx.cycle_graph(11), 1 - math.cos(2 * math.pi / 11)),
    "path": (nx.path_graph(10), 1 - math.cos(math.pi / 9)),
    "long path": (nx.path_graph(3000), 1 - math.cos(math.pi / 2999)),
    "complete": (nx.complete_graph(8), 8 / 7),
    "large complete": (nx.complete_graph(450), 450 / 449),
    "one edge": (nx.path_graph(2), 2),
    "hypercube": (nx.hypercube_graph(5), 2 / 5),
    "bipartite": (nx.complete_bipartite_graph(3, 5), 1),
    "large bipartite": (nx.complete_bipartite_graph(250, 240), 1),
    "star": (nx.star_graph(30), 1),
    "barbell": (nx.barbell_graph(5, 0), 0.07260058),
}


@pytest.mark.parametrize("name", GAPS)
def test_closed_forms(name):
    graph, gap = GAPS[name]
    assert float(spectral_gap(*edge_index_of(graph))) == pytest.approx(gap, rel=1e-7 if name == "barbell" else 1e-10)


def dense_gap(matrix: np.ndarray) -> float:
    root = 1 / np.sqrt(matrix.sum(1))
    return float(np.linalg.eigvalsh(np.eye(len(matrix)) - root[:, None] * matrix * root)[1])


@bounded
@given(seed=st.integers(0, 10**6))
def test_equals_dense_eigenvalues(seed):
    graph = random_graph(seed, 40)
    edge_index, num_nodes = edge_index_of(graph)
    values = np.exp(np.random.default_rng(seed).normal(size=(num_nodes, num_nodes)))
    matrix = matrix_of(graph) * (values + values.T)
    weight = torch.from_numpy(matrix[tuple(edge_index.numpy())])
    expected = dense_gap(matrix) if nx.is_connected(graph) else 0.0
    assert float(spectral_gap(edge_index, num_nodes, weight=weight)) == pytest.approx(expected, rel=1e-9, abs=1e-13)
    low, high = cheeger_bounds(edge_index, num_nodes, weight=weight)
    assert (float(low), float(high)) == pytest.approx((expected / 2, math.sqrt(2 * expected)), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("num_nodes", [500, 2000])
def test_expanders_that_fill_up_when_factorised(num_nodes):
    graph = nx.random_regular_graph(8, num_nodes, seed=1)
    assert float(spectral_gap(*edge_index_of(graph))) == pytest.approx(dense_gap(matrix_of(graph)), rel=1e-10)


def test_cheeger_bounds_hold_the_cheeger_constant():
    for seed in range(10):
        graph = nx.connected_watts_strogatz_graph(9, 4, 0.4, seed=seed)
        matrix = matrix_of(graph)
        degree = matrix.sum(1)
        sides = [np.array([side >> i & 1 for i in range(9)], dtype=bool) for side in range(1, 2**9 - 1)]
        constant = min(
            matrix[side][:, ~side].sum() / degree[side].sum()
            for side in sides
            if 2 * degree[side].sum() <= degree.sum()
        )
        low, high = cheeger_bounds(*edge_index_of(graph))
        assert low <= constant <= high


def test_disconnected_and_tiny_graphs_have_no_gap():
    nothing = torch.empty((2, 0), dtype=torch.int64)
    assert [float(spectral_gap(nothing, count)) for count in (0, 1, 2, 5)] == [0, 0, 0, 0]
    assert float(spectral_gap(*edge_index_of(nx.disjoint_union(nx.path_graph(3), nx.path_graph(3))))) == 0
    assert float(spectral_gap(torch.tensor([[0, 1, 1], [1, 0, 1]]), 2)) == pytest.approx(2)


@pytest.mark.parametrize("seed", range(8))
def test_spectrum_has_a_zero_for_each_component(seed):
    graph = random_graph(seed, 30)
    edge_index, num_nodes = edge_index_of(graph)
    components = nx.number_connected_components(graph)
    for normalization in ("sym", None):
        values = laplacian_spectrum(edge_index, num_nodes, normalization=normalization)
        assert int((values == 0).sum()) == components
        assert bool((values.diff() >= 0).all())
    matrix = matrix_of(graph).astype(float)
    torch.testing.assert_close(
        values, torch.from_numpy(np.linalg.eigvalsh(np.diag(matrix.sum(1)) - matrix)), atol=1e-11, rtol=1e-11
    )
    trace = float(laplacian_spectrum(edge_index, num_nodes).sum())
    assert trace == pytest.approx(sum(degree > 0 for degree in matrix.sum(1)))


def test_spectrum_of_cycles_and_of_nothing():
    expected = sorted(1 - math.cos(2 * math.pi * j / 8) for j in range(8))
    assert laplacian_spectrum(*edge_index_of(nx.cycle_graph(8))).tolist() == pytest.approx(expected, abs=1e-12)
    assert laplacian_spectrum(torch.empty((2, 0), dtype=torch.int64), 0).shape == (0,)


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="'sym' or None, got 'rw'"):
        laplacian_spectrum(torch.empty((2, 0), dtype=torch.int64), 0, normalization="rw")
    with pytest.raises(DataError, match="directed"):
        spectral_gap(torch.tensor([[0], [1]]), 2)
    with pytest.raises(DataError, match="finite and positive"):
        cheeger_bounds(torch.tensor([[0, 1], [1, 0]]), 2, weight=torch.zeros(2))


def test_the_same_bits_for_any_number_of_threads():
    edge_index, num_nodes = edge_index_of(nx.random_regular_graph(8, 3000, seed=1))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(spectral_gap(edge_index, num_nodes))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
