"""GRIT: against its formulas on dense matrices, and what pairs, batches and missing walks must do."""

from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_dense_adj

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.nn import GRIT, GRITLayer, _pair_states, attended_pairs, complete_graphs

DIM, HEADS, STEPS = 6, 2, 5
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


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(0, 5), max_size=4), counts=st.lists(st.integers(0, 8), max_size=3), seed=st.integers()
)
def test_joined_pairs_are_each_there_once(sizes: list[int], counts: list[int], seed: int):
    generator = torch.Generator().manual_seed(seed)
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    everything = complete_graphs(ptr).edge_index.long()
    lists = []
    for count in counts:
        chosen = torch.randint(max(everything.size(1), 1), (count,), generator=generator)
        lists.append(everything[:, chosen] if everything.size(1) > 0 else everything)
    for boundaries in (ptr, None):
        graph, places = attended_pairs(lists, sum(sizes), ptr=boundaries)
        for index, place in zip(lists, places, strict=True):
            assert torch.equal(graph.edge_index.long()[:, place], index)
        found = {tuple(pair) for pair in graph.edge_index.T.tolist()}
        assert len(found) == graph.num_edges
        wanted = [everything] if boundaries is not None else lists
        assert found == {tuple(pair) for index in wanted for pair in index.T.tolist()}


def test_bad_pairs_are_named():
    ptr, good = torch.tensor([0, 2, 4]), torch.tensor([[0, 3], [1, 2]])
    with pytest.raises(DataError, match=r"pair 1, \(3, 1\), has its source outside of nodes 0 to 1"):
        attended_pairs([good, torch.tensor([[0, 3], [1, 1]])], 4, ptr=ptr)
    with pytest.raises(IndexRangeError, match=r"lists\[0\]\[1\]"):
        attended_pairs([torch.tensor([[0], [4]])], 4)
    with pytest.raises(ShapeError, match=r"lists\[0\] must be \[2, P\]"):
        attended_pairs([torch.zeros((3, 2), dtype=torch.int64)], 4)
    with pytest.raises(ShapeError, match="ptr must end at num_nodes = 5"):
        attended_pairs([good], 5, ptr=ptr)
    with pytest.raises(IndexRangeError, match="must not decrease"):
        complete_graphs(torch.tensor([0, 3, 1]))


def walks_of(edge_index: Tensor, num_nodes: int) -> Tensor:
    """[I, P, ..., P^(K-1)], dense, ``[n, n, K]``."""
    dense = to_dense_adj(edge_index, max_num_nodes=num_nodes)[0].double() if num_nodes else torch.zeros(0, 0).double()
    step = dense / dense.sum(1, keepdim=True).clamp(min=1)
    powers = [torch.eye(num_nodes).double()]
    for _ in range(STEPS - 1):
        powers.append(powers[-1] @ step)
    return torch.stack(powers, dim=2)


def data_of(source: nx.Graph, seed: int = 0, sparse: bool = True) -> Data:
    source = nx.convert_node_labels_to_integers(source)
    generator = torch.Generator().manual_seed(seed)
    edges = [*source.edges, *((v, u) for u, v in source.edges)]
    edge_index, n = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T.contiguous(), len(source)
    walks = walks_of(edge_index, n)
    kept = (walks != 0).any(2) if sparse else torch.ones(n, n, dtype=torch.bool)
    destination, pair_source = kept.nonzero().T
    return Data(
        x=torch.randn(n, 3, generator=generator).double(),
        edge_index=edge_index,
        edge_attr=torch.randn(edge_index.size(1), 2, generator=generator).double(),
        rrwp=walks.diagonal(dim1=0, dim2=1).T.contiguous(),
        rrwp_index=torch.stack([pair_source, destination]),
        rrwp_value=walks[destination, pair_source],
    )


SOURCES = (
    nx.cycle_graph(6),
    nx.empty_graph(1),
    nx.disjoint_union(nx.path_graph(3), nx.complete_graph(3)),
    nx.star_graph(4),
)


def model_of(**options: Any) -> GRIT:
    defaults = {"steps": STEPS, "node_encoder": 3, "edge_encoder": 2}
    return GRIT(DIM, 2, HEADS, 2, **{**defaults, **options}).double()


@pytest.fixture
def batch() -> Any:
    return Batch.from_data_list([data_of(source, seed) for seed, source in enumerate(SOURCES)])


def test_the_model_is_its_layers_on_all_pairs_of_each_graph():
    """Features as dense matrices; a layer on the flattened ones."""
    model, data = model_of().eval(), data_of(SOURCES[2])
    n, walks = 6, walks_of(data.edge_index, 6)
    e = walks @ model.pair_walks.weight.T
    encoded = model.edge_encoder(data.edge_attr)
    for edge, (u, v) in enumerate(data.edge_index.T.tolist()):
        e[v, u] += encoded[edge]
    x = model.node_encoder(data.x) + walks.diagonal(dim1=0, dim2=1).T @ model.node_walks.weight.T
    degree = torch.tensor([1, 2, 1, 2, 2, 2])
    pairs, e = complete_graphs(torch.tensor([0, n])), e.flatten(0, 1)
    for layer in model.layers:
        x, e = layer(x, pairs, e, degree)
    torch.testing.assert_close(model(data), model.head(x.mean(0, keepdim=True)))


