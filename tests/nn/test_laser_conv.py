"""Layers over the types of edges that a rewiring leaves behind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, IndexRangeError, ShapeError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.rewire._rewiring import Change, Rewiring

WIDTH = 4
BODIES = ("gat", "gatv2", "gcn", "gin", "sage")


class Snapshots(Rewiring):
    """All pairs at distance 2 and 3, marked 1 and 2 as LASER marks them; or 1 for all."""

    def __init__(self, *, labels: bool = True, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.labels = labels

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        hops = nn.hop_graphs(Graph.from_edge_index(graph.edge_index(), graph.num_nodes), 3)
        pairs = [hop.edge_index[:, hop.edge_index[0] < hop.edge_index[1]] for hop in hops[1:]]
        label = torch.cat([torch.full((found.size(1),), number + 1) for number, found in enumerate(pairs)])
        return Change(torch.cat(pairs, dim=1), label=label if self.labels else None)


def data_of(num_nodes: int, num_edges: int, seed: int) -> Data:
    generator = torch.Generator().manual_seed(seed)
    source, target = torch.randint(num_nodes, (2, num_edges), generator=generator)
    keep = source != target
    key = torch.unique(torch.minimum(source, target)[keep] * num_nodes + torch.maximum(source, target)[keep])
    pairs = torch.stack([key // num_nodes, key % num_nodes])
    x = torch.randn(num_nodes, WIDTH, generator=generator)
    return Data(x=x, edge_index=torch.cat([pairs, pairs.flip(0)], dim=1))


@pytest.fixture
def rewired() -> Any:
    return Batch.from_data_list([Snapshots()(data_of(12, 14, seed)) for seed in range(3)])


def graph_of(data: Any) -> Graph:
    return Graph.from_edge_index(data.edge_index, num_nodes=data.num_nodes)


def shuffled(data: Any) -> tuple[Tensor, Tensor]:
    order = torch.randperm(data.num_edges)
    return data.edge_index[:, order], data.edge_type[order]


def test_parts_hold_the_edges_of_each_type_and_their_numbers(rewired: Any):
    edge_index, edge_type = shuffled(rewired)
    graph = Graph.from_edge_index(edge_index, num_nodes=rewired.num_nodes)
    parts = nn.split_edges(graph, edge_type, 4)
    assert [part.graph.num_edges for part in parts] == torch.bincount(edge_type, minlength=4).tolist()
    for number, part in enumerate(parts):
        assert torch.equal(part.graph.edge_index, edge_index[:, part.edge])
        assert bool((edge_type[part.edge] == number).all())


def test_parts_are_kept_until_the_types_change(rewired: Any):
    graph, edge_type = graph_of(rewired), rewired.edge_type.clone()
    first = nn.split_edges(graph, edge_type, 3)
    assert nn.split_edges(graph, edge_type.clone(), 3) is first
    edge_type[0] = 2
    again = nn.split_edges(graph, edge_type, 3)
    assert again[2].graph.num_edges == first[2].graph.num_edges + 1


@pytest.mark.parametrize("body", [*BODIES, nn.GCNConv, lambda i, o: nn.SAGEConv(i, o, aggr="max")])
def test_the_layer_is_the_sum_of_its_bodies_on_the_snapshots(rewired: Any, body: Any):
    edge_index, edge_type = shuffled(rewired)
    conv = nn.LaserConv(WIDTH, 3, 3, body=body)
    out = conv(rewired.x, Graph.from_edge_index(edge_index, num_nodes=rewired.num_nodes), edge_type)
    expected = torch.zeros(rewired.num_nodes, 3)
    for number in range(3):
        part = Graph.from_edge_index(edge_index[:, edge_type == number], num_nodes=rewired.num_nodes)
        expected = expected + conv.convs[number](rewired.x, part)
    torch.testing.assert_close(out, expected)
    assert len({id(parameter) for parameter in conv.parameters()}) == 3 * len(list(conv.convs[0].parameters()))


def test_edge_weights_and_features_go_to_the_edges_they_belong_to(rewired: Any):
    edge_index, edge_type = shuffled(rewired)
    graph = Graph.from_edge_index(edge_index, num_nodes=rewired.num_nodes)
    weight, feature = torch.rand(graph.num_edges), torch.randn(graph.num_edges, 2)
    cases: list[tuple[Callable[[int, int], torch.nn.Module], Tensor]] = [
        (nn.GCNConv, weight),
        (lambda i, o: nn.GATConv(i, o, edge_dim=2), feature),
    ]
    for body, edge_attr in cases:
        conv = nn.LaserConv(WIDTH, 3, 3, body=body)
        expected = torch.zeros(rewired.num_nodes, 3)
        for number in range(3):
            where = edge_type == number
            part = Graph.from_edge_index(edge_index[:, where], num_nodes=rewired.num_nodes)
            expected = expected + conv.convs[number](rewired.x, part, edge_attr[where])
        torch.testing.assert_close(conv(rewired.x, graph, edge_type, edge_attr), expected)


def test_relabelling_the_nodes_relabels_the_output(rewired: Any):
    perm, conv = torch.randperm(rewired.num_nodes), nn.LaserConv(WIDTH, 3, 3)
    moved_x = torch.empty_like(rewired.x).index_copy(0, perm, rewired.x)
    moved = conv(moved_x, Graph.from_edge_index(perm[rewired.edge_index], rewired.num_nodes), rewired.edge_type)
    torch.testing.assert_close(moved[perm], conv(rewired.x, graph_of(rewired), rewired.edge_type))


@pytest.mark.parametrize("body", BODIES)
def test_gradients_reach_the_weights_of_every_snapshot(rewired: Any, body: str):
    conv, x = nn.LaserConv(WIDTH, 3, 3, body=body), rewired.x.clone().requires_grad_()
    conv(x, graph_of(rewired), rewired.edge_type).square().sum().backward()
    assert x.grad is not None
    for parameter in conv.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())


def test_gradients_agree_with_finite_differences():
    data = Snapshots()(data_of(6, 6, 0))
    conv = nn.LaserConv(WIDTH, 2, 3).double()
    x = data.x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: conv(x, graph_of(data), data.edge_type), (x,))


@pytest.mark.parametrize("body", BODIES)
def test_the_layer_compiles_in_one_graph_given_its_snapshots(rewired: Any, body: str):
    conv = nn.LaserConv(WIDTH, 3, 3, body=body)
    expected = conv(rewired.x, graph_of(rewired), rewired.edge_type)
    parts = nn.split_edges(graph_of(rewired), rewired.edge_type, 3)
    conv(rewired.x, parts)
    compiled = torch.compile(conv, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(rewired.x, parts), expected)


def test_types_in_place_of_snapshots_break_the_trace_only():
    data, conv = Snapshots()(data_of(9, 9, 0)), nn.LaserConv(WIDTH, 3, 3)
    compiled = torch.compile(conv, backend="aot_eager")
    expected = conv(data.x, graph_of(data), data.edge_type)
    torch.testing.assert_close(compiled(data.x, graph_of(data), data.edge_type), expected)


def test_no_nodes_no_edges_and_snapshots_without_edges():
    for num_nodes in (0, 1, 3):
        graph = Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes)
        out = nn.LaserConv(WIDTH, 3, 2)(torch.randn(num_nodes, WIDTH), graph, torch.empty(0, dtype=torch.int64))
        assert out.shape == (num_nodes, 3)
        assert bool(out.isfinite().all())


def test_a_relational_layer_takes_the_types_of_a_rewiring():
    """Original and added edges as two relations, as the R-GCN rows of the papers on rewiring have them."""
    batch = Batch.from_data_list([Snapshots(labels=False)(data_of(12, 14, seed)) for seed in range(3)])
    assert batch.edge_type.unique().tolist() == [0, 1]
    conv = nn.RGCNConv(WIDTH, 3, num_relations=2)
    expected = batch.x @ conv.root + conv.bias
    for relation in range(2):
        source, target = batch.edge_index[:, batch.edge_type == relation]
        total = torch.zeros(batch.num_nodes, WIDTH).index_add(0, target, batch.x[source])
        count = torch.bincount(target, minlength=batch.num_nodes).clamp(min=1)
        expected = expected + total / count[:, None] @ conv.weight[relation]
    out = conv(batch.x, graph_of(batch), batch.edge_type)
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()
    assert conv.weight.grad is not None
    assert bool((conv.weight.grad.abs().amax((1, 2)) > 0).all())


def test_bad_input_is_named(rewired: Any):
    graph, x = graph_of(rewired), rewired.x
    conv = nn.LaserConv(WIDTH, 3, 2)
    with pytest.raises(ConfigError, match="body must be one of gat, gatv2, gcn, gin, sage"):
        nn.LaserConv(WIDTH, 3, 2, body="gatedgcn")
    with pytest.raises(ConfigError, match="num_snapshots"):
        nn.LaserConv(WIDTH, 3, 0)
    with pytest.raises(IndexRangeError, match=r"edge_type must lie in \[0, 1\]"):
        conv(x, graph, rewired.edge_type)
    with pytest.raises(ShapeError, match="needs edge_type"):
        conv(x, graph)
    with pytest.raises(ShapeError, match="one integer per edge"):
        conv(x, graph, rewired.edge_type[1:])
    with pytest.raises(ShapeError, match="has 2 snapshots, got 3"):
        conv(x, nn.split_edges(graph, rewired.edge_type, 3))
    with pytest.raises(ShapeError, match="either a graph and edge_type, or snapshots"):
        conv(x, nn.split_edges(graph, rewired.edge_type, 3)[:2], rewired.edge_type)
    with pytest.raises(ShapeError, match="one row per edge"):
        nn.LaserConv(WIDTH, 3, 3)(x, graph, rewired.edge_type, torch.rand(3))
    with pytest.raises(ShapeError, match="GatedGCNConv returns tuple"):
        nn.LaserConv(WIDTH, WIDTH, 3, body=nn.GatedGCNConv)(x, graph, rewired.edge_type)
    with pytest.raises(ConfigError, match="num_types"):
        nn.split_edges(graph, rewired.edge_type, 0)
