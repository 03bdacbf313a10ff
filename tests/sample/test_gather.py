"""Attributes of parts of a graph."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from gnnkit import Graph
from gnnkit.errors import DataError
from gnnkit.sample import take

NODES, EDGES = torch.tensor([4, 0, 2]), torch.tensor([5, 1])
ENDS = torch.tensor([[0, 1], [2, 2]])


def path(num_edges: int = 6) -> Data:
    edge_index = torch.arange(2 * num_edges).reshape(2, num_edges) % 5
    return Data(
        x=torch.arange(10.0).reshape(5, 2),
        y=torch.arange(5),
        train_mask=torch.tensor([True, False, False, True, True]),
        edge_index=edge_index,
        edge_attr=torch.arange(3.0 * num_edges).reshape(num_edges, 3),
        edge_type=torch.arange(num_edges),
        position=np.arange(15).reshape(5, 3),
        scale=torch.tensor(2.0),
        name="a path",
        graph_feature=torch.ones(1, 7),
    )


@pytest.mark.parametrize("num_edges", [6, 5])
def test_rows_follow_what_they_belong_to(num_edges: int):
    data, edges = path(num_edges), torch.tensor([4, 1])
    part = take(data, NODES, edges, ENDS)
    assert part.num_nodes == 3
    assert torch.equal(part.edge_index, ENDS)
    assert torch.equal(part.n_id, NODES)
    assert torch.equal(part.e_id, edges)
    for name in ("x", "y", "train_mask"):
        assert torch.equal(part[name], data[name][NODES])
    for name in ("edge_attr", "edge_type"):
        assert torch.equal(part[name], data[name][edges])
    assert np.array_equal(part.position, data.position[NODES.numpy()])
    assert part.scale is data.scale
    assert part.name == "a path"
    assert part.graph_feature is data.graph_feature


def test_edge_attributes_by_number_of_rows_where_no_name_tells():
    data = path()
    data.alpha = torch.arange(6.0)
    assert torch.equal(take(data, NODES, EDGES, ENDS).alpha, EDGES.float())


def test_the_given_data_is_left_as_it_is():
    data = path()
    before = {name: value for name, value in data.to_dict().items()}
    take(data, NODES, EDGES, ENDS)
    assert data.to_dict().keys() == before.keys()
    assert all(data[name] is value for name, value in before.items())


def test_gradients_reach_the_features():
    data = path()
    data.x.requires_grad_()
    take(data, NODES, EDGES, ENDS).x.sum().backward()
    assert torch.equal(data.x.grad, torch.tensor([1.0, 0, 1, 0, 1])[:, None].expand(5, 2))


def test_parts_of_parts_are_numbered_in_the_part():
    first = take(path(), NODES, EDGES, ENDS)
    second = take(first, torch.tensor([2]), torch.tensor([], dtype=torch.int64), torch.empty(2, 0, dtype=torch.int64))
    assert second.n_id.tolist() == [2]
    assert second.y.tolist() == [2]
    assert second.edge_attr.shape == (0, 3)


def test_a_cached_graph_goes():
    data = path()
    data.graph = Graph.from_edge_index(data.edge_index, 5)
    assert "graph" not in take(data, NODES, EDGES, ENDS)


def test_what_no_part_can_have_is_refused():
    for name, value in (("edge_label_index", torch.zeros(2, 4, dtype=torch.int64)), ("face", torch.zeros(3, 1))):
        data = path()
        data[name] = value
        with pytest.raises(DataError, match=f"data.{name} holds numbers of nodes"):
            take(data, NODES, EDGES, ENDS)
    data = path()
    data.adj_t = torch.eye(5).to_sparse()
    with pytest.raises(DataError, match=r"data\.adj_t is a sparse matrix"):
        take(data, NODES, EDGES, ENDS)
    with pytest.raises(DataError, match=r"data\.ptr holds numbers of nodes"):
        take(Batch.from_data_list([Data(x=torch.ones(2, 1), edge_index=ENDS[:, :0])]), NODES[:0], EDGES[:0], ENDS)
