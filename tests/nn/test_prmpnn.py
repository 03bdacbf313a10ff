"""Probabilistic rewiring: the candidates, and what the model must hold while it trains and when it is evaluated."""

from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.nn import PRMPNN, longest_path_candidates
from gnnkit.nn._packing import Packing
from gnnkit.nn.prmpnn import PairScore, undirected_pairs

WIDTH = 4


def edges_of(source: nx.Graph) -> Tensor:
    pairs = [*source.edges, *((v, u) for u, v in source.edges)]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T.contiguous()


def data_of(source: nx.Graph, pool: int = 6, seed: int = 0) -> Data:
    source = nx.convert_node_labels_to_integers(source)
    edge_index, num_nodes = edges_of(source), source.number_of_nodes()
    x = torch.randn(num_nodes, WIDTH, generator=torch.Generator().manual_seed(seed))
    candidates = longest_path_candidates(edge_index, num_nodes, pool)
    return Data(x=x, edge_index=edge_index, candidate_index=candidates)


SOURCES = (
    nx.cycle_graph(9),
    nx.path_graph(2),  # no candidate
    nx.gnm_random_graph(10, 12, seed=1),
    nx.complete_graph(4),  # no candidate
    nx.path_graph(4),  # fewer than asked for
    nx.empty_graph(3),
)


@pytest.fixture
def batch() -> Any:
    return Batch.from_data_list([data_of(source, seed=seed) for seed, source in enumerate(SOURCES)])


def model_of(**options: Any) -> PRMPNN:
    torch.manual_seed(0)
    return PRMPNN(WIDTH, 8, 3, **{"num_add": 2, "num_remove": 2, "ensemble": 2, **options})


def brute_force(source: nx.Graph, pool: int) -> list[tuple[int, int]]:
    distance = dict(nx.all_pairs_shortest_path_length(source))
    pairs = [(u, v) for u in source for v in distance[u] if u < v and distance[u][v] > 1]
    return sorted(pairs, key=lambda pair: (-distance[pair[0]][pair[1]], pair))[:pool]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4), pool=st.integers(0, 12), seed=st.integers(0, 99))
