"""GRIT layers: against their formulas pair by pair, and what batches, missing pairs and zeros must do."""

from typing import Any

import pytest
import torch
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, DtypeError, ShapeError
from gnnkit.nn import GRITLayer, _pair_states, complete_graphs

DIM, HEADS = 6, 2
SIZES = (4, 0, 1, 7)
PTR = torch.tensor([0, *SIZES]).cumsum(0)
NUM_NODES = sum(SIZES)


def layer_of(**options: Any) -> GRITLayer:
    return GRITLayer(DIM, HEADS, **options).double()


def sparse_pairs() -> Graph:
    """Some pairs, not sorted; node 3 attends to nothing, and no node to node 2."""
    columns = [(0, 1), (1, 1), (5, 7), (1, 0), (6, 5), (0, 2), (4, 4), (7, 7), (5, 7)]
    return Graph.from_edge_index(torch.tensor(columns).T, num_nodes=NUM_NODES)


PAIRS = {"complete": complete_graphs(PTR), "sparse": sparse_pairs()}


@pytest.fixture(params=PAIRS)
def pairs(request: pytest.FixtureRequest) -> Graph:
    return PAIRS[request.param]


def inputs(pairs: Graph) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(NUM_NODES, DIM, dtype=torch.float64, requires_grad=True)
    e = torch.randn(pairs.num_edges, DIM, dtype=torch.float64, requires_grad=True)
    return x, e, torch.randint(0, 5, (NUM_NODES,))


def batch_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return centred / (centred.square().mean(0) + 1e-5).sqrt()


def row_norm(x: Tensor) -> Tensor:
    return batch_norm(x.T).T


NORMS = {"batch": batch_norm, "layer": row_norm, "none": lambda x: x}


