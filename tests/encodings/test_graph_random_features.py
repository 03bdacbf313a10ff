"""Random features of graph kernels against matrix functions, and against all walks one by one."""

from collections.abc import Iterator
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from gnnkit.encodings import GraphRandomFeatures, SparseGraphRandomFeatures
from gnnkit.errors import ConfigError, DataError, ShapeError
from tests.encodings.random_data import data_of, normalised, undirected, weighted

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
NAME = "graph_random_features"

KERNELS: dict[str, tuple[dict[str, Any], Any]] = {
    "diffusion": ({"kernel": "diffusion", "scale": 1.5}, lambda lap: scipy.linalg.expm(-1.5 * lap)),
    "half_diffusion": ({"scale": 1.5, "power": 0.5}, lambda lap: scipy.linalg.expm(-0.75 * lap)),
    "regularized": ({"kernel": "regularized_laplacian", "scale": 0.8}, lambda lap: _inverse(lap, 0.8)),
    "regularized_2": (
        {"kernel": "regularized_laplacian", "scale": 0.8, "power": 2},
        lambda lap: _inverse(lap, 0.8) @ _inverse(lap, 0.8),
    ),
    "random_walk_1": ({"kernel": "random_walk", "scale": 3.0}, lambda lap: 3 * np.eye(len(lap)) - lap),
    "random_walk_4": (
        {"kernel": "random_walk", "scale": 2.0, "power": 4},
        lambda lap: np.linalg.matrix_power(2 * np.eye(len(lap)) - lap, 4),
    ),
    "inverse_cosine": ({"kernel": "inverse_cosine"}, lambda lap: scipy.linalg.cosm(np.pi / 4 * lap)),
    "coefficients": (
        {"kernel": (1.0, 0.4, 0.2)},
        lambda lap: np.eye(len(lap)) + 0.4 * (np.eye(len(lap)) - lap) + 0.2 * _square(np.eye(len(lap)) - lap),
    ),
}
every_kernel = pytest.mark.parametrize("name", KERNELS)


def _inverse(lap: np.ndarray, scale: float) -> np.ndarray:
    return np.linalg.inv(np.eye(len(lap)) + scale * lap)


def _square(matrix: np.ndarray) -> np.ndarray:
    return matrix @ matrix


def dense(data: Any, attr: str = NAME) -> np.ndarray:
    matrix = np.zeros((data.num_nodes, data.num_nodes))
    matrix[tuple(data[attr + "_index"].numpy())] = data[attr + "_value"].double().numpy()
    return matrix


def expected_features(data: Any, transform: SparseGraphRandomFeatures) -> np.ndarray:
    matrix, out = normalised(data), np.zeros((data.num_nodes,) * 2)
    power = np.eye(data.num_nodes)
    for value in transform.modulation():
        out += value * power
        power = power @ matrix
    return out


def all_walks(data: Any, transform: SparseGraphRandomFeatures, start: int) -> Iterator[tuple[float, np.ndarray]]:
    """Every complete walk from a node: its probability, and what it adds to the features."""
    size, modulation, halting = data.num_nodes, transform.modulation(), transform.halting
    weight = np.zeros((size, size))
    np.add.at(weight, tuple(data.edge_index.numpy()), data.edge_weight.numpy())
    matrix = normalised(data)
    chance = weight if transform.transition == "weight" else (weight > 0).astype(float)
    total = chance.sum(1, keepdims=True)
    chance = np.divide(chance, total, out=np.zeros_like(chance), where=total > 0)

    def follow(node: int, step: int, probability: float, load: float, added: np.ndarray) -> Iterator[Any]:
        added = added + load * modulation[step] * np.eye(size)[node]
        ends = step == len(modulation) - 1 or not chance[node].any()
        yield probability * (1.0 if ends else halting), added
        for other in () if ends else np.flatnonzero(chance[node]).tolist():
            share = chance[node, other] * (1 - halting)
            yield from follow(other, step + 1, probability * share, load * matrix[node, other] / share, added)

    return follow(start, 0, 1.0, 1.0, np.zeros(size))


