"""Graph-Mamba: its layer written out, what an order does and does not change, and random orders."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.nn import NetworkConfig
from gnnkit.sequence import Degree, GraphMamba, GraphMambaLayer, Mamba, OrderedBlock
from gnnkit.sequence._batch import TIES, random_keys
from gnnkit.sequence.ordered_block import drawn_buckets
from tests.sequence.stand_ins import (
    ByDegree,
    MeanOfSequence,
    RunningSum,
    batch_of_awkward_graphs,
    random_graph,
    relabelled,
)

DIM = 8
PLAIN: dict[str, Any] = {"feed_forward": False, "local": None, "norm": "none"}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Reader(torch.nn.Module):
    """A block with weights that reads an order in a way that is not linear."""

    def __init__(self, dim: int = DIM) -> None:
        super().__init__()
        self.dim = dim
        self.before, self.after = torch.nn.Linear(dim, dim), torch.nn.Linear(dim, dim)
        self.sum = RunningSum(dim)

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        return self.after(self.sum(self.before(x).tanh(), offsets, reverse=reverse).sin())


def layer(block: Any = None, ordering: Any = None, **options: Any) -> GraphMambaLayer:
    options = {"local": nn.GatedGCNConv(DIM, DIM), **options}
    return GraphMambaLayer(DIM, block or Reader(), ordering or ByDegree(), **options)


def model(ordering: Any = None, *, block: Any = Reader, pool: str = "mean", **options: Any) -> GraphMamba:
    ordering = ordering or ByDegree()
    config = NetworkConfig(hidden_dim=DIM, edge_encoder="linear", pool=pool)
    layers = [layer(block(DIM), ordering, **options) for _ in range(3)]
    return GraphMamba(config, layers, node_dims=5, edge_dims=3, num_outputs=4)


def published(**options: Any) -> GraphMamba:
    """With the block and the ordering of the paper, but for noise."""
    return model(Degree(noise=False), block=lambda dim: Mamba(dim, state_dim=4, expand=1), **options)


def with_statistics(network: torch.nn.Module) -> torch.nn.Module:
    """In evaluation, with running statistics that are not those of the start."""
    network.train()
    for _ in range(3):
        network(Batch.from_data_list([random_graph(9, 20) for _ in range(4)]))
    return network.eval()


def test_the_layer_is_its_formula():
    tested = layer(dropout=0.0).double()
    graph = Graph.from_edge_index(torch.randint(5, (2, 14)), num_nodes=5)
    x, e = torch.randn(5, DIM, dtype=torch.float64), torch.randn(14, DIM, dtype=torch.float64)
    out, changed = tested(x, graph, e)

    def normalised(value: Tensor) -> Tensor:
        return (value - value.mean(0)) / (value.var(0, unbiased=False) + 1e-5).sqrt()

    local, expected_edge = tested.gps.local(x, graph, e)
    order = graph.out_degree().argsort(stable=True)
    read = torch.empty_like(x)
    read[order] = tested.gps.global_layer.block(x[order], torch.tensor([0, 5]))
    hidden = normalised(local) + normalised(x + read)
    expected = normalised(hidden + tested.gps.contract(tested.gps.expand(hidden).relu()))
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(changed, expected_edge)


@pytest.mark.parametrize("ordering", [ByDegree(), Degree(), Degree(noise=False)])
def test_the_centre_of_a_star_is_read_last(ordering: Any):
    leaves = torch.tensor([0, 1, 3, 4])
    centre = torch.full((4,), 2)
    graph = Graph.from_edge_index(torch.stack([torch.cat([leaves, centre]), torch.cat([centre, leaves])]), num_nodes=5)
    ptr = torch.tensor([0, 5])
    x = torch.eye(5)
    out = OrderedBlock(RunningSum(5))(x, ptr, orders=[ordering(graph, ptr, seed=3)])
    assert torch.equal(out[2], torch.ones(5))
    assert (out[leaves] @ x[2] == 0).all()


@pytest.mark.parametrize("training", [False, True])
def test_a_block_that_reads_no_order_makes_the_layer_equivariant(training: bool):
    tested = model(block=MeanOfSequence, pool="none").double().train(training)
    data = random_graph(11, 30)
    data.x, data.edge_attr = data.x.double(), data.edge_attr.double()
    permutation = torch.randperm(11)
    out = tested(data)
    torch.testing.assert_close(tested(relabelled(data, permutation))[permutation], out)


@pytest.mark.parametrize("make", [model, published])
def test_isomorphic_graphs_of_distinct_degrees_give_one_result(make: Any):
    # Node i has edges to nodes 0 to i, so that out-degrees are 1 to 9.
    source, target = torch.tril_indices(9, 9)
    data = Data(torch.randn(9, 5), torch.stack([source, target]), torch.randn(45, 3), num_nodes=9)
    other = relabelled(data, torch.randperm(9))
    tested = with_statistics(make())
    torch.testing.assert_close(tested(other), tested(data), rtol=1e-5, atol=1e-6)
    # The order matters at all.
    data.x = data.x.flip(0)
    assert not torch.allclose(tested(other), tested(data), rtol=1e-3)


@pytest.mark.parametrize("make", [model, published])
def test_a_batch_is_its_graphs_one_by_one(make: Any):
    tested = with_statistics(make())
    batch, graphs = batch_of_awkward_graphs()
    torch.testing.assert_close(tested(batch), torch.cat([tested(data) for data in graphs]), rtol=1e-5, atol=1e-6)


def test_graphs_without_nodes_are_borne():
    tested = with_statistics(model())
    empty = Data(torch.empty(0, 5), torch.empty(2, 0, dtype=torch.int64), torch.empty(0, 3), num_nodes=0)
    graphs = [random_graph(5, 9), empty, random_graph(6, 9)]
    out = tested(Batch.from_data_list(graphs))
    torch.testing.assert_close(out[0], tested(graphs[0])[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out[1], tested.head(torch.zeros(DIM)))
    assert tested.train()(empty).shape == (1, 4)


def test_training_draws_an_order_per_layer_from_the_global_generator():
    ordering = ByDegree(noise=True)
    tested, data = model(ordering), random_graph(9, 9)
    torch.manual_seed(5)
    first = tested(data)
    assert len(set(ordering.seeds)) == 3
    second = tested(data)
    assert len(set(ordering.seeds)) == 6
    torch.manual_seed(5)
    assert torch.equal(tested(data), first)
    assert not torch.equal(second, first)


def test_evaluation_draws_nothing_and_repeats():
    ordering = ByDegree(noise=True)
    tested, data = with_statistics(model(ordering)), random_graph(9, 9)
    ordering.seeds.clear()
    state = torch.get_rng_state()
    first = tested(data)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(tested(data), first)
    assert ordering.seeds == [0, 1, 2] * 2


def test_evaluation_averages_what_the_block_returns_if_told_so():
    ordering = ByDegree(noise=True)
    tested = layer(ordering=ordering, eval_orders=4, feed_forward=False, local=None, norm="none").eval()
    data = random_graph(8, 8)
    graph, ptr = Graph.from_edge_index(data.edge_index, num_nodes=8), torch.tensor([0, 8])
    x = torch.randn(8, DIM)
    out, _ = tested(x, graph, ptr=ptr, seed=2)
    assert ordering.seeds == [8, 9, 10, 11]
    ordered = tested.gps.global_layer
    one_by_one = [ordered(x, ptr, orders=[ordering(graph, ptr, seed=seed)]) for seed in (8, 9, 10, 11)]
    assert not torch.equal(one_by_one[0], one_by_one[1])
    torch.testing.assert_close(out, x + sum(one_by_one) / 4)
    ordering.seeds.clear()
    tested.train()(x, graph, ptr=ptr)
    assert len(ordering.seeds) == 1


def test_an_order_that_is_not_random_is_found_once():
    ordering = ByDegree()
    model(ordering)(random_graph(9, 9))
    assert ordering.seeds == [0]


def test_one_bucket_is_the_layer_without():
    x, data = torch.randn(8, DIM), random_graph(8, 20)
    graph, ptr = Graph.from_edge_index(data.edge_index, num_nodes=8), torch.tensor([0, 5, 8])
    block = OrderedBlock(Reader(), num_buckets=3)
    order = torch.tensor([4, 0, 2, 1, 3, 6, 5, 7])
    plain = block(x, ptr, orders=[order])
    for bucket in range(3):
        torch.testing.assert_close(block(x, ptr, orders=[order], buckets=[torch.full((8,), bucket)]), plain)
    ordering = ByDegree(noise=True)
    tested, other = layer(ordering=ordering, num_buckets=1, **PLAIN), layer(ordering=ordering, **PLAIN)
    other.load_state_dict(tested.state_dict())
    assert torch.equal(tested(x, graph, seed=3)[0], other(x, graph, seed=3)[0])
    assert not layer(num_buckets=1).is_random


@pytest.mark.parametrize("block", [Reader(), Mamba(DIM, state_dim=4)], ids=["reader", "mamba"])
def test_buckets_are_sequences_of_their_own(block: Any):
    # The second graph has one node, the third none, the fourth leaves buckets empty.
    sizes = [9, 1, 0, 3, 20]
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    order = torch.cat([int(begin) + torch.randperm(size) for begin, size in zip(ptr, sizes, strict=False)])
    bucket = torch.randint(4, (33,))
    bucket[10:13] = 2
    x = torch.randn(33, DIM)
    expected = torch.full_like(x, torch.nan)
    for begin, end in itertools.pairwise(ptr.tolist()):
        for number in range(4):
            nodes = torch.tensor([i for i in order[begin:end].tolist() if bucket[i] == number], dtype=torch.int64)
            expected[nodes] = block(x[nodes], torch.tensor([0, len(nodes)]))
    found = OrderedBlock(block, num_buckets=4)(x, ptr, orders=[order], buckets=[bucket])
    torch.testing.assert_close(found, expected)
    twice = OrderedBlock(block, num_buckets=4)(x, ptr, orders=[order, order], buckets=[bucket, 0 * bucket])
    torch.testing.assert_close(twice, (found + OrderedBlock(block)(x, ptr, orders=[order])) / 2)


def test_the_layer_reads_the_buckets_of_its_seed():
    ordering = ByDegree()
    tested = layer(ordering=ordering, num_buckets=3, **PLAIN).eval()
    data = random_graph(30, 60)
    graph, ptr = Graph.from_edge_index(data.edge_index, num_nodes=30), torch.tensor([0, 30])
    x, order = torch.randn(30, DIM), ordering(graph, ptr)

    def read(seed: int) -> Tensor:
        buckets = [drawn_buckets(30, 3, seed, x.device)]
        return tested.gps.global_layer(x, ptr, orders=[order], buckets=buckets)

    assert not torch.equal(read(5), read(6))
    torch.testing.assert_close(tested(x, graph, ptr=ptr, seed=5)[0], x + read(5))
    torch.testing.assert_close(tested(x, graph, ptr=ptr, seed=6, order=order)[0], x + read(6))
    averaging = layer(tested.gps.global_layer.block, ordering, num_buckets=3, eval_orders=2, **PLAIN).eval()
    for given in (None, order):
        out = averaging(x, graph, ptr=ptr, seed=5, order=given)[0]
        torch.testing.assert_close(out, x + (read(10) + read(11)) / 2)


def test_buckets_are_equally_likely():
    cpu = torch.device("cpu")
    share = torch.bincount(drawn_buckets(30000, 3, 1, cpu)) / 30000
    assert share.numel() == 3
    assert (share - 1 / 3).abs().max() < 0.02
    # Apart from what breaks ties in an order, which has the same seed.
    assert not torch.equal(drawn_buckets(50, 50, 1, cpu), random_keys(50, 1, TIES, cpu) % 50)


def test_buckets_are_drawn_in_training_and_fixed_in_evaluation():
    tested = model(num_buckets=3)
    data = random_graph(30, 60)
    torch.manual_seed(5)
    first, second = tested(data), tested(data)
    torch.manual_seed(5)
    assert torch.equal(tested(data), first)
    assert not torch.equal(second, first)
    tested.eval()
    state = torch.get_rng_state()
    first = tested(data)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(tested(data), first)
    whole = model().eval()
    whole.load_state_dict(tested.state_dict())
    assert not torch.allclose(whole(data), first, rtol=1e-3)


def test_gradients_through_buckets_are_those_of_differences():
    block = OrderedBlock(Mamba(4, state_dim=2).double(), num_buckets=2)
    ptr, order, bucket = torch.tensor([0, 4, 5]), torch.tensor([2, 0, 3, 1, 4]), torch.tensor([1, 0, 1, 1, 0])
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: block(given, ptr, orders=[order], buckets=[bucket]), x)


@pytest.mark.parametrize(
    ("buckets", "error", "words"),
    [
        ([], ShapeError, "buckets must be given for each order, 1, got 0"),
        ([torch.zeros(3, dtype=torch.int64)], ShapeError, r"buckets must have shape \[2\]"),
        ([torch.zeros(2)], DtypeError, r"buckets must be int64 \[2\]"),
        ([torch.tensor([0, 3])], IndexRangeError, r"buckets must lie in \[0, 2\], got 0 to 3"),
        ([torch.tensor([-1, 0])], IndexRangeError, "got -1 to 0"),
    ],
)
def test_wrong_buckets_are_refused(buckets: list[Tensor], error: type[Exception], words: str):
    block = OrderedBlock(RunningSum(2), num_buckets=3)
    with pytest.raises(error, match=words):
        block(torch.zeros(2, 2), torch.tensor([0, 2]), orders=[torch.tensor([0, 1])], buckets=buckets)


def test_every_parameter_learns():
    tested = model(ByDegree(noise=True), dropout=0.1)
    tested(batch_of_awkward_graphs()[0]).square().mean().backward()
    missing = {name for name, parameter in tested.named_parameters() if parameter.grad is None}
    # The last edge update leads nowhere.
    assert {name.rsplit(".", 1)[0] for name in missing} == {"layers.2.gps.local.bn_edge_e"}


def test_only_layers_that_use_edges_are_given_any():
    config = NetworkConfig(hidden_dim=DIM, edge_encoder="linear")
    layers = [layer(local=nn.GCNConv(DIM, DIM)), layer(local=nn.GINEConv(torch.nn.Linear(DIM, DIM))), layer(local=None)]
    tested = GraphMamba(config, layers, node_dims=5, edge_dims=3, num_outputs=2)
    assert tested(random_graph(6, 9)).shape == (1, 2)
    assert not layers[0].uses_edges
    assert layers[1].uses_edges


def test_wrong_parts_are_refused():
    with pytest.raises(ConfigError, match=r"as wide as the layer, 8, got block\.dim = 6"):
        layer(Reader(6))
    with pytest.raises(ConfigError, match="eval_orders = 5 would average equal results"):
        layer(ordering=ByDegree(), eval_orders=5)
    with pytest.raises(ConfigError, match="eval_orders must be an integer of at least 1"):
        layer(eval_orders=0)
    with pytest.raises(ConfigError, match="num_buckets must be an integer of at least 1"):
        layer(num_buckets=0)
    assert layer(eval_orders=5, num_buckets=2).is_random
    with pytest.raises(ConfigError, match="at least one layer"):
        GraphMamba(NetworkConfig(hidden_dim=DIM), [], node_dims=5, num_outputs=1)
    with pytest.raises(ConfigError, match="layer 0 has width 8"):
        GraphMamba(NetworkConfig(hidden_dim=16), [layer()], node_dims=5, num_outputs=1)


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        ([0, 1, 2, 3], ShapeError, "shape \\[5\\]"),
        ([0, 1, 1, 3, 4], ShapeError, "every node once"),
        ([0, 1, 2, 3, 5], ShapeError, "every node once"),
        ([-1, 1, 2, 3, 4], ShapeError, "every node once"),
        ([3, 1, 2, 0, 4], ShapeError, "those of graph g"),
        ([0.0, 1.0, 2.0, 3.0, 4.0], DtypeError, "int64"),
    ],
)
def test_wrong_orders_are_refused(order: list[Any], error: type[Exception], words: str):
    block = OrderedBlock(RunningSum(2))
    with pytest.raises(error, match=words):
        block(torch.zeros(5, 2), torch.tensor([0, 3, 5]), orders=[torch.tensor(order)])
    with pytest.raises(ShapeError, match="at least one order"):
        block(torch.zeros(5, 2), torch.tensor([0, 3, 5]), orders=[])


def test_wrong_features_are_refused():
    graph = Graph.from_edge_index(torch.zeros(2, 1, dtype=torch.int64), num_nodes=3)
    with pytest.raises(ShapeError, match=r"x of shape \[3, 8\]"):
        layer()(torch.zeros(3, 5), graph)
    with pytest.raises(ShapeError, match="one row per node"):
        layer()(torch.zeros(4, DIM), graph, torch.zeros(1, DIM))
