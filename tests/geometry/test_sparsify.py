"""Spectral sparsification: the guarantee, and what stays."""

import networkx as nx
import numpy as np
import pytest
import torch

from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry import edge_resistance as edge_module
from gnnkit.geometry import spectral_sparsify
from gnnkit.geometry.sparsify import num_draws
from tests.geometry.undirected import edge_index_of, edge_set


def laplacian(edge_index: torch.Tensor, weight: torch.Tensor, num_nodes: int) -> np.ndarray:
    matrix = np.zeros((num_nodes, num_nodes))
    np.add.at(matrix, tuple(edge_index.numpy()), weight.numpy())
    assert np.allclose(matrix, matrix.T, rtol=0, atol=0)
    return np.diag(matrix.sum(1)) - matrix


def distortion(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Smallest and largest ratio of the two quadratic forms outside of the null space."""
    values, vectors = np.linalg.eigh(before)
    kept = values > 1e-9
    scaled = vectors[:, kept] / np.sqrt(values[kept])
    ratio = np.linalg.eigvalsh(scaled.T @ after @ scaled)
    return float(ratio[0]), float(ratio[-1])


@pytest.mark.parametrize("epsilon", [0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_quadratic_form_stays_within_epsilon(epsilon, seed):
    edge_index, num_nodes = edge_index_of(nx.complete_graph(150))
    weight = torch.rand(num_nodes, num_nodes, dtype=torch.float64) + 0.5
    weight = (weight + weight.T)[edge_index[0], edge_index[1]]
    kept, value = spectral_sparsify(edge_index, num_nodes, epsilon=epsilon, weight=weight, seed=seed)
    low, high = distortion(laplacian(edge_index, weight, num_nodes), laplacian(kept, value, num_nodes))
    assert 1 - epsilon <= low <= high <= 1 + epsilon
    assert edge_set(kept) <= edge_set(edge_index)
    assert kept.size(1) < 0.8 * edge_index.size(1)


def test_components_stay_connected_and_apart():
    graph = nx.disjoint_union_all([nx.barbell_graph(12, 2), nx.empty_graph(2), nx.complete_graph(20), nx.path_graph(5)])
    edge_index, num_nodes = edge_index_of(graph)
    for seed in range(5):
        kept, value = spectral_sparsify(edge_index, num_nodes, epsilon=0.8, seed=seed)
        sparse = nx.empty_graph(num_nodes)
        sparse.add_edges_from(edge_set(kept))
        assert list(nx.connected_components(sparse)) == list(nx.connected_components(graph))
        low, high = distortion(
            laplacian(edge_index, torch.ones(edge_index.size(1)), num_nodes), laplacian(kept, value, num_nodes)
        )
        assert 0.2 <= low <= high <= 1.8


def test_weights_are_right_on_average():
    edge_index, num_nodes = edge_index_of(nx.complete_graph(12))
    total = np.zeros((num_nodes, num_nodes))
    for seed in range(200):
        total += laplacian(*spectral_sparsify(edge_index, num_nodes, epsilon=0.9, seed=seed), num_nodes) / 200
    expected = laplacian(edge_index, torch.ones(edge_index.size(1)), num_nodes)
    assert np.abs(total - expected).max() < 0.05 * expected.max()


def test_a_sketch_serves_where_exact_resistances_would_cost_more(monkeypatch):
    edge_index, num_nodes = edge_index_of(nx.complete_graph(150))
    exact, _ = spectral_sparsify(edge_index, num_nodes, epsilon=0.9)
    monkeypatch.setattr(edge_module, "LARGEST_DENSE", 10)
    monkeypatch.setattr(edge_module, "num_sketch_rows", lambda pairs, epsilon: 20)
    kept, value = spectral_sparsify(edge_index, num_nodes, epsilon=0.9)
    assert kept.size(1) > exact.size(1), "more draws, since probabilities are less certain"
    ones = torch.ones(edge_index.size(1))
    low, high = distortion(laplacian(edge_index, ones, num_nodes), laplacian(kept, value, num_nodes))
    assert 0.1 <= low <= high <= 1.9


def test_seeds_order_dtype_and_self_loops():
    edge_index, num_nodes = edge_index_of(nx.complete_graph(40))
    with_loop = torch.cat([edge_index, torch.tensor([[3], [3]])], dim=1).int()
    kept, value = spectral_sparsify(with_loop, num_nodes, epsilon=0.9, seed=3)
    assert kept.dtype == torch.int32
    assert kept.T.tolist() == sorted(kept.T.tolist())
    again, same = spectral_sparsify(edge_index, num_nodes, epsilon=0.9, seed=3)
    assert torch.equal(again, kept)
    assert torch.equal(same, value)
    other, _ = spectral_sparsify(edge_index, num_nodes, epsilon=0.9, seed=4)
    assert not torch.equal(other, kept)


def test_graphs_with_nothing_to_drop():
    nothing = torch.empty((2, 0), dtype=torch.int64)
    for count in (0, 3):
        kept, value = spectral_sparsify(nothing, count, epsilon=0.5)
        assert (kept.shape, value.shape) == ((2, 0), (0,))
    edge_index, num_nodes = edge_index_of(nx.path_graph(4))
    kept, value = spectral_sparsify(edge_index, num_nodes, epsilon=0.2)
    assert edge_set(kept) == edge_set(edge_index)
    assert bool(((value - 1).abs() < 0.2).all())


def test_number_of_draws_grows_with_the_rank_and_the_inverse_square_of_epsilon():
    assert num_draws(999, 0.1) / num_draws(999, 0.2) == pytest.approx(4 * (1 + 0.1 / 3) / (1 + 0.2 / 3))
    assert num_draws(2000, 0.5) > 2 * num_draws(1000, 0.5)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.5, float("nan")])
def test_bad_input_is_named(epsilon):
    edge_index, num_nodes = edge_index_of(nx.path_graph(3))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        spectral_sparsify(edge_index, num_nodes, epsilon=epsilon)
    with pytest.raises(DataError, match="directed"):
        spectral_sparsify(edge_index[:, :1], num_nodes, epsilon=0.5)
    with pytest.raises(DataError, match="finite and positive"):
        spectral_sparsify(edge_index, num_nodes, epsilon=0.5, weight=-torch.ones(4))
