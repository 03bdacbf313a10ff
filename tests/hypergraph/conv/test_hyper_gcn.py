"""HyperGCN against loops over hyperedges and pairs of nodes."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DtypeError, ShapeError
from gnnkit.hypergraph import HyperGCNConv, Hypergraph, hyper_gcn_graph
from gnnkit.hypergraph.conv import hyper_gcn
from tests.hypergraph.conv.layer_cases import random_hypergraph
from tests.hypergraph.made_hypergraphs import SHAPES, dense, hypergraph_of


def by_loops(signal: Tensor, hypergraph: Hypergraph, weight: Tensor, mediators: bool) -> Tensor:
    """The adjacency matrix, with the first of the farthest pairs in lexicographic order."""
    adjacency = torch.zeros(hypergraph.num_nodes, hypergraph.num_nodes, dtype=torch.float64)
    for hyperedge, column in enumerate(dense(hypergraph).t()):
        members = column.nonzero().flatten().tolist()
        if len(members) < 2:
            continue
        distance = {pair: float((signal[pair[0]] - signal[pair[1]]).norm()) for pair in combinations(members, 2)}
        first, second = max(distance, key=lambda pair: distance[pair])
        edges = [(first, second)]
        if mediators:
            others = [node for node in members if node not in (first, second)]
            edges += [(node, end) for node in others for end in (first, second)]
            assert len(edges) == 2 * len(members) - 3
        for i, j in edges:
            adjacency[i, j] += weight[hyperedge] / len(edges)
            adjacency[j, i] += weight[hyperedge] / len(edges)
    return adjacency


def adjacency_of(signal: Tensor, hypergraph: Hypergraph, weight: Tensor | None, mediators: bool) -> Tensor:
    graph, values = hyper_gcn_graph(signal, hypergraph, weight, mediators=mediators)
    adjacency = torch.zeros(hypergraph.num_nodes, hypergraph.num_nodes, dtype=torch.float64)
    source, target = graph.edge_index.long()
    return adjacency.index_put((target, source), values.double(), accumulate=True)


@pytest.mark.parametrize("mediators", [True, False])
@pytest.mark.parametrize("shape", [*SHAPES, "random"])
def test_is_the_dense_formula(shape: str, mediators: bool):
    hypergraph = random_hypergraph() if shape == "random" else hypergraph_of(shape)
    conv = HyperGCNConv(3, 4, mediators=mediators).double()
    x = torch.randn(hypergraph.num_nodes, 3, dtype=torch.float64)
    weight = torch.rand(hypergraph.num_hyperedges, dtype=torch.float64)
    signal = x @ conv.lin.weight.detach().t()
    for given in (weight, None):
        adjacency = by_loops(signal, hypergraph, torch.ones_like(weight) if given is None else given, mediators)
        adjacency = adjacency + torch.eye(hypergraph.num_nodes, dtype=torch.float64)
        root = adjacency.sum(1).rsqrt()
        expected = root[:, None] * adjacency * root @ signal + conv.bias
        torch.testing.assert_close(conv(x, hypergraph, given), expected)


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
def test_blocks_and_ties_choose_the_first_of_the_farthest_pairs(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hyper_gcn, "_BLOCK", block)
    for seed in range(10):
        torch.manual_seed(seed)
        hypergraph = random_hypergraph(9, 6, 25)
        # Few different values, so that many pairs are equally far apart, and many not apart at all.
        signal = torch.randint(2, (9, 2)).double()
        ones = torch.ones(6, dtype=torch.float64)
        expected = by_loops(signal, hypergraph, ones, True)
        torch.testing.assert_close(adjacency_of(signal, hypergraph, None, True), expected)


def test_equal_features_give_the_lowest_pair_whatever_the_order_of_the_incidences():
    nodes = torch.tensor([4, 2, 7, 3])
    for perm in (torch.arange(4), torch.tensor([2, 0, 3, 1])):
        index = torch.stack([nodes[perm], torch.zeros(4, dtype=torch.int64)])
        hypergraph = Hypergraph.from_incidence(index, num_nodes=8, num_hyperedges=1)
        graph, weight = hyper_gcn_graph(torch.zeros(8, 3), hypergraph, mediators=False)
        assert graph.edge_index.tolist() == [[2, 3], [3, 2]]
        assert weight.tolist() == [1, 1]


def test_the_weights_of_the_graph_are_differentiable():
    hypergraph, signal = random_hypergraph(), torch.randn(12, 3, dtype=torch.float64)
    weight = torch.rand(7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: hyper_gcn_graph(signal, hypergraph, given)[1], (weight,))


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="mediators must be True or False"):
        HyperGCNConv(3, 4, mediators=2)  # type: ignore[arg-type]
    hypergraph = random_hypergraph()
    with pytest.raises(ShapeError, match="signal must have one row per node, 12"):
        hyper_gcn_graph(torch.randn(11, 3), hypergraph)
    with pytest.raises(ShapeError, match=r"signal of shape \[12, F\]"):
        hyper_gcn_graph(torch.randn(12), hypergraph)
    with pytest.raises(DtypeError, match=r"signal must be a torch\.Tensor"):
        hyper_gcn_graph(None, hypergraph)  # type: ignore[arg-type]
    with pytest.raises(DtypeError, match=r"must be a gnnkit\.hypergraph\.Hypergraph"):
        hyper_gcn_graph(torch.randn(12, 3), hypergraph.to_nodes)  # type: ignore[arg-type]
