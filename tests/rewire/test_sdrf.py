"""Stochastic discrete Ricci flow, step by step against its definition with everything computed anew."""

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch_geometric.data import Batch, Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.rewire import SDRF
from tests.geometry.test_balanced_forman import by_definition
from tests.geometry.undirected import data_of, edge_index_of, edge_set, matrix_of, molecule_like_graph, random_graph

Pair = tuple[int, int]
seeds = st.integers(0, 2**20)
few = settings(max_examples=20, deadline=None, derandomize=True, database=None)


def gains_around(a: np.ndarray, i: int, j: int) -> dict[Pair, float]:
    """What each edge around (i, j) would add to its curvature."""
    before, gains = by_definition(a, i, j), {}
    for k in np.flatnonzero(a[i] + (np.arange(len(a)) == i)):
        for m in np.flatnonzero(a[j] + (np.arange(len(a)) == j)):
            pair = (int(min(k, m)), int(max(k, m)))
            if k == m or a[pair]:
                continue
            a[k, m] = a[m, k] = 1
            gains.setdefault(pair, by_definition(a, i, j) - before)
            a[k, m] = a[m, k] = 0
    return gains


def lowest_edge(a: np.ndarray) -> Pair:
    return min(np.argwhere(np.triu(a)).tolist(), key=lambda edge: (by_definition(a, *edge), edge))


def flow(graph: Any, num_steps: int, temperature: float, bound: float, uniform: list[float]) -> list[tuple[Pair, Pair]]:
    """Algorithm 1 on an adjacency matrix: what each step adds and removes."""
    a, steps, nothing = matrix_of(graph), [], (-1, -1)
    while len(steps) < num_steps and a.any():
        gains, added, removed = gains_around(a, *lowest_edge(a)), nothing, nothing
        if gains and math.isinf(temperature):
            added = min(gains, key=lambda pair: (-gains[pair], pair))
        elif gains:
            weights = [math.exp(temperature * (gain - max(gains.values()))) for gain in gains.values()]
            total = sum_in_order(weights)[-1]
            place = next(n for n, part in enumerate(sum_in_order(weights)) if part > uniform[len(steps)] * total)
            added = list(gains)[place]
        if added != nothing:
            a[added] = a[added[::-1]] = 1
        others = [tuple(edge) for edge in np.argwhere(np.triu(a)).tolist() if tuple(edge) != added]
        if others and bound < math.inf:
            highest = min(others, key=lambda edge: (-by_definition(a, *edge), edge))
            if by_definition(a, *highest) > bound:
                removed = highest
                a[removed] = a[removed[::-1]] = 0
        if added == removed:
            break
        steps.append((added, removed))
    return steps


def sum_in_order(values: list[float]) -> list[float]:
    sums, total = [], 0.0
    for value in values:
        total += value
        sums.append(total)
    return sums


def simple(graph: Any) -> SimpleGraph:
    return SimpleGraph.from_edge_index(*edge_index_of(graph))


def found_steps(graph: Any, num_steps: int, temperature: float, bound: float, uniform: list[float]) -> Any:
    read = simple(graph)
    draws = torch.tensor(uniform, dtype=torch.float64)
    steps = torch.ops.gnnkit.sdrf(read.rowptr, read.col, num_steps, temperature, bound, draws)
    return [((a, b), (c, d)) for a, b, c, d in steps.tolist()]


def draws_of(seed: int, count: int) -> list[float]:
    return np.random.default_rng(seed).random(count).tolist()


@pytest.mark.parametrize("bound", [math.inf, 0.5, 0.0])
def test_every_step_is_that_of_the_definition(bound):
    for seed in range(100):
        graph = random_graph(seed, most_nodes=25 if seed % 10 == 0 else 14)
        assert found_steps(graph, 4, math.inf, bound, []) == flow(graph, 4, math.inf, bound, [])


@pytest.mark.parametrize("temperature", [0.0, 2.0, 40.0, 1e6])
def test_sampled_steps_are_those_of_the_definition_with_the_same_numbers(temperature):
    for seed in range(25):
        graph, draws = random_graph(seed, most_nodes=14), draws_of(seed, 4)
        assert found_steps(graph, 4, temperature, 0.5, draws) == flow(graph, 4, temperature, 0.5, draws)


@pytest.mark.parametrize("seed", range(3))
def test_curvatures_stay_right_over_many_steps(seed):
    """Each step mends only what it can have changed; a mistake would add up."""
    graph = nx.barabasi_albert_graph(26, 3, seed=seed)
    steps = found_steps(graph, 25, math.inf, 0.2, [])
    assert steps == flow(graph, 25, math.inf, 0.2, [])
    assert any(removed != (-1, -1) for _, removed in steps)


