"""Batch Ollivier-Ricci flow against its definition, with a linear program for every pair of nodes."""

import math
from fractions import Fraction
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch_geometric.data import Batch, Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.rewire import BORF
from tests.geometry.undirected import data_of, edge_index_of, edge_set, molecule_like_graph, random_graph
from tests.ops.kernels import needs_kernels

Pair = tuple[int, int]
seeds = st.integers(0, 2**20)
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


class Transport:
    """Of one edge: masses that have to move, in units of which each walk has a whole number."""

    def __init__(self, graph: Any, u: int, v: int, distance: dict):
        self.units = math.lcm(graph.degree[u], graph.degree[v])
        net = dict.fromkeys(set(graph[u]) | set(graph[v]), 0)
        for node in graph[u]:
            net[node] += self.units // graph.degree[u]
        for node in graph[v]:
            net[node] -= self.units // graph.degree[v]
        self.sources = sorted(node for node in net if net[node] > 0)
        self.targets = sorted(node for node in net if net[node] < 0)
        self.has, self.wants = [net[s] for s in self.sources], [-net[t] for t in self.targets]
        self.cost = np.array([[distance[s][t] for t in self.targets] for s in self.sources])
        rows, columns = len(self.sources), len(self.targets)
        self.sums = np.vstack([np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))])
        self.least = self.solve(self.cost)
        self.curvature = Fraction(self.units - self.least, self.units)

    def solve(self, objective: np.ndarray, **bound: Any) -> int:
        found = linprog(objective.ravel(), A_eq=self.sums, b_eq=[*self.has, *self.wants], **bound)
        assert abs(found.fun - round(found.fun)) < 1e-6, "the corners of the polytope are whole"
        return round(found.fun)

    def widest(self) -> list[Pair]:
        """All pairs that reach the largest value, in order."""
        best, pairs = 1, []
        for i, j in np.ndindex(self.cost.shape):
            if self.cost[i, j] * min(self.has[i], self.wants[j]) < best:
                continue
            objective = np.zeros(self.cost.shape)
            objective[i, j] = -1
            mass = -self.solve(objective, A_ub=self.cost.reshape(1, -1), b_ub=[self.least + 1e-7])
            if self.cost[i, j] * mass > best:
                best, pairs = self.cost[i, j] * mass, []
            if self.cost[i, j] * mass == best:
                pairs.append((self.sources[i], self.targets[j]))
        return pairs


def transports(graph: Any) -> dict[Pair, Transport]:
    distance = dict(nx.all_pairs_shortest_path_length(graph))
    return {edge: Transport(graph, *edge, distance) for edge in sorted(tuple(sorted(edge)) for edge in graph.edges())}


def by_definition(graph: Any, batches: int, add: int, remove: int) -> set[Pair]:
    graph = nx.Graph(graph)
    for _ in range(batches):
        transport = transports(graph)
        lowest = sorted(transport, key=lambda edge: (transport[edge].curvature, edge))[:add]
        highest = sorted(transport, key=lambda edge: (-transport[edge].curvature, edge))[:remove]
        pairs = [transport[edge].widest()[0] for edge in lowest]
        graph.add_edges_from(pairs)
        graph.remove_edges_from(highest)
    return {(min(edge), max(edge)) for edge in graph.edges()}


def rewired(graph: Any, batches: int, add: float, remove: float) -> set[Pair]:
    return edge_set(BORF(num_batches=batches, add=add, remove=remove)(data_of(graph)).edge_index)


@pytest.mark.parametrize("block", range(10))
def test_equals_its_definition_edge_by_edge(block: int):
    for seed in range(10 * block, 10 * block + 10):
        graph = random_graph(seed, 14)
        settings = (1 + seed % 3, 1 + seed % 2, seed % 4 % 3)
        assert rewired(graph, *settings) == by_definition(graph, *settings), seed


def test_equals_its_definition_on_molecules():
    for seed in range(3):
        graph = molecule_like_graph(seed)
        assert rewired(graph, 2, 3, 1) == by_definition(graph, 2, 3, 1)


