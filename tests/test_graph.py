import copy
import dataclasses
import pickle
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gnnkit import Graph
from gnnkit.errors import DeviceError, DtypeError, GnnkitError, IndexRangeError, ShapeError
from gnnkit.nn import GCNConv
from tests.ops.samples import STRUCTURES, sample


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_edge_index_comes_back_in_the_order_given(structure, index_dtype):
    edges, num_src, num_dst, _ = STRUCTURES[structure]
    edge_index = torch.from_numpy(edges().astype(np.int64)).to(index_dtype)
    graph = Graph.from_edge_index(edge_index, num_src=num_src, num_dst=num_dst)
    assert torch.equal(graph.edge_index, edge_index)
    assert graph.edge_index.dtype == graph.col.dtype == graph.rowptr.dtype == index_dtype
    assert torch.equal(graph.transpose().edge_index, edge_index.flip(0))
    assert graph.transpose().transpose() is graph
    assert (graph.num_src, graph.num_dst, graph.num_edges) == (num_src, num_dst, edge_index.size(1))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_rows_equal_scipy(structure):
    chosen = sample(structure).graph
    size = (chosen.num_dst, chosen.num_src)
    expected = sp.coo_array((np.ones(chosen.num_edges), tuple(chosen.edge_index.flip(0).numpy())), shape=size)
    ours = sp.csr_array((np.ones(chosen.num_edges), chosen.col.numpy(), chosen.rowptr.numpy()), shape=size)
    assert (ours.toarray() == expected.toarray()).all()
    assert (chosen.in_degree().numpy() == expected.sum(1)).all()
    assert (chosen.out_degree().numpy() == expected.sum(0)).all()


def test_in_edges_keep_the_order_given():
    graph = Graph.from_edge_index(torch.tensor([[3, 1, 2, 1], [0, 1, 0, 0]]), num_nodes=4)
    assert graph.col.tolist() == [3, 2, 1, 1]
    assert graph.edge_id is not None
    assert graph.edge_id.tolist() == [0, 2, 3, 1]