SMALL = {
    "weighted_path": weighted(nx.path_graph(4)),
    "paw": weighted(nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)]), seed=1),
    "loop_and_isolated": weighted(nx.Graph([(0, 1), (1, 1), (2, 1)]), seed=2),
}
SMALL["loop_and_isolated"].add_node(3)


@pytest.mark.parametrize("graph", SMALL)
@pytest.mark.parametrize("transition", ["weight", "uniform"])
def test_the_mean_over_all_walks_is_the_series_and_drawn_walks_follow_it(graph: str, transition: str):
    """By enumeration of all walks of up to four steps; drawn ones within six of their exact standard errors."""
    data = data_of(SMALL[graph])
    num_walks = 40_000
    transform = SparseGraphRandomFeatures(
        transition=transition, halting=0.3, max_steps=4, num_walks=num_walks, kernel="regularized_laplacian"
    )
    mean, second = np.zeros((4, 4)), np.zeros((4, 4))
    for start in range(4):
        walks = list(all_walks(data, transform, start))
        assert sum(probability for probability, _ in walks) == pytest.approx(1, abs=1e-12)
        mean[start] = sum(probability * added for probability, added in walks)
        second[start] = sum(probability * added**2 for probability, added in walks)
    np.testing.assert_allclose(mean, expected_features(data, transform), atol=1e-12)
    error = np.sqrt((second - mean**2).clip(min=0) / num_walks)
    found = dense(transform(data))
    assert (np.abs(found - mean) <= 6 * error + 1e-6).all()
    assert np.abs(found - mean).max() > 1e-5, "the features are drawn"


@every_kernel
@pytest.mark.parametrize("graph", [nx.karate_club_graph(), nx.complete_graph(5), nx.path_graph(2), nx.cycle_graph(6)])
def test_the_square_of_the_modulation_is_the_kernel(name: str, graph: Any):
    arguments, function = KERNELS[name]
    transform = SparseGraphRandomFeatures(**arguments, max_steps=60)
    data = data_of(graph)
    kernel = function(np.eye(data.num_nodes) - normalised(data))
    mean = expected_features(data, transform)
    bound = transform.truncation_bound()
    assert np.linalg.norm(mean @ mean.T - kernel, 2) <= bound + 1e-12
    # The square root of the cosine has its singularity at the end of the spectrum, and converges slowly.
    assert bound < (0.01 if name == "inverse_cosine" else 1e-8)
    square = np.convolve(transform.modulation(), transform.modulation())[:61]
    np.testing.assert_allclose(square, transform.coefficients()[: len(square)], atol=1e-14)


def test_coefficients_are_those_of_the_paper():
    """Table 1 of Reid et al.: kernels of the Laplacian as series in the scaled adjacency matrix."""
    rho = 0.8 / 1.8
    r = np.arange(8)
    factorial = scipy.special.factorial(r)
    expected = {
        "diffusion": np.exp(-1.5) * 1.5**r / factorial,
        "regularized": rho**r / 1.8,
        "regularized_2": (r + 1) * rho**r / 1.8**2,
        "random_walk_1": np.array([2, 1] + [0] * 6),
        "random_walk_4": scipy.special.comb(4, r),
        "inverse_cosine": np.sqrt(0.5) * (np.pi / 4) ** r / factorial * np.where(r % 4 < 2, 1, -1),
        "coefficients": np.array([1, 0.4, 0.2] + [0] * 5),
    }
    for name, values in expected.items():
        found = SparseGraphRandomFeatures(**KERNELS[name][0], max_steps=7).coefficients()
        np.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-15)


def estimates(transform: type, data: Any, runs: int, paired: bool, **arguments: Any) -> np.ndarray:
    out = []
    for seed in range(runs):
        found = transform(**arguments, seed=seed, paired=paired)(data)
        if transform is SparseGraphRandomFeatures:
            first, second = dense(found), dense(found, NAME + "_second") if paired else dense(found)
        else:
            first = found[NAME].double().numpy()
            second = found[NAME + "_second"].double().numpy() if paired else first
        out.append(first @ second.T)
    return np.stack(out)


