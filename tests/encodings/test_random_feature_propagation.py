"""Propagated random features against dense linear algebra."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Compose

from gnnkit.encodings import RandomFeaturePropagation, RandomWalk
from gnnkit.encodings.random_feature_propagation import propagate, propagation_matrix
from gnnkit.errors import ConfigError, DataError, ShapeError
from tests.encodings.random_data import data_of, normalised, undirected, weighted

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def dense_operator(data: Any, operator: str) -> np.ndarray:
    if operator == "self_loops":
        loops = torch.arange(data.num_nodes).expand(2, -1)
        weight = torch.ones(data.num_edges) if data.get("edge_weight") is None else data.edge_weight
        weight = torch.cat([weight, torch.ones(data.num_nodes)])
        joined = Data(edge_index=torch.cat([data.edge_index, loops], 1), edge_weight=weight, num_nodes=data.num_nodes)
        return normalised(joined)
    sym = normalised(data)
    if operator == "adjacency":
        return sym
    if operator == "laplacian":
        return np.diag((sym.sum(1) > 0).astype(float)) - sym
    matrix = np.zeros_like(sym)
    weight = torch.ones(data.num_edges) if data.get("edge_weight") is None else data.edge_weight
    np.add.at(matrix, tuple(data.edge_index.numpy()), weight.double().numpy())
    total = matrix.sum(1, keepdims=True)
    return np.divide(matrix, total, out=np.zeros_like(matrix), where=total > 0)


def steps_of(transform: RandomFeaturePropagation, data: Any) -> list[np.ndarray]:
    value = transform(data).random_feature_propagation.double().numpy()
    return np.split(value, value.shape[1] // transform.width, axis=1)


@pytest.mark.parametrize("operator", ["adjacency", "self_loops", "laplacian", "walk"])
@few
@given(data=undirected())
def test_every_step_is_a_product_scaled_to_length_one(operator: str, data: Any):
    initial, *later = steps_of(RandomFeaturePropagation(3, 4, operator=operator), data)
    matrix, x = dense_operator(data, operator), initial
    for found in later:
        x = matrix @ x
        length = np.linalg.norm(x, axis=0)
        x = np.divide(x, length, out=np.zeros_like(x), where=length > 1e-12)
        # A column that cancels to rounding errors has no direction.
        np.testing.assert_allclose(found[:, length > 1e-12], x[:, length > 1e-12], atol=1e-5)
        assert np.abs(np.linalg.norm(found, axis=0)[length > 1e-12] - 1).max(initial=0) < 1e-6
        x = found


@pytest.mark.parametrize("operator", ["adjacency", "self_loops", "laplacian", "walk"])
def test_without_normalisation_steps_are_powers(operator: str):
    data = data_of(weighted(nx.barbell_graph(4, 2)))
    initial, *later = steps_of(RandomFeaturePropagation(3, 5, operator=operator, normalize=None), data)
    for step, found in enumerate(later, start=1):
        expected = np.linalg.matrix_power(dense_operator(data, operator), step) @ initial
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_orthogonal_iteration_equals_householder_qr_in_every_step():
    data = data_of(weighted(nx.karate_club_graph()))
    initial, *later = steps_of(RandomFeaturePropagation(6, 8, normalize="qr"), data)
    x = initial
    for found in later:
        q, r = np.linalg.qr(normalised(data) @ x)
        x = q * np.sign(np.diag(r))
        np.testing.assert_allclose(found, x, atol=1e-4)
        np.testing.assert_allclose(found.T @ found, np.eye(6), atol=1e-5)


@pytest.mark.parametrize("operator", ["adjacency", "laplacian", "self_loops"])
def test_orthogonal_iteration_converges_to_the_dominant_subspace_at_the_ratio_of_eigenvalues(operator: str):
    """Principal angles, in float64: their tangent shrinks by the ratio in every step."""
    data = data_of(weighted(nx.karate_club_graph(), seed=3))
    matrix = dense_operator(data, operator)
    value, vector = np.linalg.eigh(matrix)
    order = np.argsort(-np.abs(value))
    value, vector = np.abs(value[order]), vector[:, order]
    width = 4
    noise = torch.randn(34, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = propagation_matrix(weights_of(data), operator)
    trajectory = propagate(step, torch.tensor([0, 34]), noise, 80, "qr", width)
    for dimension in (1, 2, 4):
        rate = value[dimension] / value[dimension - 1]
        tangent = [
            np.tan(scipy.linalg.subspace_angles(x.numpy()[:, :dimension], vector[:, :dimension]).max())
            for x in trajectory[1:]
        ]
        # What components outside of the leading one weigh falls at a faster rate: late steps show the rate itself.
        late = [index for index in range(20, 79) if tangent[index + 1] > 1e-11]
        assert len(late) >= 10
        slope = np.polyfit(late, np.log([tangent[index] for index in late]), 1)[0]
        assert np.exp(slope) == pytest.approx(rate, rel=0.02)
        assert tangent[-1] < 20 * tangent[0] * rate**79 + 1e-10


def weights_of(data: Any) -> Any:
    return scipy.sparse.csr_array(
        (data.edge_weight.numpy(), tuple(data.edge_index.numpy())), shape=(data.num_nodes, data.num_nodes)
    )


def test_power_iteration_ends_in_the_square_root_of_degrees():
    data = data_of(nx.lollipop_graph(5, 3))
    last = steps_of(RandomFeaturePropagation(5, 300, operator="self_loops"), data)[-1]
    root = np.sqrt(np.array([degree + 1 for _, degree in nx.lollipop_graph(5, 3).degree()]))
    expected = np.outer(root / np.linalg.norm(root), np.sign(last[0]))
    np.testing.assert_allclose(last, expected, atol=1e-5)


@pytest.mark.parametrize("normalize", ["l2", "qr", None])
def test_permuted_noise_gives_permuted_features(normalize: str | None):
    data = data_of(weighted(nx.karate_club_graph()))
    order = np.random.default_rng(0).permutation(34)
    matrix, ptr = propagation_matrix(weights_of(data), "adjacency"), torch.tensor([0, 34])
    noise = torch.randn(34, 6, dtype=torch.float64)
    first = propagate(matrix, ptr, noise, 5, normalize, 3)
    second = propagate(matrix[order][:, order], ptr, noise[order], 5, normalize, 3)
    for one, two in zip(first, second, strict=True):
        torch.testing.assert_close(one[order], two, rtol=1e-9, atol=1e-9)


def test_features_are_equivariant_in_distribution():
    """Second moments of a relabelled graph are the relabelled ones, within five standard errors."""
    graph = nx.barbell_graph(3, 1)
    order = np.random.default_rng(1).permutation(7)
    moments = []
    for given_graph in (graph, nx.relabel_nodes(graph, dict(enumerate(order)))):
        x = steps_of(RandomFeaturePropagation(20_000, 2), data_of_sorted(given_graph))[2]
        moments.append(x @ x.T / 20_000)
    # Entries of unit columns: each product has a variance below 1 / 4.
    np.testing.assert_allclose(moments[1][np.ix_(order, order)], moments[0], atol=5 * 0.5 * (2 / 20_000) ** 0.5)
    assert np.abs(moments[1] - moments[0]).max() > 0.05, "the relabelling must show"


def data_of_sorted(graph: Any) -> Any:
    sorted_graph = nx.Graph()
    sorted_graph.add_nodes_from(range(graph.number_of_nodes()))
    sorted_graph.add_edges_from(graph.edges)
    return data_of(sorted_graph)


def test_the_noise_is_standard_normal():
    data = Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=3000)
    noise = RandomFeaturePropagation(31, 1)(data).random_feature_propagation[:, :31].double().numpy()
    assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert abs((noise[1:] * noise[:-1]).mean()) < 5 / noise[1:].size ** 0.5, "rows are independent"
    assert np.abs(np.cov(noise.T) - np.eye(31)).max() < 6 * (2 / 3000) ** 0.5, "columns are independent"


@pytest.mark.parametrize("normalize", ["l2", "qr"])
@few
@given(graphs=st.lists(undirected(), min_size=1, max_size=4))
def test_a_batch_gives_the_bits_of_its_graphs_one_by_one(normalize: str, graphs: list[Any]):
    for data in graphs:
        if "edge_weight" not in data:
            data.edge_weight = torch.ones(data.num_edges, dtype=torch.float64)
    transform = RandomFeaturePropagation(4, 3, normalize=normalize, num_draws=2)
    batch = transform(Batch.from_data_list(graphs))
    for single, data in zip(batch.to_data_list(), graphs, strict=True):
        assert torch.equal(single.random_feature_propagation, transform(data).random_feature_propagation)


def test_different_graphs_have_different_noise_and_the_order_of_edges_does_not_matter():
    transform = RandomFeaturePropagation(5, 1)
    path, cycle = data_of(nx.path_graph(6)), data_of(nx.cycle_graph(6))
    first = transform(path).random_feature_propagation
    assert not torch.equal(first[:, :5], transform(cycle).random_feature_propagation[:, :5])
    other = Data(edge_index=path.edge_index.flip(1), num_nodes=6)
    assert torch.equal(first, transform(other).random_feature_propagation)
    larger = Data(edge_index=path.edge_index, num_nodes=7)
    assert not torch.equal(first, transform(larger).random_feature_propagation[:6])


def test_seeds_and_draws():
    data = data_of(nx.path_graph(6))

    def features(**settings: Any) -> torch.Tensor:
        return RandomFeaturePropagation(3, 2, **settings)(data).random_feature_propagation

    assert torch.equal(features(), features(seed=0))
    assert not torch.equal(features(), features(seed=1))
    draws = features(num_draws=4, normalize="qr")
    assert draws.shape == (6, 4, 9)
    assert len({tuple(draws[:, draw].flatten().tolist()) for draw in range(4)}) == 4
    assert torch.equal(features(include_initial=False), features()[:, 3:])
    torch.manual_seed(7)
    fresh = [features(seed=None) for _ in range(2)]
    assert not torch.equal(fresh[0], fresh[1])
    torch.manual_seed(7)
    assert torch.equal(features(seed=None), fresh[0])
    assert torch.isfinite(features(seed=-(2**70))).all()


def test_each_draw_is_orthonormalised_by_itself():
    data = data_of(nx.karate_club_graph())
    draws = RandomFeaturePropagation(4, 2, normalize="qr", num_draws=3)(data).random_feature_propagation
    for draw in draws.double().unbind(1):
        last = draw[:, -4:]
        torch.testing.assert_close(last.T @ last, torch.eye(4, dtype=torch.float64), atol=1e-5, rtol=0)


def test_columns_beyond_the_rank_are_zero():
    data = data_of(nx.complete_bipartite_graph(2, 3))  # of rank 2
    _, first, second = steps_of(RandomFeaturePropagation(7, 2, normalize="qr"), data)
    for x in (first, second):
        np.testing.assert_allclose(np.linalg.norm(x, axis=0), [1, 1, 0, 0, 0, 0, 0], atol=1e-6)
        assert not x[:, 2:].any()
    few_nodes = steps_of(
        RandomFeaturePropagation(5, 1, operator="self_loops", normalize="qr"), data_of(nx.path_graph(2))
    )
    np.testing.assert_allclose(np.linalg.norm(few_nodes[1], axis=0), [1, 0, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("normalize", ["l2", "qr", None])
@pytest.mark.parametrize("operator", ["adjacency", "self_loops", "laplacian", "walk"])
def test_graphs_without_edges_and_without_nodes(operator: str, normalize: str | None):
    transform = RandomFeaturePropagation(3, 2, operator=operator, normalize=normalize)
    for size in (0, 1, 4):
        out = transform(Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=size))
        assert out.random_feature_propagation.shape == (size, 9)
        assert out.random_feature_propagation.isfinite().all()
        assert bool(out.random_feature_propagation[:, 3:].any()) == (operator == "self_loops" and size > 0)


def test_directed_graphs_are_for_walks_only():
    data = Data(edge_index=torch.tensor([[0, 1, 0], [1, 2, 2]]), num_nodes=3)
    initial, first, second = steps_of(RandomFeaturePropagation(4, 2, operator="walk", normalize=None), data)
    np.testing.assert_allclose(first, [initial[1:].mean(0), initial[2], np.zeros(4)], atol=1e-6)
    np.testing.assert_allclose(second, [initial[2] / 2, np.zeros(4), np.zeros(4)], atol=1e-6)
    with pytest.raises(DataError, match="undirected graph, but the edges 0 -> 1 weigh 1"):
        RandomFeaturePropagation(4, 2)(data)


def test_the_given_data_stays_and_settings_are_printed():
    data = data_of(nx.path_graph(4))
    data.x = torch.ones(4, 2)
    out = Compose([RandomFeaturePropagation(2, 3, attr_name="rfp"), RandomWalk(3)])(data)
    assert sorted(data.keys()) == ["edge_index", "num_nodes", "x"]
    assert (out.rfp.shape, out.rfp.dtype) == ((4, 8), torch.float32)
    assert repr(RandomFeaturePropagation(2, 3, normalize="qr", seed=None)) == (
        "RandomFeaturePropagation(width=2, steps=3, operator='adjacency', normalize='qr', include_initial=True, "
        "num_draws=1, seed=None, attr_name='random_feature_propagation', weight_attr='edge_weight')"
    )


def test_weights_can_be_left_out():
    data = data_of(weighted(nx.cycle_graph(5)))
    plain = RandomFeaturePropagation(3, 2, weight_attr=None)(data).random_feature_propagation
    assert torch.equal(
        plain, RandomFeaturePropagation(3, 2)(Data(edge_index=data.edge_index, num_nodes=5)).random_feature_propagation
    )
    assert not torch.equal(plain, RandomFeaturePropagation(3, 2)(data).random_feature_propagation)


@pytest.mark.parametrize(
    ("settings_given", "message"),
    [
        ({"width": 0}, "width must be an integer of at least 1"),
        ({"steps": 0}, "steps must be"),
        ({"num_draws": 0}, "num_draws"),
        ({"operator": "attention"}, "operator must be one of adjacency"),
        ({"normalize": "max"}, "normalize must be 'l2', 'qr' or None"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"include_initial": 1}, "include_initial"),
    ],
)
def test_settings_out_of_range_are_named(settings_given: dict[str, Any], message: str):
    arguments: dict[str, Any] = {"width": 2, "steps": 2, **settings_given}
    with pytest.raises(ConfigError, match=message):
        RandomFeaturePropagation(**arguments)


def test_bad_weights_are_named():
    data = data_of(nx.path_graph(3))
    for weight in (-1.0, float("nan")):
        data.edge_weight = torch.tensor([1.0, 1.0, weight, 1.0])
        with pytest.raises(DataError, match="edge 2 has"):
            RandomFeaturePropagation(2, 2)(data)
    data.edge_weight = torch.ones(3)
    with pytest.raises(ShapeError, match="one weight per edge"):
        RandomFeaturePropagation(2, 2)(data)
    with pytest.raises(DataError, match="edge_index, which is missing"):
        RandomFeaturePropagation(2, 2)(Data(num_nodes=3))
