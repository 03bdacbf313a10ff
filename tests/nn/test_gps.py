"""GPS layers: against their formula written out, with every local layer, alone and in a model."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.nn import GPSLayer, GraphBlocks, GraphModel, ModelConfig
from gnnkit.ops import spmm

DIM = 12
SIZES = (5, 0, 1, 70, 9)
PTR = torch.tensor([0, *SIZES]).cumsum(0)
NUM_NODES = sum(SIZES)


def edges_of(sizes: tuple[int, ...] = SIZES) -> Tensor:
    """Random edges within graphs; the last node of each graph of several has none."""
    parts, first = [torch.empty((2, 0), dtype=torch.int64)], 0
    for size in sizes:
        if size > 1:
            parts.append(first + torch.randint(size - 1, (2, 3 * size)))
        first += size
    return torch.cat(parts, dim=1)


@pytest.fixture
def graph() -> Graph:
    return Graph.from_edge_index(edges_of(), num_nodes=NUM_NODES)


def attention() -> nn.GlobalAttention:
    return nn.GlobalAttention(DIM, 3)


class MeanOfGraph(torch.nn.Module):
    """A global layer of one's own."""

    def forward(self, x: Tensor, ptr: Tensor) -> Tensor:
        sizes = ptr.diff()
        return nn.pool(x, ptr=ptr).repeat_interleave(sizes, dim=0)


class Sum(torch.nn.Module):
    """A local layer of one's own."""

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        return spmm(graph, x)


class EdgeShift(torch.nn.Module):
    """A local layer of one's own that changes the edges."""

    def forward(self, x: Tensor, graph: Graph, edge_attr: Tensor) -> tuple[Tensor, Tensor]:
        return spmm(graph, x), edge_attr + 1


