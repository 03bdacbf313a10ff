"""Hop graphs and DRew: against shortest paths, dense matrices, and what a delay does to an impulse."""

import math
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_dense_adj

from gnnkit import Graph, nn
from gnnkit.errors import ConfigError, IndexRangeError, ShapeError
from gnnkit.rewire import KHop

WIDTH = 4
BODIES = ("gcn", "gin", "gatedgcn")
DELAYS = (1, 2, 3, math.inf)


def graph_of(source: nx.Graph) -> Graph:
    edges = torch.tensor([*source.edges, *((v, u) for u, v in source.edges)], dtype=torch.int64).reshape(-1, 2).T
    return Graph.from_edge_index(edges, num_nodes=source.number_of_nodes())


def named(source: nx.Graph) -> Graph:
    return graph_of(nx.convert_node_labels_to_integers(source))


def cycle(n: int) -> Graph:
    return graph_of(nx.cycle_graph(n))


def random_graph(num_nodes: int = 12, num_edges: int = 16, seed: int = 0) -> Graph:
    return graph_of(nx.gnm_random_graph(num_nodes, num_edges, seed=seed))


def dense(graph: Graph) -> Tensor:
    """Row i, column j: number of edges j -> i."""
    return to_dense_adj(graph.edge_index, max_num_nodes=graph.num_nodes)[0].T.double()


def dense_hops(graph: Graph, max_hops: int) -> list[Tensor]:
    """From powers of the adjacency matrix."""
    step = (dense(graph) > 0).double()
    seen, reach, hops = torch.eye(graph.num_nodes).double(), torch.eye(graph.num_nodes).double(), []
    for _ in range(max_hops):
        reach = ((reach @ step) > 0).double()
        hops.append(((reach > 0) & (seen == 0)).double())
        seen = seen + hops[-1]
    return hops


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        (nx.dodecahedral_graph(), (3, 6, 6, 3, 1)),
        (nx.hypercube_graph(3), (3, 3, 1)),
        (nx.petersen_graph(), (3, 6)),
    ],
    ids=["dodecahedron", "cube", "petersen"],
)
def test_every_node_has_the_known_number_of_nodes_at_each_distance(source: nx.Graph, counts: tuple[int, ...]):
    hops = nn.hop_graphs(named(source), len(counts) + 1)
    for hop, count in zip(hops, (*counts, 0), strict=True):
        assert hop.in_degree().tolist() == [count] * source.number_of_nodes()


@pytest.mark.parametrize("seed", range(4))
def test_hops_are_the_rings_of_shortest_paths_of_directed_graphs(seed: int):
    generator = torch.Generator().manual_seed(seed)
    graph = Graph.from_edge_index(torch.randint(15, (2, 25), generator=generator), num_nodes=17)
    for hop, expected in zip(nn.hop_graphs(graph, 6), dense_hops(graph, 6), strict=True):
        assert torch.equal(dense(hop), expected)


def test_hops_share_storage_and_are_found_once_per_graph():
    graph = cycle(12)
    hops = nn.hop_graphs(graph, 5)
    assert len({hop.col.untyped_storage().data_ptr() for hop in hops}) == 1
    assert all(a is b for a, b in zip(nn.hop_graphs(graph, 3), hops, strict=False))
    assert len(nn.hop_graphs(graph, 6)) == 6


def test_hops_of_precomputed_pairs_are_the_same():
    edge_index = random_graph(20, 26).edge_index
    data = KHop(4, distance_attr="edge_distance")(Data(edge_index=edge_index, num_nodes=20))
    shuffle = torch.randperm(data.num_edges)
    pairs = Graph.from_edge_index(data.edge_index[:, shuffle], num_nodes=20)
    for max_hops in (2, 4):
        found = nn.hops_of_pairs(pairs, data.edge_distance[shuffle], max_hops)
        expected = nn.hop_graphs(Graph.from_edge_index(edge_index, num_nodes=20), max_hops)
        assert [torch.equal(dense(a), dense(b)) for a, b in zip(found, expected, strict=True)] == [True] * max_hops


