"""Layers against dense matrices, and what every layer must hold."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, ShapeError

WIDTH = 4


def mlp() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, WIDTH))


class DifferenceConv(nn.MessagePassing):
    def __init__(self) -> None:
        super().__init__(reduce="sum")
        self.linear = torch.nn.Linear(WIDTH, WIDTH)

    def message(self, x_src: Tensor, x_dst: Tensor, edge_attr: Tensor | None) -> Tensor:
        return self.linear(x_src - x_dst)

    def update(self, aggregated: Tensor, x: Tensor) -> Tensor:
        return aggregated + x


LAYERS: dict[str, Callable[[], torch.nn.Module]] = {
    "gcn": lambda: nn.GCNConv(WIDTH, WIDTH),
    "sage": lambda: nn.SAGEConv(WIDTH, WIDTH),
    "gin": lambda: nn.GINConv(mlp(), train_eps=True),
    "gine": lambda: nn.GINEConv(mlp()),
    "edge_sum": lambda: nn.EdgeSumConv(WIDTH, WIDTH),
    "gated_gcn": lambda: nn.GatedGCNConv(WIDTH, WIDTH, activation="silu"),
    "res_gated": lambda: nn.ResGatedGraphConv(WIDTH, WIDTH, edge_dim=WIDTH),
    "gat": lambda: nn.GATConv(WIDTH, 2, heads=2),
    "gat_edges": lambda: nn.GATConv(WIDTH, WIDTH, heads=3, concat=False, edge_dim=WIDTH),
    "gatv2": lambda: nn.GATv2Conv(WIDTH, 2, heads=2),
    "gatv2_edges": lambda: nn.GATv2Conv(WIDTH, 2, heads=2, edge_dim=WIDTH),
    "transformer": lambda: nn.TransformerConv(WIDTH, 2, heads=2, beta=True),
    "transformer_edges": lambda: nn.TransformerConv(WIDTH, 2, heads=2, edge_dim=WIDTH),
    "own": DifferenceConv,
}


def edge_attr_of(layer: torch.nn.Module, num_edges: int) -> Tensor | None:
    return torch.randn(num_edges, WIDTH) if getattr(layer, "edge_input", "none") == "features" else None


def nodes_of(out: Any) -> Tensor:
    return out[0] if isinstance(out, tuple) else out


def dense(edge_index: Tensor, num_nodes: int, weight: Tensor | None = None) -> Tensor:
    """Row i, column j: total weight of the edges j -> i."""
    weight = torch.ones(edge_index.size(1), dtype=torch.float64) if weight is None else weight
    adjacency = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    return adjacency.index_put((edge_index[1], edge_index[0]), weight, accumulate=True)


def test_gcn_is_the_normalised_matrix(edges: Any):
    graph = Graph.from_edge_index(edges.edge_index, num_nodes=edges.num_nodes)
    x = torch.randn(edges.num_nodes, WIDTH, dtype=torch.float64)
    conv = nn.GCNConv(WIDTH, 3).double()
    keep = edges.edge_index[0] != edges.edge_index[1]
    matrix = dense(edges.edge_index[:, keep], edges.num_nodes) + torch.eye(edges.num_nodes, dtype=torch.float64)
    scale = matrix.sum(1).pow(-0.5)
    expected = (scale[:, None] * matrix * scale) @ x @ conv.lin.weight.T + conv.bias
    torch.testing.assert_close(conv(x, graph), expected)


def test_edge_sum_is_what_it_says(edges: Any):
    graph = Graph.from_edge_index(edges.edge_index, num_nodes=edges.num_nodes)
    conv = nn.EdgeSumConv(WIDTH, WIDTH)
    torch.nn.init.normal_(conv.bias)
    x, edge = torch.randn(edges.num_nodes, WIDTH), torch.randn(graph.num_edges, WIDTH)
    expected = conv.bias.expand(edges.num_nodes, -1).clone()
    for position, (source, destination) in enumerate(edges.edge_index.T.tolist()):
        expected[destination] = expected[destination] + (conv.lin(x[source]) + edge[position]).relu()
    torch.testing.assert_close(conv(x, graph, edge), expected)


@pytest.mark.parametrize("residual", [True, False])
def test_gated_gcn_is_its_formula(edges: Any, residual: bool):
    if edges.num_nodes == 1:
        pytest.skip("batch normalisation of one row has no variance")
    graph = Graph.from_edge_index(edges.edge_index, num_nodes=edges.num_nodes)
    conv = nn.GatedGCNConv(WIDTH, WIDTH, residual=residual).double()
    x = torch.randn(edges.num_nodes, WIDTH, dtype=torch.float64)
    edge = torch.randn(graph.num_edges, WIDTH, dtype=torch.float64)
    source, destination = edges.edge_index
    state = conv.D(x)[destination] + conv.E(x)[source] + conv.C(edge)
    gate = state.sigmoid()
    above = torch.zeros_like(x).index_add(0, destination, gate * conv.B(x)[source])
    below = torch.zeros_like(x).index_add(0, destination, gate)
    inner = conv.A(x) + above / (below + 1e-6)

    def normalised(value: Tensor) -> Tensor:
        centred = value - value.mean(0)
        return centred / (centred.square().mean(0) + 1e-5).sqrt() if len(value) else value

    out, out_edge = conv(x, graph, edge)
    torch.testing.assert_close(out, normalised(inner).relu() + (x if residual else 0))
    torch.testing.assert_close(out_edge, normalised(state).relu() + edge)


def test_gated_gcn_takes_missing_edge_states_as_zeros():
    graph = Graph.from_edge_index(torch.randint(7, (2, 20)), num_nodes=7)
    conv, x = nn.GatedGCNConv(WIDTH, WIDTH), torch.randn(7, WIDTH)
    for given, expected in zip(conv(x, graph), conv(x, graph, torch.zeros(20, WIDTH)), strict=True):
        torch.testing.assert_close(given, expected)


def test_gated_gcn_loads_the_names_of_graphgps():
    names = {f"{part}.{kind}" for part in "ABCDE" for kind in ("weight", "bias")}
    norms = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names |= {f"{norm}.{kind}" for norm in ("bn_node_x", "bn_edge_e") for kind in norms}
    assert set(nn.GatedGCNConv(WIDTH, WIDTH).state_dict()) == names


def test_own_layer_in_ten_lines():
    edge_index = torch.tensor([[0, 1, 2, 2], [1, 1, 0, 0]])
    conv, x = DifferenceConv(), torch.randn(4, WIDTH)
    expected = x.clone()
    for source, destination in edge_index.T.tolist():
        expected[destination] += conv.linear(x[source] - x[destination]).detach()
    torch.testing.assert_close(conv(x, Graph.from_edge_index(edge_index, num_nodes=4)), expected)


def test_own_layer_defaults_to_a_bipartite_sum():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2], [1, 1, 0]]), num_src=3, num_dst=2)
    x_src, x_dst = torch.tensor([[1.0], [2.0], [4.0]]), torch.zeros(2, 1)
    assert nn.MessagePassing()((x_src, x_dst), graph).flatten().tolist() == [4.0, 3.0]
    assert nn.MessagePassing("mean")((x_src, x_dst), graph).flatten().tolist() == [4.0, 1.5]


@pytest.mark.parametrize("name", LAYERS)
def test_relabelling_the_nodes_relabels_the_output(name: str):
    num_nodes, num_edges = 13, 50
    edge_index, perm = torch.randint(num_nodes, (2, num_edges)), torch.randperm(num_nodes)
    shuffle = torch.randperm(num_edges)
    layer = LAYERS[name]().double()
    x = torch.randn(num_nodes, WIDTH, dtype=torch.float64)
    edge = edge_attr_of(layer, num_edges)
    edge = None if edge is None else edge.double()
    out = nodes_of(layer(x, Graph.from_edge_index(edge_index, num_nodes=num_nodes), edge))
    moved_x = torch.empty_like(x).index_copy(0, perm, x)
    moved_graph = Graph.from_edge_index(perm[edge_index][:, shuffle], num_nodes=num_nodes)
    moved = nodes_of(layer(moved_x, moved_graph, None if edge is None else edge[shuffle]))
    torch.testing.assert_close(moved[perm], out)


@pytest.mark.parametrize("name", LAYERS)
def test_no_nodes_and_no_edges(name: str):
    layer = LAYERS[name]().eval()
    for num_nodes in (0, 1, 3):
        graph = Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes)
        x = torch.randn(num_nodes, WIDTH).requires_grad_()
        out = nodes_of(layer(x, graph, edge_attr_of(layer, 0)))
        assert out.shape == (num_nodes, WIDTH)
        out.sum().backward()
        assert bool(out.isfinite().all())


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_agree_with_finite_differences(name: str):
    edge_index = torch.tensor([[0, 0, 1, 2, 2, 3], [1, 1, 1, 0, 1, 3]])
    graph = Graph.from_edge_index(edge_index, num_nodes=5)
    layer = LAYERS[name]().double()
    x = torch.randn(5, WIDTH, dtype=torch.float64, requires_grad=True)
    edge = edge_attr_of(layer, 6)
    inputs = (x,) if edge is None else (x, edge.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda x, e=None: layer(x, graph, e), inputs)


def test_gcn_gradient_of_the_weights_agrees_with_finite_differences():
    graph = Graph.from_edge_index(torch.tensor([[0, 0, 1, 2, 2, 3], [1, 1, 1, 0, 1, 3]]), num_nodes=5)
    conv, x = nn.GCNConv(WIDTH, 2).double(), torch.randn(5, WIDTH, dtype=torch.float64)
    weight = (torch.rand(6, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: conv(x, graph, w), (weight,))


def test_gcn_gradient_is_finite_where_no_weight_arrives():
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=3)
    weight = torch.zeros(2, requires_grad=True)
    out = nn.GCNConv(WIDTH, 2, add_self_loops=False)(torch.randn(3, WIDTH), graph, weight)
    out.sum().backward()
    assert weight.grad is not None
    assert bool(weight.grad.isfinite().all())


def test_gcn_counts_degrees_that_bfloat16_cannot():
    """A hub of 299 edges with its loop: bfloat16 holds 298 or 300."""
    star = Graph.from_edge_index(torch.stack([torch.arange(1, 299), torch.zeros(298, dtype=torch.int64)]), 299)
    conv = nn.GCNConv(1, 1, bias=False).to(torch.bfloat16)
    torch.nn.init.ones_(conv.lin.weight)
    only_hub = torch.zeros(299, 1, dtype=torch.bfloat16)
    only_hub[0] = 4096
    assert conv(only_hub, star)[0].item() == torch.tensor(4096 / 299).to(torch.bfloat16).item()


def test_gcn_normalises_once_per_graph(monkeypatch: pytest.MonkeyPatch):
    from gnnkit.nn.conv import gcn

    calls = []
    original = gcn.with_self_loops
    monkeypatch.setattr(gcn, "with_self_loops", lambda graph: calls.append(graph) or original(graph))
    graph = Graph.from_edge_index(torch.randint(5, (2, 9)), num_nodes=5)
    x = torch.randn(5, WIDTH)
    first, second = nn.GCNConv(WIDTH, WIDTH), nn.GCNConv(WIDTH, WIDTH)
    second(first(x, graph), graph)
    assert len(calls) == 1


@pytest.mark.parametrize("name", LAYERS)
def test_layers_repeat_bitwise(name: str):
    graph = Graph.from_edge_index(torch.randint(40, (2, 300)), num_nodes=40)
    layer = LAYERS[name]()
    x, edge = torch.randn(40, WIDTH), edge_attr_of(layer, 300)

    def run() -> tuple[Tensor, Tensor]:
        leaf = x.clone().requires_grad_()
        out = nodes_of(layer(leaf, graph, edge))
        out.square().sum().backward()
        assert leaf.grad is not None
        return out, leaf.grad

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", LAYERS)
def test_no_graph_outlives_a_step(name: str, without_collector: None):
    graph, layer = Graph.from_edge_index(torch.randint(9, (2, 30)), num_nodes=9), LAYERS[name]()
    nodes_of(layer(torch.randn(9, WIDTH, requires_grad=True), graph, edge_attr_of(layer, 30))).sum().backward()
    reference = weakref.ref(graph)
    del graph
    assert reference() is None


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compile_in_one_graph(name: str):
    graph = Graph.from_edge_index(torch.randint(9, (2, 30)), num_nodes=9)
    layer = LAYERS[name]()
    x, edge = torch.randn(9, WIDTH), edge_attr_of(layer, 30)
    expected = nodes_of(layer(x, graph, edge))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(nodes_of(compiled(x, graph, edge)), expected)


@pytest.mark.parametrize("name", ["gcn", "sage"])
def test_what_depends_on_the_graph_alone_compiles_too(name: str):
    edge_index = torch.randint(9, (2, 30))
    layer, x = LAYERS[name](), torch.randn(9, WIDTH)

    def build_and_apply(x: Tensor, edge_index: Tensor) -> Tensor:
        return layer(x, Graph.from_edge_index(edge_index, num_nodes=9))

    compiled = torch.compile(build_and_apply, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, edge_index), build_and_apply(x, edge_index))


@pytest.mark.parametrize("name", LAYERS)
def test_wrong_rows_are_refused(name: str):
    layer = LAYERS[name]()
    graph = Graph.from_edge_index(torch.randint(5, (2, 9)), num_nodes=5)
    with pytest.raises(ShapeError, match=r"one row per node, 5, got shape \(6, 4\)"):
        layer(torch.randn(6, WIDTH), graph, edge_attr_of(layer, 9))
    if layer.__class__.__name__ not in ("DifferenceConv",):
        bad = torch.randn(8, WIDTH)
        with pytest.raises((ShapeError, ConfigError)):
            layer(torch.randn(5, WIDTH), graph, bad)


@pytest.mark.parametrize("name", ["gcn", "edge_sum", "gated_gcn"])
def test_bipartite_input_is_refused_where_it_makes_no_sense(name: str):
    graph = Graph.from_edge_index(torch.tensor([[0], [1]]), num_src=3, num_dst=2)
    layer = LAYERS[name]()
    with pytest.raises(ShapeError, match="one set of nodes"):
        layer(torch.randn(3, WIDTH), graph, torch.randn(1, WIDTH))
    with pytest.raises(ShapeError, match=r"got a tuple for x"):
        layer((torch.randn(3, WIDTH), torch.randn(2, WIDTH)), graph, torch.randn(1, WIDTH))


@pytest.mark.parametrize("name", ["gine", "edge_sum", "res_gated"])
def test_missing_edge_features_are_named(name: str):
    graph = Graph.from_edge_index(torch.randint(5, (2, 9)), num_nodes=5)
    with pytest.raises(ShapeError, match=r"needs edge features, edge_attr of shape \[9, 4\], got None"):
        LAYERS[name]()(torch.randn(5, WIDTH), graph)


def test_other_bad_input_is_named():
    graph = Graph.from_edge_index(torch.randint(5, (2, 9)), num_nodes=5)
    x = torch.randn(5, WIDTH)
    with pytest.raises(ShapeError, match=r"x of shape \[5, 4\], got \(5, 3\)"):
        nn.GCNConv(WIDTH, 2)(x[:, :3], graph)
    with pytest.raises(ShapeError, match="one weight per edge"):
        nn.GCNConv(WIDTH, 2)(x, graph, torch.randn(9, 2))
    with pytest.raises(ConfigError, match="does not use edge features"):
        nn.SAGEConv(WIDTH, 2)(x, graph, torch.randn(9, 2))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="does not use edge features"):
        nn.ResGatedGraphConv(WIDTH, 2)(x, graph, torch.randn(9, 2))
    with pytest.raises(ShapeError, match="width 4"):
        nn.EdgeSumConv(WIDTH, WIDTH)(x, graph, torch.randn(9, 3))
    with pytest.raises(ConfigError, match="aggr must be"):
        nn.SAGEConv(WIDTH, 2, aggr="median")
    with pytest.raises(ConfigError, match="self-loops only where it normalises"):
        nn.GCNConv(WIDTH, 2, add_self_loops=True, normalize=False)
    with pytest.raises(ConfigError, match="in_channels together with edge_dim"):
        nn.GINEConv(torch.nn.Identity(), edge_dim=3)
    with pytest.raises(ShapeError, match="give a pair"):
        nn.SAGEConv(WIDTH, 2)(x, Graph.from_edge_index(torch.tensor([[0], [1]]), num_src=5, num_dst=2))


ATTENTION = {
    "gat": lambda p: nn.GATConv(WIDTH, 3, heads=2, dropout=p, bias=False),
    "gatv2": lambda p: nn.GATv2Conv(WIDTH, 3, heads=2, dropout=p, bias=False),
    "transformer": lambda p: nn.TransformerConv(WIDTH, 3, heads=2, dropout=p, root_weight=False),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_dropout_drops_weights_in_training_only(name: str):
    graph = Graph.from_edge_index(torch.randint(9, (2, 60)), num_nodes=9)
    x, plain, half, almost = torch.randn(9, WIDTH), *(ATTENTION[name](p) for p in (0.0, 0.5, 1e-12))
    for layer in (half, almost):
        layer.load_state_dict(plain.state_dict())
    expected = plain(x, graph)
    torch.testing.assert_close(almost(x, graph), expected)
    mean = torch.stack([half(x, graph) for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean, expected, rtol=0.0, atol=0.1)
    assert not torch.equal(half(x, graph), half(x, graph))
    torch.testing.assert_close(half.eval()(x, graph), expected)


def test_attention_settings_are_checked():
    with pytest.raises(ConfigError, match="probability"):
        nn.TransformerConv(WIDTH, 2, dropout=1.5)
    with pytest.raises(ConfigError, match="fill_value must be"):
        nn.GATConv(WIDTH, 2, edge_dim=2, fill_value="median")
    with pytest.raises(ConfigError, match="equal widths"):
        nn.GATv2Conv((3, 4), 2, share_weights=True)
    graph = Graph.from_edge_index(torch.randint(5, (2, 9)), num_nodes=5)
    with pytest.raises(ConfigError, match="without edge_dim"):
        nn.GATConv(WIDTH, 2)(torch.randn(5, WIDTH), graph, torch.randn(9, 2))
    with pytest.raises(ShapeError, match="features of the destinations"):
        nn.TransformerConv(WIDTH, 2)((torch.randn(5, WIDTH), None), graph)