def test_graph_is_immutable_and_derives_once():
    graph = Graph.from_edge_index(torch.tensor([[0], [1]]), num_nodes=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.num_src = 5  # type: ignore[misc]
    assert graph.transpose() is graph.transpose()
    calls = []
    assert graph.cached("answer", lambda: calls.append(1) or 42) == 42
    assert graph.cached("answer", lambda: calls.append(1) or 43) == 42
    assert calls == [1]


@pytest.mark.parametrize("dst", [[0, 1, 1], [1, 0, 1]])
def test_changing_the_edge_list_later_does_not_change_the_graph(dst):
    edge_index = torch.tensor([[2, 0, 1], dst])
    graph = Graph.from_edge_index(edge_index, num_nodes=3)
    expected = edge_index.clone()
    edge_index.fill_(99)
    assert torch.equal(graph.edge_index, expected)


def test_copies_and_moves():
    graph = Graph.from_edge_index(torch.tensor([[0, 2], [1, 1]]), num_nodes=3)
    assert graph.to("cpu") is graph
    twin = copy.deepcopy(graph)
    assert torch.equal(twin.edge_index, graph.edge_index)
    with pytest.raises(DeviceError, match="nowhere"):
        graph.to("nowhere")


def test_both_directions_are_freed_with_the_last_reference(without_collector: None):
    graph = sample("odd").graph
    watched = [weakref.ref(graph), weakref.ref(graph.transpose())]
    assert watched[1]().transpose() is graph
    del graph
    assert [reference() for reference in watched] == [None, None]


def test_a_transpose_outlives_its_graph_and_still_has_it():
    graph = sample("odd").graph
    tensors = (graph.rowptr, graph.col, graph.edge_id)
    watched, turned = weakref.ref(graph), graph.transpose()
    del graph
    assert watched() is None
    again = turned.transpose()
    for actual, expected in zip((again.rowptr, again.col, again.edge_id), tensors, strict=True):
        assert actual is expected
    assert again.num_src == turned.num_dst
    assert turned.transpose() is again
    assert again.transpose() is turned


def test_what_follows_from_a_transpose_is_kept_without_its_graph(without_collector: None):
    turned = sample("odd").graph.transpose()
    kept = turned.transpose().cached("answer", lambda: object())
    assert turned.transpose().cached("answer", lambda: object()) is kept
    watched = [weakref.ref(turned), weakref.ref(turned.transpose())]
    del turned
    assert [reference() for reference in watched] == [None, None]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
def test_copies_have_the_same_positions_both_ways(duplicate):
    graph = sample("odd").graph
    twin = duplicate(graph.transpose())
    for actual, expected in ((twin, graph.transpose()), (twin.transpose(), graph), (duplicate(graph), graph)):
        assert torch.equal(actual.rowptr, expected.rowptr)
        assert torch.equal(actual.col, expected.col)
        assert torch.equal(actual.edge_id, expected.edge_id)
        assert actual.num_src == expected.num_src


def test_a_graph_made_from_another_derives_anew():
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    assert graph.transpose().num_dst == 3
    wider = dataclasses.replace(graph, num_src=5)
    assert wider.transpose().num_dst == 5
    assert graph.transpose().num_dst == 3


@pytest.mark.parametrize("add_self_loops", [True, False])
@pytest.mark.parametrize("dst", [[0, 1, 1, 2], [1, 0, 2, 1]])
def test_a_step_of_training_leaves_no_graph_to_the_collector(without_collector: None, add_self_loops, dst):
    graph = Graph.from_edge_index(torch.tensor([[2, 0, 1, 0], dst]), num_nodes=3)
    reference = weakref.ref(graph)
    GCNConv(4, 4, add_self_loops=add_self_loops)(torch.randn(3, 4, requires_grad=True), graph).sum().backward()
    del graph
    assert reference() is None


@pytest.mark.parametrize(
    ("edge_index", "sizes", "error", "words"),
    [
        ([[0, 1], [1, 5]], {"num_nodes": 3}, IndexRangeError, r"edge_index\[1\]\[1\] = 5"),
        ([[0, -1], [1, 0]], {"num_nodes": 3}, IndexRangeError, r"edge_index\[0\]\[1\] = -1"),
        ([[0, 7], [1, 0]], {"num_src": 7, "num_dst": 2}, IndexRangeError, r"\[0, 6\] for num_src = 7"),
        ([[0]], {"num_nodes": 3}, ShapeError, r"\[2, E\]"),
        ([[0, 1], [1, 0], [0, 0]], {"num_nodes": 3}, ShapeError, "transposed"),
        ([0, 1], {"num_nodes": 3}, ShapeError, "2 dimension"),
        ([[0], [1]], {}, ShapeError, "must be given"),
        ([[0], [1]], {"num_src": 2}, ShapeError, "must be given"),
        ([[0], [1]], {"num_nodes": 2, "num_src": 2}, ShapeError, "not both"),
        ([[0], [1]], {"num_nodes": -2}, ShapeError, "negative"),
        ([[0], [0]], {"num_nodes": 0}, IndexRangeError, "empty"),
    ],
)
def test_bad_edge_lists(edge_index, sizes, error, words):
    with pytest.raises(error, match=words) as caught:
        Graph.from_edge_index(torch.tensor(edge_index), **sizes)
    assert isinstance(caught.value, GnnkitError)


def test_bad_types():
    with pytest.raises(DtypeError, match=r"torch\.as_tensor"):
        Graph.from_edge_index(np.zeros((2, 0)), num_nodes=1)  # type: ignore[arg-type]
    with pytest.raises(DtypeError, match=r"\.long\(\)"):
        Graph.from_edge_index(torch.zeros(2, 3), num_nodes=1)
    with pytest.raises(DtypeError, match="int32 or int64"):
        Graph.from_edge_index(torch.zeros(2, 3, dtype=torch.int16), num_nodes=1)


@pytest.mark.parametrize(
    ("rowptr", "col", "edge_id", "error", "words"),
    [
        ([1, 2], [0, 0], None, IndexRangeError, "start at 0"),
        ([0, 3], [0, 0], None, IndexRangeError, "ends at 3"),
        ([0, 2, 1, 2], [0, 0], None, IndexRangeError, "must not decrease"),
        ([0, 2], [0, 9], None, IndexRangeError, r"col\[1\] = 9"),
        ([0, 2], [0, 0], [0], ShapeError, "one entry per edge"),
        ([0, 2], [0, 0], [0, 2], IndexRangeError, r"edge_id\[1\] = 2"),
        ([], [], None, ShapeError, "at least one boundary"),
        ([0, 2], [0, 0], [1, 1], IndexRangeError, "edge 0 has no position"),
    ],
)
def test_bad_csr(rowptr, col, edge_id, error, words):
    values = [torch.tensor(value, dtype=torch.int64) for value in (rowptr, col)]
    ids = None if edge_id is None else torch.tensor(edge_id)
    with pytest.raises(error, match=words):
        Graph(values[0], values[1], ids, num_src=4)


@pytest.mark.parametrize("num_src", [-1, None, 2.0, "3", 2**63])
def test_bad_number_of_sources(num_src):
    with pytest.raises(ShapeError, match="num_src"):
        Graph(torch.tensor([0]), torch.tensor([], dtype=torch.int64), None, num_src=num_src)
    with pytest.raises(ShapeError, match="num_src"):
        Graph.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), num_src=num_src, num_dst=1)


def test_bipartite_graph_has_no_number_of_nodes():
    graph = Graph.from_edge_index(torch.tensor([[0], [1]]), num_src=1, num_dst=2)
    with pytest.raises(ShapeError, match="1 sources and 2 destinations"):
        _ = graph.num_nodes


def test_a_graph_first_used_under_inference_mode_can_be_trained_on():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 1], [1, 2, 0]]), num_nodes=3)
    conv = GCNConv(2, 2)
    with torch.inference_mode():
        expected = conv(torch.ones(3, 2), graph)
    x = torch.ones(3, 2, requires_grad=True)
    out = conv(x, graph)
    assert torch.equal(out, expected)
    out.sum().backward()
    assert x.grad is not None
    assert not graph.transpose().col.is_inference()