def reference(conv: nn.DRewConv, history: list[Tensor], hops: list[Tensor]) -> Tensor:
    """The formula of the class, with dense matrices."""
    x, total = history[-1], torch.zeros_like(history[-1])
    for k in range(1, conv.num_hops + 1):
        age = 0 if conv.delay == math.inf else max(0, k - int(conv.delay))
        sent, adjacency = history[-1 - age], hops[k - 1]
        linear = conv.hop_maps[0 if conv.share_weights else k - 1]
        if conv.body == "gcn":
            if conv.add_self_loops:
                adjacency = adjacency + torch.eye(len(adjacency)).double()
            scale = adjacency.sum(1).clamp(min=1).rsqrt()
            total = total + scale[:, None] * adjacency * scale @ sent @ linear.weight.T
        elif conv.body == "gin":
            total = total + linear(adjacency @ sent).relu()
        else:
            index = 0 if conv.share_weights else k - 1
            gate = (conv.gate_dst[index](x)[:, None] + conv.gate_src[index](sent)[None]).sigmoid()
            gate = gate * adjacency[..., None]
            total = total + (gate * linear(sent)[None]).sum(1) / (gate.sum(1) + 1e-6)
    if conv.body == "gcn":
        return x + (total + conv.bias).relu()
    if conv.body == "gin":
        return x + total + (1 + conv.eps) * conv.self_map(x).relu()
    return x + (total + conv.self_map(x)).relu()


@pytest.mark.parametrize("share_weights", [False, True])
@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("body", BODIES)
def test_a_layer_is_its_formula(body: Any, delay: float, share_weights: bool):
    graph = random_graph()
    conv = nn.DRewConv(WIDTH, 4, body=body, delay=delay, share_weights=share_weights).double()
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter)
    history = [torch.randn(12, WIDTH, dtype=torch.float64) for _ in range(4)]
    torch.testing.assert_close(conv(history, graph), reference(conv, history, dense_hops(graph, 4)))


def test_self_loops_of_the_authors_code_stand_in_the_graph_of_every_hop():
    graph = random_graph()
    conv = nn.DRewConv(WIDTH, 3, add_self_loops=True).double()
    history = [torch.randn(12, WIDTH, dtype=torch.float64) for _ in range(3)]
    torch.testing.assert_close(conv(history, graph), reference(conv, history, dense_hops(graph, 3)))


@pytest.mark.parametrize("add_self_loops", [False, True])
def test_one_layer_is_a_plain_gcn_with_residual(add_self_loops: bool):
    graph, x = random_graph(), torch.randn(12, WIDTH)
    model = nn.DRew(WIDTH, 1, add_self_loops=add_self_loops, activation="gelu")
    plain = nn.GCNConv(WIDTH, WIDTH, add_self_loops=add_self_loops)
    plain.lin.weight.data = model.layers[0].hop_maps[0].weight.data
    expected = x + torch.nn.functional.gelu(plain(x, graph))
    torch.testing.assert_close(model(x, graph), expected)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("delay", [1, math.inf])
def test_an_impulse_at_distance_r_arrives_first_at_layer_r_unless_nothing_is_delayed(body: Any, delay: float):
    """Without delay, layer t passes on what has travelled already: after three layers, 1 + 2 + 3 hops."""
    graph, x = cycle(17), torch.randn(17, WIDTH, dtype=torch.float64)
    moved = x.clone()
    moved[0] += 1.0
    model = nn.DRew(WIDTH, 8 if delay == 1 else 3, body=body, delay=delay, activation="silu").double()
    distance = torch.minimum(torch.arange(17), 17 - torch.arange(17))
    before, after = [x], [moved]
    for t, layer in enumerate(model.layers):
        reach = t + 1 if delay == 1 else (t + 1) * (t + 2) // 2
        before.append(layer(before, graph))
        after.append(layer(after, graph))
        differs = (before[-1] - after[-1]).abs().amax(1) > 0
        assert torch.equal(differs, distance <= reach)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("delay", DELAYS)
