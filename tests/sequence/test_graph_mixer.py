"""Graph MLP-Mixer and Graph ViT: their parts against dense ones, and what graphs, batches and patches may change."""

from typing import Any, get_args

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, gelu, layer_norm

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, IndexRangeError, ShapeError
from gnnkit.sequence import (
    GraphMLPMixer,
    GraphViT,
    Mamba,
    MixerBlock,
    NodeTokens,
    PatchEncoder,
    PatchOverlap,
    PatchTokens,
    PatchTransformerLayer,
    Tokens,
)
from gnnkit.sequence.patch_blocks import PatchAttentionKind
from gnnkit.sequence.patches import RowNorm
from tests.sequence.token_cases import (
    DIM,
    SOURCES,
    Ball,
    Given,
    MeanBlock,
    MeanEncoder,
    RandomPatches,
    Strips,
    arguments,
    batch_of,
    boundaries,
    data_of,
    renumbered,
    tokens_of,
)

KINDS = get_args(PatchAttentionKind)
# Two graphs of 5 and 4 nodes with patches that overlap; the last but one of the first is empty.
SETS = [[0, 1, 2], [2, 3], [], [3, 4, 0], [5], [6, 7, 8, 5]]
LENGTHS = [4, 2]


def two_graphs() -> tuple[Tensor, Graph, Tensor, Tensor]:
    return batch_of(nx.cycle_graph(5), nx.star_graph(3))


def model_of(kind: str, **options: Any) -> GraphMLPMixer | GraphViT:
    defaults: dict[str, Any] = {"num_patches": 5, "encoder_layers": 2, "tokenizer": RandomPatches(5), "walk_steps": 3}
    options = {**defaults, **options}
    if kind == "mixer":
        return GraphMLPMixer(DIM, 3, **options).double()
    return GraphViT(DIM, 3, **{"num_heads": 2, "attention": kind, **options}).double()