def locals_of(kind: str) -> torch.nn.Module | None:
    network = torch.nn.Linear(DIM, DIM)
    return {
        "none": lambda: None,
        "gcn": lambda: nn.GCNConv(DIM, DIM),
        "sage": lambda: nn.SAGEConv(DIM, DIM),
        "gin": lambda: nn.GINConv(network),
        "gine": lambda: nn.GINEConv(network),
        "edge_sum": lambda: nn.EdgeSumConv(DIM, DIM),
        "gat": lambda: nn.GATConv(DIM, DIM),
        "gatv2": lambda: nn.GATv2Conv(DIM, DIM // 2, 2),
        "transformer": lambda: nn.TransformerConv(DIM, DIM, edge_dim=DIM),
        "gatedgcn": lambda: nn.GatedGCNConv(DIM, DIM),
        "resgated": lambda: nn.ResGatedGraphConv(DIM, DIM, edge_dim=DIM),
        "own": Sum,
        "own_with_edges": EdgeShift,
    }[kind]()


WITH_EDGES = ("gine", "edge_sum", "transformer", "gatedgcn", "resgated", "own_with_edges")
KINDS = ("none", "gcn", "sage", "gin", "gat", "gatv2", "own", *WITH_EDGES)


def batch_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return centred / (centred.square().mean(0) + 1e-5).sqrt()


def row_norm(x: Tensor) -> Tensor:
    return batch_norm(x.T).T


def graph_norm(x: Tensor) -> Tensor:
    return torch.cat([batch_norm(part) for part in x.split(SIZES)])


NORMS = {"batch": batch_norm, "layer": row_norm, "graph": graph_norm, "none": lambda x: x}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("local", ["none", "gcn", "gatedgcn"])
@pytest.mark.parametrize("whole", [True, False])
def test_the_layer_is_its_definition(graph: Graph, norm: str, local: str, whole: bool):
    if local == "none" and not whole:
        return
    layer = GPSLayer(DIM, locals_of(local), attention() if whole else None, norm=norm, activation="gelu").double()
    x = torch.randn(NUM_NODES, DIM, dtype=torch.float64)
    normal, parts = NORMS[norm], []
    if local == "gcn":
        parts.append(normal(x + layer.local(x, graph)))
    if local == "gatedgcn":
        # Its own residual: x must not be added a second time.
        parts.append(normal(layer.local(x, graph)[0]))
    if whole:
        parts.append(normal(x + torch.cat([layer.global_layer(part) for part in x.split(SIZES)])))
    both = sum(parts)
    hidden = torch.nn.functional.gelu(both @ layer.expand.weight.T + layer.expand.bias)
    expected = normal(both + hidden @ layer.contract.weight.T + layer.contract.bias)
    torch.testing.assert_close(layer(x, graph, None, PTR)[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_local_layer_trains(graph: Graph, kind: str):
    edge_attr = torch.randn(graph.num_edges, DIM) if kind in WITH_EDGES else None
    layer = GPSLayer(DIM, locals_of(kind), attention(), dropout=0.1)
    out, edge = layer(torch.randn(NUM_NODES, DIM), graph, edge_attr, PTR)
    assert out.shape == (NUM_NODES, DIM)
    (out.square().sum() + (0 if edge is None else edge.square().sum())).backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
    assert (edge is None) == (edge_attr is None)
    if kind in ("gatedgcn", "own_with_edges"):
        assert not torch.equal(edge, edge_attr)
    else:
        assert edge is edge_attr


def test_any_global_layer_is_called_with_the_boundaries(graph: Graph):
    layer = GPSLayer(DIM, None, MeanOfGraph(), norm="none", feed_forward=False)
    x = torch.randn(NUM_NODES, DIM)
    means = torch.cat([part.mean(0).expand_as(part) for part in x.split(SIZES)])
    torch.testing.assert_close(layer(x, graph, None, PTR)[0], x + means)
    torch.testing.assert_close(layer(x, graph)[0], x + x.mean(0))


def test_residual_of_the_local_layer_can_be_chosen(graph: Graph):
    x = torch.randn(NUM_NODES, DIM)
    for local, chosen, times in (
        (Sum(), None, 1),
        (Sum(), False, 0),
        (nn.GatedGCNConv(DIM, DIM), None, 0),
        (nn.GatedGCNConv(DIM, DIM), True, 1),
        (nn.GatedGCNConv(DIM, DIM, residual=False), None, 1),
    ):
        layer = GPSLayer(DIM, local, None, norm="none", feed_forward=False, local_residual=chosen).eval()
        out = local(x, graph)
        out = out[0] if isinstance(out, tuple) else out
        torch.testing.assert_close(layer(x, graph)[0], out + times * x)


def test_a_layer_of_the_published_size():
    """Peptides-func: 504,362 parameters, of which 16,682 are in the encoders and the head."""
    layer = GPSLayer(96, nn.GatedGCNConv(96, 96), nn.GlobalAttention(96, 4))
    assert 4 * sum(parameter.numel() for parameter in layer.parameters()) == 504_362 - 16_682


@pytest.mark.parametrize("kind", ["gcn", "gatedgcn", "gat"])
def test_a_batch_is_its_graphs_one_by_one(graph: Graph, kind: str):
    edge_attr = torch.randn(graph.num_edges, DIM, dtype=torch.float64) if kind == "gatedgcn" else None
    layer = GPSLayer(DIM, locals_of(kind), attention()).double().eval()
    x = torch.randn(NUM_NODES, DIM, dtype=torch.float64)
    out, edge = layer(x, graph, edge_attr, PTR)
    source = graph.edge_index[0]
    for begin, end in zip(PTR[:-1].tolist(), PTR[1:].tolist(), strict=True):
        own = (source >= begin) & (source < end)
        part = Graph.from_edge_index(graph.edge_index[:, own] - begin, num_nodes=end - begin)
        alone, alone_edge = layer(x[begin:end], part, None if edge_attr is None else edge_attr[own])
        torch.testing.assert_close(alone, out[begin:end])
        if edge is not None:
            torch.testing.assert_close(alone_edge, edge[own])


@pytest.mark.parametrize("kind", ["gcn", "gatedgcn"])
def test_a_permutation_of_the_nodes_permutes_the_result(graph: Graph, kind: str):
    layer = GPSLayer(DIM, locals_of(kind), attention()).double()
    x = torch.randn(NUM_NODES, DIM, dtype=torch.float64)
    edge_attr = torch.randn(graph.num_edges, DIM, dtype=torch.float64) if kind == "gatedgcn" else None
    place = torch.cat([int(begin) + torch.randperm(size) for begin, size in zip(PTR[:-1], SIZES, strict=True)])
    moved = Graph.from_edge_index(place[graph.edge_index], num_nodes=NUM_NODES)
    out, edge = layer(x, graph, edge_attr, PTR)
    turned, turned_edge = layer(torch.empty_like(x).index_copy(0, place, x), moved, edge_attr, PTR)
    torch.testing.assert_close(turned[place], out)
    if edge is not None:
        torch.testing.assert_close(turned_edge, edge)


@pytest.mark.parametrize("kind", ["gcn", "gatedgcn"])
def test_training_repeats_bitwise(graph: Graph, kind: str):
    x, edge_attr = torch.randn(NUM_NODES, DIM), torch.randn(graph.num_edges, DIM) if kind == "gatedgcn" else None
    layer = GPSLayer(DIM, locals_of(kind), nn.GlobalAttention(DIM, 3, dropout=0.2), dropout=0.3)
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        layer.zero_grad()
        out, _ = layer(x, graph, edge_attr, PTR)
        out.square().sum().backward()
        # The edges that the layer returns lead nowhere here.
        grads = [parameter.grad.clone() for parameter in layer.parameters() if parameter.grad is not None]
        results.append([out, *grads])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    torch.manual_seed(6)
    assert not torch.equal(layer(x, graph, edge_attr, PTR)[0], results[0][0])
    layer.eval()
    assert torch.equal(layer(x, graph, edge_attr, PTR)[0], layer(x, graph, edge_attr, PTR)[0])


def test_gradients_are_derivatives():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 4], [1, 2, 0, 3]]), num_nodes=6)
    layer = GPSLayer(DIM, nn.GatedGCNConv(DIM, DIM), attention(), norm="layer", activation="silu").double().eval()
    x = torch.randn(6, DIM, dtype=torch.float64, requires_grad=True)
    edge_attr = torch.randn(4, DIM, dtype=torch.float64, requires_grad=True)
    ptr = torch.tensor([0, 3, 5, 6])
    assert torch.autograd.gradcheck(lambda *given: layer(given[0], graph, given[1], ptr), (x, edge_attr))


