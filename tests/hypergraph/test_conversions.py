"""Incidence matrices and dictionaries, there and back."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings

from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.hypergraph import Hypergraph, from_dict, from_incidence_matrix, to_dict, to_incidence_matrix
from tests.hypergraph.made_hypergraphs import SHAPES, dense, hypergraph_of, random_hypergraphs

LAYOUTS = ("dense", "coo", "csr", "scipy")


def as_dense(matrix: Any) -> torch.Tensor:
    if sp.issparse(matrix):
        return torch.from_numpy(matrix.toarray())
    return matrix.to_dense()


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_hypergraphs())
def test_matrices_in_every_layout_and_back(hypergraph: Hypergraph):
    expected = dense(hypergraph)
    for layout in LAYOUTS:
        matrix = to_incidence_matrix(hypergraph, layout=layout, dtype=torch.float64)
        assert torch.equal(as_dense(matrix), expected)
        back = from_incidence_matrix(matrix)
        assert torch.equal(dense(back), expected)
        pairs = back.hyperedge_index.t().tolist()
        assert pairs == sorted(pairs)


@pytest.mark.parametrize("shape", SHAPES)
def test_other_kinds_of_matrices_are_read(shape: str):
    hypergraph = hypergraph_of(shape, torch.int32)
    expected = dense(hypergraph)
    if (expected > 1).any():
        assert torch.equal(dense(from_incidence_matrix(expected > 0)), (expected > 0).double())
    for matrix in (
        expected.numpy(),
        expected.int(),
        expected.to(torch.uint16),
        expected.numpy().astype(np.uint32),
        expected.to_sparse_csc(),
        sp.csc_matrix(expected.numpy()),
        sp.lil_array(expected.numpy().astype(np.int8)),
        sp.csr_array(expected.numpy().astype(np.uint64)),
        expected.t().contiguous().t(),
    ):
        assert torch.equal(dense(from_incidence_matrix(matrix)), expected)
    assert to_incidence_matrix(hypergraph, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_stored_zeros_are_no_incidences_and_equal_places_add_up():
    index = torch.tensor([[0, 1, 1], [0, 1, 1]])
    matrix = torch.sparse_coo_tensor(index, torch.tensor([0.0, 1.0, 1.0]), (3, 4), check_invariants=True)
    hypergraph = from_incidence_matrix(matrix)
    assert hypergraph.hyperedge_index.tolist() == [[1, 1], [1, 1]]
    assert (hypergraph.num_nodes, hypergraph.num_hyperedges) == (3, 4)


@pytest.mark.parametrize(
    ("matrix", "error", "words"),
    [
        (torch.tensor([[0.0, 0.5]]), DataError, r"node 0 and hyperedge 1 is 0\.5; weights"),
        (torch.tensor([[0], [-1]]), DataError, "node 1 and hyperedge 0 is -1"),
        (torch.tensor([[torch.nan]]), DataError, "is nan"),
        (torch.tensor([[torch.inf]]), DataError, "is inf"),
        (torch.tensor([1.0]), ShapeError, r"\[nodes, hyperedges\]"),
        (torch.ones(1, 2).to_sparse(1), ShapeError, r"\[nodes, hyperedges\]"),
        (np.ones((2, 2, 2)), ShapeError, r"\[nodes, hyperedges\]"),
        (np.array([["a"]]), DataError, "holds real numbers"),
        (torch.ones(1, 1, dtype=torch.complex64), DataError, "real numbers"),
        ([[1, 0]], DataError, "got list"),
        (None, DataError, "got NoneType"),
    ],
)
def test_what_is_no_incidence_matrix_is_refused(matrix: Any, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        from_incidence_matrix(matrix)


def test_an_unknown_layout_or_style_is_refused():
    with pytest.raises(ConfigError, match="layout must be"):
        to_incidence_matrix(hypergraph_of("nothing"), layout="bsr")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="style must be"):
        to_dict(hypergraph_of("nothing"), style="dhg")  # type: ignore[arg-type]


@settings(derandomize=True, deadline=None, max_examples=25)
@given(random_hypergraphs())
def test_dictionaries_and_back(hypergraph: Hypergraph):
    nodes = [f"v{node}" for node in range(hypergraph.num_nodes)]
    hyperedges = [f"e{hyperedge}" for hyperedge in range(hypergraph.num_hyperedges)]
    lists = to_dict(hypergraph, nodes, hyperedges, style="hypernetx")
    back, names, edges = from_dict(lists, nodes)
    assert (names, edges) == (nodes, hyperedges)
    assert torch.equal(dense(back), dense(hypergraph))
    assert to_dict(back, nodes, hyperedges, style="hypernetx") == lists
    sets = to_dict(hypergraph)
    assert sets == {
        hyperedge: {v for v, e in hypergraph.hyperedge_index.t().tolist() if e == hyperedge}
        for hyperedge in range(hypergraph.num_hyperedges)
    }
    back, _, _ = from_dict(sets, range(hypergraph.num_nodes))
    assert torch.equal(dense(back), (dense(hypergraph) > 0).double())


def test_dictionaries_of_both_kinds_by_hand():
    sets = {"a": {"z", "x"}, "b": set(), 7: frozenset({"y"})}
    hypergraph, nodes, hyperedges = from_dict(sets)
    assert (nodes, hyperedges) == (["x", "y", "z"], ["a", "b", 7])
    assert hypergraph.hyperedge_index.tolist() == [[0, 2, 1], [0, 0, 2]]
    nested = {"a": {"z": {"weight": 2.0}, "x": {}}, "b": {}}
    hypergraph, nodes, _ = from_dict(nested, ["z", "w", "x"])
    assert hypergraph.hyperedge_index.tolist() == [[0, 2], [0, 0]]
    assert (hypergraph.num_nodes, hypergraph.num_hyperedges) == (3, 2)
    assert from_dict({})[0].num_nodes == 0
    assert from_dict({0: [5, 3, 5]})[0].hyperedge_index.tolist() == [[1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("hyperedges", "nodes", "words"),
    [
        ([[0, 1]], None, "expected a dictionary"),
        ({"a": "xy"}, None, "hyperedge 'a' must hold a set or list of nodes, got 'xy'"),
        ({"a": 3}, None, "hyperedge 'a' must hold"),
        ({"a": [0, "x"]}, None, r"cannot be put in order .* nodes=\[\.\.\.\]"),
        ({"a": [0, 4]}, range(3), "hyperedge 'a' has node 4, which is not among"),
        ({"a": [0]}, [0, 1, 0], "0 is there twice"),
        ({"a": [[0]]}, None, "that a dictionary can hold: unhashable"),
    ],
)
def test_wrong_dictionaries_are_refused(hyperedges: Any, nodes: Any, words: str):
    with pytest.raises(DataError, match=words):
        from_dict(hyperedges, nodes)


def test_names_that_do_not_fit_are_refused():
    hypergraph = hypergraph_of("empty hyperedges")
    for names in (["a", "b"], ["a", "b", "a"]):
        with pytest.raises(DataError, match="nodes must be 3 different names"):
            to_dict(hypergraph, names)
    with pytest.raises(DataError, match="hyperedges must be 4 different names"):
        to_dict(hypergraph, None, ["a"] * 4)