@every_kernel
def test_inner_products_of_two_ensembles_are_unbiased(name: str):
    """Means over 60 seeds within five of their own standard errors, the truncation aside."""
    arguments, function = KERNELS[name]
    data = data_of(weighted(nx.barbell_graph(3, 2)))
    kernel = function(np.eye(8) - normalised(data))
    drawn = estimates(SparseGraphRandomFeatures, data, 60, True, **arguments, num_walks=150)
    bound = SparseGraphRandomFeatures(**arguments).truncation_bound()
    error = drawn.std(0, ddof=1) / 60**0.5
    assert (np.abs(drawn.mean(0) - kernel) < 5 * error + bound + 1e-6).all()
    assert error.max() < 0.1 * np.abs(kernel).max(), "the test must be able to fail"


def test_the_diagonal_of_one_ensemble_is_too_large_by_the_variance():
    data = data_of(weighted(nx.barbell_graph(3, 2)))
    kernel = scipy.linalg.expm(-(np.eye(8) - normalised(data)))
    features = np.stack([dense(SparseGraphRandomFeatures(num_walks=1, seed=seed)(data)) for seed in range(300)])
    excess = features @ features.mT - kernel
    error = excess.std(0, ddof=1) / 300**0.5
    off = ~np.eye(8, dtype=bool)
    assert (np.abs(excess.mean(0)[off]) < 5 * error[off]).all()
    variance = features.var(0, ddof=1).sum(1)
    assert (variance > 5 * error.diagonal()).all()
    assert (np.abs(excess.mean(0).diagonal() - variance) < 5 * error.diagonal()).all()


@pytest.mark.parametrize("width", [1, 40, 130])
def test_projected_features_estimate_the_same_kernel(width: int):
    data = data_of(weighted(nx.barbell_graph(3, 2)))
    kernel = scipy.linalg.expm(-(np.eye(8) - normalised(data)))
    drawn = estimates(GraphRandomFeatures, data, 120, True, width=width, num_walks=100)
    error = drawn.std(0, ddof=1) / 120**0.5
    assert (np.abs(drawn.mean(0) - kernel) < 5 * error + 1e-6).all()
    assert drawn.std() < 2.5 / width**0.5


def test_the_projection_is_that_of_the_sparse_features_by_signs():
    data = data_of(nx.karate_club_graph())
    sparse, projected = dense(SparseGraphRandomFeatures()(data)), GraphRandomFeatures(200)(data)[NAME].double().numpy()
    signs = np.linalg.lstsq(sparse, projected * 200**0.5, rcond=None)[0]
    np.testing.assert_allclose(np.abs(signs), 1, atol=1e-3)
    assert abs(signs.mean()) < 5 / signs.size**0.5
    assert np.abs(signs.T @ signs / 34 - np.eye(200))[~np.eye(200, dtype=bool)].max() < 6 / 34**0.5


def test_the_variance_falls_with_the_number_of_walks():
    data = data_of(nx.barbell_graph(3, 2))
    spread = [
        estimates(SparseGraphRandomFeatures, data, 80, True, num_walks=count).std(0, ddof=1).mean()
        for count in (25, 400)
    ]
    assert spread[0] / spread[1] == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("halting", [0.0, 0.5, 0.9])
def test_any_halting_probability_is_unbiased(halting: float):
    data = data_of(nx.barbell_graph(3, 1))
    kernel = scipy.linalg.expm(-0.5 * (np.eye(7) - normalised(data)))
    drawn = estimates(SparseGraphRandomFeatures, data, 80, True, num_walks=200, halting=halting, scale=0.5)
    error = drawn.std(0, ddof=1) / 80**0.5
    assert (np.abs(drawn.mean(0) - kernel) < 5 * error + 1e-6).all()


