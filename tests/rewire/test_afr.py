"""Rewiring by augmented Forman curvature, against a plain reading of its rules."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.rewire import AFR
from gnnkit.rewire.afr import curvature_bounds
from tests.geometry.undirected import data_of, edge_index_of, edge_set, matrix_of, molecule_like_graph, random_graph

Pair = tuple[int, int]
seeds = st.integers(0, 2**20)
few = settings(max_examples=20, deadline=None, derandomize=True, database=None)


def curvatures(graph: Any, cycles: int) -> dict[Pair, int]:
    a = matrix_of(graph)
    walks = np.linalg.matrix_power(a, 3)
    degree = a.sum(1)
    found = {}
    for u, v in np.argwhere(np.triu(a)).tolist():
        squares = walks[u, v] - degree[u] - degree[v] + 1
        found[u, v] = int(4 - degree[u] - degree[v] + 3 * (a[u] @ a[v]) + (2 * squares if cycles == 4 else 0))
    return found


def rewired(graph: Any, lowest: list[Pair], highest: list[Pair]) -> set[Pair]:
    """The edges after the pass over those that are to be supported and those that are to go."""
    edges = {(min(e), max(e)) for e in graph.edges()}
    neighbours, added = {v: set(graph[v]) for v in graph}, set()
    for u, v in lowest:
        for near, far in ((u, v), (v, u)):
            pairs = [(min(w, far), max(w, far)) for w in sorted(neighbours[near] - neighbours[far] - {far})]
            fresh = [pair for pair in pairs if pair not in added]
            if fresh:
                added.add(fresh[0])
                break
    return (edges - set(highest)) | added


@pytest.mark.parametrize("cycles", [3, 4])
def test_counts_choose_the_lowest_and_the_highest_edges(cycles):
    for seed in range(50):
        graph = random_graph(seed)
        values = curvatures(graph, cycles)
        lowest = sorted(values, key=lambda edge: (values[edge], edge))
        highest = sorted(values, key=lambda edge: (-values[edge], edge))
        for add, remove in ((3, 2), (0, 0), (1, 0), (0, 3), (1000, 1)):
            out = AFR(add=add, remove=remove, cycles=cycles)(data_of(graph))
            assert edge_set(out.edge_index) == rewired(graph, lowest[:add], highest[:remove])


@pytest.mark.parametrize("cycles", [3, 4])
def test_thresholds_choose_the_edges_beyond_them(cycles):
    chosen = 0
    for seed in range(30):
        graph = random_graph(seed)
        values = curvatures(graph, cycles)
        lower, upper = curvature_bounds(torch.tensor(list(values.values()), dtype=torch.float64))
        lowest = [e for e in sorted(values, key=lambda edge: (values[edge], edge)) if values[e] < lower]
        highest = [e for e in values if values[e] > upper]
        chosen += len(lowest) * len(highest)
        out = AFR(cycles=cycles)(data_of(graph))
        assert edge_set(out.edge_index) == rewired(graph, lowest, highest)
    assert chosen > 0


def test_thresholds_of_two_far_clusters_are_those_of_their_moments():
    rng = np.random.default_rng(0)
    parts = [rng.normal(-50, 3, 400), rng.normal(40, 2, 300)]
    found = curvature_bounds(torch.from_numpy(rng.permutation(np.concatenate(parts))))
    (low, s_low), (high, s_high) = [(part.mean(), part.std()) for part in parts]
    assert found == pytest.approx(((s_low * high + s_high * low) / (s_low + s_high), high + s_high), abs=1e-3)
    assert (found[0] - low) / s_low == pytest.approx((high - found[0]) / s_high, rel=1e-3)


def test_thresholds_do_not_depend_on_the_order_of_edges():
    values = torch.tensor([-5.0, 2, -5, 3, 3, -4, 0, 1, 2, 2, -6])
    found = {curvature_bounds(values[torch.randperm(11)]) for _ in range(10)}
    assert len(found) == 1


@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0, 2.0]])
def test_equal_curvatures_have_no_thresholds(values):
    assert curvature_bounds(torch.tensor(values, dtype=torch.float64)) == (-np.inf, np.inf)


@pytest.mark.parametrize("graph", [nx.cycle_graph(8), nx.complete_graph(6), nx.empty_graph(5), nx.empty_graph(0)])
def test_graphs_of_equal_curvature_stay_as_they_are(graph):
    data = data_of(graph)
    out = AFR()(data)
    assert edge_set(out.edge_index) == edge_set(data.edge_index)
    assert out.num_nodes == data.num_nodes


def test_complete_graphs_take_no_edges_whatever_is_asked():
    assert len(edge_set(AFR(add=100, remove=0)(data_of(nx.complete_graph(5))).edge_index)) == 10


def test_nothing_to_remove_removes_nothing():
    """A slice that ends at minus nothing would be the whole list."""
    data = data_of(nx.karate_club_graph())
    out = AFR(add=0, remove=0)(data)
    assert edge_set(out.edge_index) == edge_set(data.edge_index)
    assert int(out.edge_type.sum()) == 0


def test_counts_can_be_fractions():
    data = data_of(nx.cycle_graph(10))
    assert len(edge_set(AFR(add=0.3, remove=0.0)(data).edge_index)) == 13
    assert len(edge_set(AFR(add=0.0, remove=0.5)(data).edge_index)) == 5


def test_bridges_of_a_barbell_are_supported():
    graph = nx.barbell_graph(5, 0)
    out = AFR(add=1, remove=0)(data_of(graph))
    added = edge_set(out.edge_index) - {(min(e), max(e)) for e in graph.edges()}
    assert added == {(0, 5)}  # of the bridge (4, 5), node 5 is joined to the lowest neighbour of node 4


def test_molecule_like_graphs_get_no_self_loops():
    """The authors' code may join an end of an edge to itself."""
    for seed in range(40):
        data = data_of(molecule_like_graph(seed))
        assert len(edge_set(AFR(add=22, remove=0)(data).edge_index)) > 22