@needs_kernels
@pytest.mark.parametrize("seed", range(10))
def test_what_is_not_measured_again_has_not_changed(seed: int):
    """Several batches in one call, against calls of one batch, each of which measures every edge."""
    graphs = [nx.gnm_random_graph(60, 150, seed=seed), nx.barabasi_albert_graph(80, 2, seed=seed)]
    for graph in [*graphs, nx.connected_caveman_graph(6, 5), nx.random_geometric_graph(60, 0.2, seed=seed)]:
        read = SimpleGraph.from_edge_index(*edge_index_of(graph))
        ends = read.ends
        for _ in range(6):
            ends = torch.ops.gnnkit.borf(ends, read.num_nodes, 1, 4, 2)
        assert torch.equal(torch.ops.gnnkit.borf(read.ends, read.num_nodes, 6, 4, 2), ends)


@pytest.mark.parametrize("add", [0, 1, 3])
def test_keeps_all_edges_when_it_is_to_remove_none(add: int):
    """The authors' code takes the last 0 edges of a list, which are all of them."""
    for seed in range(8):
        graph = random_graph(seed, 14)
        before = edge_set(edge_index_of(graph)[0])
        after = rewired(graph, 2, add, 0)
        assert before <= after
        assert len(after) <= len(before) + 2 * add


def test_a_bridge_between_cliques_gets_a_second_way_across():
    data = data_of(nx.barbell_graph(5, 0))
    out = BORF(num_batches=1, add=1, remove=1)(data)
    (added,) = edge_set(out.edge_index[:, out.edge_type == 1])
    assert added == (0, 6), "the smallest pair across, three edges apart"
    removed = edge_set(data.edge_index) - edge_set(out.edge_index)
    assert removed == {(0, 1)}, "the first of the edges of curvature 3/4"


def test_the_result_is_symmetric_and_marks_what_was_added():
    """The authors' code counts directed edges, and removes one direction of them."""
    for seed in range(8):
        graph = random_graph(seed, 16)
        data = data_of(graph)
        out = BORF(num_batches=2, add=2, remove=2)(data)
        before, after = edge_set(data.edge_index), edge_set(out.edge_index)
        added = out.edge_index[:, out.edge_type == 1]
        assert edge_set(added) == after - before
        assert edge_set(out.edge_index[:, out.edge_type == 0]) == after & before
        key = out.edge_index[0] * out.num_nodes + out.edge_index[1]
        assert bool((key.diff() > 0).all())


def test_added_edges_join_nodes_two_or_three_steps_apart():
    for seed in range(10):
        graph = random_graph(seed, 20)
        distance = dict(nx.all_pairs_shortest_path_length(graph))
        for u, v in rewired(graph, 1, 3, 0) - edge_set(edge_index_of(graph)[0]):
            assert distance[u][v] in (2, 3)


@few
@given(seeds, st.integers(1, 4), st.integers(0, 3))
def test_components_are_never_joined_and_isolated_nodes_stay(seed: int, add: int, remove: int):
    graph = nx.disjoint_union(random_graph(seed, 9), nx.disjoint_union(nx.empty_graph(2), random_graph(seed + 1, 9)))
    component = {node: place for place, part in enumerate(nx.connected_components(graph)) for node in part}
    out = BORF(num_batches=3, add=add, remove=remove)(data_of(graph))
    assert out.num_nodes == graph.number_of_nodes()
    assert all(component[u] == component[v] for u, v in edge_set(out.edge_index))


@few
@given(seeds)
def test_numbers_of_nodes_matter_by_their_order_alone(seed: int):
    graph = random_graph(seed, 14)
    spread = np.sort(np.random.default_rng(seed).choice(40, graph.number_of_nodes(), replace=False)).tolist()
    data = data_of(graph)
    wide = Data(edge_index=torch.tensor(spread)[data.edge_index], num_nodes=40)
    flow = BORF(num_batches=2, add=2, remove=1)
    renamed = {(spread[u], spread[v]) for u, v in edge_set(flow(data).edge_index)}
    assert edge_set(flow(wide).edge_index) == renamed


@pytest.mark.parametrize("seed", [31, 33, 111, 151, 177, 285, 289, 323, 359, 453])
def test_numbers_of_nodes_do_not_matter_where_nothing_is_tied(seed: int):
    graph = random_graph(seed, 14)
    transport = transports(graph)
    values = sorted(problem.curvature for problem in transport.values())
    lowest = min(transport.values(), key=lambda problem: problem.curvature)
    assert values[0] < values[1]
    assert values[-2] < values[-1]
    assert len(lowest.widest()) == 1
    order = np.random.default_rng(seed).permutation(graph.number_of_nodes()).tolist()
    expected = {tuple(sorted((order[u], order[v]))) for u, v in rewired(graph, 1, 1, 1)}
    assert len(expected) == graph.number_of_edges(), "one is added, one removed"
    assert rewired(nx.relabel_nodes(graph, dict(enumerate(order))), 1, 1, 1) == expected