def test_coefficients_may_be_of_the_plain_adjacency_matrix():
    data = data_of(weighted(nx.path_graph(4)))
    adjacency = np.zeros((4, 4))
    adjacency[tuple(data.edge_index.numpy())] = data.edge_weight.numpy()
    kernel = np.eye(4) + 0.2 * adjacency + 0.05 * adjacency @ adjacency
    drawn = estimates(
        SparseGraphRandomFeatures,
        data,
        80,
        True,
        kernel=[1, 0.2, 0.05],
        normalization=None,
        num_walks=100,
        max_steps=20,
    )
    error = drawn.std(0, ddof=1) / 80**0.5
    assert (np.abs(drawn.mean(0) - kernel) < 5 * error + 1e-3).all()


@few
@given(graphs=st.lists(undirected(), min_size=1, max_size=4), paired=st.booleans())
def test_a_batch_gives_the_bits_of_its_graphs_one_by_one(graphs: list[Any], paired: bool):
    for data in graphs:
        if "edge_weight" not in data:
            data.edge_weight = torch.ones(data.num_edges, dtype=torch.float64)
    batch = Batch.from_data_list(graphs)
    suffixes = ("", "_second") if paired else ("",)
    narrow, sparse = GraphRandomFeatures(5, paired=paired), SparseGraphRandomFeatures(paired=paired, num_walks=7)
    projected, pairs = narrow(batch).to_data_list(), sparse(batch).to_data_list()
    for data, one, two in zip(graphs, projected, pairs, strict=True):
        for suffix in suffixes:
            assert torch.equal(one[NAME + suffix], narrow(data)[NAME + suffix])
            for part in ("_index", "_value"):
                assert torch.equal(two[NAME + suffix + part], sparse(data)[NAME + suffix + part])
    whole = sparse(batch)
    index = whole[NAME + "_index"]
    assert torch.equal(whole.batch[index[0]], whole.batch[index[1]]), "no walk leaves its graph"


@few
@given(data=undirected())
def test_walks_visit_their_components_and_isolated_nodes_themselves(data: Any):
    transform = SparseGraphRandomFeatures(num_walks=300, halting=0.05, scale=3.0)
    out = transform(data)
    joined = np.linalg.matrix_power(normalised(data) + np.eye(data.num_nodes), max(data.num_nodes, 1)) > 0
    features = dense(out)
    assert not features[~joined].any()
    index = out[NAME + "_index"]
    assert torch.equal(index, index[:, np.lexsort((index[1], index[0]))]), "in ascending order"
    alone = normalised(data).sum(1) == 0
    np.testing.assert_allclose(features[alone][:, alone], np.eye(alone.sum()) * transform.modulation()[0], rtol=1e-6)


def test_several_edges_between_two_nodes_weigh_as_one():
    several = Data(edge_index=torch.tensor([[0, 1, 0, 1, 1, 2], [1, 0, 1, 0, 2, 1]]), num_nodes=3)
    one = Data(
        edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), edge_weight=torch.tensor([2.0, 2, 1, 1]), num_nodes=3
    )
    for transition in ("weight", "uniform"):
        transform = GraphRandomFeatures(6, transition=transition)
        assert torch.equal(transform(several)[NAME], transform(one)[NAME])


def test_without_weights_both_transitions_are_the_same():
    data = data_of(nx.karate_club_graph())
    del data.edge_weight
    found = [SparseGraphRandomFeatures(transition=transition)(data) for transition in ("weight", "uniform")]
    np.testing.assert_allclose(dense(found[0]), dense(found[1]), rtol=1e-5)


def test_seeds():
    data = data_of(nx.path_graph(5))

    def features(**arguments: Any) -> torch.Tensor:
        return GraphRandomFeatures(4, **arguments)(data)[NAME]

    assert torch.equal(features(), features(seed=0))
    assert not torch.equal(features(), features(seed=1))
    torch.manual_seed(3)
    fresh = [features(seed=None) for _ in range(2)]
    assert not torch.equal(*fresh)
    torch.manual_seed(3)
    assert torch.equal(features(seed=None), fresh[0])
    both = GraphRandomFeatures(4, paired=True)(data)
    assert torch.equal(both[NAME], features())
    assert not torch.equal(both[NAME], both[NAME + "_second"])