@pytest.mark.parametrize("norm", ["batch", "layer", "graph", "none"])
def test_no_nodes_and_one_node(norm: str):
    layer = GPSLayer(DIM, nn.GatedGCNConv(DIM, DIM), attention(), norm=norm)
    none = Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), num_nodes=0)
    for ptr in (None, torch.tensor([0]), torch.tensor([0, 0])):
        out, edge = layer.eval()(torch.empty(0, DIM), none, torch.empty(0, DIM), ptr)
        assert out.shape == edge.shape == (0, DIM)
    one = Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), num_nodes=1)
    out, _ = layer(torch.randn(1, DIM), one, torch.empty(0, DIM))
    out.sum().backward()
    assert bool(out.isfinite().all())


# Where a trace breaks, the tracer itself looks at what it then warns of.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize(("kind", "fullgraph"), [("gatedgcn", True), ("gcn", False)])
def test_the_layer_compiles(graph: Graph, kind: str, fullgraph: bool):
    layer = GPSLayer(DIM, locals_of(kind), attention())
    x = torch.randn(NUM_NODES, DIM, requires_grad=True)
    edge_attr = torch.randn(graph.num_edges, DIM) if kind == "gatedgcn" else None
    blocks = GraphBlocks.of(PTR) if fullgraph else None

    def forward(x: Tensor) -> Tensor:
        return layer(x, graph, edge_attr, PTR, blocks=blocks)[0]

    torch._dynamo.reset()
    graph.transpose()
    compiled = torch.compile(forward, backend="aot_eager", fullgraph=fullgraph)
    out, expected = compiled(x), forward(x)
    torch.testing.assert_close(out, expected)
    (grad,) = torch.autograd.grad(out.square().sum(), x)
    (plain,) = torch.autograd.grad(expected.square().sum(), x)
    torch.testing.assert_close(grad, plain, rtol=1e-4, atol=1e-4)