def test_what_arrives_from_distance_k_is_as_old_as_the_delay_says(body: Any, delay: float):
    graph, last = cycle(11), 4
    conv = nn.DRewConv(WIDTH, 5, body=body, delay=delay, activation="silu").double()
    history = [torch.randn(11, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(last + 1)]
    grads = torch.autograd.grad(conv(history, graph)[0].sum(), history, allow_unused=True)
    for age, grad in enumerate(reversed(grads)):
        reached = torch.zeros(11, dtype=torch.bool) if grad is None else grad.abs().amax(1) > 0
        for k in range(1, 6):
            expected = age == (0 if delay == math.inf else max(0, k - delay))
            assert reached[k].item() == reached[11 - k].item() == expected
    assert grads[-1][0].abs().max() > 0, "the residual"


def test_dense_linear_oracle_of_the_whole_stack_with_full_delay():
    """Identity activation: the stack is a polynomial in the hop matrices, applied to one vector."""
    graph = random_graph(10, 12, seed=3)
    model = nn.DRew(1, 3, activation="none").double()
    matrices = []
    for adjacency in dense_hops(graph, 3):
        scale = adjacency.sum(1).clamp(min=1).rsqrt()
        matrices.append(scale[:, None] * adjacency * scale)
    x = torch.randn(10, 1, dtype=torch.float64)
    states = [x]
    for t, layer in enumerate(model.layers):
        weights = [linear.weight.item() for linear in layer.hop_maps]
        states.append(states[t] + sum(weights[k] * matrices[k] @ states[t - k] for k in range(t + 1)))
    torch.testing.assert_close(model(x, graph), states[-1])


@pytest.mark.parametrize("norm", ["none", "batch", "batch_per_hop"])
@pytest.mark.parametrize("body", BODIES)
def test_a_graph_gets_the_same_alone_and_in_a_batch_of_other_diameters(body: Any, norm: Any):
    torch.manual_seed(1)
    graphs = [cycle(3), cycle(14), random_graph(), graph_of(nx.empty_graph(2))]
    model = nn.DRew(WIDTH, 5, body=body, norm=norm, l2_normalize=True).double()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if "norm" in name and value.is_floating_point():
            torch.nn.init.uniform_(value, 0.5, 1.5)
    model.eval()
    data = [Data(x=torch.randn(g.num_nodes, WIDTH).double(), edge_index=g.edge_index.long()) for g in graphs]
    batch = Batch.from_data_list(data)
    together = model(batch.x, Graph.from_edge_index(batch.edge_index, batch.num_nodes))
    alone = torch.cat([model(one.x, Graph.from_edge_index(one.edge_index, one.num_nodes)) for one in data])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("body", BODIES)
def test_relabelling_the_nodes_relabels_the_output(body: Any):
    graph, perm = random_graph(), torch.randperm(12)
    model = nn.DRew(WIDTH, 3, body=body).double()
    x = torch.randn(12, WIDTH, dtype=torch.float64)
    moved = Graph.from_edge_index(perm[graph.edge_index], num_nodes=12)
    moved_x = torch.empty_like(x).index_copy(0, perm, x)
    torch.testing.assert_close(model(moved_x, moved)[perm], model(x, graph))


@pytest.mark.parametrize("body", BODIES)
def test_gradients_agree_with_finite_differences(body: Any):
    graph = graph_of(nx.path_graph(6))
    model = nn.DRew(3, 3, body=body, activation="silu", delay=2).double()
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model(x, graph), (x,))
    model(x, graph).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("body", BODIES)
def test_the_stack_compiles_in_one_graph_once_its_hops_are_known(body: Any):
    graph, x = random_graph(), torch.randn(12, WIDTH)
    model = nn.DRew(WIDTH, 3, body=body)
    expected = model(x, graph)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, graph), expected)


def test_unknown_hops_break_the_trace_and_are_found_all_the_same():
    model, x = nn.DRew(WIDTH, 3), torch.randn(12, WIDTH)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(x, random_graph()), model(x, random_graph()))


@pytest.mark.parametrize("body", BODIES)
def test_training_repeats_bitwise_and_dropout_drops(body: Any):
    graph, x = random_graph(), torch.randn(12, WIDTH)
    model = nn.DRew(WIDTH, 3, body=body, norm="batch", dropout=0.5)
    outs = []
    for _ in range(2):
        torch.manual_seed(5)
        outs.append(model(x, graph))
    assert torch.equal(*outs)
    assert not torch.equal(model(x, graph), outs[0])


