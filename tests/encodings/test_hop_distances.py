"""Distances in hops against SciPy's shortest paths and closed forms."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import shortest_path
from torch_geometric.data import Batch, Data

from gnnkit.encodings import HopDistances
from gnnkit.errors import ConfigError, DataError, IndexRangeError
from tests.encodings.structural import added, check_batch, check_repeats, few_examples, graphs, members, relabelled
from tests.geometry.undirected import data_of


def random_directed(num_nodes: int, num_edges: int, seed: int = 0) -> Any:
    """With self-loops and multi-edges."""
    generator = torch.Generator().manual_seed(seed)
    return Data(edge_index=torch.randint(num_nodes, (2, num_edges), generator=generator), num_nodes=num_nodes)


def all_distances(data: Any) -> np.ndarray:
    ones = np.ones(data.edge_index.size(1))
    matrix = scipy.sparse.coo_array((ones, tuple(data.edge_index.numpy())), shape=(data.num_nodes,) * 2).tocsr()
    return shortest_path(matrix, unweighted=True)


@pytest.mark.parametrize("most", [1, 2, 3, 40])
@pytest.mark.parametrize("num_edges", [0, 20, 45, 200])
@pytest.mark.parametrize("least", [0, 1])
def test_equals_shortest_paths_along_the_edges(most: int, num_edges: int, least: int):
    data = random_directed(30, num_edges)
    distance = all_distances(data).T
    pairs = np.argwhere((distance >= least) & (distance <= most))
    out = HopDistances(most, self_pairs=least == 0)(data)
    expected = [(int(j), int(i), int(distance[i, j])) for i, j in pairs]
    assert list(zip(*out.hop_distance_index.tolist(), out.hop_distance.tolist(), strict=True)) == expected
    counts = np.stack([(distance == hop).sum(1) for hop in range(1, most + 1)], axis=1)
    assert out.hop_distance_count.tolist() == counts.tolist()
    assert (out.hop_distance.dtype, out.hop_distance_count.dtype) == (torch.int64, torch.float32)


def test_counts_of_a_cycle_and_a_star():
    assert HopDistances(4)(data_of(nx.cycle_graph(6))).hop_distance_count.tolist() == [[2, 2, 1, 0]] * 6
    assert HopDistances(2)(data_of(nx.star_graph(4))).hop_distance_count.tolist() == [[4, 0], *[[1, 3]] * 4]


def test_a_directed_path_counts_the_nodes_before():
    out: Any = HopDistances(2)(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3))
    assert out.hop_distance_count.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert out.hop_distance_index.tolist() == [[0, 0, 1], [1, 2, 2]]
    assert out.hop_distance.tolist() == [1, 2, 1]


def test_isolated_nodes_empty_graphs_and_the_dtype_of_columns():
    for num_nodes in (0, 1, 3):
        alone = Data(edge_index=torch.empty((2, 0), dtype=torch.int32), num_nodes=num_nodes)
        out: Any = HopDistances(3)(alone)
        assert out.hop_distance_index.shape == (2, 0)
        assert out.hop_distance_index.dtype == torch.int32
        assert out.hop_distance_count.tolist() == [[0, 0, 0]] * num_nodes
        with_self: Any = HopDistances(3, self_pairs=True)(alone)
        assert with_self.hop_distance_index.tolist() == [list(range(num_nodes))] * 2
        assert with_self.hop_distance.tolist() == [0] * num_nodes


def test_counts_alone():
    names = added(HopDistances(2, pairs=False, attr_name="hops"), data_of(nx.path_graph(4)))
    assert list(names) == ["hops_count"]


@given(graph=graphs(), most=st.integers(1, 5), seed=st.integers(0, 9))
@few_examples
def test_moves_with_the_nodes(graph: Any, most: int, seed: int):
    data = data_of(graph)
    out = HopDistances(most)(data)
    moved, order = relabelled(data, seed)
    found = HopDistances(most)(moved)
    assert torch.equal(found.hop_distance_count[order], out.hop_distance_count)
    by_pair = {(int(order[j]), int(order[i])): d for j, i, d in triples(out)}
    assert {(j, i): d for j, i, d in triples(found)} == by_pair


def triples(out: Any) -> list[tuple[int, int, int]]:
    return list(zip(*out.hop_distance_index.tolist(), out.hop_distance.tolist(), strict=True))


@given(parts=st.lists(graphs(6), min_size=1, max_size=4), self_pairs=st.booleans())
@few_examples
def test_a_batch_is_its_graphs(parts: list[Any], self_pairs: bool):
    check_batch(HopDistances(3, self_pairs=self_pairs), [data_of(part) for part in parts])


@pytest.mark.parametrize("pairs", [True, False])
def test_a_batch_comes_apart_again(pairs: bool):
    check_batch(HopDistances(2, pairs=pairs), [*members(), random_directed(7, 12)])


def test_repeats_bit_by_bit():
    check_repeats(HopDistances(3), random_directed(500, 1500))


def test_a_batch_of_nothing_but_an_empty_graph_has_no_pairs():
    batch: Any = Batch.from_data_list([data_of(nx.empty_graph(0))])
    out = HopDistances(2)(batch)
    assert out.hop_distance_index.shape == (2, 0)
    assert len(out.to_data_list()) == 1


def test_prints_and_names_bad_input():
    assert (
        repr(HopDistances(3)) == "HopDistances(max_distance=3, pairs=True, self_pairs=False, attr_name='hop_distance')"
    )
    wrong: Any
    for wrong in (0, 1.5, True, 2**21):
        with pytest.raises(ConfigError, match="max_distance must be"):
            HopDistances(wrong)
    for wrong in ({"pairs": 1}, {"self_pairs": 1}):
        with pytest.raises(ConfigError, match="pairs must be True or False, got 1"):
            HopDistances(2, **wrong)
    with pytest.raises(DataError, match="edge_index, which is missing"):
        HopDistances(2)(Data(x=torch.ones(2, 1)))
    with pytest.raises(DataError, match="number of nodes"):
        HopDistances(2)(Data(edge_index=torch.tensor([[0], [1]])))
    with pytest.raises(IndexRangeError):
        HopDistances(2)(Data(edge_index=torch.tensor([[0], [2]]), num_nodes=2))
