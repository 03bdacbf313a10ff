"""Sparsification as a rewiring: what it does to weights, attributes, self-loops and batches."""

from typing import Any

import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch, Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry import spectral_sparsify
from gnnkit.rewire import SpectralSparsify
from tests.rewire.made_graphs import EDGE_CASES, assert_well_formed, data_of, pairs_of


def weighted_complete(num_nodes: int) -> Any:
    data = data_of(nx.complete_graph(num_nodes))
    table = torch.arange(1.0, num_nodes**2 + 1).reshape(num_nodes, num_nodes).sqrt()
    data.edge_weight = (table + table.T)[data.edge_index[0], data.edge_index[1]]
    return data


def test_weights_go_in_and_come_out():
    data = weighted_complete(60)
    out = SpectralSparsify(epsilon=0.9, seed=2)(data)
    assert_well_formed(data, out, keeps_edges=False)
    assert out.edge_weight.dtype == torch.float32
    assert 59 <= len(pairs_of(out)) < len(pairs_of(data))
    assert not bool(out.edge_type.any())
    table = torch.zeros(60, 60).index_put_(tuple(out.edge_index), out.edge_weight)
    assert torch.equal(table, table.T)
    # A cut between one node and the rest is a quadratic form, too.
    before = torch.zeros(60).index_add_(0, data.edge_index[0], data.edge_weight)
    ratio = table.sum(1) / before
    assert 0.1 <= float(ratio.min()) <= float(ratio.max()) <= 1.9


def test_weights_decide_what_stays():
    """With one clique ten thousand times as heavy as its links to the rest, draws still go by resistance alone."""
    data = data_of(nx.complete_graph(40))
    inside = (data.edge_index < 20).all(0)
    data.edge_weight = torch.where(inside, 1e4, 1.0).double()
    out = SpectralSparsify(epsilon=0.9)(data)
    assert out.edge_weight.dtype == torch.float64
    heavy = (out.edge_index < 20).all(0)
    assert float(out.edge_weight[heavy].min()) > 100 * float(out.edge_weight[~heavy].max())


def test_edge_attributes_follow_their_edges_and_loops_keep_their_weight():
    data = weighted_complete(30)
    loops = torch.tensor([[3, 7], [3, 7]])
    data.edge_index = torch.cat([loops[:, :1], data.edge_index, loops[:, 1:]], dim=1)
    data.edge_weight = torch.cat([torch.tensor([0.25]), data.edge_weight, torch.tensor([0.75])]).unsqueeze(1)
    data.edge_attr = data.edge_index.T.clone().float()
    out = SpectralSparsify(epsilon=0.9)(data)
    assert torch.equal(out.edge_attr, out.edge_index.T.float())
    assert out.edge_weight.shape == (out.edge_index.size(1), 1)
    loop = out.edge_index[0] == out.edge_index[1]
    assert out.edge_index[0, loop].tolist() == [3, 7]
    assert out.edge_weight[loop, 0].tolist() == [0.25, 0.75]


def test_edges_in_parallel_become_one_of_their_total_weight():
    ends = torch.tensor([[0, 1, 0, 1, 1, 2], [1, 0, 1, 0, 2, 1]])
    data = Data(edge_index=ends, edge_weight=torch.ones(6), num_nodes=3)
    out: Any = SpectralSparsify(epsilon=0.1)(data)
    assert out.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert out.edge_weight.tolist() == pytest.approx([2, 2, 1, 1], rel=0.1)
    data.edge_weight = torch.tensor([1.0, 1.0, 2.0, 2.0, 1.0, 1.0])
    with pytest.raises(DataError, match="different edge_weight"):
        SpectralSparsify(epsilon=0.1)(data)


@pytest.mark.parametrize("name", EDGE_CASES)
def test_small_graphs_keep_their_components(name):
    graph = EDGE_CASES[name]
    data = data_of(graph)
    out = SpectralSparsify(epsilon=0.5)(data)
    assert_well_formed(data, out, keeps_edges=False)
    assert out.num_nodes == data.num_nodes
    after = nx.empty_graph(data.num_nodes)
    after.add_edges_from(pairs_of(out))
    assert nx.number_connected_components(after) == nx.number_connected_components(graph)
    assert bool((out.edge_weight > 0).all())


def test_a_batch_is_rewired_graph_by_graph():
    graphs = [weighted_complete(size) for size in (30, 2, 45)]
    batch: Any = SpectralSparsify(epsilon=0.9)(Batch.from_data_list(graphs))
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        alone = SpectralSparsify(epsilon=0.9)(graph)
        assert torch.equal(single.edge_index, alone.edge_index)
        assert torch.equal(single.edge_weight, alone.edge_weight)


def test_seeds_settings_and_bad_input():
    data = weighted_complete(50)
    one, again, other = (SpectralSparsify(epsilon=0.9, seed=seed)(data) for seed in (1, 1, 2))
    assert torch.equal(one.edge_index, again.edge_index)
    assert torch.equal(one.edge_weight, again.edge_weight)
    assert not torch.equal(one.edge_index, other.edge_index)
    assert repr(SpectralSparsify(epsilon=0.5)) == "SpectralSparsify(epsilon=0.5, edge_fill=None, seed=0)"
    for epsilon in (0, 1, -0.1, "half"):
        with pytest.raises(ConfigError, match="epsilon"):
            SpectralSparsify(epsilon=epsilon)
    data.edge_weight[5] = -1
    with pytest.raises(DataError, match="finite and positive"):
        SpectralSparsify(epsilon=0.5)(data)


def test_the_function_draws_as_the_transform_does_in_kind():
    """The same guarantee and number of draws, though not the same edges: the transform's generator is per graph."""
    data = data_of(nx.complete_graph(80))
    out = SpectralSparsify(epsilon=0.9)(data)
    kept, weight = spectral_sparsify(data.edge_index, 80, epsilon=0.9)
    assert kept.size(1) == pytest.approx(out.edge_index.size(1), rel=0.1)
    assert float(weight.sum()) == pytest.approx(float(out.edge_weight.sum()), rel=0.1)
