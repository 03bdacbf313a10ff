"""Graph sequence models and mixtures of tokenizers: their stages written out, and what may change what."""

from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.sequence import (
    GSM,
    S4D,
    Attention,
    Bidirectional,
    Degree,
    GSMPlusPlus,
    HACOrder,
    HACTokens,
    HierarchicalEncoding,
    HopTokens,
    Hybrid,
    Mamba,
    MixerBlock,
    MixtureOfTokenizers,
    NodeTokenEncoder,
    NodeTokens,
    PageRank,
    PatchTokens,
    SubgraphTokenEncoder,
    WalkFeatureEncoder,
    WalkTokens,
    hierarchical_affinity_clustering,
    hierarchical_positions,
)
from tests.sequence.stand_ins import RunningSum
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
    data_of,
    renumbered,
    tokens_of,
)


class SumOfMembers(torch.nn.Module):
    """An encoder without weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: Any, x: Tensor, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        return torch.stack([part.sum(0) for part in x[tokens.members].split(tokens.token_ptr.diff().tolist())])


def mixture_of(top_k: int = 2, **options: Any) -> MixtureOfTokenizers:
    tokenizers = [NodeTokens(), Strips(), Ball()]
    encoders = [MeanEncoder(DIM, DIM) for _ in tokenizers]
    blocks = [MeanBlock(DIM) for _ in tokenizers]
    return MixtureOfTokenizers(DIM, tokenizers, encoders, blocks, top_k=top_k, **options).double()


MODELS = {
    "nodes": lambda: GSM(NodeTokens(), MeanEncoder(DIM, DIM), Mamba(DIM), local=nn.GatedGCNConv(DIM, DIM)),
    "patches": lambda: GSM(
        Strips(), MeanEncoder(DIM, DIM), MeanBlock(DIM), local=nn.GINConv(torch.nn.Linear(DIM, DIM))
    ),
    "surroundings": lambda: GSM(Ball(), MeanEncoder(DIM, DIM), Mamba(DIM)),
    "plus_plus": lambda: GSMPlusPlus(DIM),
    "hierarchy": lambda: GSMPlusPlus(DIM, tokenizer=HACTokens(), encoder=MeanEncoder(DIM, DIM), block=Mamba(DIM)),
    "mixture": lambda: mixture_of(top_k=3, local=[nn.GatedGCNConv(DIM, DIM), nn.GCNConv(DIM, DIM)]),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return MODELS[request.param]().double()


def test_tokens_of_graphs_are_averaged_at_their_nodes():
    """Node 3 is in no token; node 1 in two."""
    x, graph = torch.randn(5, DIM).double(), Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), num_nodes=5)
    tokens = tokens_of([[0, 1], [2, 1], [4]], [2, 1], 5)
    out = GSM(Given(tokens), SumOfMembers(DIM), RunningSum(DIM))(x, graph, ptr=torch.tensor([0, 4, 5]))
    first = x[0] + x[1]
    second = first + x[2] + x[1]
    expected = torch.stack([first, (first + second) / 2, second, torch.zeros(DIM), x[4]])
    torch.testing.assert_close(out, expected)


def test_tokens_of_nodes_speak_by_their_last():
    """Node 1 has no token."""
    x, graph = torch.randn(3, DIM).double(), Graph.from_edge_index(torch.tensor([[0], [2]]), num_nodes=3)
    tokens = tokens_of([[0, 1], [0], [1, 2], [2]], [2, 0, 2], 3, "node")
    out = GSM(Given(tokens), SumOfMembers(DIM), RunningSum(DIM))(x, graph)
    torch.testing.assert_close(out, torch.stack([2 * x[0] + x[1], torch.zeros(DIM), x[1] + 2 * x[2]]))


def test_a_model_is_its_stages():
    """Message passing, with edges that it changes, comes before tokens; what is read follows the order of nodes."""
    x, graph, edge_attr, ptr = batch_of(*SOURCES)
    convs = [nn.GatedGCNConv(DIM, DIM), nn.GINEConv(torch.nn.Linear(DIM, DIM))]
    order = Degree(noise=False)
    model = GSM(NodeTokens(order), MeanEncoder(DIM, DIM), Mamba(DIM), local=convs).double().eval()
    hidden, edge = convs[0](x, graph, edge_attr)
    hidden = convs[1](hidden, graph, edge)
    place = order(graph, ptr)
    expected = torch.empty_like(x)
    expected[place] = model.block(model.encoder.linear(hidden)[place], ptr)
    torch.testing.assert_close(model(x, graph, edge_attr, ptr), expected)


def test_a_sequence_of_nodes_ends_where_the_order_ends():
    x, graph, _, ptr = batch_of(nx.star_graph(4))
    model = GSM(NodeTokens(Degree(noise=False)), SumOfMembers(DIM), RunningSum(DIM))
    out = model(x, graph, ptr=ptr)
    torch.testing.assert_close(out[0], x.sum(0))
    torch.testing.assert_close(out[1], x[1])


@pytest.mark.parametrize("num_levels", [0, 4])
def test_plus_plus_is_its_stages(num_levels: int):
    x, graph, edge_attr, ptr = batch_of(*SOURCES)
    model = GSMPlusPlus(DIM, num_levels=num_levels, num_local_layers=2).double().eval()
    hierarchy = hierarchical_affinity_clustering(graph, ptr, x)
    order = hierarchy.leaf_order()
    hidden, edge = x, edge_attr
    if num_levels > 0:
        position = model.position
        assert position is not None
        hidden = x + hierarchical_positions(hierarchy, 4).double() @ position.linear.weight.T
        for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
            for place in range(begin, end):
                distance = 0
                if place > begin:
                    distance = int(hierarchy.tree_distance(order[[place - 1, place], None]))
                hidden[order[place]] += position.distance.weight[min(distance, 8)]
    for conv in model.local:
        hidden, edge = conv(hidden, graph, edge)
    expected = torch.empty_like(x)
    tokens = NodeTokens()(graph, ptr)
    encoded = model.encoder(tokens, hidden, graph, edge)
    expected[order] = model.block(encoded[order], ptr)
    torch.testing.assert_close(model(x, graph, edge_attr, ptr), expected)
    assert [type(conv) for conv in model.local] == [nn.GatedGCNConv] * 2


def test_the_default_block_is_two_mambas_and_attention():
    block = GSMPlusPlus(DIM).block
    assert isinstance(block, Hybrid)
    kinds = [type(part) for part in block.modules() if isinstance(part, Mamba | Attention)]
    assert kinds == [Mamba, Mamba, Attention]


def test_parts_of_plus_plus_can_be_swapped():
    x, graph, edge_attr, ptr = batch_of(*SOURCES)
    local = nn.GCNConv(DIM, DIM)
    model = GSMPlusPlus(DIM, tokenizer=Ball(), encoder=MeanEncoder(DIM, DIM), block=MeanBlock(DIM), local=local)
    model = model.double().eval()
    plain = GSM(Ball(), model.encoder, model.block, local=local)
    assert model.position is not None
    encoded = x + model.position(hierarchical_affinity_clustering(graph, ptr, x))
    torch.testing.assert_close(model(x, graph, edge_attr, ptr), plain(encoded, graph, edge_attr, ptr))
    assert len(GSMPlusPlus(DIM, local=[]).local) == 0


TOKENIZERS = (NodeTokens(PageRank()), HopTokens(2), WalkTokens(2, 2, 1), HACTokens(), PatchTokens(3))
BLOCKS = {
    "mamba": Mamba,
    "s4d": S4D,
    "attention": Attention,
    "both_ways": lambda dim: Bidirectional(Mamba(dim), Mamba(dim)),
    "mixer": lambda dim: MixerBlock(dim, 16),
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda part: type(part).__name__)
@pytest.mark.parametrize("block", BLOCKS)
def test_every_part_goes_with_every_other(tokenizer: Any, block: str):
    given = batch_of(*SOURCES)
    for encoder in (NodeTokenEncoder(DIM, DIM), SubgraphTokenEncoder(DIM, DIM, edge_dim=DIM)):
        model = GSM(tokenizer, encoder, BLOCKS[block](DIM)).double()
        out = model(*given)
        assert out.shape == (23, DIM)
        out.square().sum().backward()
        assert all(bool(value.grad.isfinite().all()) for value in model.parameters() if value.grad is not None)


def test_the_hierarchy_is_found_once(monkeypatch: pytest.MonkeyPatch):
    found = []

    def counted(*arguments: Any, **options: Any) -> Any:
        found.append(1)
        return hierarchical_affinity_clustering(*arguments, **options)

    monkeypatch.setattr("gnnkit.sequence.gsm.hierarchical_affinity_clustering", counted)
    monkeypatch.setattr("gnnkit.sequence.orderings.hac_order.hierarchical_affinity_clustering", counted)
    given = batch_of(*SOURCES)
    for options, times in (
        ({}, 1),
        ({"num_levels": 0}, 1),
        ({"tokenizer": NodeTokens(HACOrder(linkage="max"))}, 2),
        ({"tokenizer": NodeTokens(HACOrder(linkage="max")), "linkage": "max"}, 1),
    ):
        found.clear()
        GSMPlusPlus(DIM, **options).double()(*given)
        assert len(found) == times


def test_close_nodes_have_close_codes():
    """Two cliques joined by an edge: nodes of one clique that no edge leaves are told apart by the step only."""
    _, graph, _, ptr = batch_of(nx.barbell_graph(4, 0))
    hierarchy = hierarchical_affinity_clustering(graph, ptr)
    encoding = HierarchicalEncoding(DIM, num_levels=3).double()
    torch.nn.init.zeros_(encoding.distance.weight)
    code = encoding(hierarchy)
    torch.testing.assert_close(code[0], code[1])
    torch.testing.assert_close(code[0], code[2])
    assert code.shape == (8, DIM)


def test_a_model_sees_graphs_of_a_batch_one_by_one(model: torch.nn.Module):
    """Among them one of a single node, and one of none."""
    sources = (*SOURCES, nx.empty_graph(0))
    model.eval()
    alone = torch.cat([model(*arguments(data_of(source, seed))) for seed, source in enumerate(sources)])
    torch.testing.assert_close(model(*batch_of(*sources)), alone)
    x, graph, edge_attr, _ = arguments(data_of(SOURCES[0]))
    assert torch.equal(model(x, graph, edge_attr), alone[:6])


@pytest.mark.parametrize("tokenizer", [NodeTokens(), Ball(), HACTokens()])
def test_renumbered_nodes_keep_their_vectors(tokenizer: Any):
    """With a block that reads in no order."""
    model = GSM(tokenizer, MeanEncoder(DIM, DIM), MeanBlock(DIM), local=nn.GatedGCNConv(DIM, DIM)).double().eval()
    for seed, source in enumerate(SOURCES):
        data = data_of(source, seed)
        place = torch.randperm(data.num_nodes)
        expected = model(*arguments(data))
        torch.testing.assert_close(model(*arguments(renumbered(data, place)))[place], expected)


def test_renumbered_nodes_keep_their_codes_in_the_hierarchy():
    model = GSMPlusPlus(DIM, block=MeanBlock(DIM)).double().eval()
    assert model.position is not None
    # The step depends on which of two siblings is read first.
    torch.nn.init.zeros_(model.position.distance.weight)
    data = data_of(SOURCES[2])
    place = torch.randperm(9)
    torch.testing.assert_close(model(*arguments(renumbered(data, place)))[place], model(*arguments(data)))


def test_every_parameter_learns(model: torch.nn.Module):
    if isinstance(model, MixtureOfTokenizers):
        model.top_k = 2
    x, graph, edge_attr, ptr = batch_of(*SOURCES, nx.path_graph(20))
    model(x, graph, edge_attr, ptr).square().mean().backward()
    missing = {name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()}
    # Edges lead nowhere after the last layer; an attention's keys may be moved without a change.
    assert {name for name in missing if "bn_edge_e" not in name and "in_proj_bias" not in name} == set()


def test_results_repeat_bitwise(model: torch.nn.Module):
    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(*batch_of(*SOURCES)).square().sum().backward()
        return [value.grad.clone() for value in model.parameters() if value.grad is not None]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


def test_routing_weights_are_those_of_the_best():
    model = mixture_of()
    x = torch.randn(50, DIM).double()
    weight = model.routing_weights(x)
    torch.testing.assert_close(weight.sum(1), torch.ones(50).double())
    assert bool(((weight > 0).sum(1) == 2).all())
    probability = model.router(x).softmax(1)
    for row, full in zip(weight, probability, strict=True):
        best = full.argsort(descending=True)[:2]
        torch.testing.assert_close(row[best], full[best] / full[best].sum())
    model.top_k = 3
    torch.testing.assert_close(model.routing_weights(x), probability)


def test_equal_tokenizers_are_chosen_from_the_first():
    model = mixture_of()
    torch.nn.init.zeros_(model.router.weight)
    model.router.bias.data = torch.tensor([1.0, 2.0, 1.0]).double()
    weight = model.routing_weights(torch.randn(4, DIM).double())
    assert torch.equal(weight > 0, torch.tensor([[True, True, False]] * 4))
    model.router.bias.data.zero_()
    weight = model.routing_weights(torch.randn(4, DIM).double())
    assert torch.equal(weight, torch.tensor([[0.5, 0.5, 0.0]] * 4).double())


def test_a_mixture_mixes_its_branches():
    given = batch_of(*SOURCES)
    model = mixture_of().eval()
    alone = [branch(*given) for branch in model.branches]
    weight = model.routing_weights(given[0])
    torch.testing.assert_close(model(*given), sum(weight[:, number, None] * out for number, out in enumerate(alone)))
    model.top_k = 1
    torch.nn.init.zeros_(model.router.weight)
    for number, out in enumerate(alone):
        model.router.bias.data = torch.eye(3)[number].double()
        assert torch.equal(model(*given), out)


def test_the_router_sees_what_positions_and_message_passing_made():
    x, graph, edge_attr, ptr = batch_of(*SOURCES)
    conv, position = nn.GatedGCNConv(DIM, DIM), HierarchicalEncoding(DIM)
    model = mixture_of(local=conv, position=position).eval()
    bare = mixture_of().eval()
    shared = {name: value for name, value in model.state_dict().items() if name.startswith(("router", "branches"))}
    bare.load_state_dict(shared)
    hidden = x + position(hierarchical_affinity_clustering(graph, ptr, x))
    hidden, edge = conv(hidden, graph, edge_attr)
    torch.testing.assert_close(model(x, graph, edge_attr, ptr), bare(hidden, graph, edge, ptr))


def test_seeds_of_tokens():
    given = batch_of(*SOURCES)
    tokenizer = RandomPatches(3)
    models = (
        GSM(tokenizer, SumOfMembers(DIM), RunningSum(DIM)),
        GSMPlusPlus(DIM, tokenizer=tokenizer, encoder=SumOfMembers(DIM), block=RunningSum(DIM)).double(),
        MixtureOfTokenizers(DIM, [NodeTokens(), tokenizer], [SumOfMembers(DIM)] * 2, [RunningSum(DIM)] * 2).double(),
    )
    for model in models:
        tokenizer.seeds.clear()
        torch.manual_seed(7)
        model(*given), model(*given)
        torch.manual_seed(7)
        model(*given)
        first, second, again = tokenizer.seeds
        assert first == again != second
        model.eval()
        assert torch.equal(model(*given), model(*given, seed=0))
        model(*given, seed=11)
        assert tokenizer.seeds[3:] == [0, 0, 11]


def test_seeds_of_encoders():
    given = batch_of(*SOURCES)
    encoder = WalkFeatureEncoder(DIM, DIM).double()
    models = (
        GSM(NodeTokens(), encoder, RunningSum(DIM)),
        GSMPlusPlus(DIM, tokenizer=Ball(), encoder=encoder, block=RunningSum(DIM)).double(),
        MixtureOfTokenizers(DIM, [Ball(), Ball()], [SumOfMembers(DIM), encoder], [RunningSum(DIM)] * 2).double(),
    )
    for model in models:
        torch.manual_seed(7)
        first = model(*given)
        torch.manual_seed(7)
        assert torch.equal(model(*given), first)
        model.eval()
        state = torch.get_rng_state()
        assert torch.equal(model(*given), model(*given, seed=0))
        assert torch.equal(torch.get_rng_state(), state)
    for model in models[1:]:
        assert not torch.equal(model(*given, seed=11), model(*given, seed=0))


def test_plus_plus_learns_how_far_nodes_are_from_a_mark():
    torch.manual_seed(0)
    sources = [nx.path_graph(size) for size in range(5, 13)]
    _, graph, _, ptr = batch_of(*sources)
    x = torch.zeros(graph.num_nodes, DIM)
    x[ptr[:-1], 0] = 1.0
    target = torch.cat([torch.arange(float(size)) / size for size in range(5, 13)])
    model, head = GSMPlusPlus(DIM), torch.nn.Linear(DIM, 1)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=1e-2)
    losses = []
    for _ in range(50):
        loss = torch.nn.functional.mse_loss(head(model(x, graph, None, ptr))[:, 0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Better by far than the best constant.
    assert sum(losses[-5:]) / 5 < 0.25 * float(target.var())


def test_bad_input_is_named():
    x, graph, edge_attr, ptr = batch_of(*SOURCES)
    model = MODELS["nodes"]().double()
    with pytest.raises(ShapeError, match="one row per node"):
        model(x[1:], graph, edge_attr, ptr)
    with pytest.raises(ShapeError):
        model(x[:, 0], graph, edge_attr, ptr)
    with pytest.raises(IndexRangeError, match="ptr"):
        model(x, graph, edge_attr, ptr[:-1])
    with pytest.raises(ConfigError, match="seed"):
        model(x, graph, edge_attr, ptr, seed=True)
    with pytest.raises(ShapeError, match=r"GSMPlusPlus needs x of shape \[23, 8\]"):
        GSMPlusPlus(DIM).double()(x[:, :3], graph, edge_attr, ptr)
    with pytest.raises(DataError, match="edge"):
        GSMPlusPlus(DIM).double()(x, graph, edge_attr, torch.tensor([0, 3, 23]))
    with pytest.raises(ShapeError, match=r"GCNConv must return shape \(23, 8\), got \(23, 3\)"):
        GSM(NodeTokens(), MeanEncoder(3, DIM), MeanBlock(DIM), local=nn.GCNConv(DIM, 3)).double()(x, graph)
    with pytest.raises(ShapeError, match="Given must give 23 sequences of tokens of 23 nodes, got 1 of 1"):
        GSM(Given(tokens_of([[0]], [1], 1, "node")), MeanEncoder(DIM, DIM), MeanBlock(DIM)).double()(x, graph)
    with pytest.raises(ShapeError, match=r"router takes features of shape \[N, 8\], got \(23, 3\)"):
        mixture_of().routing_weights(x[:, :3])


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match=r"encoder\.dim = 8, block\.dim = 3"):
        GSM(NodeTokens(), MeanEncoder(DIM, DIM), MeanBlock(3))
    with pytest.raises(ConfigError, match="num_local_layers"):
        GSMPlusPlus(DIM, num_local_layers=-1)
    with pytest.raises(ConfigError, match="similarity"):
        GSMPlusPlus(DIM, similarity="euclid")
    with pytest.raises(ConfigError, match="num_levels"):
        GSMPlusPlus(DIM, num_levels=-1)
    with pytest.raises(ConfigError, match="dropout"):
        GSMPlusPlus(DIM, dropout=1.0)
    with pytest.raises(ConfigError, match="num_levels"):
        HierarchicalEncoding(DIM, num_levels=0)
    with pytest.raises(ConfigError, match="linkage"):
        HierarchicalEncoding(DIM, linkage="min")
    with pytest.raises(ConfigError, match="at most the number of tokenizers, 3, got 4"):
        mixture_of(top_k=4)
    with pytest.raises(ConfigError, match="top_k"):
        mixture_of(top_k=0)
    with pytest.raises(ConfigError, match="1 tokenizers, 2 encoders and 1 blocks"):
        MixtureOfTokenizers(DIM, [Ball()], [MeanEncoder(DIM, DIM)] * 2, [MeanBlock(DIM)])
    with pytest.raises(ConfigError, match="at least one tokenizer"):
        MixtureOfTokenizers(DIM, [], [], [])
    with pytest.raises(ConfigError, match=r"blocks\[1\]\.dim = 3"):
        MixtureOfTokenizers(
            DIM, [Ball()] * 2, [MeanEncoder(DIM, DIM), MeanEncoder(DIM, 3)], [MeanBlock(DIM), MeanBlock(3)]
        )