@pytest.mark.parametrize("body", BODIES)
def test_narrow_indices_and_autocast_give_nearly_the_same(body: Any):
    graph, x = random_graph(), torch.randn(12, WIDTH)
    model = nn.DRew(WIDTH, 3, body=body)
    expected = model(x, graph)
    narrow = Graph.from_edge_index(graph.edge_index.int(), num_nodes=12)
    assert torch.equal(model(x, narrow), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model(x, graph).float(), expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("body", BODIES)
def test_no_nodes_and_no_edges(body: Any):
    for num_nodes in (0, 1, 3):
        graph = Graph.from_edge_index(torch.empty((2, 0), dtype=torch.int64), num_nodes=num_nodes)
        x = torch.randn(num_nodes, WIDTH, requires_grad=True)
        out = nn.DRew(WIDTH, 2, body=body)(x, graph)
        out.sum().backward()
        assert out.shape == (num_nodes, WIDTH)
        assert bool(out.isfinite().all())


def test_all_that_no_later_layer_looks_at_is_let_go_and_nothing_else():
    graph, x = cycle(9), torch.randn(9, WIDTH)
    for delay in DELAYS:
        for max_hops in (1, 2, 4):
            model = nn.DRew(WIDTH, 4, delay=delay, max_hops=max_hops)
            history = [x]
            for layer in model.layers:
                history.append(layer(history, graph))
            assert torch.equal(model(x, graph), history[-1])


def test_full_delay_solves_what_a_gcn_of_the_same_depth_does_not():
    """The answer stands opposite on a ring of 12: with 6 layers only a direct edge carries it undiluted."""
    graph, depth = cycle(12), 6
    x = torch.zeros(12, 1, dtype=torch.float64)
    x[6] = 1.0
    model = nn.DRew(1, depth, activation="none").double()
    for layer in model.layers:
        for linear in layer.hop_maps:
            torch.nn.init.ones_(linear.weight)
    response = model(x, graph)[0].item()
    gcn = nn.GCNConv(1, 1, bias=False).double()
    torch.nn.init.ones_(gcn.lin.weight)
    plain = x
    for _ in range(depth):
        plain = gcn(plain, graph)
    assert plain[0].item() == pytest.approx(2 / 3**6)
    assert response > 0.5


def test_bad_input_is_named():
    graph, x = cycle(5), torch.randn(5, WIDTH)
    for delay in (0, -1, 1.5, True, math.nan, "1"):
        with pytest.raises(ConfigError, match=r"delay must be an integer of at least 1, or math\.inf"):
            nn.DRew(WIDTH, 2, delay=delay)  # type: ignore[arg-type]
    for settings in ({"body": "gat"}, {"norm": "layer"}, {"activation": "tanh"}, {"max_hops": 0}, {"dropout": 1.0}):
        with pytest.raises(ConfigError):
            nn.DRew(WIDTH, 2, **settings)
    with pytest.raises(ConfigError, match="self-loops belong to body='gcn'"):
        nn.DRew(WIDTH, 2, body="gin", add_self_loops=True)
    with pytest.raises(ConfigError, match="num_layers"):
        nn.DRew(WIDTH, 0)
    with pytest.raises(ConfigError, match="max_hops must be at least 1"):
        nn.hop_graphs(graph, 0)
    with pytest.raises(ShapeError, match=r"looks 2 states back.*must hold 3 or more, got 2"):
        nn.DRewConv(WIDTH, 3)([x, x], graph)
    with pytest.raises(ShapeError, match="needs the graphs of 3 hops, got 2"):
        nn.DRew(WIDTH, 3)(x, nn.hop_graphs(graph, 2))
    with pytest.raises(ShapeError, match=r"x of shape \[5, 4\], got \(5, 3\)"):
        nn.DRew(WIDTH, 3)(x[:, :3], graph)
    with pytest.raises(ShapeError, match="one integer per edge"):
        nn.hops_of_pairs(graph, torch.ones(3, dtype=torch.int64), 2)
    with pytest.raises(IndexRangeError):
        nn.hops_of_pairs(graph, torch.zeros(10, dtype=torch.int64), 2)
    bipartite = Graph.from_edge_index(torch.tensor([[0], [1]]), num_src=3, num_dst=2)
    with pytest.raises(ShapeError):
        nn.DRew(WIDTH, 2)(x, bipartite)
