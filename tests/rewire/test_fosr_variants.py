"""FoSR on disconnected graphs, across components, and as its authors wrote it."""

import itertools
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from gnnkit.errors import ConfigError
from gnnkit.geometry import spectral_gap, total_resistance
from gnnkit.rewire import GTR, FoSR
from tests.geometry.undirected import molecule_like_graph
from tests.rewire.made_graphs import EDGE_CASES, assert_well_formed, data_of, pairs_of, relabelled, renamed


def chosen_in_order(method: Any, data: Any, count: int, **settings: Any) -> list[tuple[int, int]]:
    """The edges one after the other, each told by asking for one more."""
    found: list[tuple[int, int]] = []
    for number in range(1, count + 1):
        new = pairs_of(method(num_edges=number, **settings)(data), 1) - set(found)
        found += sorted(new)
    return found


def adjacency_of(data: Any) -> np.ndarray:
    out = np.zeros((data.num_nodes, data.num_nodes))
    out[tuple(data.edge_index.numpy())] = 1
    return out


def second(matrix: np.ndarray) -> tuple[float, float, np.ndarray]:
    root = 1 / np.sqrt(matrix.sum(1))
    values, vectors = np.linalg.eigh(root[:, None] * matrix * root)
    return 1 - values[-2], values[-2] - values[-3], vectors[:, -2]


def least_pair(matrix: np.ndarray, x: np.ndarray) -> tuple[int, int]:
    y = x / np.sqrt(1 + matrix.sum(1))
    pairs = [(u, v) for u in range(len(y)) for v in range(u + 1, len(y)) if not matrix[u, v]]
    least = min(y[u] * y[v] for u, v in pairs)
    return next((u, v) for u, v in pairs if y[u] * y[v] <= least + 1e-9 * (y**2).max())


@pytest.mark.parametrize("seed", range(20))
def test_each_edge_goes_into_the_component_with_the_smallest_gap(seed):
    graph = nx.disjoint_union(molecule_like_graph(seed), molecule_like_graph(seed + 50))
    data = data_of(nx.convert_node_labels_to_integers(graph))
    matrices, expected = [adjacency_of(data)[:20, :20], adjacency_of(data)[20:, 20:]], []
    for _ in range(6):
        (gap_a, space_a, x_a), (gap_b, space_b, x_b) = (second(matrix) for matrix in matrices)
        if min(space_a, space_b, abs(gap_a - gap_b)) < 1e-7:
            break  # a matter of choice
        part = int(gap_b < gap_a)
        u, v = least_pair(matrices[part], (x_a, x_b)[part])
        matrices[part][u, v] = matrices[part][v, u] = 1
        expected.append((u + 20 * part, v + 20 * part))
    assert expected
    assert chosen_in_order(FoSR, data, len(expected)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_gtr_takes_the_best_pair_of_all_components(seed):
    graph = nx.disjoint_union_all([molecule_like_graph(seed), nx.path_graph(6 + seed % 5), nx.cycle_graph(8)])
    data = data_of(nx.convert_node_labels_to_integers(graph))
    matrix = adjacency_of(data)
    label = np.repeat([0, 1, 2], [20, 6 + seed % 5, 8])
    for pair in chosen_in_order(GTR, data, 5):
        best = 0.0
        gains = {}
        for part in range(3):
            nodes = np.flatnonzero(label == part)
            block = matrix[np.ix_(nodes, nodes)]
            inverse = np.linalg.pinv(np.diag(block.sum(1)) - block)
            for a in range(len(nodes)):
                for b in range(a + 1, len(nodes)):
                    if not block[a, b]:
                        v = inverse[a] - inverse[b]
                        gains[nodes[a], nodes[b]] = len(nodes) * (v @ v) / (1 + v[a] - v[b])
        best = max(gains.values())
        assert pair == min(key for key, gain in gains.items() if gain >= best * (1 - 1e-9))
        matrix[pair] = matrix[pair[::-1]] = 1


@pytest.mark.parametrize("seed", range(10))
def test_bridging_joins_all_components_with_edges_first(seed):
    sizes = [4, 5, 3 + seed % 4]
    graph = nx.disjoint_union_all([*(nx.path_graph(size) for size in sizes), nx.empty_graph(2)])
    data = data_of(graph)
    label = np.repeat([0, 1, 2, 3, 4], [*sizes, 1, 1])
    joined = chosen_in_order(FoSR, data, 2, allow_bridging=True)
    assert all(label[u] != label[v] and label[v] < 3 for u, v in joined)
    after = nx.Graph(joined)
    assert len({label[node] for node in after}) == 3
    many = FoSR(num_edges=10**6, allow_bridging=True)(data)
    assert len(pairs_of(many)) == data.num_nodes * (data.num_nodes - 1) // 2, "isolated nodes come last, but they come"
    assert_well_formed(data, many)


def test_bridging_a_connected_graph_changes_nothing():
    for seed in range(10):
        data = data_of(molecule_like_graph(seed))
        assert pairs_of(FoSR(num_edges=5, allow_bridging=True)(data)) == pairs_of(FoSR(num_edges=5)(data))


@pytest.mark.parametrize("seed", range(10))
def test_as_the_authors_wrote_it(seed):
    """Five power iterations and one more per edge, with a dense matrix of products."""
    data = data_of(molecule_like_graph(seed))
    matrix = adjacency_of(data)
    x = 2 * torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).numpy() - 1

    def step(x: np.ndarray) -> np.ndarray:
        degree = matrix.sum(1)
        x = x - (x @ np.sqrt(degree)) * np.sqrt(degree) / degree.sum()
        x = x + (matrix @ (x / np.sqrt(degree))) / np.sqrt(degree)
        return x / np.linalg.norm(x)

    for _ in range(5):
        x = step(x)
    expected = set()
    for _ in range(8):
        y = x / np.sqrt(matrix.sum(1) + 1)
        product = np.outer(y, y)
        product[(matrix > 0) | np.eye(20, dtype=bool)] = np.inf
        u, v = np.unravel_index(product.argmin(), product.shape)
        matrix[u, v] = matrix[v, u] = 1
        expected.add((int(u), int(v)))
        x = step(x)
    assert pairs_of(FoSR(num_edges=8, seed=seed, compat="authors")(data), 1) == expected