@pytest.mark.parametrize("graph", [nx.path_graph(2), nx.star_graph(5), nx.complete_graph(5), nx.cycle_graph(4)])
def test_it_ends_when_all_edges_are_gone(graph: Any):
    assert rewired(graph, 50, 0, 1) == set()
    assert rewired(graph, 50, 0, 100) == set()
    out = BORF(num_batches=5, add=100, remove=100)(data_of(graph))
    assert out.num_nodes == graph.number_of_nodes()
    edge_set(out.edge_index)


def test_complete_graphs_gain_nothing():
    for n in (2, 3, 6):
        assert rewired(nx.complete_graph(n), 3, 5, 0) == edge_set(edge_index_of(nx.complete_graph(n))[0])


@pytest.mark.parametrize("num_nodes", [0, 1, 4])
def test_graphs_without_edges_stay_as_they_are(num_nodes: int):
    out = BORF(add=0.5)(Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes))
    assert out.edge_index.shape == (2, 0)
    assert out.num_nodes == num_nodes


def test_fractions_are_of_the_edges_of_the_graph():
    graph = nx.gnm_random_graph(12, 20, seed=1)
    assert rewired(graph, 2, 0.1, 0.05) == rewired(graph, 2, 2, 1)
    assert rewired(graph, 1, 0.0, 1.0) == set()


def test_no_batches_or_nothing_to_do_change_nothing():
    graph = nx.karate_club_graph()
    before = edge_set(edge_index_of(graph)[0])
    assert rewired(graph, 0, 3, 3) == before
    assert rewired(graph, 3, 0, 0) == before


def test_attributes_and_self_loops_are_kept():
    data = data_of(nx.barbell_graph(4, 0))
    data.edge_index = torch.cat([data.edge_index, torch.tensor([[2], [2]])], 1)
    data.edge_attr = torch.arange(data.edge_index.size(1)).float().unsqueeze(1) + 1
    data.x = torch.arange(8.0)
    out = BORF(num_batches=1, add=1, remove=1, edge_fill=-1.0)(data)
    attributes = {tuple(edge): float(row) for edge, row in zip(data.edge_index.T.tolist(), data.edge_attr, strict=True)}
    for edge, row, kind in zip(out.edge_index.T.tolist(), out.edge_attr, out.edge_type, strict=True):
        assert float(row) == (-1.0 if kind else attributes[tuple(edge)])
    assert [2, 2] in out.edge_index.T.tolist()
    assert torch.equal(out.x, data.x)
    assert "edge_type" not in data


def test_a_batch_is_rewired_graph_by_graph():
    graphs = [data_of(random_graph(seed, 12)) for seed in range(4)]
    flow = BORF(num_batches=2, add=2, remove=1)
    for one, alone in zip(flow(Batch.from_data_list(graphs)).to_data_list(), graphs, strict=True):
        assert torch.equal(one.edge_index, flow(alone).edge_index)


@needs_kernels
def test_the_same_edges_for_any_number_of_threads():
    read = SimpleGraph.from_edge_index(*edge_index_of(nx.gnm_random_graph(60, 300, seed=0)))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(torch.ops.gnnkit.borf(read.ends, read.num_nodes, 2, 5, 5))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


def test_prints_its_settings():
    assert repr(BORF(add=0.1, remove=0)) == "BORF(num_batches=3, add=0.1, remove=0, edge_fill=None, seed=0)"


def test_bad_settings_and_graphs_are_named():
    with pytest.raises(ConfigError, match="num_batches must not be negative, got -1"):
        BORF(num_batches=-1)
    with pytest.raises(ConfigError, match="add as a fraction"):
        BORF(add=1.5)
    with pytest.raises(ConfigError, match="remove must not be negative"):
        BORF(remove=-2)
    with pytest.raises(ConfigError, match="add must be a number of edges"):
        BORF(add="all")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="directed"):
        BORF()(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    with pytest.raises(DataError, match="edge_index, which is missing"):
        BORF()(Data(x=torch.ones(3, 1)))