def test_bad_input_is_named(graph: Graph):
    x = torch.randn(NUM_NODES, DIM)
    with pytest.raises(ConfigError, match="a local or a global layer"):
        GPSLayer(DIM)
    for options in ({"norm": "instance"}, {"activation": "tanh"}, {"dropout": 1.0}, {"dim": 0}):
        with pytest.raises(ConfigError):
            GPSLayer(**{"dim": DIM, "local": Sum(), **options})
    with pytest.raises(ShapeError, match="GPSLayer needs x of shape"):
        GPSLayer(DIM, Sum())(x[:, :4], graph)
    with pytest.raises(ShapeError, match="local of GPSLayer, a GATConv, must return shape"):
        GPSLayer(DIM, nn.GATConv(DIM, DIM, 2))(x, graph)
    layer = GPSLayer(DIM, None, MeanOfGraph())
    layer.global_layer.forward = lambda x, ptr: x[:-1]
    with pytest.raises(ShapeError, match="global_layer of GPSLayer, a MeanOfGraph"):
        layer(x, graph)
    with pytest.raises(ConfigError, match="does not use edge features"):
        GPSLayer(DIM, nn.GINConv(torch.nn.Linear(DIM, DIM)))(x, graph, torch.randn(graph.num_edges, DIM))


def data_of(size: int) -> Data:
    edge_index = edges_of((size,))
    return Data(x=torch.randn(size, 5), edge_index=edge_index, edge_attr=torch.randn(edge_index.size(1), 3))


def model_of(**options: Any) -> GraphModel:
    defaults = {"conv": "gatedgcn", "num_layers": 2, "hidden_dim": 8, "norm": "batch", "edge_encoder": "linear"}
    chosen = {**defaults, "feed_forward": True, "global_layer": "attention", "num_heads": 2, **options}
    return GraphModel(ModelConfig(**chosen), node_dims=5, edge_dims=3, num_outputs=2)


@pytest.mark.parametrize("conv", ["none", "gcn", "sage", "gin", "gine", "gatedgcn", "edge_sum"])
@pytest.mark.parametrize("pool", ["mean", "none"])
def test_a_model_of_gps_layers_trains(conv: str, pool: str):
    model = model_of(conv=conv, pool=pool, dropout=0.1, attention_dropout=0.1)
    batch: Any = Batch.from_data_list([data_of(4), data_of(1), data_of(70), data_of(3)])
    out = model(batch)
    assert out.shape == (78 if pool == "none" else 4, 2)
    out.square().mean().backward()
    unused = (
        {"edge_encoder.linear.weight", "edge_encoder.linear.bias"} if conv in ("none", "gcn", "sage", "gin") else set()
    )
    unused |= {f"layers.1.local.bn_edge_e.{name}" for name in ("weight", "bias")} if conv == "gatedgcn" else set()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == unused


def test_a_model_sees_graphs_of_a_batch_one_by_one():
    model = model_of().eval()
    graphs = [data_of(4), data_of(0), data_of(70), data_of(1)]
    alone = torch.cat([model(graph) for graph in graphs])
    torch.testing.assert_close(model(Batch.from_data_list(graphs)), alone, rtol=1e-5, atol=1e-5)


def test_attention_reaches_where_no_edge_leads():
    model, data = model_of(pool="none").eval(), data_of(6)
    data.edge_index, data.edge_attr = torch.empty((2, 0), dtype=torch.int64), torch.empty(0, 3)
    x = data.x.requires_grad_()
    (grad,) = torch.autograd.grad(model(data)[0].sum(), x)
    assert bool((grad[1:].abs().sum(1) > 0).all())
    (grad,) = torch.autograd.grad(model_of(pool="none", global_layer="none").eval()(data)[0].sum(), x)
    assert bool((grad[1:] == 0).all())


def test_defaults_leave_earlier_models_as_they_were():
    config = ModelConfig(conv="gcn", num_layers=1, hidden_dim=8)
    assert config.global_layer == "none"
    names = set(GraphModel(config, node_dims=3, num_outputs=1).state_dict())
    assert names == {
        *(f"node_encoder.linear.{name}" for name in ("weight", "bias")),
        *(f"layers.0.conv.{name}" for name in ("bias", "lin.weight")),
        *(f"head.linears.0.{name}" for name in ("weight", "bias")),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_layer": "atention"}, r"did you mean 'attention'\?"),
        ({"global_layer": "attention", "hidden_dim": 30, "num_heads": 4}, "multiple of num_heads"),
        ({"global_layer": "attention", "residual": False}, "have residuals"),
        ({"global_layer": "attention", "num_heads": 0}, "num_heads must be at least 1"),
        ({"attention_dropout": 1.0}, "attention_dropout"),
        ({"conv": "none"}, "needs a global layer"),
    ],
)
def test_bad_configurations_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**options)
