"""LASER against its definition, computed with dense matrices."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.rewire import LASER, RandomEdges
from tests.rewire.made_graphs import (
    EDGE_CASES,
    assert_well_formed,
    data_of,
    networkx_of,
    pairs_of,
    random_data,
    relabelled,
    renamed,
)


def definition(data: Any, radius: int, density: float, length: int = 8) -> list[tuple[set[Any], set[Any]]]:
    """For each distance from 2, the pairs that must be there, and those that may, ties left open."""
    graph = networkx_of(data)
    walks = [[int(i == j) for j in range(data.num_nodes)] for i in range(data.num_nodes)]
    adjacency = (nx.to_numpy_array(graph, nodelist=range(data.num_nodes)) + np.eye(data.num_nodes)).astype(object)
    walks = np.linalg.matrix_power(adjacency, length) if data.num_nodes else np.array(walks)
    distance = dict(nx.all_pairs_shortest_path_length(graph))
    found = []
    for r in range(2, radius + 1):
        must, may = set(), set()
        for v in graph:
            orbit = sorted((int(walks[v, u]), u) for u, d in distance[v].items() if d == r)
            if not orbit:
                continue
            count = max(1, int(density * len(orbit) + 0.5))
            last = orbit[count - 1][0]
            sure = [u for mu, u in orbit if mu < last]
            tied = [u for mu, u in orbit if mu == last]
            must |= {(min(u, v), max(u, v)) for u in sure + (tied if len(sure) + len(tied) == count else [])}
            may |= {(min(u, v), max(u, v)) for u in sure + tied}
        found.append((must, may))
    return found


@settings(derandomize=True, deadline=None, max_examples=60)
@given(random_data(), st.integers(2, 4), st.sampled_from([0.05, 0.25, 0.5, 0.75, 1.0]), st.integers(0, 3))
def test_each_snapshot_is_that_of_the_definition(data: Any, radius: int, density: float, seed: int):
    out = LASER(radius=radius, density=density, seed=seed)(data)
    assert_well_formed(data, out)
    for kind, (must, may) in enumerate(definition(data, radius, density), 1):
        found = pairs_of(out, kind)
        assert must <= found <= may
        # Every node has chosen its share.
        for v in range(data.num_nodes):
            orbit = {u for u, d in nx.single_source_shortest_path_length(networkx_of(data), v).items() if d == kind + 1}
            assert sum(v in pair for pair in found) >= min(len(orbit), max(1, int(density * len(orbit) + 0.5)))


@pytest.mark.parametrize("length", [3, 4, 7, 12])
def test_other_walk_lengths_count_the_walks_of_that_length(length: int):
    for seed in range(5):
        data = data_of(nx.gnm_random_graph(25, 35, seed=seed))
        out = LASER(radius=3, density=0.3, walk_length=length)(data)
        for kind, (must, may) in enumerate(definition(data, 3, 0.3, length), 1):
            assert must <= pairs_of(out, kind) <= may


def test_density_one_gives_the_full_graph_of_each_distance_on_a_cycle():
    out = LASER(radius=6, density=1.0)(data_of(nx.cycle_graph(12)))
    assert torch.bincount(out.edge_type).tolist() == [24, 24, 24, 24, 24, 12]
    for kind in range(1, 6):
        assert all((v - u) % 12 in (kind + 1, 12 - kind - 1) for u, v in pairs_of(out, kind))


def test_a_small_density_takes_one_node_of_each_orbit():
    data = data_of(nx.path_graph(9))
    out = LASER(radius=3, density=1e-9)(data)
    # On a path an orbit has one node or two; the end nodes, which have few walks, are chosen where they are in one.
    for kind, (must, may) in enumerate(definition(data, 3, 1e-9), 1):
        assert must <= pairs_of(out, kind) <= may
        for v in range(9):
            assert any(v in pair for pair in pairs_of(out, kind))


def test_the_snapshot_of_distance_3_holds_distance_3_only():
    """The authors' fast distances hold 3 and 4 together, since they change matrices that are still in use."""
    for seed in range(10):
        data = data_of(nx.gnm_random_graph(40, 50, seed=seed))
        out = LASER(radius=4, density=0.7)(data)
        distance = dict(nx.all_pairs_shortest_path_length(networkx_of(data)))
        for kind in (1, 2, 3):
            assert {distance[u][v] for u, v in pairs_of(out, kind)} <= {kind + 1}
            assert pairs_of(out, kind)


def test_edges_are_added_in_both_directions():
    """The authors add them from the higher number to the lower one alone."""
    out = LASER(radius=3)(data_of(nx.gnm_random_graph(30, 40, seed=3)))
    columns = {tuple(column) for column in out.edge_index.T.tolist()}
    assert {(v, u) for u, v in columns} == columns


