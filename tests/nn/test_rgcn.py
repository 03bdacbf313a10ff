"""Relational convolution: PyTorch Geometric's weights and results, dense matrices, both orders of the linear maps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.nn.conv import _relations

WIDTH, OUT, RELATIONS = 6, 4, 5

SETTINGS: dict[str, dict[str, Any]] = {
    "full": {},
    "sum": {"aggr": "sum"},
    "max": {"aggr": "max"},
    "min": {"aggr": "min"},
    "bases": {"num_bases": 3},
    "blocks": {"num_blocks": 2},
    "blocks_max": {"num_blocks": 2, "aggr": "max"},
    "bases_sum_bare": {"num_bases": 7, "aggr": "add", "root_weight": False, "bias": False},
}
every_setting = pytest.mark.parametrize("name", SETTINGS)


def types_of(num_edges: int, seed: int = 0) -> Tensor:
    """Random types, of which the one before the last has no edge."""
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.tensor([relation for relation in range(RELATIONS) if relation != RELATIONS - 2])
    return allowed[torch.randint(RELATIONS - 1, (num_edges,), generator=generator)]


def gradients(out: Tensor, module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    named = dict(module.named_parameters()) | {f"input {i}": value for i, value in enumerate(inputs)}
    upstream = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    found = torch.autograd.grad(out, list(named.values()), upstream, allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


def assert_parity(ours: torch.nn.Module, theirs: torch.nn.Module, mine: Tensor, peer: Tensor, *inputs: Tensor) -> None:
    torch.testing.assert_close(mine, peer, rtol=1e-5, atol=1e-5)
    expected = gradients(peer, theirs, inputs)
    found = gradients(mine, ours, inputs)
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(params=["chosen", "transform first", "aggregate first"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "chosen":
        first = request.param == "transform first"
        linear = ("sum", "mean")
        monkeypatch.setattr(nn.RGCNConv, "_transforms_first", lambda layer, found: first and layer.aggr in linear)
    return request.param


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@every_setting
def test_outputs_and_gradients_are_those_of_pyg(name: str, edges: Any, dtype: torch.dtype, order: str):
    ours, theirs = (kind(WIDTH, OUT, RELATIONS, **SETTINGS[name]) for kind in (nn.RGCNConv, pyg.RGCNConv))
    assert ours.load_state_dict(theirs.state_dict(), strict=True)
    graph = Graph.from_edge_index(edges.edge_index.to(dtype), num_nodes=edges.num_nodes)
    edge_type = types_of(graph.num_edges)
    x = torch.randn(edges.num_nodes, WIDTH, requires_grad=True)
    assert_parity(ours, theirs, ours(x, graph, edge_type.to(dtype)), theirs(x, edges.edge_index, edge_type), x)


@pytest.mark.parametrize("num_dst", [5, 11])
@every_setting
def test_bipartite_results_are_those_of_pyg(name: str, num_dst: int, order: str):
    edge_index = torch.stack([torch.randint(8, (40,)), torch.randint(num_dst, (40,))])
    graph, edge_type = Graph.from_edge_index(edge_index, num_src=8, num_dst=num_dst), types_of(40)
    x = torch.randn(8, 6, requires_grad=True), torch.randn(num_dst, 3, requires_grad=True)
    ours, theirs = (kind((6, 3), OUT, RELATIONS, **SETTINGS[name]) for kind in (nn.RGCNConv, pyg.RGCNConv))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert_parity(ours, theirs, ours(x, graph, edge_type), theirs(x, edge_index, edge_type), *x)


@pytest.mark.parametrize("given", ["none", "integers"])
@pytest.mark.parametrize("name", [name for name in SETTINGS if "blocks" not in name])
def test_nodes_without_features_are_embedded_as_in_pyg(name: str, given: str, edges: Any):
    nodes = edges.num_nodes
    ours, theirs = (kind(nodes, OUT, RELATIONS, **SETTINGS[name]) for kind in (nn.RGCNConv, pyg.RGCNConv))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    graph = Graph.from_edge_index(edges.edge_index, num_nodes=nodes)
    edge_type = types_of(graph.num_edges)
    x = None if given == "none" else torch.randint(nodes, (nodes,))
    assert_parity(ours, theirs, ours(x, graph, edge_type), theirs(x, edges.edge_index, edge_type))


@pytest.mark.parametrize("aggr", ["sum", "mean"])
def test_is_one_dense_matrix_per_relation(aggr: str, edges: Any, order: str):
    graph, edge_type = Graph.from_edge_index(edges.edge_index, edges.num_nodes), types_of(edges.edge_index.size(1))
    conv = nn.RGCNConv(WIDTH, OUT, RELATIONS, aggr=aggr).double()
    x = torch.randn(edges.num_nodes, WIDTH, dtype=torch.float64)
    assert conv.root is not None
    assert conv.bias is not None
    expected = x @ conv.root + conv.bias
    for relation in range(RELATIONS):
        adjacency = torch.zeros(edges.num_nodes, edges.num_nodes, dtype=torch.float64)
        for source, destination in edges.edge_index[:, edge_type == relation].T.tolist():
            adjacency[destination, source] += 1
        if aggr == "mean":
            adjacency = adjacency / adjacency.sum(1, keepdim=True).clamp(min=1)
        expected = expected + adjacency @ x @ conv.weight[relation]
    torch.testing.assert_close(conv(x, graph, edge_type), expected)


def test_the_order_follows_from_the_numbers_of_pairs():
    hub = torch.stack([torch.zeros(50, dtype=torch.int64), torch.arange(50)])
    edge_type = torch.zeros(50, dtype=torch.int64)
    conv = nn.RGCNConv(WIDTH, WIDTH, 1)
    chosen = {}
    for name, edge_index in {"one source": hub, "one destination": hub.flip(0)}.items():
        found = _relations.relations(Graph.from_edge_index(edge_index, 50), edge_type, 1, layer="RGCNConv")
        chosen[name] = (found.sources.count, found.destinations.count, conv._transforms_first(found))
    assert chosen == {"one source": (1, 50, True), "one destination": (50, 1, False)}


@every_setting
def test_relabelling_nodes_and_edges_relabels_the_output(name: str, order: str):
    edge_index, edge_type = torch.randint(13, (2, 60)), types_of(60)
    perm, shuffle = torch.randperm(13), torch.randperm(60)
    conv, x = nn.RGCNConv(WIDTH, OUT, RELATIONS, **SETTINGS[name]).double(), torch.randn(13, WIDTH, dtype=torch.float64)
    out = conv(x, Graph.from_edge_index(edge_index, 13), edge_type)
    moved_x = torch.empty_like(x).index_copy(0, perm, x)
    moved = conv(moved_x, Graph.from_edge_index(perm[edge_index][:, shuffle], 13), edge_type[shuffle])
    torch.testing.assert_close(moved[perm], out)


def test_relabelling_relations_changes_nothing(order: str):
    edge_index, edge_type, perm = torch.randint(13, (2, 60)), types_of(60), torch.randperm(RELATIONS)
    conv, x = nn.RGCNConv(WIDTH, OUT, RELATIONS).double(), torch.randn(13, WIDTH, dtype=torch.float64)
    graph = Graph.from_edge_index(edge_index, 13)
    out = conv(x, graph, edge_type)
    with torch.no_grad():
        conv.weight.copy_(torch.empty_like(conv.weight).index_copy(0, perm, conv.weight))
    torch.testing.assert_close(conv(x, graph, perm[edge_type]), out)


@every_setting
def test_gradients_agree_with_finite_differences(name: str, order: str):
    edge_index = torch.tensor([[0, 0, 1, 2, 2, 3, 1], [1, 1, 1, 0, 1, 3, 1]])
    graph, edge_type = Graph.from_edge_index(edge_index, 5), torch.tensor([0, 0, 0, 2, 4, 4, 4])
    conv = nn.RGCNConv(WIDTH, OUT, RELATIONS, **SETTINGS[name]).double()
    x = torch.randn(5, WIDTH, dtype=torch.float64, requires_grad=True)

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(dict(conv.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(conv, named, (x, graph, edge_type))

    inputs = (x, *(value.detach().clone().requires_grad_() for value in conv.parameters()))
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("name", [name for name in SETTINGS if "bases" not in name])
def test_same_bits_twice_and_for_any_number_of_threads(name: str, order: str):
    # Without root and bases, whose products are torch's own.
    settings: dict[str, Any] = SETTINGS[name] | {"root_weight": False}
    conv = nn.RGCNConv(32, 32, RELATIONS, **settings)
    graph, edge_type = Graph.from_edge_index(torch.randint(300, (2, 4000)), 300), types_of(4000)
    x = torch.randn(300, 32, requires_grad=True)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            out = conv(x, graph, edge_type)
            results.append((out.detach(), *torch.autograd.grad(out.square().sum(), [x, conv.weight])))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert torch.equal(first, second)


@every_setting
def test_no_nodes_and_no_edges(name: str, order: str):
    conv = nn.RGCNConv(WIDTH, OUT, RELATIONS, **SETTINGS[name])
    for num_nodes in (0, 1, 3):
        graph = Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes)
        x = torch.randn(num_nodes, WIDTH, requires_grad=True)
        out = conv(x, graph, torch.empty(0, dtype=torch.int64))
        assert out.shape == (num_nodes, OUT)
        out.sum().backward()
        assert bool(out.isfinite().all())


@pytest.mark.parametrize("dynamic", [False, True])
@every_setting
def test_compiles_in_one_graph(name: str, dynamic: bool):
    torch._dynamo.reset()
    conv = nn.RGCNConv(WIDTH, OUT, RELATIONS, **SETTINGS[name])
    compiled = torch.compile(conv, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for num_nodes, num_edges in ((9, 30), (12, 41)):
        graph, edge_type = (
            Graph.from_edge_index(torch.randint(num_nodes, (2, num_edges)), num_nodes),
            types_of(num_edges),
        )
        x = torch.randn(num_nodes, WIDTH, requires_grad=True)
        # First traced, then eager: nothing may stay behind from the trace.
        out = compiled(x, graph, edge_type)
        assert_parity(conv, conv, out, conv(x, graph, edge_type), x)
        torch.testing.assert_close(compiled(x, graph, edge_type), out)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    calls: list[Graph] = []
    original = _relations._relations
    monkeypatch.setattr(_relations, "_relations", lambda graph, *rest: calls.append(graph) or original(graph, *rest))
    return calls


def test_pairs_are_worked_out_once_per_graph_and_types(monkeypatch: pytest.MonkeyPatch):
    calls = counting(monkeypatch)
    graph, edge_type = Graph.from_edge_index(torch.randint(9, (2, 40)), 9), types_of(40)
    x = torch.randn(9, WIDTH)
    first, second = nn.RGCNConv(WIDTH, WIDTH, RELATIONS), nn.RGCNConv(WIDTH, WIDTH, RELATIONS, aggr="max")
    second(first(x, graph, edge_type), graph, edge_type.clone())
    assert len(calls) == 1


CHANGES: dict[str, Callable[[Tensor], object]] = {
    "in place": lambda types: types.add_(1).remainder_(RELATIONS),
    "behind the version counter": lambda types: types.data.add_(1).remainder_(RELATIONS),
    "through numpy": lambda types: types.numpy().__setitem__(slice(None), (types.numpy() + 1) % RELATIONS),
}


@pytest.mark.parametrize("how", CHANGES)
def test_changed_types_are_seen(how: str):
    edge_index, edge_type = torch.randint(9, (2, 40)), types_of(40)
    graph, conv, x = Graph.from_edge_index(edge_index, 9), nn.RGCNConv(WIDTH, OUT, RELATIONS), torch.randn(9, WIDTH)
    before = conv(x, graph, edge_type)
    CHANGES[how](edge_type)
    after = conv(x, graph, edge_type)
    assert not torch.allclose(before, after)
    assert torch.equal(after, conv(x, Graph.from_edge_index(edge_index, 9), edge_type))


def test_bfloat16(order: str):
    graph, edge_type = Graph.from_edge_index(torch.randint(9, (2, 40)), 9), types_of(40)
    conv, x = nn.RGCNConv(WIDTH, OUT, RELATIONS), torch.randn(9, WIDTH)
    expected = conv(x, graph, edge_type)
    out = conv.bfloat16()(x.bfloat16(), graph, edge_type)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=5e-2, atol=5e-2)


def test_bad_input_is_named():
    graph = Graph.from_edge_index(torch.randint(5, (2, 9)), 5)
    conv, x, edge_type = nn.RGCNConv(WIDTH, OUT, RELATIONS), torch.randn(5, WIDTH), types_of(9)
    with pytest.raises(ShapeError, match=r"x of shape \[5, 6\], got \(5, 3\)"):
        conv(x[:, :3], graph, edge_type)
    with pytest.raises(ShapeError, match="one row per node, 5"):
        conv(x[:4], graph, edge_type)
    with pytest.raises(ShapeError, match="one edge_type per edge, 9"):
        conv(x, graph, edge_type[:8])
    with pytest.raises(ShapeError, match="1 dimension"):
        conv(x, graph, edge_type[:, None])
    with pytest.raises(DtypeError, match="int32 or int64"):
        conv(x, graph, edge_type.float())
    with pytest.raises(DtypeError, match=r"torch\.Tensor, got NoneType"):
        conv(x, graph, None)
    for bad in (-1, RELATIONS):
        edge_type[3] = bad
        with pytest.raises(IndexRangeError, match=rf"edge_type\[3\] = {bad}"):
            conv(x, graph, edge_type)
    with pytest.raises(ShapeError, match="x_dst"):
        conv((x, None), graph, types_of(9))
    with pytest.raises(IndexRangeError, match="in_channels = 6"):
        conv(torch.full((5,), 6), graph, types_of(9))
    with pytest.raises(ShapeError, match="one row per node, 5, got shape"):
        conv(None, graph, types_of(9))
    with pytest.raises(ConfigError, match="need node features"):
        nn.RGCNConv(WIDTH, OUT, RELATIONS, num_blocks=2)(None, graph, types_of(9))


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="aggr must be"):
        nn.RGCNConv(4, 4, 2, aggr="median")
    with pytest.raises(ConfigError, match="one decomposition"):
        nn.RGCNConv(4, 4, 2, num_bases=2, num_blocks=2)
    with pytest.raises(ConfigError, match="num_blocks must divide"):
        nn.RGCNConv(4, 6, 2, num_blocks=4)
    for name in ("num_relations", "num_bases", "num_blocks"):
        settings: dict[str, Any] = {"in_channels": 4, "out_channels": 4, "num_relations": 2} | {name: 0}
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
            nn.RGCNConv(**settings)
