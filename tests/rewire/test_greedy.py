"""FoSR and GTR against their definitions, computed anew from dense matrices for every edge that is added."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnnkit.errors import ConfigError
from gnnkit.rewire import GTR, FoSR, SpectralSparsify


def as_data(graph: nx.Graph) -> Any:
    nodes = sorted(graph)
    place = {node: number for number, node in enumerate(nodes)}
    pairs = [(place[u], place[v]) for u, v in graph.edges]
    edges = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return Data(edge_index=torch.cat([edges, edges.flip(0)], dim=1), num_nodes=len(nodes))


def matrix(data: Any) -> np.ndarray:
    out = np.zeros((data.num_nodes, data.num_nodes))
    out[tuple(data.edge_index.numpy())] = 1
    return out


def connected(seed: int) -> nx.Graph:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(5, 16))
    graph = nx.gnm_random_graph(size, int(rng.integers(size, 2 * size)), seed=seed)
    return nx.convert_node_labels_to_integers(
        graph.subgraph(max(nx.connected_components(graph), key=len)), ordering="sorted"
    )


def added(data: Any, out: Any) -> set[tuple[int, int]]:
    before = set(zip(*data.edge_index.tolist(), strict=True))
    after = list(zip(*out.edge_index.tolist(), strict=True))
    assert len(after) == len(set(after)), "no duplicates"
    assert {(v, u) for u, v in after if u != v} == set(after)
    assert before <= set(after)
    marked = {pair for pair, kind in zip(after, out.edge_type.tolist(), strict=True) if kind == 1}
    assert marked == set(after) - before
    return {(u, v) for u, v in marked if u < v}


def resistance_gain(adjacency: np.ndarray) -> np.ndarray:
    size = len(adjacency)
    inverse = np.linalg.pinv(np.diag(adjacency.sum(1)) - adjacency, hermitian=True)
    square = inverse @ inverse
    resistance = np.diag(inverse)[:, None] + np.diag(inverse) - 2 * inverse
    spread = np.diag(square)[:, None] + np.diag(square) - 2 * square
    return size * spread / (1 + resistance)


def total_resistance(adjacency: np.ndarray) -> float:
    eigenvalues = np.linalg.eigvalsh(np.diag(adjacency.sum(1)) - adjacency)
    return len(adjacency) * float((1 / eigenvalues[1:]).sum())


def gap(adjacency: np.ndarray) -> float:
    root = 1 / np.sqrt(adjacency.sum(1))
    return 1 - float(np.linalg.eigvalsh(root[:, None] * adjacency * root)[-2])


def first(score: np.ndarray, adjacency: np.ndarray, tolerance: float) -> tuple[int, int] | None:
    """The lowest pair without an edge whose score is the smallest."""
    pairs = [(u, v) for u in range(len(score)) for v in range(u + 1, len(score)) if adjacency[u, v] == 0]
    if not pairs:
        return None
    least = min(score[pair] for pair in pairs)
    return next(pair for pair in pairs if score[pair] <= least + tolerance)


@pytest.mark.parametrize("seed", range(100))
def test_gtr_equals_its_definition_edge_by_edge(seed: int):
    data = as_data(connected(seed))
    adjacency, expected = matrix(data), set()
    for count in range(1, 6):
        gain = resistance_gain(adjacency)
        pair = first(-gain, adjacency, 1e-9 * gain.max())
        if pair is not None:
            before = total_resistance(adjacency)
            adjacency[pair] = adjacency[pair[::-1]] = 1
            expected.add(pair)
            assert total_resistance(adjacency) == pytest.approx(before - gain[pair], rel=1e-9)
        assert added(data, GTR(num_edges=count)(data)) == expected


@pytest.mark.parametrize("seed", range(100))
def test_fosr_equals_its_definition_edge_by_edge(seed: int):
    data = as_data(connected(seed))
    adjacency, expected = matrix(data), set()
    for count in range(1, 6):
        degree = adjacency.sum(1)
        root = 1 / np.sqrt(degree)
        values, vectors = np.linalg.eigh(root[:, None] * adjacency * root)
        if values[-2] - values[-3] < 1e-8:
            return  # the eigenvector is a matter of choice
        y = vectors[:, -2] / np.sqrt(1 + degree)
        pair = first(np.outer(y, y), adjacency, 1e-9 * float((y**2).max()))
        if pair is not None:
            adjacency[pair] = adjacency[pair[::-1]] = 1
            expected.add(pair)
        assert added(data, FoSR(num_edges=count)(data)) == expected


def test_edges_of_the_path_are_those_known():
    path = as_data(nx.path_graph(10))
    for transform in (GTR(num_edges=1), FoSR(num_edges=1)):
        assert added(path, transform(path)) == {(1, 8)}
    assert total_resistance(matrix(path)) == pytest.approx(165)
    assert total_resistance(matrix(GTR(num_edges=1)(path))) == pytest.approx(81.875)
    assert gap(matrix(path)) == pytest.approx(0.06031, abs=1e-5)
    assert gap(matrix(FoSR(num_edges=1)(path))) == pytest.approx(0.20867, abs=1e-5)


def test_the_eigenvector_has_converged_on_a_long_path():
    """Five power iterations, as in the authors' code, reach .0123 on average, and less than nothing at worst."""
    assert gap(matrix(FoSR(num_edges=1)(as_data(nx.path_graph(30))))) == pytest.approx(0.0219, abs=1e-4)


