"""The configurable model: size, stacks, readouts, training."""

from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch.nn import functional
from torch_geometric.data import Batch, Data

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError
from gnnkit.nn import EncodingConfig, GraphModel, ModelConfig
from gnnkit.nn.encoders import ATOM_FEATURE_DIMS, BOND_FEATURE_DIMS

WALK = EncodingConfig("random_walk_pe", 20, 28, "batch")


def molecule(num_nodes: int, num_edges: int) -> Data:
    return Data(
        x=torch.stack([torch.randint(dim, (num_nodes,)) for dim in ATOM_FEATURE_DIMS], 1),
        edge_index=torch.randint(max(num_nodes, 1), (2, num_edges)),
        edge_attr=torch.stack([torch.randint(dim, (num_edges,)) for dim in BOND_FEATURE_DIMS], 1),
        random_walk_pe=torch.rand(num_nodes, 20),
        root_mask=torch.arange(num_nodes) == num_nodes // 2,
    )


def batch() -> Any:
    return Batch.from_data_list([molecule(5, 12), molecule(1, 0), molecule(9, 30), molecule(4, 3)])


def molecular(**options: Any) -> ModelConfig:
    defaults = {"hidden_dim": 32, "num_layers": 2, "node_encoder": "atom", "edge_encoder": "bond", "head_layers": 2}
    return ModelConfig(**{**defaults, "encodings": (WALK,), **options})


def num_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"conv": "gcn", "num_layers": 6, "hidden_dim": 235, "head_layers": 3}, 485_741),
        ({"conv": "gatedgcn", "num_layers": 10, "hidden_dim": 95, "head_layers": 3}, 492_521),
        (
            {
                "conv": "edge_sum",
                "num_layers": 3,
                "hidden_dim": 275,
                "head_layers": 4,
                "norm": "batch",
                "encodings": (EncodingConfig("random_walk_pe", 32, 28, "batch"),),
            },
            507_351,
        ),
    ],
)
def test_published_stacks_have_the_published_size(options: dict[str, Any], expected: int):
    assert num_parameters(GraphModel(molecular(**options), num_outputs=10)) == expected


class PlainGCN(torch.nn.Module):
    """The Tönshoff stack written out with PyTorch Geometric's layers."""

    def __init__(self, model: GraphModel) -> None:
        super().__init__()
        self.model = model
        self.convs = torch.nn.ModuleList(pyg.GCNConv(32, 32) for _ in model.layers)
        for conv, layer in zip(self.convs, model.layers, strict=True):
            conv.load_state_dict(layer.conv.state_dict())

    def forward(self, data: Any) -> torch.Tensor:
        x = torch.cat([self.model.node_encoder(data.x), self.model.encodings[0](data.random_walk_pe)], 1)
        for conv in self.convs:
            x = x + functional.gelu(conv(x, data.edge_index))
        x = pyg.global_mean_pool(x, data.batch)
        first, last = self.model.head.linears
        return last(functional.gelu(first(x)))


def test_gcn_stack_is_the_same_stack_in_pyg():
    model = GraphModel(molecular(activation="gelu"), num_outputs=3)
    plain, data = PlainGCN(model), batch()
    out, expected = model(data), plain(data)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(out)
    (ours,) = torch.autograd.grad(out, model.layers[0].conv.lin.weight, upstream, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, plain.convs[0].lin.weight, upstream)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gnn_plus_layer_is_its_definition():
    config = ModelConfig(conv="gcn", num_layers=1, hidden_dim=8, norm="batch", feed_forward=True, pool="none")
    model = GraphModel(config, node_dims=8, num_outputs=8).double()
    layer = model.layers[0]
    graph = Graph.from_edge_index(torch.randint(9, (2, 30)), num_nodes=9)
    x = torch.randn(9, 8, dtype=torch.float64)

    def normalised(value: torch.Tensor) -> torch.Tensor:
        centred = value - value.mean(0)
        return centred / (centred.square().mean(0) + 1e-5).sqrt()

    hidden = x + normalised(layer.conv(x, graph)).relu()
    hidden = normalised(hidden)
    block = layer.feed_forward
    hidden = hidden + block.contract(block.expand(hidden).relu())
    torch.testing.assert_close(layer(x, graph, None)[0], normalised(hidden))