def exercised(model: torch.nn.Module) -> torch.nn.Module:
    """With running statistics and biases that are not those of a new model, in evaluation."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter)
    return model.eval()


def dense_mix(block: MixerBlock, rows: Tensor) -> Tensor:
    """One sequence, ``[n, dim]``."""
    tokens, channels = block.token_mix, block.channel_mix
    padded = torch.zeros(block.max_tokens, block.dim).double()
    padded[: rows.size(0)] = layer_norm(rows, (block.dim,), block.token_norm.weight, block.token_norm.bias)
    mixed = tokens[4].weight @ gelu(tokens[1].weight @ padded + tokens[1].bias[:, None]) + tokens[4].bias[:, None]
    rows = rows + mixed[: rows.size(0)]
    normal = layer_norm(rows, (block.dim,), block.channel_norm.weight, block.channel_norm.bias)
    return rows + gelu(normal @ channels[1].weight.T + channels[1].bias) @ channels[4].weight.T + channels[4].bias


def test_the_mixer_block_is_its_formula_on_each_sequence():
    block = exercised(MixerBlock(DIM, 4).double())
    assert (block.token_mix[1].out_features, block.channel_mix[1].out_features) == (4 * DIM, DIM // 2)
    x, offsets = torch.randn(8, DIM).double(), boundaries([3, 0, 4, 1])
    expected = [dense_mix(block, rows) for rows in x.split(offsets.diff().tolist())]
    torch.testing.assert_close(block(x, offsets), torch.cat(expected))
    turned = torch.cat([dense_mix(block, rows.flip(0)).flip(0) for rows in x.split(offsets.diff().tolist())])
    torch.testing.assert_close(block(x, offsets, reverse=True), turned)
    assert block(x[:0], boundaries([0, 0])).shape == (0, DIM)
    assert block(x[:0], boundaries([])).shape == (0, DIM)
    with pytest.raises(ConfigError, match=r"max_tokens = 4, but a sequence has 5"):
        block(x, boundaries([5, 3]))


def test_overlaps_are_products_of_masks():
    tokens = tokens_of([nodes for nodes in SETS if nodes], [3, 2], 9)
    overlap = PatchOverlap(tokens)
    weights, kernels, returns = [], [], []
    for sets in (SETS[:2] + SETS[3:4], SETS[4:]):
        mask = torch.zeros(len(sets), 9).double()
        for row, nodes in enumerate(sets):
            mask[row, nodes] = 1
        adjacency = mask @ mask.T
        walk = adjacency / adjacency.sum(1, keepdim=True)
        weights.append(adjacency.flatten())
        kernels.append(torch.linalg.matrix_power(walk, 8).flatten())
        returns.append(torch.stack([torch.linalg.matrix_power(walk, step).diagonal() for step in (1, 2, 3)], 1))
    for pairs, expected in ((overlap.pairs(), weights), (overlap.pairs(8), kernels)):
        torch.testing.assert_close(pairs.weight, torch.cat(expected))
        assert torch.equal(pairs.graph.edge_index, nn.complete_graphs(tokens.offsets).edge_index)
    torch.testing.assert_close(overlap.return_probabilities(3), torch.cat(returns))


def dense_attention(layer: PatchTransformerLayer, rows: Tensor, omega: Tensor) -> Tensor:
    """One sequence, ``[n, dim]``, with weights of pairs ``[n, n]``."""
    normal = layer_norm(rows, (DIM,), layer.attention_norm.weight, layer.attention_norm.bias)
    q, k, v = layer.project_in(normal).split(DIM, 1)
    heads, width = [], DIM // layer.num_heads
    for head in range(layer.num_heads):
        part = slice(head * width, (head + 1) * width)
        score = q[:, part] @ k[:, part].T / width**0.5
        match layer.attention:
            case "standard":
                share = score.softmax(1)
            case "hadamard":
                share = omega * score.softmax(1)
            case "graph" | "kernel":
                share = omega * score.exp()
                share = share / share.sum(1, keepdim=True)
            case _:
                bias = layer.pair_bias
                assert bias is not None
                share = (score + bias.weight[head, 0] * omega + bias.bias[head]).softmax(1)
        heads.append(share @ v[:, part])
    rows = rows + layer.project_out(torch.cat(heads, 1))
    normal = layer_norm(rows, (DIM,), layer.feed_forward_norm.weight, layer.feed_forward_norm.bias)
    return rows + layer.contract(layer.expand(normal).relu())


@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_its_formula_on_each_sequence(kind: PatchAttentionKind):
    tokens = tokens_of([[0, 1], [1, 2], [3, 4], [5], [6, 7], [7, 6, 5]], [3, 0, 3], 8)
    layer = exercised(PatchTransformerLayer(DIM, num_heads=2, attention=kind).double())
    pairs = PatchOverlap(tokens).pairs(2 if kind == "kernel" else 0)
    x = torch.randn(6, DIM).double()
    omegas = [part.reshape(3, 3) for part in pairs.weight.split(9)]
    assert bool((omegas[0] == 0).any()), "some patches must not touch"
    expected = [dense_attention(layer, *parts) for parts in zip(x.split(3), omegas, strict=True)]
    torch.testing.assert_close(layer(x, tokens.offsets, pairs=pairs), torch.cat(expected))
    # The way that dropout takes is another one: with a probability so small that nothing is dropped, the same.
    layer.train().dropout = 1e-300
    torch.testing.assert_close(layer(x, tokens.offsets, pairs=pairs), torch.cat(expected))
    if kind == "standard":
        assert torch.equal(layer(x, tokens.offsets), layer(x, tokens.offsets, reverse=True))
    else:
        with pytest.raises(ConfigError, match="needs pairs"):
            layer(x, tokens.offsets)
    with pytest.raises(ShapeError, match="pairs must be of 3 tokens, got 6"):
        layer(x[:3], boundaries([3]), pairs=pairs)


def plain_norm(norm: torch.nn.BatchNorm1d, rows: Tensor) -> Tensor:
    return batch_norm(rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, eps=norm.eps)


def plain_encoder(encoder: PatchEncoder, sets: list[list[int]], x: Tensor, graph: Graph, edge_attr: Tensor) -> Tensor:
    """With a dictionary from (patch, node) to rows."""
    keys = [(patch, node) for patch, nodes in enumerate(sets) for node in nodes]
    rows = torch.stack([x[node] for _, node in keys])
    place = {key: row for row, key in enumerate(keys)}
    for number, conv in enumerate(encoder.convs):
        if number > 0:
            of_patch = [[place[patch, node] for node in nodes] for patch, nodes in enumerate(sets)]
            heard = torch.stack([rows[of_patch[patch]].mean(0) for patch, _ in keys])
            rows = rows + plain_norm(encoder.patch_norms[number - 1], encoder.patch_maps[number - 1](heard)).relu()
            copies = [[row for other, row in place.items() if other[1] == node] for _, node in keys]
            rows = torch.stack([rows[same].mean(0) for same in copies])
        messages = torch.zeros_like(rows)
        for edge, (source, destination) in enumerate(graph.edge_index.T.tolist()):
            for patch in range(len(sets)):
                if (patch, source) in place and (patch, destination) in place:
                    message = (rows[place[patch, source]] + edge_attr[edge]).relu()
                    messages = messages.index_add(0, torch.tensor([place[patch, destination]]), message[None])
        hidden = conv.nn[0](messages + (1 + conv.eps) * rows)
        out = conv.nn[3](plain_norm(conv.nn[1], hidden).relu())
        rows = encoder.linears[number](rows + plain_norm(encoder.norms[number], out).relu())
    return torch.stack([rows[[place[patch, node] for node in nodes]].mean(0) for patch, nodes in enumerate(sets)])


@pytest.mark.parametrize("training", [False, True])
def test_the_encoder_is_its_formula_with_copies_of_nodes(training: bool):
    x, graph, edge_attr, _ = two_graphs()
    encoder = exercised(PatchEncoder(DIM, num_layers=3).double()).train(training)
    with torch.no_grad():
        for conv in encoder.convs:
            conv.eps.fill_(0.3)
    sets = [nodes for nodes in SETS if nodes]
    expected = plain_encoder(encoder, sets, x, graph, edge_attr)
    torch.testing.assert_close(encoder(tokens_of(sets, [3, 2], 9), x, graph, edge_attr), expected)


def test_edges_without_features_count_as_zeros_and_convolutions_can_be_swapped():
    x, graph, edge_attr, _ = two_graphs()
    tokens = tokens_of([nodes for nodes in SETS if nodes], [3, 2], 9)
    encoder = exercised(PatchEncoder(DIM, num_layers=2).double())
    assert torch.equal(encoder(tokens, x, graph), encoder(tokens, x, graph, torch.zeros_like(edge_attr)))
    convs = [nn.GCNConv(DIM, DIM), nn.GatedGCNConv(DIM, DIM)]
    mixed = PatchEncoder(DIM, num_layers=2, convs=convs).double().eval()
    out = mixed(tokens, x, graph, edge_attr)
    assert out.shape == (5, DIM)
    assert not torch.allclose(out, mixed(tokens, x, graph))
    with pytest.raises(ConfigError, match="convs must be num_layers = 3 convolutions, got 2"):
        PatchEncoder(DIM, num_layers=3, convs=convs)
    with pytest.raises(ShapeError, match=r"GCNConv must return shape \(13, 8\), got \(13, 3\)"):
        PatchEncoder(DIM, num_layers=1, convs=[nn.GCNConv(DIM, 3)]).double()(tokens, x, graph)


@pytest.mark.parametrize("rows", [0, 1])
def test_batches_without_statistics_are_normalised_by_those_before(rows: int):
    norm = exercised(RowNorm(DIM))
    x = torch.randn(rows, DIM)
    expected, before = norm(x), norm.running_mean.clone()
    assert torch.equal(norm.train()(x), expected)
    assert torch.equal(norm.running_mean, before)
    norm(torch.randn(2, DIM))
    assert not torch.equal(norm.running_mean, before)


def test_a_model_is_its_parts_put_together():
    x, graph, edge_attr, ptr = two_graphs()
    tokens = tokens_of(SETS, LENGTHS, 9)
    filled = tokens_of([nodes for nodes in SETS if nodes], [3, 2], 9)
    for kind in ("mixer", "hadamard"):
        model = exercised(model_of(kind, tokenizer=Given(tokens)))
        overlap = PatchOverlap(filled)
        walk = model.walk_encoding
        assert walk is not None
        assert model.head is not None
        out = model.encoder(filled, x, graph, edge_attr)
        out = out + plain_norm(walk.norm, overlap.return_probabilities(3) @ walk.linear.weight.T).relu()
        for layer in model.layers:
            given = {} if kind == "mixer" else {"pairs": overlap.pairs()}
            out = layer(out, filled.offsets, **given)
        if kind == "mixer":
            assert model.norm is not None
            out = layer_norm(out, (DIM,), model.norm.weight, model.norm.bias)
        mean = torch.stack([out[:3].mean(0), out[3:].mean(0)])
        expected = model.head[3](plain_norm(model.head[1], model.head[0](mean)).relu())
        torch.testing.assert_close(model(x, graph, edge_attr, ptr), expected)


@pytest.mark.parametrize("kind", ["mixer", *KINDS])
def test_patches_without_nodes_change_nothing(kind: str):
    x, graph, edge_attr, ptr = two_graphs()
    model = exercised(model_of(kind))
    results = []
    spread = [[], *SETS[:2], *SETS[3:4], SETS[4], [], [], SETS[5]]
    for sets, lengths in ((SETS, LENGTHS), (spread, [4, 4]), ([nodes for nodes in SETS if nodes], [3, 2])):
        model.tokenizer = Given(tokens_of(sets, lengths, 9))
        results.append(model(x, graph, edge_attr, ptr))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("kind", ["mixer", *KINDS])
def test_a_model_sees_graphs_of_a_batch_one_by_one(kind: str):
    """Among them one of a single node, and one of none."""
    sources = (*SOURCES, nx.empty_graph(0))
    for tokenizer in (Strips(), PatchTokens(3)):
        model = exercised(model_of(kind, tokenizer=tokenizer))
        alone = torch.cat([model(*arguments(data_of(source, seed))) for seed, source in enumerate(sources)])
        torch.testing.assert_close(model(*batch_of(*sources)), alone)


@pytest.mark.parametrize("kind", ["mixer", *KINDS])
def test_numbers_of_nodes_do_not_matter_where_patches_are_the_same(kind: str):
    data = data_of(nx.barbell_graph(4, 1))
    sets = [[0, 1, 2, 3], [3, 4, 5], [5, 6, 7, 8], [8]]
    model = exercised(model_of(kind, tokenizer=Given(tokens_of(sets, [4], 9))))
    expected = model(*arguments(data))
    place = torch.randperm(9)
    moved = [[int(place[node]) for node in nodes] for nodes in sets]
    model.tokenizer = Given(tokens_of(moved, [4], 9))
    torch.testing.assert_close(model(*arguments(renumbered(data, place))), expected)
    model.tokenizer = Given(tokens_of(sets[::-1], [4], 9))
    turned = model(*arguments(data))
    # The mixer has weights for places; attention has none.
    assert torch.allclose(turned, expected) == (kind != "mixer")


@pytest.mark.parametrize("kind", ["mixer", *KINDS])
def test_every_parameter_learns(kind: str):
    model = model_of(kind, dropout=0.1, encoder_dropout=0.1)
    model(*batch_of(*SOURCES)).square().mean().backward()
    missing = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    # A bias that is added to all scores of a head does not change their softmax.
    harmless = {"layers.0.pair_bias.bias", "layers.1.pair_bias.bias"} if kind == "additive" else set()
    assert set(missing) <= harmless


def test_seeds_of_patches():
    tokenizer = RandomPatches(5)
    model = model_of("mixer", tokenizer=tokenizer)
    given = batch_of(*SOURCES)
    torch.manual_seed(3)
    model(*given), model(*given)
    torch.manual_seed(3)
    model(*given)
    first, second, again = tokenizer.seeds
    assert first == again != second
    model.eval()
    assert torch.equal(model(*given), model(*given, seed=0))
    assert not torch.equal(model(*given), model(*given, seed=5))
    assert tokenizer.seeds[3:] == [0, 0, 0, 5]
    with pytest.raises(ConfigError, match="seed must be an integer"):
        model(*given, seed=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["mixer", "hadamard"])
def test_results_repeat_bitwise(kind: str):
    def gradients() -> list[Tensor]:
        torch.manual_seed(1)
        model = model_of(kind, dropout=0.3, tokenizer=PatchTokens(5)).float()
        x, graph, edge_attr, ptr = batch_of(*SOURCES)
        model(x.float(), graph, edge_attr.float(), ptr).square().sum().backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


@pytest.mark.parametrize("training", [False, True])
def test_graphs_with_fewer_nodes_than_patches(training: bool):
    for sources in ((nx.empty_graph(1),), (nx.empty_graph(0),), (nx.path_graph(2), nx.empty_graph(0))):
        for model in (GraphMLPMixer(DIM, 2).double(), GraphViT(DIM, 2, attention="kernel").double()):
            out = model.train(training)(*batch_of(*sources))
            assert out.shape == (len(sources), 2)
            assert bool(out.isfinite().all())


def test_parts_can_be_swapped():
    given = batch_of(*SOURCES)
    mixer = GraphMLPMixer(
        DIM, None, tokenizer=NodeTokens(), encoder=MeanEncoder(DIM, DIM), layers=[Mamba(DIM), MeanBlock(DIM)]
    ).double()
    assert mixer(*given).shape == (len(SOURCES), DIM)
    vit = GraphViT(DIM, 1, layers=[PatchTransformerLayer(DIM), MixerBlock(DIM, 32)], walk_steps=0).double()
    assert vit.walk_encoding is None
    assert vit(*given).shape == (len(SOURCES), 1)


def test_published_sizes():
    """Peptides-func (128 wide, 4 and 2 layers, 32 patches, 8 return probabilities), without encoders of inputs."""
    dim, hidden = 128, 512
    encoder = 4 * (2 * dim * dim + 2 * dim + 1 + 2 * dim + dim * dim + dim) + 3 * (dim * dim + 2 * dim)
    walks = 8 * dim + 2 * dim
    mixer = 2 * (4 * dim + 2 * 32 * hidden + hidden + 32 + dim * dim + 64 + dim) + 2 * dim
    head = dim * dim + 2 * dim + 10 * dim + 10
    model = GraphMLPMixer(dim, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == encoder + walks + mixer + head


def test_a_mixer_learns_to_tell_rings_from_paths():
    torch.manual_seed(0)
    sources = [make(size) for size in range(6, 14) for make in (nx.cycle_graph, nx.path_graph)]
    _, graph, _, ptr = batch_of(*sources)
    x, target = torch.ones(graph.num_nodes, 16), torch.tensor([0.0, 1.0]).repeat(8)
    model = GraphMLPMixer(16, 1, num_patches=4, encoder_layers=2, num_layers=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(70):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x, graph, None, ptr)[:, 0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.5
    assert sum(losses[-5:]) / 5 < 0.2


def test_bad_input_is_named():
    x, graph, edge_attr, ptr = two_graphs()
    model = model_of("mixer")
    with pytest.raises(ShapeError, match=r"GraphMLPMixer needs x of shape \[9, 8\]"):
        model(x[:, :3], graph, edge_attr, ptr)
    with pytest.raises(ShapeError, match="one row per node"):
        model(x[:3], graph, edge_attr, ptr)
    with pytest.raises(IndexRangeError):
        model(x, graph, edge_attr, torch.tensor([0, 5, 8]))
    with pytest.raises(ShapeError, match="edge_attr"):
        model(x, graph, edge_attr[:, :3], ptr)
    model.tokenizer = Ball()
    with pytest.raises(ConfigError, match="Ball describes nodes; GSM takes such tokens"):
        model(x, graph, edge_attr, ptr)
    model.tokenizer = Given(tokens_of(SETS, [6], 9))
    with pytest.raises(ShapeError, match="Given must give 2 sequences of tokens of 9 nodes, got 1 of 9"):
        model(x, graph, edge_attr, ptr)
    model.tokenizer = Given(tokens_of([[node] for node in range(9)], [6, 3], 9))
    with pytest.raises(ConfigError, match="max_tokens = 5, but a sequence has 6"):
        model(x, graph, edge_attr, ptr)

    class Short(MeanEncoder):
        def forward(self, tokens: Tokens, *rest: Any) -> Tensor:
            return super().forward(tokens, *rest)[1:]

    with pytest.raises(ShapeError, match=r"Short must return shape \(5, 8\), got \(4, 8\)"):
        model_of("mixer", tokenizer=Given(tokens_of(SETS, LENGTHS, 9)), encoder=Short(DIM, DIM))(x, graph, None, ptr)


def test_bad_settings_are_named():
    for options, match in (
        ({"num_patches": 0}, "num_patches"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"encoder_layers": 0}, "num_layers"),
        ({"walk_steps": -1}, "walk_steps"),
        ({"layers": []}, "at least one layer"),
        ({"layers": [MixerBlock(3, 5)]}, r"layers\[0\]\.dim = 3"),
        ({"layers": [torch.nn.Linear(DIM, DIM)]}, r"layers\[0\]\.dim = None"),
        ({"encoder": MeanEncoder(DIM, 3), "layers": [MixerBlock(3, 5)]}, "dim must be that of"),
    ):
        with pytest.raises(ConfigError, match=match):
            GraphMLPMixer(DIM, 1, **options)
    with pytest.raises(ConfigError, match="num_outputs"):
        GraphMLPMixer(DIM, 0)
    for options, match in (
        ({"attention": "dense"}, "attention must be one of standard, hadamard"),
        ({"num_heads": 3}, "multiple of num_heads"),
        ({"num_layers": 0}, "num_layers"),
    ):
        with pytest.raises(ConfigError, match=match):
            GraphViT(DIM, 1, **options)
    with pytest.raises(ConfigError, match="max_tokens"):
        MixerBlock(DIM, 0)
    block = MixerBlock(DIM, 5)
    with pytest.raises(ShapeError, match=r"MixerBlock needs x of shape \[T, 8\]"):
        block(torch.randn(3, 2), boundaries([3]))
    with pytest.raises(IndexRangeError, match="offsets must run from 0"):
        block(torch.randn(3, DIM), boundaries([2]))
