"""A node that sees all others, and what becomes of the attributes."""

from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import VirtualNode as Peer

from gnnkit.errors import ConfigError, DataError, IndexRangeError
from gnnkit.rewire import RandomEdges, VirtualNode
from tests.rewire.made_graphs import EDGE_CASES, assert_well_formed, data_of, pairs_of, random_data


@settings(derandomize=True, deadline=None, max_examples=30)
@given(random_data())
def test_it_is_joined_to_every_node(data: Any):
    out = VirtualNode()(data)
    assert_well_formed(data, out)
    assert out.num_nodes == data.num_nodes + 1
    assert pairs_of(out, 1) == {(v, data.num_nodes) for v in range(data.num_nodes)}
    assert out.virtual_node_mask.tolist() == [False] * data.num_nodes + [True]


def full_data(num_nodes: int = 4) -> Any:
    return data_of(
        nx.path_graph(num_nodes),
        x=torch.arange(2.0 * num_nodes).reshape(num_nodes, 2),
        z=torch.arange(1, num_nodes + 1),
        pos=torch.ones(num_nodes, 3, dtype=torch.float64),
        train_mask=torch.ones(num_nodes, dtype=torch.bool),
        y=torch.tensor([[7.0]]),
        edge_attr=torch.ones(2 * num_nodes - 2, 5),
        edge_weight=torch.full((2 * num_nodes - 2,), 2.0),
        name="a molecule",
        tags=["a", "b"],
    )


def test_node_attributes_get_a_row_and_others_stay():
    data = full_data()
    out = VirtualNode()(data)
    assert out.x.tolist() == [*data.x.tolist(), [0.0, 0.0]]
    assert out.z.tolist() == [1, 2, 3, 4, 0]
    assert out.pos.shape == (5, 3)
    assert out.pos.dtype == torch.float64
    assert out.train_mask.tolist() == [True, True, True, True, False]
    assert (out.y.tolist(), out.name, out.tags) == ([[7.0]], "a molecule", ["a", "b"])
    added = out.edge_type == 1
    assert out.edge_attr[added].unique().tolist() == [0.0]
    assert out.edge_weight[added].unique().tolist() == [1.0]
    assert out.edge_weight[~added].unique().tolist() == [2.0]
    assert data.num_nodes == 4, "the one given is left as it is"
    assert data.x.shape == (4, 2)


def test_the_mean_is_for_floating_features():
    out = VirtualNode(node_fill="mean", edge_fill="mean")(full_data())
    assert out.x[-1].tolist() == [3.0, 4.0]
    assert out.z[-1] == 0
    assert not out.train_mask[-1]
    assert out.edge_weight.unique().tolist() == [2.0]


def test_labels_of_nodes_get_a_zero_that_the_mask_tells_apart():
    data = data_of(nx.path_graph(3), x=torch.ones(3, 1), y=torch.tensor([2.0, 1.0, 2.0]))
    out = VirtualNode(node_fill="mean")(data)
    assert out.y.tolist() == [2.0, 1.0, 2.0, 0.0]
    assert out.y[~out.virtual_node_mask].tolist() == data.y.tolist()


def test_of_a_single_node_only_names_tell_what_is_of_the_node():
    data = Data(
        x=torch.ones(1, 2),
        y=torch.ones(1, 3),
        u=torch.ones(1, 4),
        random_walk_pe=torch.ones(1, 5),
        val_mask=torch.ones(1, dtype=torch.bool),
        node_color=torch.ones(1),
        edge_index=torch.empty((2, 0), dtype=torch.int64),
    )
    out: Any = VirtualNode()(data)
    assert out.edge_index.tolist() == [[0, 1], [1, 0]]
    sizes = {key: out[key].size(0) for key in ("x", "y", "u", "random_walk_pe", "val_mask", "node_color")}
    assert sizes == {"x": 2, "y": 1, "u": 1, "random_walk_pe": 2, "val_mask": 2, "node_color": 2}


def test_as_many_columns_as_nodes_are_still_of_the_edges():
    # A cycle of two triangles' worth: 4 nodes and 4 columns.
    data = Data(x=torch.ones(4, 1), edge_index=torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), edge_attr=torch.ones(4, 1))
    out: Any = VirtualNode()(data)
    assert out.x.shape == (5, 1)
    assert out.edge_attr.shape == (12, 1)


def test_structure_equals_that_of_pytorch_geometric():
    data = data_of(nx.gnm_random_graph(12, 20, seed=0), x=torch.rand(12, 3))
    peer: Any = Peer()(data.clone())
    out = VirtualNode()(data)
    assert pairs_of(out) == pairs_of(peer)
    assert torch.equal(out.x, peer.x)


def test_a_second_one_is_joined_to_the_first():
    out = VirtualNode()(VirtualNode()(data_of(nx.path_graph(3))))
    assert out.virtual_node_mask.tolist() == [False, False, False, True, True]
    assert (3, 4) in pairs_of(out, 1)
    assert pairs_of(out, 0) == {(0, 1), (1, 2)}


def test_each_graph_of_a_batch_gets_its_own():
    graphs = [full_data(n) for n in (3, 5, 2)]
    batch: Any = VirtualNode()(Batch.from_data_list(graphs))
    assert batch.num_graphs == 3
    assert batch.batch.tolist() == [0] * 4 + [1] * 6 + [2] * 3
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
    assert batch.y.shape == (3, 1)
    loader = DataLoader([VirtualNode()(graph) for graph in graphs], batch_size=3)
    assert torch.equal(next(iter(loader)).edge_index, batch.edge_index)


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases(name: str):
    data = data_of(EDGE_CASES[name])
    out = VirtualNode()(data)
    assert_well_formed(data, out)
    assert len(pairs_of(out, 1)) == data.num_nodes


def test_composes_and_prints():
    out = VirtualNode()(RandomEdges(num_edges=2)(full_data(6)))
    assert len(pairs_of(out, 1)) == 8
    assert repr(VirtualNode()) == "VirtualNode(node_fill='zeros', edge_fill=None)"


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="node_fill must be 'zeros' or 'mean', got 'ones'"):
        VirtualNode(node_fill="ones")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="edge_fill must be a number"):
        VirtualNode(edge_fill="max")
    with pytest.raises(DataError, match="edge_index, which is missing"):
        VirtualNode()(Data(x=torch.ones(2, 1)))
    with pytest.raises(DataError, match=r"set data\.num_nodes"):
        VirtualNode()(Data(edge_index=torch.tensor([[0, 1], [1, 0]])))
    with pytest.raises(DataError, match="directed"):
        VirtualNode()(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    with pytest.raises(IndexRangeError, match="num_nodes"):
        VirtualNode()(Data(edge_index=torch.tensor([[0, 2], [2, 0]]), num_nodes=2))
    with pytest.raises(DataError, match="already holds other relations"):
        VirtualNode()(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_type=torch.tensor([5, 5]), num_nodes=2))
