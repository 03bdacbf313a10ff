"""Hyperedges of one node each."""

import pytest
import torch

from gnnkit.hypergraph import Hypergraph, add_self_loops
from tests.hypergraph.made_hypergraphs import SHAPES, dense, hypergraph_of


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_node_is_alone_in_some_hyperedge(shape: str, dtype: torch.dtype):
    hypergraph = hypergraph_of(shape, dtype)
    before, looped = dense(hypergraph), add_self_loops(hypergraph)
    after = dense(looped)
    added = after[:, hypergraph.num_hyperedges :]
    assert torch.equal(after[:, : hypergraph.num_hyperedges], before)
    lacking = [v for v in range(len(before)) if not any(row[v] == 1 == row.sum() for row in before.t())]
    assert added.shape == (len(before), len(lacking))
    assert added.t().nonzero().tolist() == [[place, node] for place, node in enumerate(lacking)]
    assert looped.hyperedge_index.dtype == dtype
    assert torch.equal(looped.hyperedge_index[:, : hypergraph.num_incidences], hypergraph.hyperedge_index)


def test_computed_once_and_nothing_to_do_the_second_time():
    hypergraph = hypergraph_of("trailing ones empty")
    looped = add_self_loops(hypergraph)
    assert add_self_loops(hypergraph) is looped
    assert add_self_loops(looped) is looped


def test_a_hyperedge_of_one_node_twice_is_no_self_loop():
    twice = Hypergraph.from_incidence(torch.tensor([[0, 0], [0, 0]]), num_nodes=1, num_hyperedges=1)
    assert add_self_loops(twice).num_hyperedges == 2
