"""Degree profiles against NumPy over lists of neighbours, and PyTorch Geometric."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.transforms import LocalDegreeProfile

from gnnkit.encodings import DegreeProfile
from gnnkit.errors import ConfigError, DataError, IndexRangeError
from tests.encodings.structural import check_batch, check_repeats, few_examples, graphs, members, relabelled
from tests.encodings.test_hop_distances import random_directed
from tests.geometry.undirected import data_of


def by_lists(data: Any, direction: str) -> np.ndarray:
    columns = data.edge_index.T.tolist()
    neighbours: list[list[int]] = [[] for _ in range(data.num_nodes)]
    for source, target in columns if direction == "out" else [column[::-1] for column in columns]:
        neighbours[source].append(target)
    rows = []
    for around in neighbours:
        degrees = [len(neighbours[node]) for node in around]
        statistics = [np.min, np.max, np.mean, np.std]
        rows.append([len(around), *([function(degrees) for function in statistics] if degrees else [0] * 4)])
    return np.array(rows, dtype=np.float64).reshape(-1, 5)


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("num_edges", [0, 10, 60, 300])
def test_equals_statistics_of_lists(direction: str, num_edges: int):
    """Directed, with self-loops and multi-edges."""
    data = random_directed(25, num_edges)
    out = DegreeProfile(direction=direction)(data)
    np.testing.assert_allclose(out.degree_profile.numpy(), by_lists(data, direction), rtol=1e-6, atol=1e-7)
    assert out.degree_profile.dtype == torch.float32


@pytest.mark.parametrize("num_edges", [5, 40, 150])
def test_equals_the_transform_of_pytorch_geometric(num_edges: int):
    data = random_directed(20, num_edges, seed=1)
    # Its deviation is the root of a difference of float32 squares.
    expected = LocalDegreeProfile()(data.clone()).x
    torch.testing.assert_close(DegreeProfile()(data).degree_profile, expected, rtol=1e-5, atol=3e-3)


def test_a_star_and_a_regular_graph():
    out = DegreeProfile()(data_of(nx.star_graph(4))).degree_profile
    assert out.tolist() == [[4, 1, 1, 1, 0], *[[1, 4, 4, 4, 0]] * 4]
    petersen = DegreeProfile()(data_of(nx.petersen_graph())).degree_profile
    assert petersen.tolist() == [[3, 3, 3, 3, 0]] * 10, "equal degrees deviate by nothing at all"


def test_directed_edges_are_taken_as_named():
    data: Any = Data(edge_index=torch.tensor([[0, 0, 1], [1, 2, 2]]), num_nodes=3)
    assert DegreeProfile()(data).degree_profile.tolist() == [[2, 0, 1, 0.5, 0.5], [1, 0, 0, 0, 0], [0] * 5]
    assert DegreeProfile(direction="in")(data).degree_profile.tolist() == [
        [0] * 5,
        [1, 0, 0, 0, 0],
        [2, 0, 1, 0.5, 0.5],
    ]


@given(graph=graphs(), seed=st.integers(0, 9))
@few_examples
def test_moves_with_the_nodes(graph: Any, seed: int):
    data = data_of(graph)
    out = DegreeProfile()(data).degree_profile
    moved, order = relabelled(data, seed)
    torch.testing.assert_close(DegreeProfile()(moved).degree_profile[order], out)
    assert torch.equal(DegreeProfile(direction="in")(data).degree_profile[:, :3], out[:, :3])


@given(parts=st.lists(graphs(6), min_size=1, max_size=4))
@few_examples
def test_a_batch_is_its_graphs(parts: list[Any]):
    check_batch(DegreeProfile(), [data_of(part) for part in parts])


def test_a_batch_comes_apart_again():
    check_batch(DegreeProfile(), [*members(), random_directed(7, 12)])


def test_repeats_bit_by_bit():
    check_repeats(DegreeProfile(), random_directed(2000, 30000))


def test_empty_graphs_and_isolated_nodes_have_zeros():
    for num_nodes in (0, 1, 3):
        out: Any = DegreeProfile()(Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes))
        assert out.degree_profile.tolist() == [[0.0] * 5] * num_nodes


def test_prints_and_names_bad_input():
    assert repr(DegreeProfile(attr_name="ldp")) == "DegreeProfile(direction='out', attr_name='ldp')"
    with pytest.raises(ConfigError, match="direction must be 'out' or 'in', got 'both'"):
        DegreeProfile(direction="both")
    with pytest.raises(DataError, match="edge_index, which is missing"):
        DegreeProfile()(Data(x=torch.ones(2, 1)))
    with pytest.raises(IndexRangeError, match="num_nodes"):
        DegreeProfile()(Data(edge_index=torch.tensor([[0], [2]]), num_nodes=2))
