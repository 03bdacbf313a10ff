"""The two compressed forms against a dense incidence matrix, and what is refused."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from torch_geometric.data import Batch, Data

from gnnkit import Graph
from gnnkit.errors import DataError, DeviceError, DtypeError, GnnkitError, IndexRangeError, ShapeError
from gnnkit.hypergraph import HyperData, Hypergraph
from tests.hypergraph.made_hypergraphs import SHAPES, data_of, dense, hypergraph_of, random_hypergraphs


def rows_of(graph: Graph) -> np.ndarray:
    ones = np.ones(graph.num_edges)
    return sp.csr_array((ones, graph.col.numpy(), graph.rowptr.numpy()), shape=(graph.num_dst, graph.num_src)).toarray()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_forms_are_the_incidence_matrix(shape: str, dtype: torch.dtype):
    hypergraph = hypergraph_of(shape, dtype)
    num_nodes, num_hyperedges, pairs = SHAPES[shape]
    assert (hypergraph.num_nodes, hypergraph.num_hyperedges, hypergraph.num_incidences) == (
        num_nodes, num_hyperedges, len(pairs),
    )  # fmt: skip
    assert hypergraph.hyperedge_index.t().tolist() == [list(pair) for pair in pairs]
    assert hypergraph.hyperedge_index.dtype == dtype
    assert torch.equal(hypergraph.to_nodes.edge_index, hypergraph.hyperedge_index.flip(0))
    assert hypergraph.to_nodes is hypergraph.to_nodes
    matrix = dense(hypergraph).numpy()
    assert np.array_equal(rows_of(hypergraph.to_nodes), matrix)
    assert np.array_equal(rows_of(hypergraph.to_hyperedges), matrix.T)
    assert hypergraph.node_degree().tolist() == matrix.sum(1).tolist()
    assert hypergraph.hyperedge_degree().tolist() == matrix.sum(0).tolist()


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_hypergraphs())
def test_degrees_dual_and_coalescing_against_the_dense_matrix(hypergraph: Hypergraph):
    matrix = dense(hypergraph)
    weight = torch.linspace(0.5, 2, hypergraph.num_hyperedges, dtype=torch.float64)
    assert torch.allclose(hypergraph.node_degree(weight), matrix @ weight, rtol=1e-14)
    assert torch.equal(dense(hypergraph.dual()), matrix.t())
    assert torch.equal(hypergraph.dual().dual().hyperedge_index, hypergraph.hyperedge_index)
    once = hypergraph.coalesce()
    assert torch.equal(dense(once), (matrix > 0).double())
    assert once.hyperedge_index.flip(0).t().tolist() == sorted(once.hyperedge_index.flip(0).t().tolist())


def test_degree_is_differentiable_in_the_weight():
    hypergraph = hypergraph_of("trailing ones empty")
    weight = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hypergraph.node_degree, (weight,))


def test_it_is_immutable_printed_shortly_and_moved():
    hypergraph = hypergraph_of("trailing ones empty")
    with pytest.raises(dataclasses.FrozenInstanceError):
        hypergraph.to_hyperedges = hypergraph.to_nodes  # type: ignore[misc]
    assert repr(hypergraph) == "Hypergraph(num_nodes=6, num_hyperedges=5, num_incidences=5)"
    assert hypergraph.to("cpu") is hypergraph
    assert hypergraph.to("meta").device.type == "meta"
    with pytest.raises(DeviceError):
        hypergraph.to("nowhere")


@pytest.mark.parametrize(
    ("index", "counts", "error", "words"),
    [
        ([[0, 3], [0, 0]], (3, 1), IndexRangeError, r"hyperedge_index\[0\]\[1\] = 3"),
        ([[0, 1], [0, 1]], (3, 1), IndexRangeError, r"\[0, 0\] for num_hyperedges = 1"),
        ([[0, -1], [0, 0]], (3, 1), IndexRangeError, r"hyperedge_index\[0\]\[1\] = -1"),
        ([[0], [0]], (1, 0), IndexRangeError, "must lie in empty for num_hyperedges = 0"),
        ([[0, 1]], (3, 1), ShapeError, r"\[2, nnz\] \(nodes, hyperedges\)"),
        ([0, 1], (3, 1), ShapeError, "hyperedge_index must have 2"),
        ([[0.0], [0.0]], (3, 1), DtypeError, "int32 or int64"),
        ([[0], [0]], (-1, 1), ShapeError, "num_nodes must not be negative"),
        ([[0], [0]], (1, None), ShapeError, "num_hyperedges must be an integer"),
        ([[0], [0]], (1, 2**63), ShapeError, "num_hyperedges must fit"),
    ],
)
def test_wrong_incidences_are_refused(index: list, counts: tuple, error: type[GnnkitError], words: str):
    with pytest.raises(error, match=words):
        Hypergraph.from_incidence(torch.tensor(index), num_nodes=counts[0], num_hyperedges=counts[1])


def test_wrong_weights_and_types_are_refused():
    hypergraph = hypergraph_of("trailing ones empty")
    for weight in (torch.ones(6), torch.ones(5, 1), torch.ones(5, dtype=torch.int64)):
        with pytest.raises(ShapeError, match="weight must be"):
            hypergraph.node_degree(weight)
    with pytest.raises(DtypeError, match=r"to_hyperedges must be a gnnkit\.Graph"):
        Hypergraph(torch.ones(2, 3))  # type: ignore[arg-type]


def test_from_data_takes_plain_data_and_says_what_is_missing():
    index = torch.tensor([[0, 2], [1, 1]])
    plain = Data(x=torch.ones(4, 2), hyperedge_index=index, num_hyperedges=3)
    assert repr(Hypergraph.from_data(plain)) == "Hypergraph(num_nodes=4, num_hyperedges=3, num_incidences=2)"
    for data, words in (
        (HyperData(num_nodes=3, num_hyperedges=1), "hyperedge_index is missing"),
        (HyperData(num_nodes=3, hyperedge_index=index), "num_hyperedges is missing"),
        (Batch.from_data_list([plain, plain]), "HyperData before batching"),
    ):
        with pytest.raises(DataError, match=words):
            Hypergraph.from_data(data)
    with pytest.warns(UserWarning, match="num_nodes"), pytest.raises(DataError, match="number of nodes"):
        Hypergraph.from_data(HyperData(hyperedge_index=index, num_hyperedges=3))
    with pytest.raises(ShapeError, match="num_hyperedges must be an integer, got 'x'"):
        Hypergraph.from_data(Data(num_nodes=3, hyperedge_index=index, num_hyperedges="x"))
    with pytest.raises(IndexRangeError, match="num_hyperedges = 1"):
        Hypergraph.from_data(
            data_of(hypergraph_of("no hyperedges"), y=0).update({"hyperedge_index": index, "num_hyperedges": 1})
        )