def test_without_ties_it_is_equivariant():
    """The authors' choice depends on the numbering, since a node looks at lower numbers only."""
    checked = 0
    for seed in range(30):
        data = data_of(nx.gnm_random_graph(18, 26, seed=seed))
        open_ends = any(must != may for must, may in definition(data, 3, 0.5))
        number = torch.randperm(18, generator=torch.Generator().manual_seed(seed))
        out, moved = LASER(seed=1)(data), LASER(seed=2)(relabelled(data, number))
        if open_ends:
            continue
        checked += 1
        for kind in (1, 2):
            assert renamed(pairs_of(out, kind), number) == pairs_of(moved, kind)
    assert checked >= 2


def test_among_equal_nodes_the_choice_is_uniform():
    # A star with legs of two nodes.
    graph = nx.star_graph(5)
    graph.add_edges_from((leaf, leaf + 5) for leaf in range(1, 6))
    data = data_of(graph)
    count = torch.zeros(11)
    for seed in range(150):
        out = LASER(radius=2, density=0.2, seed=seed)(data)
        # A leg's inner node chooses one of the four others; by the choices of those, it may be joined to more.
        for u, v in pairs_of(out, 1):
            if u == 1 and v <= 5:
                count[v] += 1
    share = count[2:6] / count[2:6].sum()
    assert (share - 0.25).abs().max() < 0.12


def test_the_same_seed_gives_the_same_edges_and_another_one_others():
    data = data_of(nx.cycle_graph(30))
    results = [LASER(density=0.5, seed=seed)(data).edge_index for seed in (0, 0, 1)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_huge_numbers_of_walks_do_not_overflow_or_break_ties_by_rounding():
    # Two equal hubs of degree 3000: (A + I)^8 has entries beyond 2^53.
    hubs = nx.Graph()
    hubs.add_edges_from((hub, 2 + leaf) for leaf in range(300) for hub in (0, 1))
    data = data_of(hubs)
    out = LASER(radius=2, density=0.01, walk_length=24)(data)
    assert_well_formed(data, out)
    first = LASER(radius=2, density=0.01, walk_length=24, seed=5)(data)
    leaves = [pairs_of(each, 1) for each in (out, first)]
    assert leaves[0] != leaves[1], "leaves all tie, so chance decides"


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases(name: str):
    data = data_of(EDGE_CASES[name])
    out = LASER(radius=3, density=1.0)(data)
    assert_well_formed(data, out)
    before, after = networkx_of(data), networkx_of(out)
    assert nx.number_connected_components(before or nx.empty_graph(1)) == nx.number_connected_components(
        after or nx.empty_graph(1)
    )
    if name == "complete":
        assert out.num_edges == data.num_edges


def test_batch_and_disjoint_union_agree_where_nothing_ties():
    graphs = [data_of(nx.path_graph(7)), data_of(nx.cycle_graph(9)), data_of(nx.empty_graph(2))]
    batch: Any = LASER(density=1.0)(Batch.from_data_list(graphs))
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        expected = LASER(density=1.0)(graph)
        assert torch.equal(single.edge_index, expected.edge_index)
        assert torch.equal(single.edge_type, expected.edge_type)
    union = data_of(nx.disjoint_union(nx.path_graph(7), nx.cycle_graph(9)))
    together = LASER(density=1.0)(union)
    parts = [LASER(density=1.0)(graph) for graph in graphs[:2]]
    shifted = pairs_of(parts[0]) | {(u + 7, v + 7) for u, v in pairs_of(parts[1])}
    assert pairs_of(together) == shifted


def test_labels_above_1_are_relations_that_others_do_not_build_on():
    data = data_of(nx.path_graph(6))
    assert RandomEdges(num_edges=1)(LASER(radius=2)(data)).num_edges > 10
    with pytest.raises(DataError, match="already holds other relations"):
        RandomEdges(num_edges=1)(LASER(radius=3)(data))


def test_bad_input_is_named():
    for arguments, words in (
        ({"radius": 1}, "radius must be an integer of at least 2, got 1"),
        ({"radius": 2.0}, "radius must be an integer"),
        ({"density": 0.0}, r"density must be a fraction in \(0, 1\], got 0"),
        ({"density": 1.5}, "density must be a fraction"),
        ({"density": float("nan")}, "density must be a fraction"),
        ({"radius": 4, "walk_length": 3}, "walk_length must be at least radius, 4, got 3"),
    ):
        with pytest.raises(ConfigError, match=words):
            LASER(**arguments)
    with pytest.raises(ConfigError, match="more walks of length 900 than float64 can count"):
        LASER(walk_length=900)(data_of(nx.star_graph(5)))
    with pytest.raises(DataError, match="directed"):
        LASER()(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3))


def test_self_loops_are_kept_and_multi_edges_merged():
    graph = nx.path_graph(5)
    data = data_of(graph)
    doubled = torch.cat([data.edge_index, data.edge_index, torch.tensor([[2], [2]])], dim=1)
    out = LASER(radius=2, density=1.0)(Data(edge_index=doubled, num_nodes=5))
    expected = LASER(radius=2, density=1.0)(data)
    assert pairs_of(out) == pairs_of(expected) | {(2, 2)}
    assert out.num_edges == expected.num_edges + 1