@few
@given(seeds)
def test_components_are_never_joined(seed):
    graph = nx.disjoint_union(random_graph(seed, 12), random_graph(seed + 1, 12))
    after = nx.Graph(edge_set(AFR()(data_of(graph)).edge_index))
    after.add_nodes_from(graph)
    parts = list(nx.connected_components(graph))
    assert all(any(part <= whole for whole in parts) for part in nx.connected_components(after))


@few
@given(seeds)
def test_isolated_nodes_in_between_change_nothing(seed):
    edge_index, num_nodes = edge_index_of(random_graph(seed))
    plain: Any = AFR(cycles=4)(Data(edge_index=edge_index, num_nodes=num_nodes))
    spread: Any = AFR(cycles=4)(Data(edge_index=3 * edge_index + 1, num_nodes=3 * num_nodes + 2))
    assert torch.equal(spread.edge_index, 3 * plain.edge_index + 1)


@few
@given(seeds)
def test_relabelled_nodes_have_relabelled_removals(seed):
    """By thresholds, no tie decides which edges go."""
    edge_index, num_nodes = edge_index_of(random_graph(seed))
    label = torch.from_numpy(np.random.default_rng(seed).permutation(num_nodes))
    transform = AFR(add=0)
    before = edge_set(transform(Data(edge_index=edge_index, num_nodes=num_nodes)).edge_index)
    after = edge_set(transform(Data(edge_index=label[edge_index], num_nodes=num_nodes)).edge_index)
    assert after == {tuple(sorted(label[list(pair)].tolist())) for pair in before}


def test_a_batch_is_rewired_graph_by_graph():
    graphs = [data_of(random_graph(seed)) for seed in range(5)]
    batch: Any = AFR()(Batch.from_data_list(graphs))
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        assert torch.equal(single.edge_index, AFR()(graph).edge_index)


def test_prints_its_settings():
    assert repr(AFR(add=4)) == "AFR(add=4, remove=None, cycles=3, edge_fill=None, seed=0)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"add": -1}, "add must not be negative"),
        ({"add": 1.5}, "add as a fraction"),
        ({"remove": "all"}, "remove must be a number"),
        ({"cycles": 5}, "cycles must be 3"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        AFR(**arguments)


def test_directed_graphs_are_named():
    with pytest.raises(DataError, match="the graph is directed"):
        AFR()(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