@pytest.mark.parametrize("conv", ["gcn", "sage", "gin", "gine", "gatedgcn", "edge_sum"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("pool", ["mean", "root", "none"])
def test_every_stack_trains(conv: str, norm: str, pool: str):
    config = molecular(conv=conv, norm=norm, pool=pool, dropout=0.2, feed_forward=norm == "batch", activation="silu")
    model, data = GraphModel(config, num_outputs=3), batch()
    out = model(data)
    assert out.shape == (data.num_nodes if pool == "none" else 4, 3)
    out.square().mean().backward()
    unused = {"edge_encoder.weight"} if conv in ("gcn", "sage", "gin") else set()
    # The last edge update of a gated stack leads nowhere.
    unused |= {f"layers.1.conv.bn_edge_e.{name}" for name in ("weight", "bias")} if conv == "gatedgcn" else set()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == unused


def test_dropout_follows_the_generator_and_stops_in_evaluation():
    model, data = GraphModel(molecular(dropout=0.5), num_outputs=3), batch()
    for encoding in model.encodings:
        encoding.eval()
    torch.manual_seed(1)
    first = model(data)
    second = model(data)
    torch.manual_seed(1)
    assert torch.equal(model(data), first)
    assert not torch.equal(second, first)
    model.eval()
    assert torch.equal(model(data), model(data))


def test_a_built_graph_is_used_and_saves_nothing_else():
    model, data = GraphModel(molecular(), num_outputs=3).eval(), batch()
    expected = model(data)
    data.graph = Graph.from_edge_index(data.edge_index, num_nodes=data.num_nodes)
    data.edge_index = None
    assert torch.equal(model(data), expected)


def test_batching_does_not_change_a_graph_and_empty_graphs_keep_their_row():
    model = GraphModel(molecular(), num_outputs=3).eval()
    graphs = [molecule(5, 12), molecule(0, 0), molecule(9, 30)]
    together = model(Batch.from_data_list(graphs))
    alone = torch.cat([model(graph) for graph in graphs])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_categories_and_numbers_as_input():
    data = Data(
        x=torch.tensor([[1, 4], [0, 2], [2, 0]]),
        edge_index=torch.tensor([[0, 1], [1, 2]]),
        edge_attr=torch.tensor([0.5, 2.0]),
    )
    config = ModelConfig(conv="gine", num_layers=1, hidden_dim=8, node_encoder="embedding", edge_encoder="linear")
    assert GraphModel(config, node_dims=(3, 5), edge_dims=1, num_outputs=2)(data).shape == (1, 2)


def test_the_model_compiles():
    config = ModelConfig(conv="gcn", num_layers=2, hidden_dim=8, dropout=0.3)
    model, data = GraphModel(config, node_dims=8, num_outputs=2).eval(), batch()
    data.x = torch.randn(data.num_nodes, 8)
    graph = Graph.from_edge_index(data.edge_index, num_nodes=data.num_nodes)

    def forward(x: torch.Tensor) -> torch.Tensor:
        for layer in model.layers:
            x, _ = layer(x, graph, None)
        return model.head(x)

    expected = forward(data.x)
    compiled = torch.compile(forward, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(data.x), expected)
    model.train()
    assert bool(compiled(data.x).isfinite().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conv": "gatdgcn"}, r"conv must be one of .* did you mean 'gatedgcn'\?"),
        ({"activation": "tanh"}, "activation must be"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"head_dropout": -0.1}, "head_dropout"),
        ({"conv": "gine"}, "needs edge features"),
        ({"hidden_dim": 28, "encodings": (WALK,)}, "leaves nothing"),
    ],
)
def test_bad_configurations_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**options)


def test_bad_encodings_and_dimensions_are_refused():
    with pytest.raises(ConfigError, match="in_dim must be at least 1"):
        EncodingConfig("pe", 0, 3)
    with pytest.raises(ConfigError, match="norm must be"):
        EncodingConfig("pe", 3, 3, "layer")
    with pytest.raises(ConfigError, match="needs node_dims"):
        GraphModel(ModelConfig(), num_outputs=1)
    with pytest.raises(ConfigError, match="needs edge_dims"):
        GraphModel(ModelConfig(conv="gine", edge_encoder="linear"), node_dims=3, num_outputs=1)


def test_missing_attributes_are_named():
    model, data = GraphModel(molecular(), num_outputs=3), batch()
    del data.random_walk_pe
    with pytest.raises(DataError, match=r"data\.random_walk_pe"):
        model(data)


@pytest.mark.parametrize("conv", ["gcn", "sage", "gin", "gine", "gatedgcn", "edge_sum"])
def test_stack_trains_under_autocast(conv):
    """Matrix products in bfloat16, everything that is added to them in float32."""
    config = ModelConfig(conv=conv, num_layers=2, hidden_dim=16, edge_encoder="linear", dropout=0.1)
    model = GraphModel(config, node_dims=5, edge_dims=3, num_outputs=2)
    edge_index = torch.randint(0, 12, (2, 40))
    data = Data(x=torch.randn(12, 5), edge_index=edge_index, edge_attr=torch.randn(40, 3), ptr=torch.tensor([0, 5, 12]))
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(data)
    out.float().square().sum().backward()
    model.eval()
    with torch.no_grad():
        exact = model(data)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model(data).float()
    torch.testing.assert_close(low, exact, rtol=0.05, atol=0.05)
    for name, parameter in model.named_parameters():
        # The last layer's edge states lead nowhere.
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), name


class Plain:
    """The attributes that a model reads, and nothing else."""

    def __init__(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor, ptr: torch.Tensor) -> None:
        self.x, self.edge_index, self.edge_attr, self.ptr = x, edge_index, edge_attr, ptr
        self.num_nodes = x.size(0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("conv", ["gcn", "gatedgcn"])
def test_stack_compiles_with_inductor(conv):
    config = ModelConfig(conv=conv, num_layers=2, hidden_dim=16, edge_encoder="linear", dropout=0.1)
    model = GraphModel(config, node_dims=5, edge_dims=3, num_outputs=2)
    inputs = torch.randn(12, 5), torch.randint(0, 12, (2, 40)), torch.randn(40, 3), torch.tensor([0, 5, 12])
    torch._dynamo.reset()
    compiled = torch.compile(lambda *given: model(Plain(*given)), fullgraph=True, dynamic=True)
    model.eval()
    torch.testing.assert_close(compiled(*inputs), model(Plain(*inputs)))
    model.train()
    compiled(*inputs).square().sum().backward()
    assert model.node_encoder.linear.weight.grad.abs().sum() > 0
