"""GMN: its stages written out, tokens that are drawn anew or not, and which tokens it takes."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.nn import NetworkConfig
from gnnkit.sequence import GMN, GraphMambaLayer, WalkFeatureEncoder
from tests.sequence.stand_ins import (
    ByDegree,
    GivenTokens,
    MeanOfMembers,
    MeanOfSequence,
    Neighbourhoods,
    RunningSum,
    batch_of_awkward_graphs,
    random_graph,
    relabelled,
    tokens_of,
)

DIM = 8


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def model(tokenizer: Any = None, *, block: Any = RunningSum, ordering: Any = None, **options: Any) -> GMN:
    config = NetworkConfig(hidden_dim=DIM, edge_encoder="linear", pool=options.pop("pool", "mean"))
    ordering = ordering or ByDegree()
    layers = [GraphMambaLayer(DIM, block(DIM), ordering, local=nn.GatedGCNConv(DIM, DIM)) for _ in range(2)]
    given = {"token_encoder": MeanOfMembers(DIM), "token_block": block(DIM), "layers": layers, **options}
    return GMN(config, tokenizer=tokenizer or Neighbourhoods(), node_dims=5, edge_dims=3, num_outputs=4, **given)


def list_of(*nodes: Any) -> list[Tensor]:
    return [torch.tensor(part) for part in nodes]


THREE = [0, 1, 2], [0], [1, 2], [1], [2]


def test_the_vector_of_a_node_is_what_the_block_says_at_its_last_token():
    tokens = tokens_of(list_of(*THREE), [2, 2, 1], 3)
    tested = model(GivenTokens(tokens))
    x = torch.randn(3, DIM)
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    out = tested.node_vectors(x, None, graph, torch.tensor([0, 3]))
    expected = torch.stack([x.mean(0) + x[0], x[1:].mean(0) + x[1], x[2]])
    torch.testing.assert_close(out, expected)


def test_tokens_of_single_nodes_are_read_as_one_sequence_per_graph():
    # Two graphs, of nodes 0 to 2 and 3 to 4, read in the orders 2, 0, 1 and 4, 3.
    tokens = tokens_of(list_of([2], [0], [1], [4], [3]), [3, 2], 5, level="graph")
    tested = model(GivenTokens(tokens))
    x = torch.randn(5, DIM)
    graph = Graph.from_edge_index(torch.tensor([[0, 3], [1, 4]]), num_nodes=5)
    out = tested.node_vectors(x, None, graph, torch.tensor([0, 3, 5]))
    expected = torch.stack([x[2] + x[0], x[2] + x[0] + x[1], x[2], x[4] + x[3], x[4]])
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    ("parts", "lengths", "level", "words"),
    [
        (list_of(*THREE), [2, 3, 0], "node", "gave none to node 2"),
        (list_of(*THREE), [5], "graph", "one token for each node as of NodeTokens"),
        (list_of([0], [1], [1]), [3], "graph", "every node once"),
        (list_of([0], [1]), [2], "graph", r"shape \[3\]"),
    ],
)
def test_tokens_that_stand_for_no_node_are_refused(parts: Any, lengths: Any, level: str, words: str):
    tested = model(GivenTokens(tokens_of(parts, lengths, 3, level)))
    with pytest.raises(ShapeError, match=words):
        tested(random_graph(3, 4))


class Short(MeanOfMembers):
    def forward(self, *given: Any) -> Tensor:
        return super().forward(*given)[1:]


def test_parts_that_return_another_shape_are_named():
    tokens = GivenTokens(tokens_of(list_of(*THREE), [2, 2, 1], 3))
    with pytest.raises(ShapeError, match="GivenTokens must give 4 sequences of tokens of 4 nodes, got 3 of 3 nodes"):
        model(tokens)(random_graph(4, 4))
    with pytest.raises(ShapeError, match=r"Short must return shape \(5, 8\), got \(4, 8\)"):
        model(tokens, token_encoder=Short(DIM))(random_graph(3, 4))


def test_the_model_is_its_stages():
    tested = model(pool="none").eval()
    batch, _ = batch_of_awkward_graphs()
    graph = Graph.from_edge_index(batch.edge_index, num_nodes=batch.num_nodes)
    x, edge = tested.encode_nodes(batch), tested.encode_edges(batch)
    x = tested.node_vectors(x, edge, graph, batch.ptr)
    for layer in tested.layers:
        x, edge = layer(x, graph, edge, batch.ptr)
    torch.testing.assert_close(tested(batch), tested.head(x))


def test_a_batch_is_its_graphs_one_by_one():
    tested = model().eval()
    batch, graphs = batch_of_awkward_graphs()
    torch.testing.assert_close(tested(batch), torch.cat([tested(data) for data in graphs]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_blocks_that_read_no_order_make_it_equivariant(training: bool):
    tested = model(block=MeanOfSequence, pool="none").double().train(training)
    data = random_graph(10, 25)
    data.x, data.edge_attr = data.x.double(), data.edge_attr.double()
    permutation = torch.randperm(10)
    torch.testing.assert_close(tested(relabelled(data, permutation))[permutation], tested(data))


def several() -> GivenTokens:
    choices = ([0, 1, 2], [0, 1], [0, 2], [0])
    return GivenTokens(*(tokens_of(list_of(part, [0], [1], [2]), [2, 1, 1], 3) for part in choices))


def test_training_draws_tokens_by_the_global_generator_and_evaluation_does_not():
    tested, data = model(several()), random_graph(3, 5)
    outputs = []
    for seed in (7, 7, 8, 9, 10, 11):
        torch.manual_seed(seed)
        outputs.append(tested(data))
    assert torch.equal(outputs[0], outputs[1])
    assert any(not torch.equal(outputs[0], other) for other in outputs[2:])
    tested.eval()
    state = torch.get_rng_state()
    first = tested(data)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    assert torch.equal(tested(data), first)


def test_evaluation_averages_predictions_over_draws_if_told_so():
    tested, data = model(several(), ordering=ByDegree(noise=True), eval_orders=3).eval(), random_graph(3, 5)
    ordering = tested.layers[0].ordering
    tested(data)
    # One order for each of two layers and three draws.
    assert ordering.seeds == [0, 1, 2, 3, 4, 5]
    tokens = tested.tokenizer.tokens
    one_by_one = []
    for seed in range(3):
        tested.tokenizer.tokens = tokens[seed:]
        ordering.seeds.clear()
        x, edge = tested.encode_nodes(data), tested.encode_edges(data)
        graph = Graph.from_edge_index(data.edge_index, num_nodes=3)
        x = tested.node_vectors(x, edge, graph, torch.tensor([0, 3]))
        for place, layer in enumerate(tested.layers):
            x, edge = layer(x, graph, edge, seed=2 * seed + place)
        one_by_one.append(tested.head(tested.readout(x, data)))
    tested.tokenizer.tokens = tokens
    assert not torch.allclose(one_by_one[0], one_by_one[1])
    torch.testing.assert_close(tested(data), sum(one_by_one) / 3)


class Drawing(MeanOfMembers):
    """An encoder that adds its seed."""

    is_random = True

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.seeds: list[Any] = []

    def forward(self, *given: Any, seed: int | None = None) -> Tensor:
        self.seeds.append(seed)
        return super().forward(*given)


def test_an_encoder_that_draws_is_given_the_seed():
    encoder = Drawing(DIM)
    tested, data = model(token_encoder=encoder, eval_orders=3), random_graph(3, 5)
    torch.manual_seed(7)
    tested(data), tested(data)
    torch.manual_seed(7)
    tested(data)
    first, second, again = encoder.seeds
    assert first == again != second
    tested.eval()(data)
    assert encoder.seeds[3:] == [0, 1, 2]


def test_walk_features_take_the_place_of_message_passing():
    tested = model(token_encoder=WalkFeatureEncoder(DIM, DIM, edge_dim=DIM), token_block=Linear(DIM))
    batch, _ = batch_of_awkward_graphs()
    torch.manual_seed(7)
    first, second = tested(batch), tested(batch)
    torch.manual_seed(7)
    assert torch.equal(tested(batch), first)
    assert not torch.equal(second, first)
    first.square().mean().backward()
    assert all(value.grad is not None for value in tested.token_encoder.parameters())
    tested.eval()
    torch.manual_seed(9)
    assert torch.equal(tested(batch), tested(batch))


def test_every_parameter_learns():
    tested = model(token_block=Linear(DIM))
    tested(Batch.from_data_list([random_graph(5, 9), random_graph(6, 9)])).square().mean().backward()
    missing = {name for name, parameter in tested.named_parameters() if parameter.grad is None}
    assert {name.rsplit(".", 1)[0] for name in missing} == {"layers.1.gps.local.bn_edge_e"}


class Linear(torch.nn.Linear):
    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)
        self.dim = dim

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        return super().forward(x)


def test_wrong_parts_are_refused():
    with pytest.raises(ConfigError, match="token_encoder must be as wide as the model, 8, got 6"):
        model(token_encoder=MeanOfMembers(6))
    with pytest.raises(ConfigError, match="token_block must be as wide as the model, 8, got 6"):
        model(token_block=RunningSum(6))
    with pytest.raises(ConfigError, match="eval_orders = 2 would average equal results"):
        model(eval_orders=2)
    layers = [GraphMambaLayer(DIM, RunningSum(DIM), ByDegree(noise=True), eval_orders=2)]
    with pytest.raises(ConfigError, match="give eval_orders to GMN itself"):
        model(layers=layers)
    with pytest.raises(ConfigError, match="at least one layer"):
        model(layers=[])