def test_the_transform_writes_what_the_steps_leave():
    for seed in range(30):
        graph = random_graph(seed)
        steps = flow(graph, 5, math.inf, 0.3, [])
        edges = {(min(e), max(e)) for e in graph.edges()}
        original = set(edges)
        for added, removed in steps:
            edges = (edges | {added}) - {removed, (-1, -1)}
        out = SDRF(num_steps=5, removal_bound=0.3)(data_of(graph))
        assert edge_set(out.edge_index) == edges
        for (u, v), kind in zip(out.edge_index.T.tolist(), out.edge_type.tolist(), strict=True):
            assert kind == ((min(u, v), max(u, v)) not in original)


def test_an_edge_that_goes_and_comes_back_is_an_original_one():
    graph = nx.complete_graph(4)
    steps = found_steps(graph, 6, math.inf, 0.0, [])
    assert steps == flow(graph, 6, math.inf, 0.0, [])
    removed = {pair for _, pair in steps} - {(-1, -1)}
    assert any(added in removed for added, _ in steps)
    out = SDRF(num_steps=6, removal_bound=0.0)(data_of(graph))
    assert int(out.edge_type.sum()) == 0


def test_the_first_choice_follows_the_softmax():
    graph = nx.barbell_graph(4, 1)
    a = matrix_of(graph)
    gains = gains_around(a, *lowest_edge(a))
    temperature = 3.0
    expected = np.exp(temperature * np.array(list(gains.values())))
    assert len(gains) >= 5
    count, read = dict.fromkeys(gains, 0), simple(graph)
    for seed in range(3000):
        change = SDRF(num_steps=1, temperature=temperature).rewire(read, torch.Generator().manual_seed(seed))
        count[tuple(change.added[:, 0].tolist())] += 1
    assert chisquare(list(count.values()), 3000 * expected / expected.sum()).pvalue > 1e-3


def test_a_high_temperature_does_not_overflow():
    graph = data_of(nx.barbell_graph(4, 1))
    best = SDRF(num_steps=1)(graph)
    hot = SDRF(num_steps=1, temperature=1e300)(graph)
    added = [edge_set(out.edge_index) - edge_set(graph.edge_index) for out in (best, hot)]
    read = matrix_of(nx.barbell_graph(4, 1))
    gains = gains_around(read, *lowest_edge(read))
    assert {gains[pair] for pair in added[0] | added[1]} == {max(gains.values())}


def test_the_bridge_of_a_barbell_is_supported():
    out = SDRF(num_steps=1)(data_of(nx.barbell_graph(5, 0)))
    ((u, v),) = edge_set(out.edge_index) - {(min(e), max(e)) for e in nx.barbell_graph(5, 0).edges()}
    assert u <= 4
    assert v >= 5


def test_removing_never_fails_on_molecule_like_graphs():
    """The authors' code removes edges that are gone already, by curvatures that it never clears."""
    for seed in range(60):
        data = data_of(molecule_like_graph(seed))
        out = SDRF(num_steps=40, removal_bound=0.0)(data)
        assert edge_set(out.edge_index)
        removed = [pair for _, pair in found_steps(molecule_like_graph(seed), 40, math.inf, 0.0, [])]
        assert any(pair != (-1, -1) for pair in removed)


def test_only_present_edges_have_a_curvature():
    """No edge is removed twice without having been added in between."""
    for seed in range(20):
        graph = random_graph(seed)
        present = {(min(e), max(e)) for e in graph.edges()}
        for added, removed in found_steps(graph, 60, math.inf, 0.0, []):
            assert added not in present
            present |= {added} - {(-1, -1)}
            assert removed == (-1, -1) or (removed in present and removed != added)
            present -= {removed}


@few
@given(seeds, st.sampled_from([math.inf, 5.0]), st.sampled_from([None, 0.0, 0.7]))
def test_components_stay_as_they_are(seed, temperature, bound):
    graph = nx.disjoint_union(random_graph(seed, 12), random_graph(seed + 1, 12))
    out = SDRF(num_steps=30, temperature=temperature, removal_bound=bound, seed=seed)(data_of(graph))
    after = nx.Graph(edge_set(out.edge_index))
    after.add_nodes_from(graph)
    parts = [{frozenset(part) for part in nx.connected_components(g)} for g in (graph, after)]
    assert parts[0] == parts[1]


@few
@given(seeds, st.sampled_from([math.inf, 5.0]))
def test_isolated_nodes_in_between_change_nothing(seed, temperature):
    edge_index, num_nodes = edge_index_of(random_graph(seed))
    settings = SDRF(num_steps=10, temperature=temperature, removal_bound=0.4, seed=seed)
    plain: Any = settings(Data(edge_index=edge_index, num_nodes=num_nodes))
    spread: Any = settings(Data(edge_index=3 * edge_index + 1, num_nodes=3 * num_nodes + 2))
    assert torch.equal(spread.edge_index, 3 * plain.edge_index + 1)
    assert spread.num_nodes == 3 * num_nodes + 2