def test_few_power_iterations_do_worse_than_the_eigenvector():
    data = data_of(nx.path_graph(30))
    gaps = [
        float(spectral_gap(FoSR(num_edges=1, seed=seed, compat="authors")(data).edge_index, 30)) for seed in range(20)
    ]
    untouched = float(spectral_gap(data.edge_index, 30))
    assert min(gaps) < untouched < 0.6 * 0.0219
    assert float(np.mean(gaps)) < 0.015
    assert float(spectral_gap(FoSR(num_edges=1)(data).edge_index, 30)) == pytest.approx(0.0219, abs=1e-4)


@pytest.mark.parametrize("method", [FoSR(num_edges=7), FoSR(num_edges=7, compat="authors"), GTR(num_edges=7)])
@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases_stay_well_formed(name, method):
    data = data_of(EDGE_CASES[name])
    out = method(data)
    assert_well_formed(data, out)
    if method.settings().get("compat") is None:
        label = {node: part for part, nodes in enumerate(nx.connected_components(EDGE_CASES[name])) for node in nodes}
        order = list(EDGE_CASES[name])
        assert all(label[order[u]] == label[order[v]] for u, v in pairs_of(out))


def test_an_isolated_node_amid_the_others_gives_no_nan():
    graph = nx.path_graph(9)
    graph.remove_node(4)
    graph.add_node(4)
    data = data_of(nx.relabel_nodes(graph, {node: node for node in sorted(graph)}))
    for settings in ({}, {"compat": "authors"}, {"allow_bridging": True}):
        found = pairs_of(FoSR(num_edges=2, **settings)(data), 1)
        assert len(found) == 2
        assert not any({u, v} & {list(graph).index(4)} for u, v in found)