@pytest.mark.parametrize("method", [GTR, FoSR])
@pytest.mark.parametrize(
    "graph",
    [nx.complete_graph(5), nx.empty_graph(4), nx.empty_graph(0), nx.disjoint_union_all([nx.complete_graph(3)] * 2)],
)
def test_nothing_is_added_where_components_are_complete(method: Any, graph: nx.Graph):
    data = as_data(graph)
    assert added(data, method(num_edges=3)(data)) == set()


@pytest.mark.parametrize("method", [GTR, FoSR])
def test_isolated_nodes_and_components_stay_apart(method: Any):
    graph = nx.disjoint_union_all([nx.path_graph(5), nx.empty_graph(1), nx.cycle_graph(6)])
    data = as_data(graph)
    label = np.repeat([0, 1, 2], [5, 1, 6])
    found = added(data, method(num_edges=100)(data))
    assert len(found) == (10 - 4) + (15 - 6)
    assert all(label[u] == label[v] for u, v in found)


def test_bridging_joins_components_where_asked_for():
    data = as_data(nx.disjoint_union(nx.path_graph(4), nx.cycle_graph(5)))
    (pair,) = added(data, FoSR(num_edges=1, allow_bridging=True)(data))
    assert (pair[0] < 4) != (pair[1] < 4)


def test_counts_that_are_none_are_refused():
    for method in (GTR, FoSR):
        with pytest.raises(ConfigError):
            method(num_edges=-1)
    with pytest.raises(ConfigError, match="compat"):
        FoSR(num_edges=1, compat="paper")


def test_a_sparsifier_keeps_quadratic_forms():
    graph = nx.complete_graph(60)
    data = as_data(graph)
    out = SpectralSparsify(epsilon=0.5, seed=1)(data)
    before = np.diag(matrix(data).sum(1)) - matrix(data)
    weights = np.zeros((60, 60))
    weights[tuple(out.edge_index.numpy())] = out.edge_weight.double().numpy()
    np.testing.assert_allclose(weights, weights.T)
    after = np.diag(weights.sum(1)) - weights
    ratio = np.linalg.eigvalsh(after)[1:] / 60
    assert before[0, 0] == 59
    assert 0.5 <= ratio.min() <= ratio.max() <= 1.5
    again = SpectralSparsify(epsilon=0.5, seed=1)(data)
    assert torch.equal(out.edge_index, again.edge_index)
    assert torch.equal(out.edge_weight, again.edge_weight)
