"""The expander is regular, connected, random and an expander."""

from collections import Counter
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch

from gnnkit.errors import ConfigError
from gnnkit.rewire import Expander
from gnnkit.rewire.expander import random_regular
from tests.rewire.made_graphs import EDGE_CASES, assert_well_formed, data_of, networkx_of, pairs_of, random_data


def regular(num_nodes: int, degree: int, seed: int = 0) -> "nx.Graph":
    edges = random_regular(num_nodes, degree, torch.Generator().manual_seed(seed))
    graph = nx.empty_graph(num_nodes)
    graph.add_edges_from(edges.T.tolist())
    assert graph.number_of_edges() == edges.size(1), "no edge twice"
    assert nx.number_of_selfloops(graph) == 0
    return graph


def test_every_node_has_the_degree_and_one_has_one_less_where_it_must_be_so():
    for num_nodes in range(1, 13):
        for degree in range(1, 13):
            found = sorted(degree for _, degree in regular(num_nodes, degree, seed=num_nodes).degree)
            expected = [min(degree, num_nodes - 1)] * num_nodes
            if num_nodes > degree and num_nodes * degree % 2 == 1:
                expected[0] -= 1
            assert found == expected, (num_nodes, degree)


@pytest.mark.parametrize(("num_nodes", "degree"), [(2000, 3), (501, 4), (400, 2), (61, 29), (60, 31)])
def test_larger_ones_are_regular_and_connected(num_nodes: int, degree: int):
    graph = regular(num_nodes, degree)
    assert min(dict(graph.degree).values()) >= degree - (num_nodes * degree % 2)
    assert nx.is_connected(graph)


def test_small_ones_are_connected_as_well():
    # Of the cubic graphs with eight nodes some are two complete graphs.
    assert all(nx.is_connected(regular(8, 3, seed)) for seed in range(40))
    assert all(nx.is_connected(regular(6, 2, seed)) for seed in range(20))


def test_the_spectral_gap_is_near_that_of_ramanujan_graphs():
    for degree in (3, 5):
        values = np.linalg.eigvalsh(nx.to_numpy_array(regular(300, degree)))
        assert max(values[-2], -values[0]) < 2 * (degree - 1) ** 0.5 + 0.15


def test_every_small_graph_comes_up():
    # The 70 connected labelled cubic graphs with six nodes. Pairing is uniform only in the limit of many nodes: the ten
    # that are bipartite come up about twice as often as they would by chance alone.
    generator = torch.Generator().manual_seed(0)
    drawn = [random_regular(6, 3, generator).sort(0).values for _ in range(420)]
    count = Counter(frozenset(map(tuple, edges.T.tolist())) for edges in drawn)
    assert len(count) == 70
    assert max(count.values()) < 40


@settings(derandomize=True, deadline=None, max_examples=40)
@given(random_data(), st.integers(1, 6), st.integers(0, 4))
def test_original_edges_stay_and_what_is_drawn_is_added(data: Any, degree: int, seed: int):
    out = Expander(degree=degree, seed=seed)(data)
    assert_well_formed(data, out)
    drawn = random_regular(data.num_nodes, degree, torch.Generator().manual_seed(seed))
    assert pairs_of(out) == pairs_of(data) | {(min(u, v), max(u, v)) for u, v in drawn.T.tolist()}


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases(name: str):
    data = data_of(EDGE_CASES[name])
    out = Expander(degree=3)(data)
    assert_well_formed(data, out)
    if data.num_nodes:
        assert nx.is_connected(networkx_of(out)), "components are joined"


def test_a_batch_gets_one_expander_per_graph():
    graphs = [data_of(nx.path_graph(n)) for n in (9, 3, 12)]
    batch: Any = Expander(degree=3)(Batch.from_data_list(graphs))
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        assert torch.equal(single.edge_index, Expander(degree=3)(graph).edge_index)


def test_bad_input_is_named():
    for degree in (0, -1, 2.0, True, "3"):
        with pytest.raises(ConfigError, match="degree must be an integer of at least 1"):
            Expander(degree=degree)  # type: ignore[arg-type]