def test_graphs_without_edges_and_without_nodes():
    for size in (0, 1, 3):
        data = Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=size)
        out = SparseGraphRandomFeatures()(data)
        np.testing.assert_allclose(dense(out), np.eye(size) * np.exp(-0.5), rtol=1e-6)
        narrow = GraphRandomFeatures(3)(data)[NAME]
        assert (narrow.shape, narrow.dtype) == ((size, 3), torch.float32)


def test_no_steps_at_all_leave_the_first_coefficient():
    out = SparseGraphRandomFeatures(max_steps=0)(data_of(nx.cycle_graph(4)))
    np.testing.assert_allclose(dense(out), np.eye(4) * np.exp(-0.5), rtol=1e-6)


def test_the_given_data_stays_and_settings_are_printed():
    data = data_of(nx.path_graph(4))
    out = GraphRandomFeatures(3, attr_name="walks")(data)
    assert sorted(data.keys()) == ["edge_index", "num_nodes"]
    assert "walks" in out
    assert repr(SparseGraphRandomFeatures(kernel=[1, 0.5], seed=3)) == (
        "SparseGraphRandomFeatures(kernel=(1.0, 0.5), scale=1.0, power=1.0, normalization='sym', num_walks=32, "
        "halting=0.1, max_steps=32, transition='weight', paired=False, seed=3, attr_name='graph_random_features', "
        "weight_attr='edge_weight')"
    )
    assert list(GraphRandomFeatures(3).settings())[:2] == ["width", "kernel"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be an integer of at least 1"),
        ({"kernel": "heat"}, "one of diffusion, regularized_laplacian, random_walk, inverse_cosine"),
        ({"kernel": ()}, "sequence of coefficients"),
        ({"kernel": (0.0, 1.0)}, "the first one positive"),
        ({"kernel": (1.0, float("nan"))}, "must be finite"),
        ({"kernel": "random_walk", "scale": 1.5}, "scale must be a finite number of at least 2, got 1.5"),
        ({"scale": 0}, "scale must be a finite number above 0"),
        ({"power": float("inf")}, "power must be a finite number above 0"),
        ({"normalization": "rw"}, "normalization must be 'sym' or None"),
        ({"normalization": None}, "give coefficients for normalization=None"),
        ({"num_walks": 0}, "num_walks must be an integer of at least 1"),
        ({"num_walks": 2**32 + 1}, "at most 2\\^32"),
        ({"halting": 1.0}, "halting must be at least 0 and below 1"),
        ({"halting": float("nan")}, "halting must be"),
        ({"max_steps": -1}, "max_steps"),
        ({"transition": "degree"}, "transition must be 'weight' or 'uniform'"),
        ({"paired": 1}, "paired"),
        ({"seed": "a"}, "seed must be an integer"),
    ],
)
def test_settings_out_of_range_are_named(arguments: dict[str, Any], message: str):
    given_arguments: dict[str, Any] = {"width": 2, **arguments}
    with pytest.raises(ConfigError, match=message):
        GraphRandomFeatures(**given_arguments)


def test_bad_graphs_are_named():
    data = data_of(nx.path_graph(3))
    for weight in (-1.0, float("inf")):
        data.edge_weight = torch.tensor([1.0, 1.0, weight, 1.0])
        with pytest.raises(DataError, match=r"GraphRandomFeatures: data\.edge_weight must be finite"):
            GraphRandomFeatures(2)(data)
    data.edge_weight = torch.ones(5)
    with pytest.raises(ShapeError, match="one weight per edge"):
        GraphRandomFeatures(2)(data)
    with pytest.raises(DataError, match="undirected graph"):
        GraphRandomFeatures(2)(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    heavy = data_of(nx.path_graph(3))
    heavy.edge_weight = torch.full((4,), 1e200, dtype=torch.float64)
    transform = SparseGraphRandomFeatures(kernel=(1.0, 0.5), normalization=None)
    with pytest.raises(DataError, match="overflow; lower max_steps"):
        transform(heavy)
    with pytest.raises(ConfigError, match="depends on the graph"):
        transform.truncation_bound()
