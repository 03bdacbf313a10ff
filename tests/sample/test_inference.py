"""Inference layer by layer against the layers on the whole graph."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.sample import layerwise_inference
from tests.sample.test_neighbor import directed_data
from tests.tolerances import assert_close


class PlainSum(nn.MessagePassing):
    """Each row of each operation depends on the inputs of that row alone."""


def relu_after(conv: torch.nn.Module) -> Callable[..., Any]:
    return lambda x, graph, edge_attr: conv(x, graph).relu()


STACKS: dict[str, Callable[[], list[Any]]] = {
    "sage": lambda: [nn.SAGEConv(3, 8), nn.SAGEConv(8, 5, aggr="max")],
    "gcn": lambda: [nn.GCNConv(3, 8), nn.GCNConv(8, 5)],
    "gat": lambda: [nn.GATConv(3, 4, heads=2), nn.GATConv(8, 5)],
    "function": lambda: [relu_after(nn.GCNConv(3, 8)), relu_after(nn.SAGEConv(8, 5))],
}


def whole(layers: list[Any], data: Data, edge_attr: Any = None) -> torch.Tensor:
    graph, x = Graph.from_edge_index(data.edge_index, data.num_nodes), data.x
    with torch.no_grad():
        for layer in layers:
            found = layer(x, graph, edge_attr)
            x, edge_attr = found if isinstance(found, tuple) else (found, edge_attr)
    return x


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_equals_the_layers_on_the_whole_graph(name: str, batch_size: int):
    data, layers = directed_data(), STACKS[name]()
    assert_close(layerwise_inference(layers, data, batch_size=batch_size), whole(layers, data))


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
@pytest.mark.parametrize("batch_size", [1, 13])
def test_has_the_same_bits_where_rows_depend_on_nothing_else(reduce: str, batch_size: int):
    data = directed_data(200, 3000)
    layers = [PlainSum(reduce), PlainSum(reduce)]
    assert torch.equal(layerwise_inference(layers, data, batch_size=batch_size), whole(layers, data))


def test_layers_that_read_degrees_of_sources_need_two_hops():
    data = directed_data()
    layers = [nn.GCNConv(3, 8)]
    near = layerwise_inference(layers, data, batch_size=7, hops=1)
    assert float((near - whole(layers, data)).abs().max()) > 1e-3
    inside = torch.nn.ModuleList([nn.GCNConv(3, 8)])
    inside.forward = lambda *given: inside[0](*given)  # type: ignore[method-assign]
    assert_close(layerwise_inference([inside], data, batch_size=7), whole([inside], data))


def test_edges_go_from_layer_to_layer():
    data = directed_data(50, 260)
    layers = [nn.GatedGCNConv(3, 3), nn.GatedGCNConv(3, 3)]
    edge_attr = torch.randn(260, 3)
    for layer in layers:
        layer.eval()
    found = layerwise_inference(layers, data, batch_size=9, edge_attr=edge_attr)
    assert_close(found, whole(layers, data, edge_attr))


def test_weights_of_edges_follow():
    data, layers, weight = directed_data(), [nn.GCNConv(3, 4), nn.GCNConv(4, 2)], torch.rand(400)
    assert_close(layerwise_inference(layers, data, batch_size=11, edge_attr=weight), whole(layers, data, weight))


def test_modules_are_in_evaluation_mode_meanwhile_and_nothing_is_recorded():
    modes = []

    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = torch.nn.Linear(3, 3)
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x, graph, edge_attr):
            modes.append(self.drop.training)
            return self.drop(self.lin(x))

    layer, data = Watched(), directed_data()
    layer.lin.eval()
    found = layerwise_inference([layer], data, batch_size=60)
    assert modes == [False]
    assert layer.training
    assert layer.drop.training
    assert not layer.lin.training
    assert not found.requires_grad
    assert_close(found, layer.lin(data.x).detach())


def test_graphs_without_nodes_or_edges():
    layers = [nn.SAGEConv(3, 8), nn.SAGEConv(8, 5)]
    nothing = Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), x=torch.zeros(0, 3))
    assert layerwise_inference(layers, nothing).shape == (0, 5)
    lone = Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), x=torch.randn(4, 3))
    assert_close(layerwise_inference(layers, lone, batch_size=3), whole(layers, lone))


def test_bad_input_is_named():
    data, layer = directed_data(), nn.SAGEConv(3, 2)
    for call, error, words in (
        (lambda: layerwise_inference([], data), ConfigError, "at least one layer"),
        (lambda: layerwise_inference([layer], data, batch_size=0), ConfigError, "batch_size must be"),
        (lambda: layerwise_inference([layer], data, hops=0), ConfigError, "hops must be"),
        (
            lambda: layerwise_inference([layer], data, edge_attr=torch.ones(3)),
            ShapeError,
            "edge_attr must be.*400 rows",
        ),
        (lambda: layerwise_inference([lambda x, g, e: x[:1]], data), ShapeError, "one row per node, 60"),
        (
            lambda: layerwise_inference([layer], Data(edge_index=data.edge_index, num_nodes=60)),
            ShapeError,
            "data.x must be",
        ),
    ):
        with pytest.raises(error, match=words):
            call()
