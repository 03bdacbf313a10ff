"""HGNN against its dense formula."""

import pytest
import torch

from gnnkit.hypergraph import HGNNConv
from tests.hypergraph.conv.layer_cases import inverse, random_hypergraph
from tests.hypergraph.made_hypergraphs import SHAPES, dense, hypergraph_of


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, "random"])
def test_is_the_dense_formula(shape: str, weighted: bool):
    hypergraph = random_hypergraph() if shape == "random" else hypergraph_of(shape)
    incidence = dense(hypergraph)
    conv = HGNNConv(3, 5).double()
    x = torch.randn(hypergraph.num_nodes, 3, dtype=torch.float64)
    weight = torch.rand(hypergraph.num_hyperedges, dtype=torch.float64) if weighted else None
    w = torch.ones(hypergraph.num_hyperedges, dtype=torch.float64) if weight is None else weight
    root, hyperedge = torch.diag(inverse(incidence @ w, 0.5)), torch.diag(inverse(incidence.sum(0)))
    matrix = root @ incidence @ torch.diag(w) @ hyperedge @ incidence.t() @ root
    assert torch.equal(matrix.isfinite(), torch.ones_like(matrix, dtype=torch.bool))
    torch.testing.assert_close(conv(x, hypergraph, weight), matrix @ x @ conv.lin.weight.t() + conv.bias)


def test_a_weight_of_one_is_no_weight():
    hypergraph, x = random_hypergraph(), torch.randn(12, 3, dtype=torch.float64)
    conv = HGNNConv(3, 5, bias=False).double()
    torch.testing.assert_close(conv(x, hypergraph, torch.ones(7, dtype=torch.float64)), conv(x, hypergraph))
