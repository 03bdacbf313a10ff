"""The k-hop graph against SciPy's shortest paths."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.csgraph import shortest_path
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Compose

from gnnkit import Graph
from gnnkit.encodings import RandomWalk
from gnnkit.errors import ConfigError, DataError
from gnnkit.rewire import KHop


def random_data(num_nodes: int, num_edges: int, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return Data(
        x=torch.arange(float(num_nodes)).unsqueeze(1),
        y=torch.tensor([[float(seed)]]),
        edge_index=torch.randint(num_nodes, (2, num_edges), generator=generator),
        edge_attr=torch.rand(num_edges, 3),
    )


def expected_pairs(data: Any, k: int) -> list[tuple[int, int, int]]:
    ones = np.ones(data.num_edges)
    matrix = scipy.sparse.coo_array((ones, tuple(data.edge_index.numpy())), shape=(data.num_nodes,) * 2).tocsr()
    distance = shortest_path(matrix, unweighted=True)
    pairs = np.argwhere((distance >= 1) & (distance <= k))
    return [(int(i), int(j), int(distance[i, j])) for i, j in pairs]


@pytest.mark.parametrize("k", [1, 2, 3, 5, 50])
@pytest.mark.parametrize("num_edges", [0, 20, 45, 200])
def test_pairs_and_distances_are_those_of_shortest_paths(k: int, num_edges: int):
    data = random_data(30, num_edges)
    pairs = expected_pairs(data, k)
    out = KHop(k, distance_attr="edge_distance")(data)
    assert list(zip(*out.edge_index.tolist(), out.edge_distance.tolist(), strict=True)) == pairs
    assert out.edge_distance.dtype == torch.int64


def test_node_and_graph_attributes_stay_and_edge_attributes_go():
    data = random_data(9, 9)
    data.edge_weight, data.graph = torch.ones(9), Graph.from_edge_index(data.edge_index, num_nodes=9)
    original = data.clone()
    out = KHop(2)(data)
    assert sorted(out.keys()) == ["edge_index", "x", "y"]
    assert torch.equal(out.x, original.x)
    assert torch.equal(out.y, original.y)
    assert sorted(data.keys()) == sorted(original.keys()), "the transform works on a copy"
    assert torch.equal(data.edge_index, original.edge_index)


def test_a_single_edge_does_not_take_the_label_with_it():
    data = Data(x=torch.ones(2, 1), y=torch.ones(1, 4), edge_index=torch.tensor([[0], [1]]), edge_attr=torch.ones(1, 2))
    assert sorted(KHop(3)(data).keys()) == ["edge_index", "x", "y"]


def test_labels_of_pairs_of_nodes_stay():
    data = random_data(9, 9)
    data.edge_label_index, data.edge_label = torch.zeros(2, 9, dtype=torch.int64), torch.ones(9)
    assert {"edge_label", "edge_label_index"} <= set(KHop(2)(data).keys())


def test_isolated_nodes_without_features_are_kept():
    data: Any = KHop(2)(Data(edge_index=torch.tensor([[0], [1]], dtype=torch.int32), num_nodes=5))
    assert data.num_nodes == 5
    assert data.edge_index.dtype == torch.int32
    empty: Any = KHop(2)(Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=0))
    assert empty.edge_index.shape == (2, 0)


def test_a_batch_never_links_graphs_and_comes_apart_again():
    graphs: list[Any] = [random_data(n, 2 * n, seed=n) for n in (6, 1, 9, 4)]
    batch: Any = KHop(3, distance_attr="edge_attr")(Batch.from_data_list(graphs))
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        found = list(zip(*single.edge_index.tolist(), single.edge_attr.tolist(), strict=True))
        assert found == expected_pairs(graph, 3)
        assert torch.equal(single.x, graph.x)
    assert torch.equal(batch[2].edge_index, KHop(3)(graphs[2]).edge_index)


def test_composes_with_other_transforms_and_prints():
    data: Any = Compose([KHop(2), RandomWalk(4)])(random_data(9, 20))
    assert data.random_walk_pe.shape == (9, 4)
    assert repr(KHop(2)) == "KHop(2, distance_attr=None)"


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="k must be at least 1, got 0"):
        KHop(0)
    with pytest.raises(DataError, match="edge_index, which is missing"):
        KHop(1)(Data(x=torch.ones(3, 1)))
