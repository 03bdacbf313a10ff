"""Round trips to PyTorch Geometric, SciPy and NetworkX."""

from typing import Any

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Batch, Data

from gnnkit import Graph
from gnnkit.compat import from_networkx, from_pyg, from_scipy, to_networkx, to_pyg, to_scipy
from gnnkit.errors import ConfigError, DataError, ShapeError

CASES = {
    "plain": (torch.tensor([[2, 0, 1, 0], [1, 1, 2, 2]]), 3),
    "multi_edges_and_loops": (torch.tensor([[2, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 2]]), 3),
    "isolated_trailing_nodes": (torch.tensor([[0], [1]]), 7),
    "no_edges": (torch.empty((2, 0), dtype=torch.int64), 4),
    "no_nodes": (torch.empty((2, 0), dtype=torch.int64), 0),
    "int32": (torch.tensor([[0, 2], [1, 0]], dtype=torch.int32), 3),
}


@pytest.fixture(params=CASES)
def graph(request: pytest.FixtureRequest) -> Graph:
    edge_index, num_nodes = CASES[request.param]
    return Graph.from_edge_index(edge_index, num_nodes=num_nodes)


def same_topology(first: Graph, second: Graph) -> bool:
    sizes = (first.num_src, first.num_dst) == (second.num_src, second.num_dst)
    return sizes and torch.equal(first.edge_index.long(), second.edge_index.long())


def test_pyg_round_trip(graph: Graph):
    attributes = {"x": torch.randn(graph.num_nodes, 2), "edge_attr": torch.randn(graph.num_edges, 3), "name": "g"}
    data = to_pyg(graph, attributes)
    back, kept = from_pyg(data)
    assert same_topology(back, graph)
    assert back.col.dtype == graph.col.dtype
    assert kept.keys() == attributes.keys()
    assert all(kept[name] is value for name, value in attributes.items())
    assert from_pyg(to_pyg(graph))[0].num_nodes == graph.num_nodes


def test_pyg_needs_a_number_of_nodes_and_edges():
    with pytest.raises(DataError, match=r"set data\.num_nodes"):
        from_pyg(Data(edge_index=torch.tensor([[0], [1]])))
    with pytest.raises(DataError, match="edge_index is missing"):
        from_pyg(Data(x=torch.ones(2, 1)))
    bipartite = Graph.from_edge_index(torch.tensor([[0], [1]]), num_src=3, num_dst=2)
    with pytest.raises(ShapeError, match="no single number of nodes"):
        to_pyg(bipartite)


def test_pyg_batches_convert_as_one_graph():
    first = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=3)
    batch: Any = Batch.from_data_list([first, first])
    graph, kept = from_pyg(batch)
    assert graph.num_nodes == 6
    assert graph.edge_index.tolist() == [[0, 3], [1, 4]]
    assert kept["batch"].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
def test_scipy_round_trip(graph: Graph, layout: Any):
    values = torch.randn(graph.num_edges, dtype=torch.float64)
    matrix: Any = to_scipy(graph, values, layout=layout)
    assert matrix.format == layout
    assert matrix.shape == (graph.num_nodes, graph.num_nodes)
    assert matrix.nnz == graph.num_edges, "several edges stay several entries"
    expected = np.zeros(matrix.shape)
    np.add.at(expected, tuple(graph.edge_index.numpy()), values.numpy())
    np.testing.assert_allclose(matrix.toarray(), expected)
    back, back_values = from_scipy(matrix)

    def rows(graph: Graph, values: torch.Tensor) -> list[tuple[float, ...]]:
        return sorted(zip(*graph.edge_index.tolist(), values.tolist(), strict=True))

    assert back.num_nodes == graph.num_nodes
    assert rows(back, back_values) == rows(graph, values)
    if layout == "coo":
        assert same_topology(back, graph)
        assert torch.equal(back_values, values)


def test_scipy_rows_are_sources_and_columns_destinations():
    bipartite = Graph.from_edge_index(torch.tensor([[2, 0], [1, 0]]), num_src=4, num_dst=2)
    for layout in ("csr", "csc", "coo"):
        matrix: Any = to_scipy(bipartite, torch.tensor([5, 7]), layout=layout)
        assert matrix.shape == (4, 2)
        assert matrix.toarray()[2, 1] == 5
        assert matrix.dtype == np.int64
        back, values = from_scipy(matrix)
        assert (back.num_src, back.num_dst) == (4, 2)
        assert values[back.edge_index[0] == 2].tolist() == [5]


def test_scipy_aggregation_is_the_transpose():
    from gnnkit import ops

    graph = Graph.from_edge_index(torch.randint(6, (2, 20)), num_nodes=6)
    x = torch.randn(6, 3)
    matrix: Any = to_scipy(graph)
    np.testing.assert_allclose(matrix.T @ x.numpy(), ops.spmm(graph, x).numpy(), rtol=1e-5, atol=1e-6)


def test_scipy_matrices_of_every_kind_are_read():
    dense = np.array([[0, 1.5, 0], [2, 0, 0], [0, 0, 0]], dtype=np.float32)
    for make in (scipy.sparse.csr_matrix, scipy.sparse.coo_array, scipy.sparse.lil_array, scipy.sparse.dok_array):
        graph, values = from_scipy(make(dense))
        assert graph.edge_index.tolist() == [[0, 1], [1, 0]]
        assert values.tolist() == [1.5, 2.0]
        assert values.dtype == torch.float32
    kept, values = from_scipy(scipy.sparse.csr_array(([0.0, 1.0], ([0, 1], [1, 0])), shape=(2, 2)))
    assert (kept.num_edges, values.tolist()) == (2, [0.0, 1.0])