def test_sparse_and_listed_pairs_agree_where_all_are_listed(batch: Any):
    """A list of all pairs leaves nothing to add, in whatever order."""
    listed = Batch.from_data_list([data_of(source, seed, sparse=False) for seed, source in enumerate(SOURCES)])
    model = model_of()
    whole = model(batch)
    torch.testing.assert_close(model(listed), whole)
    order = torch.randperm(listed.rrwp_index.size(1))
    listed.rrwp_index, listed.rrwp_value = listed.rrwp_index[:, order], listed.rrwp_value[order]
    torch.testing.assert_close(model(listed), whole)
    model.complete = False
    torch.testing.assert_close(model(listed), whole)
    # The two components of the third graph no longer see each other.
    assert not torch.allclose(model(batch), whole)


@pytest.mark.parametrize("complete", [True, False])
def test_a_model_sees_graphs_of_a_batch_one_by_one(batch: Any, complete: bool):
    model = model_of(complete=complete).eval()
    alone = torch.cat([model(data_of(source, seed)) for seed, source in enumerate(SOURCES)])
    torch.testing.assert_close(model(batch), alone)
    with_empty = Batch.from_data_list([data_of(nx.empty_graph(0)), data_of(SOURCES[0])])
    out = model(with_empty)
    torch.testing.assert_close(out[0], model.head.bias)
    torch.testing.assert_close(out[1], alone[0])


@pytest.mark.parametrize("pool", ["mean", "sum", "max", "min", "none"])
def test_every_parameter_of_a_model_learns(batch: Any, pool: str):
    model = model_of(pool=pool, dropout=0.1, attention_dropout=0.1)
    out = model(batch)
    assert out.shape == (batch.num_nodes if pool == "none" else len(SOURCES), 2)
    out.square().mean().backward()
    # The last pair features lead nowhere.
    unused = {f"layers.1.{part}_pair.{name}" for part in ("out", "norm") for name in ("weight", "bias")}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == unused


def test_relabelled_graphs_give_the_same(batch: Any):
    model = model_of().eval()
    for data in batch.to_data_list():
        place = torch.randperm(data.num_nodes)
        back = torch.argsort(place)
        moved = data.clone()
        moved.x, moved.rrwp = data.x[back], data.rrwp[back]
        moved.edge_index, moved.rrwp_index = place[data.edge_index], place[data.rrwp_index]
        torch.testing.assert_close(model(moved), model(data))


def test_pairs_tell_apart_what_message_passing_cannot():
    """Two triangles and a hexagon, without node features: a convolution sees nodes of degree 2 everywhere."""
    graphs = [data_of(nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))), data_of(nx.cycle_graph(6))]
    for data in graphs:
        data.x, data.edge_attr = torch.ones_like(data.x), torch.ones_like(data.edge_attr)
    model = model_of().eval()
    first, second = (model(data) for data in graphs)
    assert not torch.allclose(first, second, rtol=0.0, atol=1e-6)


def test_a_model_of_the_published_size():
    """Peptides-func: 443,338 parameters, with one category of chirality fewer than OGB's atoms have by now."""
    model = GRIT(96, 4, 4, 10, steps=17, node_encoder=nn.AtomEncoder(96), edge_encoder=nn.BondEncoder(96))
    assert sum(parameter.numel() for parameter in model.parameters()) == 443_338 + 96


def test_names_of_attributes_are_arguments(batch: Any):
    model = model_of(node_attr="a", index_attr="b_index", pair_attr="c").eval()
    torch.manual_seed(1)
    plain = model_of().eval()
    plain.load_state_dict(model.state_dict())
    expected = plain(batch)
    batch.a, batch.b_index, batch.c = batch.rrwp, batch.rrwp_index, batch.rrwp_value
    del batch.rrwp, batch.rrwp_index, batch.rrwp_value
    assert torch.equal(model(batch), expected)
    with pytest.raises(DataError, match=r"GRIT reads data\.rrwp, which is missing"):
        plain(batch)


def test_bad_input_of_a_model_is_named(batch: Any):
    for options in ({"steps": 0}, {"pool": "median"}, {"clamp": 0.0}):
        with pytest.raises(ConfigError):
            model_of(**options)
    with pytest.raises(ShapeError, match=r"data\.rrwp must have 4 columns"):
        model_of(steps=4)(batch)
    batch.rrwp_value = batch.rrwp_value[:-1]
    with pytest.raises(ShapeError, match=r"data\.rrwp_value must have one row per pair"):
        model_of()(batch)
    data = data_of(SOURCES[0])
    data.edge_index = data.edge_index + 3
    with pytest.raises(IndexRangeError):
        model_of()(data)


def test_training_learns_distances():
    """Whether two marked nodes of a cycle are neighbours: pair features say so directly."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for index in range(48):
        data = data_of(nx.cycle_graph(8))
        gap = 1 if index % 2 else int(torch.randint(2, 5, (1,), generator=generator))
        data.x = torch.zeros(8, 3).double()
        data.x[0, 0] = data.x[gap, 0] = 1.0
        data.edge_attr, data.y = torch.zeros_like(data.edge_attr), torch.tensor([index % 2])
        graphs.append(data)
    joined: Any = Batch.from_data_list(graphs)
    model = model_of()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(joined), joined.y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
