"""Coordinates of effective resistance against exact resistances."""

import math
from typing import Any

import networkx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit import geometry
from gnnkit.encodings import ResistanceEmbedding
from gnnkit.errors import ConfigError, DataError


def data_of(graph: Any) -> Any:
    directed = networkx.convert_node_labels_to_integers(graph).to_directed()
    edges = torch.tensor([edge[:2] for edge in directed.edges], dtype=torch.int64)
    return Data(edge_index=edges.reshape(-1, 2).T, num_nodes=graph.number_of_nodes())


def distances(value: Tensor) -> Tensor:
    apart = value.double()[:, None] - value.double()[None]
    return apart.square().sum(-1)


GRAPHS = {
    "path": networkx.path_graph(9),
    "cycle": networkx.cycle_graph(8),
    "cube": networkx.hypercube_graph(3),
    "parts": networkx.disjoint_union_all(
        [networkx.barbell_graph(5, 1), networkx.cycle_graph(4), networkx.empty_graph(1)]
    ),
    "large": networkx.gnm_random_graph(300, 700, seed=0),
}


@pytest.mark.parametrize("name", ["path", "cycle", "cube", "parts"])
def test_squared_distances_are_resistances(name: str):
    data = data_of(GRAPHS[name])
    out = ResistanceEmbedding(data.num_nodes)(data)
    expected = geometry.effective_resistance(data.edge_index, data.num_nodes, pairs="all")
    together = expected.isfinite()
    torch.testing.assert_close(distances(out.resistance_pe)[together], expected[together], rtol=1e-5, atol=1e-6)
    components = networkx.number_connected_components(GRAPHS[name])
    assert int(out.resistance_pe_mask[0].sum()) == data.num_nodes - components


def test_closed_form_of_a_weighted_edge():
    data = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.tensor([4.0, 4.0]), num_nodes=2)
    out: Any = ResistanceEmbedding(3)(data)
    assert float(distances(out.resistance_pe)[0, 1]) == pytest.approx(0.25)
    assert out.resistance_pe_mask[0].tolist() == [True, False, False]


def test_fewer_coordinates_give_smaller_distances_that_grow():
    data = data_of(GRAPHS["large"])
    largest = max(networkx.connected_components(GRAPHS["large"]), key=len)
    nodes = torch.tensor(sorted(largest))
    expected = geometry.effective_resistance(data.edge_index, 300, pairs="all")[nodes][:, nodes]
    before = torch.zeros_like(expected)
    for k in (2, 10, 40):
        found = distances(ResistanceEmbedding(k)(data).resistance_pe[nodes])
        assert bool((found <= expected + 1e-5).all())
        assert bool((found >= before - 1e-5).all())
        before = found


@pytest.mark.parametrize("seed", [0, 1])
def test_a_sketch_keeps_to_its_guarantee(seed: int):
    data = data_of(GRAPHS["parts"])
    epsilon = 0.4
    k = math.ceil(8 * math.log(10 * data.num_nodes) / (epsilon**2 - 2 * epsilon**3 / 3))
    found = distances(ResistanceEmbedding(k, method="sketch", seed=seed)(data).resistance_pe)
    expected = geometry.effective_resistance(data.edge_index, data.num_nodes, pairs="all")
    chosen = expected.isfinite() & (expected > 0)
    ratio = found[chosen] / expected[chosen]
    assert 1 - epsilon <= float(ratio.min()) <= float(ratio.max()) <= 1 + epsilon
    assert float(ratio.sub(1).abs().max()) > 1e-3, "random signs are not exact"


def test_a_sketch_has_the_exact_distances_on_average():
    data = data_of(networkx.cycle_graph(6))
    mean = sum(distances(ResistanceEmbedding(40, method="sketch", seed=s)(data).resistance_pe) for s in range(60)) / 60
    expected = geometry.effective_resistance(data.edge_index, 6, pairs="all")
    torch.testing.assert_close(mean, expected, rtol=0.06, atol=1e-6)


@pytest.mark.parametrize("method", ["exact", "sketch"])
def test_a_batch_is_its_graphs_and_repeats_bitwise(method: Any):
    transform = ResistanceEmbedding(6, method=method, seed=3)
    graphs = [data_of(graph) for graph in GRAPHS.values()]
    batch: Any = transform(Batch.from_data_list(graphs))
    again: Any = transform(Batch.from_data_list(graphs))
    assert torch.equal(batch.resistance_pe, again.resistance_pe)
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        torch.testing.assert_close(single.resistance_pe, transform(graph).resistance_pe, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["exact", "sketch"])
@pytest.mark.parametrize("num_nodes", [0, 1, 3])
def test_graphs_without_edges_have_no_coordinates(method: Any, num_nodes: int):
    data = Data(edge_index=torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes)
    out: Any = ResistanceEmbedding(4, method=method)(data)
    assert torch.equal(out.resistance_pe, torch.zeros(num_nodes, 4))


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="k must be"):
        ResistanceEmbedding(0)
    with pytest.raises(ConfigError, match="method must be 'exact' or 'sketch'"):
        ResistanceEmbedding(2, method="fast")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="undirected graph"):
        ResistanceEmbedding(2)(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    assert repr(ResistanceEmbedding(2)).startswith("ResistanceEmbedding(k=2, method='exact', seed=0")