@pytest.mark.parametrize("method", [FoSR, GTR])
def test_relabelling_moves_the_edges_along(method):
    moved_at_all = 0
    for seed in range(12):
        data = data_of(molecule_like_graph(seed))
        if method is FoSR and second(adjacency_of(data))[1] < 1e-6:
            continue
        number = torch.from_numpy(np.random.default_rng(seed).permutation(20))
        found = pairs_of(method(num_edges=1)(relabelled(data, number)), 1)
        wanted = renamed(pairs_of(method(num_edges=1)(data), 1), number)
        if found != wanted:  # a tie, broken by the lowest index
            after = [data_of(nx.Graph([*pairs_of(relabelled(data, number)), *pairs])) for pairs in (found, wanted)]
            measure = spectral_gap if method is FoSR else total_resistance
            values = [float(measure(one.edge_index, 20)) for one in after]
            assert values[0] == pytest.approx(values[1], rel=1e-9)
        moved_at_all += 1
    assert moved_at_all >= 8


def test_total_resistance_falls_and_counts_are_kept():
    data = data_of(molecule_like_graph(3))
    values = [float(total_resistance(GTR(num_edges=count)(data).edge_index, 20)) for count in range(12)]
    assert all(after < before for before, after in itertools.pairwise(values))
    assert len(pairs_of(GTR(num_edges=0.5)(data), 1)) == 11
    assert len(pairs_of(FoSR(num_edges=0.25)(data), 1)) == 6
    assert GTR(num_edges=0)(data).edge_index.size(1) == data.edge_index.size(1)


def test_gtr_starts_from_exact_matrices_again_and_again():
    """More edges than one inverse serves: the last of them are still those of the definition."""
    graph = nx.connected_watts_strogatz_graph(40, 4, 0.3, seed=1)
    data = data_of(graph)
    before, after = GTR(num_edges=300)(data), GTR(num_edges=301)(data)
    (last,) = pairs_of(after) - pairs_of(before)
    matrix = adjacency_of(before)
    inverse = np.linalg.pinv(np.diag(matrix.sum(1)) - matrix)
    gains = {}
    for u in range(40):
        for v in range(u + 1, 40):
            if not matrix[u, v]:
                w = inverse[u] - inverse[v]
                gains[u, v] = (w @ w) / (1 + w[u] - w[v])
    assert gains[last] == pytest.approx(max(gains.values()), rel=1e-8)


def test_gtr_refuses_components_whose_matrices_would_not_fit(monkeypatch):
    import importlib

    monkeypatch.setattr(importlib.import_module("gnnkit.rewire.gtr"), "_LARGEST", 10)
    with pytest.raises(ValueError, match="up to 10 nodes, but one has 11; FoSR"):
        GTR(num_edges=1)(data_of(nx.path_graph(11)))
    complete = data_of(nx.complete_graph(11))
    assert GTR(num_edges=1)(complete).edge_index.size(1) == 110, "complete components need none"


def test_attributes_are_filled_and_batches_come_apart():
    graphs = []
    for seed in range(3):
        data = data_of(molecule_like_graph(seed), x=torch.ones(20, 2))
        data.edge_attr = torch.full((44, 2), float(seed + 1))
        graphs.append(data)
    for method in (FoSR(num_edges=4, edge_fill="mean"), GTR(num_edges=4, edge_fill="mean")):
        batch: Any = method(Batch.from_data_list(graphs))
        for seed, (single, graph) in enumerate(zip(batch.to_data_list(), graphs, strict=True)):
            assert torch.equal(single.edge_index, method(graph).edge_index)
            assert bool((single.edge_attr == seed + 1).all())
            assert int(single.edge_type.sum()) == 8


def test_settings_are_printed_and_checked():
    assert repr(GTR(num_edges=3)) == "GTR(num_edges=3, edge_fill=None, seed=0)"
    shown = "FoSR(num_edges=0.5, allow_bridging=True, edge_fill=None, seed=0, compat=None)"
    assert repr(FoSR(num_edges=0.5, allow_bridging=True)) == shown
    with pytest.raises(ConfigError, match="allow_bridging"):
        FoSR(num_edges=1, allow_bridging=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="fraction"):
        GTR(num_edges=1.5)
