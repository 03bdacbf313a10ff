"""The dual hypergraph transformation: known answers, its inverse, and dense matrices."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.hypergraph import (
    DualHypergraph,
    HyperData,
    Hypergraph,
    PrimalGraph,
    dual_hyperedge_index,
    primal_edge_index,
)
from tests.hypergraph.made_hypergraphs import SHAPES, data_of, dense, hypergraph_of, random_edges, random_hypergraphs

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def propagation(hypergraph: Hypergraph) -> Tensor:
    """``D^-1 H B^-1 H^T`` in float64."""
    matrix = dense(hypergraph)
    return (matrix / matrix.sum(1, keepdim=True)) @ (matrix / matrix.sum(0).clamp(min=1)).t()


def test_the_path_of_three_nodes_to_the_last_digit():
    index = dual_hyperedge_index(PATH, 3)
    assert index.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 0, 1, 2, 3], [0, 1, 1, 0, 1, 2, 2, 1, 3, 4, 5, 6]]
    hypergraph = Hypergraph.from_incidence(index, num_nodes=4, num_hyperedges=7)
    expected = [[21, 9, 3, 3], [9, 21, 3, 3], [3, 3, 21, 9], [3, 3, 9, 21]]
    # Twelve times the path's degrees makes every term an integer, so that nothing is rounded.
    matrix = dense(hypergraph)
    scaled = (12 / matrix.sum(1)).diag() @ matrix @ (12 / matrix.sum(0)).diag() @ matrix.t()
    assert (scaled / 4).tolist() == expected
    one = dual_hyperedge_index(PATH[:, [0, 2]], 3)
    assert one.tolist() == [[0, 1, 0, 1], [1, 1, 3, 4]]
    hypergraph = Hypergraph.from_incidence(one, num_nodes=2, num_hyperedges=5)
    assert propagation(hypergraph).tolist() == [[0.75, 0.25], [0.25, 0.75]]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_loops_are_numbered_by_the_number_of_nodes_that_is_given(dtype: torch.dtype):
    index = dual_hyperedge_index(PATH.to(dtype), 10)
    assert index[1, 8:].tolist() == [10, 11, 12, 13]
    assert index.dtype == dtype
    assert dual_hyperedge_index(PATH.to(dtype), 10, add_loops=False).tolist() == index[:, :8].tolist()
    assert dual_hyperedge_index(torch.empty(2, 0, dtype=dtype), 3).shape == (2, 0)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_edges())
def test_rows_add_up_to_one_with_loops(edges: tuple[Tensor, int]):
    edge_index, num_nodes = edges
    index = dual_hyperedge_index(edge_index, num_nodes)
    hypergraph = Hypergraph.from_incidence(
        index, num_nodes=edge_index.size(1), num_hyperedges=num_nodes + edge_index.size(1)
    )
    sums = propagation(hypergraph).sum(1)
    assert torch.allclose(sums, torch.ones_like(sums), rtol=1e-14)
    # By the definition, one incidence at a time.
    touched = edge_index.t().reshape(-1).tolist()
    expected = [[place // 2, node] for place, node in enumerate(touched) if touched.count(node) > 1]
    assert index.t().tolist() == expected + [[e, num_nodes + e] for e in range(edge_index.size(1))]


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_edges())
def test_the_dual_of_the_dual_is_the_graph(edges: tuple[Tensor, int]):
    edge_index, num_nodes = edges
    index = dual_hyperedge_index(edge_index, num_nodes, add_loops=False)
    assert torch.equal(primal_edge_index(index, edge_index.size(1), num_nodes), edge_index)
    data = Data(
        x=torch.randn(num_nodes, 3),
        edge_index=edge_index,
        edge_attr=torch.randn(edge_index.size(1), 2),
        edge_weight=torch.rand(edge_index.size(1)),
        edge_type=torch.arange(edge_index.size(1)),
        node_weight=torch.rand(num_nodes),
        y=torch.tensor([1]),
    )
    dual = DualHypergraph(add_loops=False)(data)
    assert_same(PrimalGraph()(dual), data, {"num_nodes"})
    incidence = torch.zeros(num_nodes, edge_index.size(1), dtype=torch.float64)
    for e, (u, v) in enumerate(edge_index.t().tolist()):
        incidence[u, e] += 1
        incidence[v, e] += 1
    hypergraph = Hypergraph.from_data(dual)
    assert torch.equal(dense(hypergraph), incidence.t())
    # The dual of a hypergraph is its transpose: the incidences of the graph itself.
    twice = DualHypergraph(add_loops=False)(dual)
    assert torch.equal(dense(Hypergraph.from_data(twice)), incidence)
    assert torch.equal(twice.x, data.x)
    assert torch.equal(twice.hyperedge_attr, data.edge_attr)


def assert_same(first: Any, second: Any, besides: set[str] = frozenset()):  # type: ignore[assignment]
    ours, theirs = first.to_dict(), second.to_dict()
    assert set(ours) - besides == set(theirs) - besides
    for key in set(ours) - besides:
        if isinstance(ours[key], Tensor):
            assert torch.equal(ours[key], theirs[key]), key
            assert ours[key].dtype == theirs[key].dtype
        else:
            assert ours[key] == theirs[key]


def symmetric(edges: tuple[Tensor, int]) -> tuple[Tensor, int]:
    """Both directions of every edge, each self-loop once, ordered by source."""
    edge_index, num_nodes = edges
    proper = edge_index[:, edge_index[0] != edge_index[1]]
    both = torch.cat([edge_index, proper.flip(0)], 1)
    return both[:, (both[0] * num_nodes + both[1]).argsort(stable=True)], num_nodes


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_edges())
def test_one_dual_node_per_undirected_edge_and_back(edges: tuple[Tensor, int]):
    edge_index, num_nodes = symmetric(edges)
    # Attributes that name the undirected edge, so that both directions have the same.
    attribute = torch.stack([edge_index.min(0).values, edge_index.max(0).values], 1).double()
    data = Data(edge_index=edge_index, num_nodes=num_nodes, edge_attr=attribute, edge_weight=attribute.sum(1))
    dual = DualHypergraph("one", add_loops=False)(data)
    chosen = edge_index[:, edge_index[0] <= edge_index[1]]
    assert dual.num_nodes == chosen.size(1)
    assert torch.equal(dual.x, chosen.t().double())
    assert torch.equal(dual.node_weight, dual.x.sum(1))
    back = PrimalGraph("one")(dual)
    columns = zip(back.edge_index.t().tolist(), back.edge_attr.tolist(), strict=True)
    assert all([min(pair), max(pair)] == attributes for pair, attributes in columns)
    assert sorted(back.edge_index.t().tolist()) == sorted(edge_index.t().tolist())


def test_attributes_move_with_what_they_belong_to():
    data = Data(
        x=torch.arange(3.0).reshape(3, 1),
        edge_index=PATH,
        edge_attr=torch.arange(4).reshape(4, 1),
        edge_weight=torch.ones(4),
        node_weight=torch.full((3,), 2.0),
        pos=torch.ones(3, 2),
        y=torch.tensor([1]),
        name="path",
        graph=Graph.from_edge_index(PATH, num_nodes=3),
    )
    before = data.clone()
    dual = DualHypergraph()(data)
    assert isinstance(dual, HyperData)
    assert (dual.num_nodes, dual.num_hyperedges) == (4, 7)
    assert dual.x.tolist() == [[0], [1], [2], [3]]
    assert dual.x.dtype == torch.int64
    assert dual.node_weight.tolist() == [1] * 4
    assert dual.hyperedge_attr.tolist() == [[0], [1], [2], [0], [0], [0], [0]]
    assert dual.hyperedge_weight.tolist() == [2, 2, 2, 1, 1, 1, 1]
    assert dual.hyperedge_is_loop.tolist() == [False] * 3 + [True] * 4
    assert (dual.y.tolist(), dual.name, dual.pos.shape) == ([1], "path", (3, 2))
    assert "graph" not in dual
    assert "edge_index" not in dual
    assert_same(data, before, {"graph"})


def test_a_batch_is_transformed_graph_by_graph():
    graphs = [
        Data(x=torch.randn(4, 2), edge_index=PATH, edge_attr=torch.randn(4, 1)),
        Data(x=torch.randn(2, 2), edge_index=torch.empty(2, 0, dtype=torch.int64), edge_attr=torch.empty(0, 1)),
        Data(x=torch.randn(3, 2), edge_index=PATH, edge_attr=torch.randn(4, 1)),
    ]
    for transform in (DualHypergraph(), DualHypergraph(add_loops=False)):
        whole = transform(Batch.from_data_list(graphs))
        expected = Batch.from_data_list([transform(graph) for graph in graphs])
        assert_same(whole, expected)
        for graph, back in zip(graphs, whole.to_data_list(), strict=True):
            assert_same(back, transform(graph))
    back = PrimalGraph()(whole)
    for graph, found in zip(graphs, back.to_data_list(), strict=True):
        assert_same(found, graph, {"num_nodes"})
    assert torch.equal(back.edge_index, Batch.from_data_list(graphs).edge_index)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_hypergraphs())
def test_the_dual_of_a_hypergraph_is_its_transpose(hypergraph: Hypergraph):
    data = data_of(hypergraph, x=torch.randn(hypergraph.num_nodes, 2))
    data.hyperedge_attr = torch.randn(hypergraph.num_hyperedges, 3)
    data.hyperedge_weight = torch.rand(hypergraph.num_hyperedges)
    transform = DualHypergraph(add_loops=False)
    assert torch.equal(dense(Hypergraph.from_data(transform(data))), dense(hypergraph).t())
    assert_same(transform(transform(data)), data)
    looped = Hypergraph.from_data(DualHypergraph()(data))
    # A hyperedge that several incidences of one dual node share is none of one node.
    matrix = dense(hypergraph).t() * (dense(hypergraph).sum(1) > 1)
    assert torch.equal(dense(looped), torch.cat([matrix, torch.eye(hypergraph.num_hyperedges)], 1))


@pytest.mark.parametrize(
    ("edge_index", "num_nodes", "error", "words"),
    [
        (PATH, 2, IndexRangeError, r"edge_index\[0\]\[3\] = 2"),
        (-PATH, 3, IndexRangeError, r"edge_index\[0\]\[1\] = -1"),
        (PATH[0], 3, ShapeError, "edge_index must have 2"),
        (PATH.t(), 3, ShapeError, r"shape \[2, E\], got \(4, 2\)"),
        (PATH.float(), 3, DtypeError, "int32 or int64"),
        (PATH, -1, ShapeError, "num_nodes must not be negative"),
        (PATH.int(), 2**31 - 2, ShapeError, "loops need int64 indices"),
    ],
)
def test_wrong_edges_are_refused(edge_index: Tensor, num_nodes: int, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        dual_hyperedge_index(edge_index, num_nodes)


def test_wrong_graphs_and_duals_are_refused():
    with pytest.raises(ConfigError, match="pairs must be 'both' or 'one'"):
        DualHypergraph("two")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="add_loops must be True or False"):
        DualHypergraph(add_loops=1)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"needs data\.edge_index"):
        DualHypergraph()(Data(x=torch.ones(2, 1)))
    with pytest.raises(DataError, match="number of nodes"):
        DualHypergraph()(Data(edge_index=PATH))
    labelled = Data(edge_index=PATH, num_nodes=3, edge_label_index=PATH)
    with pytest.raises(DataError, match="edge_label_index counts nodes"):
        DualHypergraph()(labelled)
    for columns in ([0, 1, 2], [0, 2], [0, 1, 2, 2, 3], [0, 1, 3]):
        with pytest.raises(
            DataError, match=r"both directions of every edge, as often each, which (1 - 2|0 - 1) has not"
        ):
            DualHypergraph("one")(Data(edge_index=PATH[:, columns], num_nodes=3))
    uneven = Data(edge_index=PATH, num_nodes=3, edge_attr=torch.tensor([0.0, 0.0, 1.0, 2.0]))
    with pytest.raises(DataError, match=r"columns 2 and 3 of edge_index .* different edge_attr"):
        DualHypergraph("one")(uneven)
    looped = DualHypergraph()(Data(edge_index=PATH, num_nodes=3))
    for transform in (PrimalGraph(), DualHypergraph()):
        with pytest.raises(DataError, match="dual with loops"):
            transform(looped)
    for shape in ("trailing ones empty", "one node each", "repeated incidences"):
        with pytest.raises(DataError, match=r"but node \d has \d incidences"):
            PrimalGraph()(data_of(hypergraph_of(shape)))
    assert PrimalGraph()(data_of(hypergraph_of("no nodes"))).num_nodes == 3
    assert SHAPES["no nodes"][1] == 3
