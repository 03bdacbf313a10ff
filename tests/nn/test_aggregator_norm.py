"""Convolutions on random subgraphs: what arrives at a node is, on average, what does in the whole graph."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.nn import AggregatorNorm, EdgeSumConv, GCNConv, GINConv, GINEConv, GraphModel, ModelConfig, SAGEConv
from tests.sample.saint_graphs import Listed

WIDTH = 3
CONVS = {
    "gcn": lambda: GCNConv(WIDTH, WIDTH),
    "gcn without loops": lambda: GCNConv(WIDTH, WIDTH, add_self_loops=False),
    "gcn without degrees": lambda: GCNConv(WIDTH, WIDTH, normalize=False),
    "sage": lambda: SAGEConv(WIDTH, WIDTH),
    "sage of sums": lambda: SAGEConv(WIDTH, WIDTH, aggr="sum"),
    # Without a network after the sum, which would not commute with the mean.
    "gin": lambda: GINConv(torch.nn.Identity(), eps=0.5),
    "gine": lambda: GINEConv(torch.nn.Identity()),
    "edge sum": lambda: EdgeSumConv(WIDTH, WIDTH),
}
# A double edge, one direction of some edges only, and self-loops: one at node 2, two at node 4.
EDGES = torch.tensor([[0, 0, 1, 2, 2, 3, 3, 4, 4, 4, 1, 5], [1, 1, 2, 0, 2, 0, 2, 4, 4, 3, 4, 0]])
SETS = [[0, 1, 2], [1, 2, 3, 4], [0, 3], [0, 2, 4, 5], [0, 1, 2, 3, 4, 5], [1, 4], [3]]


def some_data() -> Data:
    generator = torch.Generator().manual_seed(3)
    return Data(
        x=torch.randn(6, WIDTH, generator=generator).double(),
        edge_index=EDGES,
        edge_attr=torch.randn(EDGES.size(1), WIDTH, generator=generator).double(),
    )


def outputs(conv: Any, data: Any, norm: AggregatorNorm | None = None) -> Tensor:
    graph = Graph.from_edge_index(data.edge_index, data.num_nodes)
    edge = data.edge_attr if conv.edge_input == "features" else None
    return conv(data.x, graph, edge, norm=norm)


@pytest.mark.parametrize("name", CONVS)
def test_the_mean_over_the_subgraphs_of_a_node_is_its_output_in_the_whole_graph(name: str):
    torch.manual_seed(0)
    conv = CONVS[name]().double()
    data = some_data()
    # All subgraphs, once each: the counts of the norm are those of the very subgraphs that are averaged over.
    sampler = Listed(data, SETS, coverage=sum(map(len, SETS)) / 6 - 0.01)
    total, count = torch.zeros(6, WIDTH, dtype=torch.double), torch.zeros(6, 1, dtype=torch.double)
    for batch in sampler:
        total[batch.n_id] += outputs(conv, batch, AggregatorNorm.of(batch)).detach()
        count[batch.n_id] += 1
    whole = outputs(conv, data).detach()
    assert torch.allclose(total / count, whole, rtol=0, atol=1e-6)  # the norms are float32
    plain = outputs(conv, sampler.make(0, 0)).detach()
    assert not torch.allclose(plain, whole[sampler.make(0, 0).n_id], atol=1e-3)


@pytest.mark.parametrize("name", CONVS)
def test_the_norm_of_the_whole_graph_changes_nothing(name: str):
    torch.manual_seed(0)
    conv = CONVS[name]().double()
    (batch,) = Listed(some_data(), [list(range(6))], coverage=3)
    norm = AggregatorNorm.of(batch)
    assert torch.equal(norm.edge_norm, torch.ones(EDGES.size(1)))
    assert torch.allclose(outputs(conv, batch, norm), outputs(conv, some_data()), rtol=0, atol=1e-6)


def test_gcn_divides_by_the_degrees_of_the_whole_graph():
    conv = GCNConv(1, 1, bias=False)
    torch.nn.init.ones_(conv.lin.weight)
    graph = Graph.from_edge_index(torch.tensor([[1], [0]]), 2)
    norm = AggregatorNorm(torch.tensor([1.5]), torch.tensor([3, 7]))
    x = torch.tensor([[2.0], [5.0]])
    expected = torch.tensor([[2 / 4 + 1.5 * 5 / (4 * 8) ** 0.5], [5 / 8]])
    assert torch.allclose(conv(x, graph, norm=norm), expected)


@pytest.mark.parametrize("kind", ["gcn", "sage", "gin", "gine", "edge_sum"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_models_give_it_to_every_layer(kind: str, batch_norm: bool):
    torch.manual_seed(0)
    edge_encoder = "linear" if kind in ("gine", "edge_sum") else "none"
    config = ModelConfig(
        conv=kind, num_layers=2, hidden_dim=4, pool="none", norm="batch" if batch_norm else "none",
        edge_encoder=edge_encoder,
    )  # fmt: skip
    model = GraphModel(config, node_dims=WIDTH, edge_dims=WIDTH, num_outputs=2)
    data: Any = some_data()
    data.x, data.edge_attr = data.x.float(), data.edge_attr.float()
    plain = model(data)
    ones = AggregatorNorm(torch.ones(EDGES.size(1)), torch.bincount(EDGES[1], minlength=6))
    data.aggregator_norm = ones
    assert torch.allclose(model(data.to("cpu")), plain, atol=1e-5)
    data.aggregator_norm = AggregatorNorm(torch.arange(1.0, 1 + EDGES.size(1)), ones.in_degree)
    assert not torch.allclose(model(data), plain, atol=1e-3)


def test_what_does_not_fit_is_refused():
    data: Any = some_data()
    graph = Graph.from_edge_index(EDGES, 6)
    norm = AggregatorNorm(torch.ones(EDGES.size(1)), torch.ones(6, dtype=torch.int64))
    x = data.x.float()
    with pytest.raises(ConfigError, match="edge weights or an aggregator norm, got both"):
        GCNConv(WIDTH, 2)(x, graph, torch.ones(EDGES.size(1)), norm=norm)
    with pytest.raises(ConfigError, match="means and sums, SAGEConv has aggr='max'"):
        SAGEConv(WIDTH, 2, aggr="max")(x, graph, norm=norm)
    for wrong, words in (
        (norm._replace(edge_norm=torch.ones(3)), r"edge_norm of shape \[12\], got \(3,\)"),
        (norm._replace(in_degree=torch.ones(3)), r"in_degree of shape \[6\], got \(3,\)"),
    ):
        with pytest.raises(ShapeError, match=words):
            GCNConv(WIDTH, 2)(x, graph, norm=wrong)
    with pytest.raises(DataError, match="the batch has no edge_norm"):
        AggregatorNorm.of(data)
    unfit: list[dict[str, Any]] = [
        {"conv": "gatedgcn", "edge_encoder": "linear"},
        {"conv": "gcn", "global_layer": "attention"},
    ]
    for options in unfit:
        config = ModelConfig(num_layers=1, hidden_dim=4, pool="none", **options)
        data.x, data.edge_attr, data.aggregator_norm = x, data.edge_attr.float(), norm
        with pytest.raises(ConfigError, match="the layers are no sums over edges"):
            GraphModel(config, node_dims=WIDTH, edge_dims=WIDTH, num_outputs=1)(data)