def test_scipy_refuses_what_does_not_fit():
    graph = Graph.from_edge_index(torch.tensor([[0], [1]]), num_nodes=2)
    with pytest.raises(ShapeError, match=r"one number per edge, \[1\]"):
        to_scipy(graph, torch.ones(2))
    with pytest.raises(ConfigError, match="layout must be"):
        to_scipy(graph, layout="lil")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="got ndarray"):
        from_scipy(np.eye(2))
    with pytest.raises(DataError, match="no counterpart in torch"):
        from_scipy(scipy.sparse.csr_array(np.eye(2, dtype=np.longdouble)))


def test_networkx_round_trip(graph: Graph):
    nodes = {"x": torch.randn(graph.num_nodes, 2), "kind": torch.arange(graph.num_nodes)}
    edges = {"weight": torch.rand(graph.num_edges), "flag": torch.rand(graph.num_edges) > 0.5}
    target = to_networkx(graph, nodes, edges)
    back = from_networkx(target)
    assert back.graph.num_nodes == graph.num_nodes
    assert back.nodes == list(range(graph.num_nodes))

    def rows(graph: Graph, values: dict[str, torch.Tensor]) -> list[tuple[Any, ...]]:
        return sorted(zip(*graph.edge_index.tolist(), *(values[name].tolist() for name in edges), strict=True))

    if graph.num_edges > 0:
        assert rows(back.graph, back.edge_attributes) == rows(graph, edges)
        assert back.edge_attributes["flag"].dtype == torch.bool
    for name, value in nodes.items():
        if graph.num_nodes > 0:
            assert torch.equal(back.node_attributes[name], value)


def test_networkx_edges_point_from_source_to_destination():
    target = to_networkx(Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), num_nodes=3))
    assert list(target.edges) == [(0, 1), (1, 2)]
    assert from_networkx(networkx.DiGraph([("a", "b")])).graph.edge_index.tolist() == [[0], [1]]


def test_networkx_undirected_edges_become_two_and_loops_one():
    source = networkx.MultiGraph()
    source.add_edges_from([("a", "b", {"w": 1}), ("a", "b", {"w": 2}), ("b", "b", {"w": 3})])
    out = from_networkx(source)
    assert out.graph.edge_index.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert out.edge_attributes["w"].tolist() == [1, 2, 3, 1, 2]
    assert out.edge_attributes["w"].dtype == torch.int64


def test_networkx_node_order_is_explicit():
    source = networkx.DiGraph([(5, 3)])
    source.add_node(9)
    assert from_networkx(source).nodes == [5, 3, 9]
    out = from_networkx(source, nodes=[9, 3, 5])
    assert out.nodes == [9, 3, 5]
    assert out.graph.edge_index.tolist() == [[2], [1]]
    for bad in ([5, 3], [5, 3, 3], [5, 3, 9, 9], [5, 3, 8]):
        with pytest.raises(DataError, match="exactly once"):
            from_networkx(source, nodes=bad)


def test_networkx_attributes_are_chosen_and_checked():
    source = networkx.DiGraph()
    source.add_node(0, x=[1.0, 2.0], label="carbon", charge=np.float64(0.5))
    source.add_node(1, x=[3.0, 4.0], label="oxygen", charge=np.float64(1.5))
    source.add_node(2, x=[3.0, 4.0], label="oxygen")
    with pytest.raises(DataError, match="node 2 has no attribute 'charge'"):
        from_networkx(source, node_attributes=["x", "charge"])
    with pytest.raises(DataError, match="'label' does not make one numeric tensor"):
        from_networkx(source, node_attributes=["label"])
    out = from_networkx(source, node_attributes=["x"])
    assert out.node_attributes["x"].tolist() == [[1, 2], [3, 4], [3, 4]]
    assert out.node_attributes["x"].dtype == torch.float32
    source.nodes[2]["charge"] = np.float64(2.5)
    assert from_networkx(source, node_attributes=["charge"]).node_attributes["charge"].dtype == torch.float64
    source.nodes[2]["x"] = [1.0]
    with pytest.raises(DataError, match="'x' does not make one numeric tensor"):
        from_networkx(source, node_attributes=["x"])
    source.add_edge(0, 1, w=1.0)
    source.add_edge(1, 2)
    with pytest.raises(DataError, match=r"edge \(1, 2\) has no attribute 'w'"):
        from_networkx(source, node_attributes=[])


def test_networkx_refuses_to_lose_edges_or_rows():
    doubled = Graph.from_edge_index(torch.tensor([[0, 0], [1, 1]]), num_nodes=2)
    assert to_networkx(doubled).is_multigraph()
    with pytest.raises(DataError, match="multigraph=True"):
        to_networkx(doubled, multigraph=False)
    with pytest.raises(ShapeError, match="one row per node, 2"):
        to_networkx(doubled, {"x": torch.ones(3)})
    with pytest.raises(ShapeError, match="no single number of nodes"):
        to_networkx(Graph.from_edge_index(torch.tensor([[0], [1]]), num_src=3, num_dst=2))
