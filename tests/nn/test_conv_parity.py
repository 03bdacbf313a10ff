"""Layers against PyTorch Geometric: its weights load, outputs and gradients agree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnkit import Graph, nn

WIDTH = 6


def mlp(width: int = WIDTH) -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(width, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5))


@dataclass(frozen=True)
class Parity:
    ours: Callable[[], torch.nn.Module]
    theirs: Callable[[], torch.nn.Module]
    edge: str = "none"
    edge_width: int = WIDTH


CASES = {
    "gcn": Parity(lambda: nn.GCNConv(6, 5), lambda: pyg.GCNConv(6, 5)),
    "gcn_weighted": Parity(lambda: nn.GCNConv(6, 5), lambda: pyg.GCNConv(6, 5), "weight"),
    "gcn_improved": Parity(lambda: nn.GCNConv(6, 5, improved=True), lambda: pyg.GCNConv(6, 5, improved=True), "weight"),
    "gcn_improved_unweighted": Parity(
        lambda: nn.GCNConv(6, 5, improved=True), lambda: pyg.GCNConv(6, 5, improved=True)
    ),
    "gcn_no_loops": Parity(
        lambda: nn.GCNConv(6, 5, add_self_loops=False), lambda: pyg.GCNConv(6, 5, add_self_loops=False), "weight"
    ),
    "gcn_plain": Parity(
        lambda: nn.GCNConv(6, 5, normalize=False, bias=False),
        lambda: pyg.GCNConv(6, 5, normalize=False, bias=False),
        "weight",
    ),
    "sage_mean": Parity(lambda: nn.SAGEConv(6, 5), lambda: pyg.SAGEConv(6, 5)),
    "sage_max": Parity(lambda: nn.SAGEConv(6, 5, aggr="max"), lambda: pyg.SAGEConv(6, 5, aggr="max")),
    "sage_min": Parity(lambda: nn.SAGEConv(6, 5, aggr="min"), lambda: pyg.SAGEConv(6, 5, aggr="min")),
    "sage_sum": Parity(
        lambda: nn.SAGEConv(6, 5, aggr="sum", normalize=True, root_weight=False, project=True),
        lambda: pyg.SAGEConv(6, 5, aggr="sum", normalize=True, root_weight=False, project=True),
    ),
    "gin": Parity(
        lambda: nn.GINConv(mlp(), eps=0.3, train_eps=True), lambda: pyg.GINConv(mlp(), eps=0.3, train_eps=True)
    ),
    "gin_fixed_eps": Parity(lambda: nn.GINConv(mlp(), eps=0.5), lambda: pyg.GINConv(mlp(), eps=0.5)),
    "gine": Parity(lambda: nn.GINEConv(mlp()), lambda: pyg.GINEConv(mlp()), "features"),
    "gine_edge_dim": Parity(
        lambda: nn.GINEConv(mlp(), edge_dim=3, train_eps=True),
        lambda: pyg.GINEConv(mlp(), edge_dim=3, train_eps=True),
        "features",
        3,
    ),
    "res_gated": Parity(lambda: nn.ResGatedGraphConv(6, 5), lambda: pyg.ResGatedGraphConv(6, 5)),
    "res_gated_edges": Parity(
        lambda: nn.ResGatedGraphConv(6, 5, edge_dim=4, act=torch.tanh, root_weight=False),
        lambda: pyg.ResGatedGraphConv(6, 5, edge_dim=4, act=torch.tanh, root_weight=False),
        "features",
        4,
    ),
}


def _attention(name: str, *widths: int, edge: str = "none", **settings: Any) -> Parity:
    return Parity(
        lambda: getattr(nn, name)(*widths, **settings), lambda: getattr(pyg, name)(*widths, **settings), edge, 4
    )


CASES |= {
    "gat": _attention("GATConv", 6, 5),
    "gat_heads": _attention("GATConv", 6, 5, heads=3, residual=True, negative_slope=0.1),
    "gat_mean": _attention("GATConv", 6, 5, heads=3, concat=False, add_self_loops=False, bias=False),
    "gat_no_slope": _attention("GATConv", 6, 4, heads=2, negative_slope=0.0),
    "gat_edges": _attention("GATConv", 6, 5, heads=2, edge="features", edge_dim=4),
    "gat_edges_add": _attention("GATConv", 6, 5, heads=2, edge="features", edge_dim=4, fill_value="add"),
    "gat_edges_number": _attention("GATConv", 6, 5, edge="features", edge_dim=4, fill_value=0.7),
    "gatv2": _attention("GATv2Conv", 6, 5, heads=3),
    "gatv2_shared": _attention("GATv2Conv", 6, 5, heads=2, share_weights=True, concat=False, residual=True),
    "gatv2_no_loops": _attention("GATv2Conv", 6, 8, heads=8, add_self_loops=False, bias=False),
    "gatv2_edges": _attention("GATv2Conv", 6, 5, heads=2, edge="features", edge_dim=4),
    "gatv2_edges_number": _attention("GATv2Conv", 6, 5, edge="features", edge_dim=4, fill_value=-0.5),
    "transformer": _attention("TransformerConv", 6, 5, heads=3),
    "transformer_beta": _attention("TransformerConv", 6, 5, heads=2, beta=True, concat=False, bias=False),
    "transformer_no_root": _attention("TransformerConv", 6, 8, heads=8, root_weight=False, beta=True),
    "transformer_edges": _attention("TransformerConv", 6, 5, heads=2, edge="features", edge_dim=4),
}


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape).requires_grad_()


def edge_input(case: Parity, num_edges: int) -> Tensor | None:
    if case.edge == "weight":
        return (torch.rand(num_edges) + 0.1).requires_grad_()
    return leaf(num_edges, case.edge_width) if case.edge == "features" else None


def gradients(out: Tensor, module: torch.nn.Module, inputs: list[Tensor]) -> dict[str, Tensor]:
    named = dict(module.named_parameters())
    wanted = [*named.values(), *inputs]
    upstream = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
    found = torch.autograd.grad(out, wanted, upstream, allow_unused=True, materialize_grads=True)
    return dict(zip([*named, *(f"input {i}" for i in range(len(inputs)))], found, strict=True))


def assert_parity(ours: torch.nn.Module, theirs: torch.nn.Module, our_out: Tensor, their_out: Tensor, inputs: list):
    torch.testing.assert_close(our_out, their_out, rtol=1e-5, atol=1e-5)
    mine, reference = gradients(our_out, ours, inputs), gradients(their_out, theirs, inputs)
    assert mine.keys() == reference.keys()
    for name, grad in mine.items():
        torch.testing.assert_close(grad, reference[name], rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_pyg(name: str, edges: Any, dtype: torch.dtype):
    case = CASES[name]
    ours, theirs = case.ours(), case.theirs()
    assert ours.load_state_dict(theirs.state_dict(), strict=True)
    graph = Graph.from_edge_index(edges.edge_index.to(dtype), num_nodes=edges.num_nodes)
    x = leaf(edges.num_nodes, WIDTH)
    edge = edge_input(case, graph.num_edges)
    given = [] if edge is None else [edge]
    their_out = theirs(x, edges.edge_index, *given)
    assert_parity(ours, theirs, ours(x, graph, edge), their_out, [x, *given])


@pytest.mark.parametrize("num_dst", [5, 11])
def test_bipartite_layers_are_those_of_pyg(num_dst: int):
    num_src, num_edges = 8, 30
    edge_index = torch.stack([torch.randint(num_src, (num_edges,)), torch.randint(num_dst, (num_edges,))])
    graph = Graph.from_edge_index(edge_index, num_src=num_src, num_dst=num_dst)
    x_src, x_dst, edge = leaf(num_src, 6), leaf(num_dst, 4), leaf(num_edges, 3)
    pairs = [
        (nn.SAGEConv((6, 4), 5), pyg.SAGEConv((6, 4), 5), []),
        (nn.SAGEConv((6, 4), 5, aggr="max"), pyg.SAGEConv((6, 4), 5, aggr="max"), []),
        (nn.GATConv((6, 4), 5, heads=2), pyg.GATConv((6, 4), 5, heads=2), []),
        (nn.GATv2Conv((6, 4), 5, heads=2), pyg.GATv2Conv((6, 4), 5, heads=2), []),
        (nn.TransformerConv((6, 4), 5, edge_dim=3), pyg.TransformerConv((6, 4), 5, edge_dim=3), [edge]),
        (nn.ResGatedGraphConv((6, 4), 5, edge_dim=3), pyg.ResGatedGraphConv((6, 4), 5, edge_dim=3), [edge]),
    ]
    for ours, theirs, given in pairs:
        assert ours.load_state_dict(theirs.state_dict(), strict=True)
        inputs = [x_src, x_dst, *given]
        out = ours((x_src, x_dst), graph, *given)
        assert_parity(ours, theirs, out, theirs((x_src, x_dst), edge_index, *given), inputs)


@pytest.mark.parametrize("with_destination", [True, False])
def test_bipartite_isomorphism_layers_are_those_of_pyg(with_destination: bool):
    edge_index = torch.stack([torch.randint(8, (30,)), torch.randint(5, (30,))])
    graph = Graph.from_edge_index(edge_index, num_src=8, num_dst=5)
    x_src, x_dst, edge = leaf(8, 6), leaf(5, 6) if with_destination else None, leaf(30, 6)
    inputs = [x_src] if x_dst is None else [x_src, x_dst]
    ours, theirs = nn.GINConv(mlp()), pyg.GINConv(mlp())
    ours.load_state_dict(theirs.state_dict())
    out = theirs((x_src, x_dst), edge_index, size=(8, 5))
    assert_parity(ours, theirs, ours((x_src, x_dst), graph), out, inputs)
    ours, theirs = nn.GINEConv(mlp()), pyg.GINEConv(mlp())
    ours.load_state_dict(theirs.state_dict())
    out = theirs((x_src, x_dst), edge_index, edge, size=(8, 5))
    assert_parity(ours, theirs, ours((x_src, x_dst), graph, edge), out, [*inputs, edge])


def test_messages_flow_from_source_to_destination():
    graph = Graph.from_edge_index(torch.tensor([[0], [1]]), num_nodes=3)
    conv = nn.GCNConv(1, 1, normalize=False, bias=False)
    conv.lin.weight.data.fill_(1.0)
    assert conv(torch.tensor([[5.0], [7.0], [9.0]]), graph).flatten().tolist() == [0.0, 5.0, 0.0]


def test_the_last_of_several_self_loops_counts():
    edge_index = torch.tensor([[0, 1, 0, 0, 1], [0, 0, 1, 0, 1]])
    graph = Graph.from_edge_index(edge_index, num_nodes=3)
    ours, theirs = nn.GCNConv(WIDTH, 5), pyg.GCNConv(WIDTH, 5)
    ours.load_state_dict(theirs.state_dict())
    x, weight = torch.randn(3, WIDTH), torch.tensor([2.0, 3.0, 5.0, 7.0, 0.5], requires_grad=True)
    out = ours(x, graph, weight)
    torch.testing.assert_close(out, theirs(x, edge_index, weight), rtol=1e-5, atol=1e-5)
    (grad,) = torch.autograd.grad(out.square().sum(), weight)
    assert (grad != 0).tolist() == [False, True, True, True, True]