def test_relabelled_nodes_have_relabelled_edges_where_nothing_ties():
    compared = 0
    for seed in range(150):
        graph = random_graph(seed, most_nodes=14)
        a = matrix_of(graph)
        values = sorted(by_definition(a, u, v) for u, v in np.argwhere(np.triu(a)).tolist())
        gains = sorted(gains_around(a, *lowest_edge(a)).values())
        if any(len(v) < 2 or abs(v[end] - v[end + 1]) < 1e-9 for v, end in ((values, 0), (gains, -2))):
            continue
        compared += 1
        data = data_of(graph)
        label = torch.from_numpy(np.random.default_rng(seed).permutation(data.num_nodes))
        added = edge_set(SDRF(num_steps=1)(data).edge_index)
        turned = SDRF(num_steps=1)(Data(edge_index=label[data.edge_index], num_nodes=data.num_nodes))
        assert edge_set(turned.edge_index) == {tuple(sorted(label[list(pair)].tolist())) for pair in added}
    assert compared >= 5


def test_ends_where_all_is_joined():
    for graph in (nx.complete_graph(5), nx.empty_graph(4), nx.empty_graph(0), nx.path_graph(2)):
        data = data_of(graph)
        out = SDRF(num_steps=10)(data)
        assert edge_set(out.edge_index) == edge_set(data.edge_index)
        assert out.num_nodes == data.num_nodes
    full = SDRF(num_steps=1000)(data_of(nx.cycle_graph(6)))
    assert len(edge_set(full.edge_index)) == 15


def test_the_number_of_steps_can_be_a_fraction():
    data = data_of(nx.cycle_graph(10))
    sizes = [len(edge_set(SDRF(num_steps=steps)(data).edge_index)) for steps in (0, 0.3, 3, 0.0, 1.0)]
    assert sizes == [10, 13, 13, 10, 20]


def test_a_batch_is_rewired_graph_by_graph():
    graphs = [data_of(random_graph(seed)) for seed in range(5)]
    transform = SDRF(num_steps=5, temperature=4.0, removal_bound=0.5, seed=3)
    batch: Any = transform(Batch.from_data_list(graphs))
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        alone = transform(graph)
        assert torch.equal(single.edge_index, alone.edge_index)
        assert torch.equal(single.edge_type, alone.edge_type)


def test_seeds_decide():
    data = data_of(nx.barbell_graph(5, 2))
    found = [SDRF(num_steps=5, temperature=1.0, seed=seed)(data).edge_index for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_self_loops_and_attributes_stay():
    data: Any = Data(
        edge_index=torch.tensor([[0, 1, 1, 2, 2, 3, 1], [1, 0, 2, 1, 3, 2, 1]]),
        edge_attr=torch.tensor([1.0, 1, 2, 2, 3, 3, 9]),
        num_nodes=4,
    )
    out = SDRF(num_steps=1, edge_fill=7)(data)
    assert out.edge_index.size(1) == 9
    loops = out.edge_index[0] == out.edge_index[1]
    assert out.edge_attr[loops].tolist() == [9.0]
    assert out.edge_attr[out.edge_type == 1].tolist() == [7.0, 7.0]


def test_prints_its_settings():
    expected = "SDRF(num_steps=4, temperature=inf, removal_bound=None, edge_fill=None, seed=0)"
    assert repr(SDRF(num_steps=4)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": -1}, "num_steps must not be negative"),
        ({"num_steps": 1.5}, "num_steps as a fraction"),
        ({"num_steps": "3"}, "num_steps must be a number"),
        ({"num_steps": 1, "temperature": -1.0}, "temperature must be at least 0"),
        ({"num_steps": 1, "temperature": float("nan")}, "temperature must be at least 0"),
        ({"num_steps": 1, "temperature": "hot"}, "temperature must be a real number"),
        ({"num_steps": 1, "removal_bound": -0.1}, "removal_bound must be at least 0"),
        ({"num_steps": 1, "removal_bound": float("nan")}, "removal_bound must be at least 0"),
        ({"num_steps": 1, "seed": 0.5}, "seed must be an integer"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SDRF(**arguments)


def test_bad_graphs_are_named():
    with pytest.raises(DataError, match="the graph is directed"):
        SDRF(num_steps=1)(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    with pytest.raises(DataError, match="edge_index, which is missing"):
        SDRF(num_steps=1)(Data(x=torch.ones(2, 1)))