def test_candidates_are_the_farthest_pairs_of_each_graph(sizes: list[int], pool: int, seed: int):
    graphs = [nx.gnm_random_graph(n, n + n // 4, seed=seed) for n in sizes]
    offset = [sum(sizes[:i]) for i in range(len(sizes))]
    edge_index = torch.cat([edges_of(g) + o for g, o in zip(graphs, offset, strict=True)], dim=1)
    owner = torch.repeat_interleave(torch.tensor(sizes))
    found = longest_path_candidates(edge_index, sum(sizes), pool, batch=owner, num_graphs=len(sizes))
    expected = [(u + o, v + o) for g, o in zip(graphs, offset, strict=True) for u, v in brute_force(g, pool)]
    assert [tuple(pair) for pair in found.T.tolist()] == expected


def test_candidates_of_a_path_by_hand():
    path = edges_of(nx.path_graph(4))
    assert longest_path_candidates(path, 4, 10).T.tolist() == [[0, 3], [0, 2], [1, 3]]
    with pytest.raises(ConfigError, match="pool must not be negative"):
        longest_path_candidates(path, 4, -1)
    with pytest.raises(IndexRangeError):
        longest_path_candidates(path, 3, 1)


def test_candidates_follow_their_graph_into_a_batch(batch: Any):
    joined = longest_path_candidates(batch.edge_index, batch.num_nodes, 6, batch=batch.batch)
    assert torch.equal(batch.candidate_index, joined)


def test_ragged_items_come_back_from_their_rows():
    node, ptr = torch.tensor([4, 0, 3, 5, 1, 4]), torch.tensor([0, 2, 2, 6])
    value = torch.arange(12.0).reshape(6, 2)
    packed = Packing.of(node, ptr)
    rows = packed.pad(value, -1.0)
    assert packed.sizes.tolist() == [2, 0, 4]
    assert rows[:, 0].tolist() == [[2, 8, -1, -1], [-1] * 4, [0, 4, 6, 10]]
    assert torch.equal(packed.unpad(rows), value)


def test_scores_do_not_depend_on_the_order_of_a_pair():
    score, h, (u, v) = PairScore(WIDTH, 3), torch.randn(5, WIDTH), torch.tensor([[0, 1, 4], [2, 3, 0]])
    pairs, turned = (Graph.from_edge_index(torch.stack(ends), num_nodes=5) for ends in ((u, v), (v, u)))
    torch.testing.assert_close(score(h, pairs), score(h, turned))
    expected = sum(score.contract(score.expand(torch.cat([h[a], h[b]], dim=1)).relu()) for a, b in ((u, v), (v, u)))
    torch.testing.assert_close(score(h, pairs), expected)


@pytest.mark.parametrize("estimator", ["simple", "gumbel", "imle"])
def test_each_head_draws_exactly_as_many_pairs_of_each_graph_as_there_are(batch: Any, estimator: Any):
    model = model_of(estimator=estimator)
    for mode in (True, False):
        added, removed = model.train(mode).choose(batch)
        for choice, k in ((added, 2), (removed, 2)):
            assert choice is not None
            owner = batch.batch[choice.pairs[0]]
            available = torch.bincount(owner, minlength=len(SOURCES))
            drawn = torch.zeros(len(SOURCES), 2).index_add(0, owner, choice.chosen.detach())
            assert choice.chosen.unique().tolist() in ([0, 1], [0.0, 1.0])
            assert torch.equal(drawn, available.clamp(max=k)[:, None].expand(-1, 2).float())


@pytest.mark.parametrize("estimator", ["simple", "gumbel", "imle"])
def test_gradients_reach_both_scorers_and_the_upstream_network(batch: Any, estimator: Any):
    model = model_of(estimator=estimator)
    # One draw of the perturbed methods may leave the choice as it is, and so the gradient 0.
    for seed in range(5):
        model(batch, generator=torch.Generator().manual_seed(seed)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
    for part in (model.add_score, model.remove_score, model.upstream[0]):
        assert part is not None
        assert max(parameter.grad.abs().max().item() for parameter in part.parameters()) > 0


def test_the_model_is_message_passing_on_the_graphs_it_chose(batch: Any):
    """Each head's rewired graph built by hand, and the downstream network run on it alone."""
    model = model_of().double().eval()
    batch.x = batch.x.double()
    added, removed = model.choose(batch)
    assert added is not None
    assert removed is not None
    readouts = []
    for head in (None, 0, 1):
        edges = {tuple(edge) for edge in batch.edge_index.T.tolist()}
        if head is not None:
            new = added.pairs[:, added.chosen[:, head] > 0].T.tolist()
            gone = removed.pairs[:, removed.chosen[:, head] > 0].T.tolist()
            edges |= {(u, v) for u, v in new} | {(v, u) for u, v in new}
            edges -= {(u, v) for u, v in gone} | {(v, u) for u, v in gone}
        source, target = torch.tensor(sorted(edges)).T
        h = batch.x
        for layer in model.downstream:
            h = (1 + layer.eps) * h + torch.zeros_like(h).index_add(0, target, h[source])
            h = layer.norm_out(layer.contract(layer.norm(layer.expand(h)).relu())).relu()
        readouts.append(torch.stack([h[batch.batch == graph].mean(0) for graph in range(len(SOURCES))]))
    torch.testing.assert_close(model(batch), model.head(torch.cat(readouts, dim=1)))


def test_removing_all_edges_and_adding_all_pairs_is_legal(batch: Any):
    model = model_of(num_add=1000, num_remove=1000).eval()
    added, removed = model.choose(batch)
    assert added is not None
    assert removed is not None
    assert bool((added.chosen == 1).all())
    assert bool((removed.chosen == 1).all())
    assert bool(model(batch).isfinite().all())


@pytest.mark.parametrize("options", [{}, {"num_add": 0}, {"num_remove": 0}, {"num_add": 0, "num_remove": 0}])
@pytest.mark.parametrize("combine", ["concat", "mean"])
def test_shapes_of_all_settings(batch: Any, options: dict[str, int], combine: str):
    for readout in ("sum", "mean", "max", "min"):
        out = model_of(combine=combine, readout=readout, **options)(batch)
        assert out.shape == (len(SOURCES), 3)
        assert bool(out.isfinite().all())


def test_evaluation_takes_no_chance_and_training_does(batch: Any):
    model = model_of()
    for _ in range(20):
        model(batch)  # statistics of the normalisations
    model.eval()
    state = torch.get_rng_state()
    assert torch.equal(model(batch), model(batch))
    assert torch.equal(torch.get_rng_state(), state)
    model.train()
    outs = [model(batch, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_relabelling_the_nodes_of_each_graph_changes_nothing_in_evaluation():
    model, sources = model_of().double().eval(), (nx.gnm_random_graph(10, 13, seed=4), nx.cycle_graph(8))
    plain, moved = [], []
    for seed, source in enumerate(sources):
        data, perm = data_of(source, seed=seed), torch.randperm(len(source))
        data.x = data.x.double()
        x = torch.empty_like(data.x).index_copy(0, perm, data.x)
        shuffle = torch.randperm(data.candidate_index.size(1))
        candidates = perm[data.candidate_index][:, shuffle].flip(0)
        plain.append(data)
        moved.append(Data(x=x, edge_index=perm[data.edge_index], candidate_index=candidates))
    torch.testing.assert_close(model(Batch.from_data_list(moved)), model(Batch.from_data_list(plain)))


def test_a_graph_gets_the_same_alone_and_in_a_batch(batch: Any):
    model = model_of().double().eval()
    batch.x = batch.x.double()
    alone = torch.cat([model(data) for data in batch.to_data_list()])
    torch.testing.assert_close(model(batch), alone)


def test_training_repeats_bitwise_and_survives_autocast(batch: Any):
    model = model_of()
    grads = []
    for _ in range(2):
        model.zero_grad()
        model(batch, generator=torch.Generator().manual_seed(0)).square().sum().backward()
        grads.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(batch)
    out.float().sum().backward()
    assert bool(out.isfinite().all())


def test_missing_candidates_are_found(batch: Any):
    model = model_of(candidate_pool=6).eval()
    expected = model(batch)
    del batch.candidate_index
    torch.testing.assert_close(model(batch), expected)


def test_multi_edges_and_self_loops_are_kept_together():
    edge_index = torch.tensor([[0, 1, 0, 1, 2, 1, 2], [1, 0, 1, 0, 1, 2, 2]])
    assert undirected_pairs(edge_index, 3).tolist() == [[0, 1], [1, 2]]
    data = Data(x=torch.randn(3, WIDTH), edge_index=edge_index)
    model = model_of(num_remove=5).eval()
    loops_only = Data(x=data.x, edge_index=torch.tensor([[2], [2]]))
    original, rewired = model_of(num_add=0, num_remove=0, ensemble=1).eval(), model_of(num_add=0, num_remove=5).eval()
    rewired.downstream.load_state_dict(original.downstream.state_dict())
    assert bool(model(data).isfinite().all())
    # Of the rewired graph nothing but the self-loop is left.
    h = data.x.unsqueeze(1)
    expected = loops_only.x.unsqueeze(1)
    plain, loops = (Graph.from_edge_index(d.edge_index, 3) for d in (data, loops_only))
    for layer in rewired.downstream:
        h, expected = layer(h, plain), layer(expected, loops)
    joined = torch.cat([h.mean(0), expected.mean(0), expected.mean(0)], dim=1)
    torch.testing.assert_close(rewired(data), rewired.head(joined))


def test_no_graphs_and_no_nodes():
    empty = Data(x=torch.randn(0, WIDTH), edge_index=torch.empty((2, 0), dtype=torch.int64))
    assert model_of()(empty).shape == (1, 3)
    both = Batch.from_data_list([empty, Data(x=torch.randn(3, WIDTH), edge_index=torch.empty((2, 0)).long())])
    out = model_of()(both)
    out.sum().backward()
    assert out.shape == (2, 3)
    assert bool(out.isfinite().all())


def test_training_learns_to_bridge_what_is_far_apart():
    """The answer stands at the other end of a path of 9: two layers see it only along an edge that must be chosen."""
    generator = torch.Generator().manual_seed(0)
    edge_index = edges_of(nx.path_graph(9))
    candidates = longest_path_candidates(edge_index, 9, 15)
    graphs = []
    for _ in range(64):
        x = torch.zeros(9, WIDTH)
        answer = torch.randint(2, (1,), generator=generator)
        x[0, 0], x[8, 1 + answer] = 1.0, 1.0
        graphs.append(Data(x=x, edge_index=edge_index, candidate_index=candidates, y=answer))
    batch: Any = Batch.from_data_list(graphs)
    torch.manual_seed(1)
    model = PRMPNN(WIDTH, 16, 2, num_add=1, num_layers=2, combine="mean")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    first = last = 0.0
    for step in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.2 * first
    model.eval()
    assert (model(batch).argmax(1) == batch.y).float().mean() > 0.9


def test_bad_input_is_named(batch: Any):
    for options in (
        {"num_add": -1},
        {"num_remove": 1.5},
        {"ensemble": 0},
        {"num_layers": 0},
        {"estimator": "reinforce"},
        {"readout": "median"},
        {"combine": "sum"},
        {"temperature": 0.0},
        {"candidate_pool": -1},
    ):
        with pytest.raises(ConfigError):
            model_of(**options)
    with pytest.raises(DataError, match=r"PRMPNN reads data\.x, which is missing"):
        model_of()(Data(edge_index=batch.edge_index))
    with pytest.raises(ShapeError, match=r"needs x of shape"):
        model_of()(Data(x=batch.x[:, :2], edge_index=batch.edge_index))
    with pytest.raises(DataError, match="in one direction only"):
        model_of()(Data(x=torch.randn(3, WIDTH), edge_index=torch.tensor([[0, 1], [1, 2]])))
    with pytest.raises(IndexRangeError):
        model_of()(Data(x=torch.randn(3, WIDTH), edge_index=torch.tensor([[0], [5]])))