def by_definition(layer: GRITLayer, x: Tensor, pairs: Graph, e: Tensor, degree: Tensor, norm: str = "batch"):
    """Pair by pair and head by head, as the formulas stand."""
    width, normal = DIM // HEADS, NORMS[norm]
    source, destination = pairs.edge_index.long()
    query = x @ layer.query.weight.T + layer.query.bias
    key, value = x @ layer.key.weight.T, x @ layer.value.weight.T
    maps, biases = layer.pair.weight.chunk(2), layer.pair.bias.chunk(2)
    product = (query[destination] + key[source]) * (e @ maps[0].T + biases[0])
    root = torch.sqrt(torch.relu(product)) - torch.sqrt(torch.relu(-product))
    states = torch.relu(root + e @ maps[1].T + biases[1])
    rows = []
    for node in range(x.size(0)):
        mine = (destination == node).nonzero().flatten()
        parts = []
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            logit = states[mine, part] @ layer.logit[head]
            if layer.clamp is not None:
                logit = logit.clamp(-layer.clamp, layer.clamp)
            alpha = torch.softmax(logit, dim=0)
            parts.append(alpha @ value[source[mine], part] + alpha @ states[mine, part] @ layer.pair_value[head])
        rows.append(torch.cat(parts))
    attended = torch.stack(rows)
    if layer.degree is not None:
        attended = attended * layer.degree[0] + attended * torch.log(1 + degree.double())[:, None] * layer.degree[1]
    h = normal(x + layer.out(attended))
    if layer.out_pair is not None:
        e = normal(e + layer.out_pair(states))
    return normal(h + layer.contract(torch.relu(layer.expand(h)))), e


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("options", [{}, {"clamp": 0.3}, {"clamp": None}, {"degree_scaler": False}])
def test_the_layer_is_its_definition(pairs: Graph, norm: str, options: dict[str, Any], monkeypatch):
    layer, (x, e, degree) = layer_of(norm=norm, **options), inputs(pairs)
    expected = by_definition(layer, x, pairs, e, degree, norm)
    upstream = [torch.randn_like(value) for value in expected]
    # Weights of normalisations are torch's business, and not part of the formulas.
    wanted = [x, e, *(value for name, value in layer.named_parameters() if not name.startswith("norm"))]
    theirs = torch.autograd.grad(expected, wanted, upstream)
    # In one block, and in blocks of a single pair and of a few.
    for entries in (2**17, 1, 5 * DIM):
        monkeypatch.setattr(_pair_states, "_BLOCK_ENTRIES", entries)
        out = layer(x, pairs, e, degree)
        torch.testing.assert_close(out, expected)
        for a, b in zip(torch.autograd.grad(out, wanted, upstream), theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_queries_and_keys_are_added_and_roots_keep_their_sign():
    """One pair of one node, all maps the identity: a number that can be worked out by hand."""
    layer = GRITLayer(1, 1, norm="none", clamp=None, degree_scaler=False).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        for linear in (layer.query, layer.key, layer.out_pair, layer.out):
            linear.weight.fill_(1.0)
        layer.pair_value.fill_(1.0)
        layer.pair.weight[0] = 1.0
        layer.pair.bias[1] = 5.0
        pairs = complete_graphs(torch.tensor([0, 1]))
        x, e = torch.tensor([[2.0]]).double(), torch.tensor([[-4.0]]).double()
        out, states = layer(x, pairs, e)
    # (2 + 2) (-4) = -16, whose signed root is -4; plus 5: 1.
    assert out.item() == 2.0 + 1.0
    assert states.item() == -4.0 + 1.0


def test_the_gradient_at_zero_is_zero_and_never_nan():
    layer, pairs = layer_of(), complete_graphs(torch.tensor([0, 3]))
    torch.nn.init.zeros_(layer.query.bias)
    x = torch.zeros(3, DIM, dtype=torch.float64, requires_grad=True)
    e = torch.zeros(9, DIM, dtype=torch.float64, requires_grad=True)
    out, states = layer(x, pairs, e, torch.zeros(3))
    (out.square().sum() + states.square().sum()).backward()
    assert bool(layer.query.weight.grad.eq(0).all())
    for value in (x, e, *layer.parameters()):
        assert value.grad is None or bool(value.grad.isfinite().all())


def test_gradients_are_derivatives():
    layer, pairs = layer_of(norm="layer"), sparse_pairs()
    x, e, degree = inputs(pairs)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def forward(x: Tensor, e: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(layer, given, (x, pairs, e, degree))

    assert torch.autograd.gradcheck(forward, (x, e, *parameters), atol=1e-4, rtol=1e-3, fast_mode=True)


def test_a_batch_is_its_graphs_one_by_one():
    layer, pairs = layer_of().eval(), complete_graphs(PTR)
    x, e, degree = inputs(pairs)
    out, states = layer(x, pairs, e, degree)
    first = 0
    for begin, end in zip(PTR[:-1].tolist(), PTR[1:].tolist(), strict=True):
        last = first + (end - begin) ** 2
        alone = complete_graphs(torch.tensor([0, end - begin]))
        part, part_states = layer(x[begin:end], alone, e[first:last], degree[begin:end])
        torch.testing.assert_close(part, out[begin:end])
        torch.testing.assert_close(part_states, states[first:last])
        first = last


@pytest.mark.parametrize("shuffled", [True, False])
def test_a_permutation_of_nodes_or_pairs_permutes_the_result(pairs: Graph, shuffled: bool):
    layer, (x, e, degree) = layer_of(), inputs(pairs)
    out, states = layer(x, pairs, e, degree)
    place = torch.randperm(NUM_NODES) if not shuffled else torch.arange(NUM_NODES)
    order = torch.randperm(pairs.num_edges) if shuffled else torch.arange(pairs.num_edges)
    moved = Graph.from_edge_index(place[pairs.edge_index.long()][:, order], num_nodes=NUM_NODES)
    back = torch.argsort(place)
    turned, turned_states = layer(x[back], moved, e[order], degree[back])
    torch.testing.assert_close(turned, out[back])
    torch.testing.assert_close(turned_states, states[order])


def test_a_node_without_pairs_keeps_what_it_is():
    layer, pairs = layer_of(norm="none"), sparse_pairs()
    x, e, degree = inputs(pairs)
    out, _ = layer(x, pairs, e, degree)
    h = x[3] + layer.out.bias
    torch.testing.assert_close(out[3], h + layer.contract(layer.expand(h).relu()))


@pytest.mark.parametrize("norm", NORMS)
def test_no_nodes_and_no_pairs(norm: str):
    layer = layer_of(norm=norm)
    for num_nodes in (0, 3):
        pairs = Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes)
        x = torch.randn(num_nodes, DIM, dtype=torch.float64)
        out, e = layer(x, pairs, torch.empty(0, DIM, dtype=torch.float64), torch.zeros(num_nodes))
        assert out.shape == (num_nodes, DIM)
        assert e.shape == (0, DIM)
        (out.sum() + e.sum()).backward()


def test_training_repeats_bitwise_and_evaluation_takes_no_chance(pairs: Graph):
    layer = GRITLayer(DIM, HEADS, dropout=0.2, attention_dropout=0.3)
    x, e, degree = (value.detach().float() for value in inputs(pairs))
    results = []
    for _ in range(2):
        torch.manual_seed(4)
        layer.zero_grad()
        out, states = layer(x, pairs, e, degree)
        (out.square().sum() + states.square().sum()).backward()
        results.append([out, states, *(parameter.grad.clone() for parameter in layer.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert not torch.equal(layer(x, pairs, e, degree)[0], results[0][0])
    layer.eval()
    assert torch.equal(layer(x, pairs, e, degree)[0], layer(x, pairs, e, degree)[0])


def test_autocast_and_bfloat16_come_close(pairs: Graph):
    layer = GRITLayer(DIM, HEADS)
    x, e, degree = (value.detach().float() for value in inputs(pairs))
    exact = layer(x, pairs, e, degree)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x, pairs, e, degree)
        (low[0].float().sum() + low[1].float().sum()).backward()
    for ours, theirs in zip(low, exact, strict=True):
        torch.testing.assert_close(ours.float(), theirs, rtol=0.1, atol=0.1)
    assert all(bool(parameter.grad.isfinite().all()) for parameter in layer.parameters())


def test_pairs_that_are_not_updated_have_no_weights(pairs: Graph):
    layer, (x, e, degree) = layer_of(update_pairs=False), inputs(pairs)
    out, same = layer(x, pairs, e, degree)
    assert same is e
    torch.testing.assert_close(out, by_definition(layer, x, pairs, e, degree)[0])
    assert not any(name.startswith(("out_pair", "norm_pair")) for name, _ in layer.named_parameters())


def test_bad_input_of_a_layer_is_named(pairs: Graph):
    for options in (
        {"num_heads": 4},
        {"dim": 0},
        {"clamp": 0.0},
        {"clamp": -1.0},
        {"dropout": 1.0},
        {"attention_dropout": -0.1},
        {"norm": "graph"},
        {"activation": "tanh"},
    ):
        with pytest.raises(ConfigError):
            GRITLayer(**{"dim": DIM, "num_heads": HEADS, **options})
    layer, (x, e, degree) = layer_of(), inputs(pairs)
    with pytest.raises(ShapeError, match="GRITLayer needs x of shape"):
        layer(x[:, :2], pairs, e, degree)
    with pytest.raises(ShapeError, match="edge_attr must have one row per edge"):
        layer(x, pairs, e[:-1], degree)
    with pytest.raises(ShapeError, match="one degree per node"):
        layer(x, pairs, e)
    with pytest.raises(ShapeError, match="one degree per node"):
        layer(x, pairs, e, degree[:-1])
    with pytest.raises(DtypeError, match="numbers for degree"):
        layer(x, pairs, e, degree > 1)
