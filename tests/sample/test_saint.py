"""Samplers of GraphSAINT: their laws, their batches, and training on them."""

import gc
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.nn import SAGEConv
from gnnkit.sample import SaintEdge, SaintFrontier, SaintNode, SaintWalk
from tests.sample.part_checks import same
from tests.sample.saint_graphs import SAMPLERS, both_ways, cycle, path, random_data

every_sampler = pytest.mark.parametrize("name", SAMPLERS)
DIRECTED = torch.tensor([[0, 0, 1, 2, 2, 3, 3], [1, 1, 2, 0, 2, 0, 2]])  # with a double edge and a loop


def drawn(sampler: Any, count: int) -> list[tuple[int, ...]]:
    members, ptr = sampler.draw(0, count, 12345)
    return [tuple(part.tolist()) for part in members.split(ptr.diff().tolist())]


def agrees_with(found: list[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> bool:
    count = dict.fromkeys(law, 0)
    for part in found:
        count[part] += 1
    expected = [p * len(found) for p in law.values()]
    assert min(expected) > 5
    return stats.chisquare(list(count.values()), expected).pvalue > 1e-3


@every_sampler
def test_batches_are_induced_subgraphs_with_their_attributes(name: str):
    data = random_data()
    source, target = data.edge_index
    for batch in SAMPLERS[name](data, num_steps=4):
        node, edge = batch.n_id, batch.e_id
        assert torch.equal(node, node.unique())
        inside = torch.isin(source, node) & torch.isin(target, node)
        assert torch.equal(edge.sort().values, inside.nonzero().squeeze(1))
        assert torch.equal(node[batch.edge_index], data.edge_index[:, edge])
        assert batch.num_nodes == node.numel()
        for key in ("x", "y", "train_mask"):
            assert torch.equal(batch[key], data[key][node])
        assert torch.equal(batch.edge_attr, edge)
        assert torch.equal(batch.in_degree, torch.bincount(target, minlength=40)[node])
        assert batch.node_norm.shape == node.shape
        assert batch.edge_norm.shape == edge.shape
        assert batch.node_norm.dtype == batch.edge_norm.dtype == torch.float32
        # In order of target: a graph made of it needs no permutation.
        assert Graph.from_edge_index(batch.edge_index, batch.num_nodes).edge_id is None


@every_sampler
def test_directed_graphs_with_double_edges_and_loops(name: str):
    data = Data(edge_index=DIRECTED, num_nodes=5)
    for batch in SAMPLERS[name](data, num_steps=3):
        assert torch.equal(batch.n_id[batch.edge_index], DIRECTED[:, batch.e_id])
        assert bool((batch.edge_norm > 0).all())


@every_sampler
def test_the_same_batches_for_any_threads_and_prefetch(name: str):
    data, before = random_data(2000, 9000), torch.get_num_threads()
    wanted = list(SAMPLERS[name](data, num_steps=5, coverage=0.5, prefetch=0))
    try:
        for threads, prefetch in ((1, 2), (2, 0), (2, 3)):
            torch.set_num_threads(threads)
            sampler = SAMPLERS[name](data, num_steps=5, coverage=0.5, prefetch=prefetch)
            assert all(same(*pair) for pair in zip(sampler, wanted, strict=True))
            assert same(sampler.make(0, 3), wanted[3])
    finally:
        torch.set_num_threads(before)


@every_sampler
def test_epochs_seeds_and_steps_give_other_subgraphs(name: str):
    data = random_data()
    sampler = SAMPLERS[name](data, num_steps=6)
    first = [tuple(batch.n_id.tolist()) for batch in sampler]
    second = [tuple(batch.n_id.tolist()) for batch in sampler]
    other = [tuple(batch.n_id.tolist()) for batch in SAMPLERS[name](data, num_steps=6, seed=1)]
    assert len({*first, *second, *other}) >= 15
    sampler.set_epoch(1)
    assert [tuple(batch.n_id.tolist()) for batch in sampler] == second


@every_sampler
def test_shards_give_the_batches_of_the_whole(name: str):
    sampler = SAMPLERS[name](random_data(), num_steps=5)
    wanted = list(sampler)
    for rank in range(2):
        shard = SAMPLERS[name](random_data(), num_steps=5).shard(rank, 2)
        assert len(shard) == len(wanted[rank::2])
        assert all(same(*pair) for pair in zip(shard, wanted[rank::2], strict=True))


def test_default_numbers_of_steps_cover_the_nodes():
    data = path(100)
    assert len(SaintNode(data, 30)) == 4
    assert len(SaintEdge(data, 30)) == 2
    assert len(SaintWalk(data, 5, 4)) == 5
    assert len(SaintWalk(data, 30, 0)) == 4
    assert len(SaintFrontier(data, 30, 10)) == 4
    assert len(SaintWalk(data, 5, 4, 7)) == 7


def test_pairs_of_a_path_are_drawn_as_published():
    sampler = SaintEdge(path(4), 1)
    pair = torch.tensor([0.375, 0.25, 0.375], dtype=torch.float64)
    assert torch.allclose(sampler.probabilities, pair.repeat_interleave(2) / 2)
    assert agrees_with(drawn(sampler, 20_000), {(0, 1): 0.375, (1, 2): 0.25, (2, 3): 0.375})


def test_pairs_are_drawn_by_inverse_degrees():
    data = random_data()
    sampler = SaintEdge(data, 1)
    degree = torch.bincount(data.edge_index[0], minlength=40).double()
    source, target = data.edge_index
    weight = 1 / degree[source] + 1 / degree[target]
    assert torch.allclose(sampler.probabilities, weight / weight.sum())
    law = {
        (int(u), int(v)): 2 * float(p) for u, v, p in zip(source, target, sampler.probabilities, strict=True) if u < v
    }
    assert agrees_with(drawn(sampler, 20_000), law)


def test_pairs_of_a_directed_graph_are_drawn_by_entries_of_the_normalised_adjacency():
    sampler = SaintEdge(Data(edge_index=DIRECTED, num_nodes=5), 1)
    # In-degrees 2, 2, 3, 0, 0; three nodes have in-edges.
    law = {(0, 1): 1 / 3, (1, 2): 1 / 9, (0, 2): 1 / 6, (2,): 1 / 9, (0, 3): 1 / 6, (2, 3): 1 / 9}
    assert sampler.probabilities.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 9, 1 / 6, 1 / 9, 1 / 6, 1 / 9])
    assert agrees_with(drawn(sampler, 20_000), law)


@pytest.mark.parametrize("weights", ["column_norm", "degree"])
@pytest.mark.parametrize("kind", ["random", "directed"])
def test_nodes_are_drawn_by_column_norms_or_degrees(weights: str, kind: str):
    data = random_data() if kind == "random" else Data(edge_index=DIRECTED, num_nodes=5)
    size = data.num_nodes
    adjacency = np.zeros((size, size))
    np.add.at(adjacency, (data.edge_index[1].numpy(), data.edge_index[0].numpy()), 1)
    degree = adjacency.sum(1)
    law = degree if weights == "degree" else ((adjacency / np.maximum(degree, 1)[:, None]) ** 2).sum(0)
    law = law / law.sum()
    sampler = SaintNode(data, 1, weights=weights)
    assert np.allclose(sampler.probabilities.numpy(), law)
    assert agrees_with(drawn(sampler, 20_000), {(v,): p for v, p in enumerate(law) if p > 0})


@pytest.mark.parametrize("num_nodes", [3, 5, 8])
def test_walks_of_one_step_on_a_cycle_have_each_node_with_probability_two_by_n(num_nodes: int):
    sampler = SaintWalk(cycle(num_nodes), 1, 1)
    assert torch.allclose(sampler.probabilities, torch.full((num_nodes,), 1 / num_nodes, dtype=torch.float64))
    law = {tuple(sorted((i, (i + 1) % num_nodes))): 1 / num_nodes for i in range(num_nodes)}
    found = drawn(sampler, 20_000)
    assert agrees_with(found, law)
    share = np.bincount(np.concatenate(found), minlength=num_nodes) / len(found)
    assert share == pytest.approx(2 / num_nodes, abs=4 * math.sqrt(2 / num_nodes / len(found)))


def test_walks_go_against_the_direction_of_messages():
    sampler = SaintWalk(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3), 1, 1)
    assert agrees_with(drawn(sampler, 6000), {(0,): 1 / 3, (0, 1): 1 / 3, (1, 2): 1 / 3})


def test_a_frontier_of_one_is_a_walk():
    data = random_data()
    frontier = SaintFrontier(data, 6, 1, num_steps=20, coverage=3)
    walk = SaintWalk(data, 1, 5, num_steps=20, coverage=3)
    assert all(same(*pair) for pair in zip(frontier, walk, strict=True))


def test_more_draws_than_nodes_give_the_whole_graph():
    data = cycle(6)
    for sampler in (SaintNode(data, 500), SaintEdge(data, 500), SaintWalk(data, 500, 3), SaintFrontier(data, 900, 500)):
        batch = sampler.make(0, 0)
        assert batch.n_id.tolist() == list(range(6))
        assert batch.e_id.sort().values.tolist() == list(range(12))
        assert torch.equal(batch.edge_norm, torch.ones(12))
        assert torch.equal(batch.node_norm, torch.full((6,), 1 / 6))


def test_isolated_roots_are_subgraphs_of_one_node():
    data = Data(edge_index=both_ways([(0, 1)]), num_nodes=4)
    for sampler in (SaintWalk(data, 1, 3, num_steps=40), SaintFrontier(data, 4, 1, num_steps=40)):
        batches = list(sampler)
        assert {tuple(batch.n_id.tolist()) for batch in batches} == {(0, 1), (2,), (3,)}
        assert all(batch.edge_index.size(1) == 0 for batch in batches if batch.num_nodes == 1)
    without = SaintWalk(Data(edge_index=torch.empty(2, 0, dtype=torch.int64), num_nodes=3), 2, 2)
    assert all(batch.edge_norm.numel() == 0 for batch in without)
    assert {int(node) for batch in SaintEdge(data, 1, num_steps=20) for node in batch.n_id} == {0, 1}


def test_training_nodes_weigh_and_others_do_not():
    data = random_data()
    mask = data.train_mask
    for batch in SaintWalk(data, 10, 2, train_mask=mask, num_steps=3):
        assert torch.equal(batch.node_norm > 0, mask[batch.n_id])
        assert not bool(mask[batch.n_id].all())


@every_sampler
def test_inductive_samplers_see_training_nodes_alone(name: str):
    data = random_data()
    mask = data.train_mask
    sampler = SAMPLERS[name](data, train_mask=mask, inductive=True, num_steps=5)
    inside = mask[data.edge_index].all(0)
    degree = torch.bincount(data.edge_index[1][inside], minlength=40)
    for batch in sampler:
        assert bool(mask[batch.n_id].all())
        assert torch.equal(batch.n_id[batch.edge_index], data.edge_index[:, batch.e_id])
        assert bool(inside[batch.e_id].all())
        assert torch.equal(batch.in_degree, degree[batch.n_id])
        assert bool((batch.node_norm > 0).all())
    assert float(sampler.probabilities.sum()) == pytest.approx(1)
    outside = ~inside if name == "edge" else ~mask
    assert sampler.probabilities.shape == outside.shape
    assert float(sampler.probabilities[outside].sum()) == 0
    # What is drawn is that of the graph of the training nodes by itself.
    part = SAMPLERS[name](data.subgraph(mask.nonzero().squeeze(1)), num_steps=5)
    sampler.set_epoch(0)
    for one, two in zip(sampler, part, strict=True):
        assert torch.equal(one.n_id, mask.nonzero().squeeze(1)[two.n_id])
        assert torch.equal(one.edge_norm, two.edge_norm)
        assert torch.equal(one.node_norm, two.node_norm)


@pytest.mark.parametrize("inductive", [False, True])
def test_a_model_learns_from_subgraphs(inductive: bool):
    torch.manual_seed(0)
    data = random_data(300, 900, width=8)
    data.y = (data.x[:, 0] > 0).long()
    sampler = SaintWalk(data, 30, 2, coverage=10, train_mask=data.train_mask, inductive=inductive)
    layers = torch.nn.ModuleList([SAGEConv(8, 16), SAGEConv(16, 2)])

    def predict(part: Data) -> Tensor:
        graph = Graph.from_edge_index(part.edge_index, part.num_nodes)
        return layers[1](layers[0](part.x, graph).relu(), graph)

    optimizer, losses = torch.optim.Adam(layers.parameters(), lr=0.02), []
    for _ in range(15):
        total = 0.0
        for batch in sampler:
            each = torch.nn.functional.cross_entropy(predict(batch), batch.y, reduction="none")
            loss = (batch.node_norm * each).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        losses.append(total / len(sampler))
    assert losses[-1] < 0.5 * losses[0]
    accuracy = (predict(data).argmax(1) == data.y)[~data.train_mask].float().mean()
    assert accuracy > 0.85


def test_leaving_early_and_starting_over():
    sampler = SaintWalk(random_data(), 5, 2, num_steps=50)
    for batch in sampler:
        first = batch.n_id
        break
    gc.collect()
    assert torch.equal(first, sampler.make(0, 0).n_id)
    assert len(list(sampler)) == 50


def test_other_dtypes_and_given_data_untouched():
    data = random_data()
    keys, edges = data.keys(), data.edge_index.clone()
    list(SaintWalk(data, 5, 2, num_steps=2))
    assert data.keys() == keys
    assert torch.equal(data.edge_index, edges)
    narrow = data.clone()
    narrow.edge_index = data.edge_index.int()
    for one, two in zip(SaintWalk(data, 5, 2, 3), SaintWalk(narrow, 5, 2, 3), strict=True):
        assert one.edge_index.dtype == torch.int64
        assert two.edge_index.dtype == torch.int32
        assert torch.equal(one.edge_index, two.edge_index)
        assert torch.equal(one.edge_norm, two.edge_norm)


def test_bad_options():
    data = random_data()
    for make, words in (
        (lambda: SaintWalk(data, 0, 2), "num_roots must be an integer of at least 1, got 0"),
        (lambda: SaintWalk(data, 5, -1), "walk_length must be"),
        (lambda: SaintWalk(data, 2.5, 1), "num_roots must be"),  # type: ignore[arg-type]
        (lambda: SaintWalk(data, 2**20, 2**12), "at most 2\\^31 draws"),
        (lambda: SaintWalk(data, 5, 1, 0), "num_steps must be"),
        (lambda: SaintWalk(data, 5, 1, coverage=-1), "coverage must be"),
        (lambda: SaintWalk(data, 5, 1, coverage=math.inf), "coverage must be"),
        (lambda: SaintWalk(data, 5, 1, coverage=math.nan), "coverage must be"),
        (lambda: SaintWalk(data, 5, 1, seed="0"), "seed must be an integer"),  # type: ignore[arg-type]
        (lambda: SaintWalk(data, 5, 1, inductive=1), "inductive must be True or False"),  # type: ignore[arg-type]
        (lambda: SaintWalk(data, 5, 1, inductive=True), "say which by train_mask="),
        (lambda: SaintWalk(data, 5, 1, prefetch=-1), "prefetch must be"),
        (lambda: SaintNode(data, 0), "num_nodes must be"),
        (lambda: SaintNode(data, 3, weights="uniform"), "weights must be one of column_norm, degree, got 'uniform'"),
        (lambda: SaintEdge(data, 0), "num_edges must be"),
        (lambda: SaintEdge(data, 2**31), "at most 2\\^31 draws"),
        (lambda: SaintFrontier(data, 5, 6), "frontier must be at most num_nodes = 5"),
        (lambda: SaintFrontier(data, 5, 0), "frontier must be"),
        (lambda: SaintFrontier(data, 5, 2, degree_clip=0), "degree_clip must be"),
        (lambda: SaintWalk(data, 5, 1, coverage=0).pre_sample(), "coverage=0 draws no subgraphs"),
    ):
        with pytest.raises(ConfigError, match=words):
            make()


@every_sampler
def test_bad_data(name: str):
    make, data = SAMPLERS[name], random_data()
    with pytest.raises(DataError, match=r"needs data\.edge_index, which is missing"):
        make(Data(x=data.x))
    with pytest.raises(DataError, match="nothing tells the number of nodes"):
        make(Data(edge_index=data.edge_index))
    with pytest.raises(DataError, match="no nodes to draw from"):
        make(Data(edge_index=data.edge_index[:, :0], num_nodes=0))
    with pytest.raises(IndexRangeError, match="num_nodes = 7"):
        make(Data(edge_index=data.edge_index, num_nodes=7))
    with pytest.raises(ShapeError, match="edge_index"):
        make(Data(edge_index=data.edge_index[0], num_nodes=40))
    with pytest.raises(DataError, match=r"data\.edge_label_index holds numbers of nodes"):
        make(Data(edge_index=data.edge_index, num_nodes=40, edge_label_index=data.edge_index))
    with pytest.raises(DataError, match="names no training node"):
        make(data, train_mask=torch.zeros(40, dtype=torch.bool))
    with pytest.raises(ShapeError, match="one entry for each of 40 nodes"):
        make(data, train_mask=torch.ones(39, dtype=torch.bool))
    with pytest.raises(DtypeError, match="boolean tensor"):
        make(data, train_mask=torch.arange(40))
    with pytest.raises(DtypeError, match="boolean tensor"):
        make(data, train_mask=[True] * 40)


def test_graphs_without_edges_to_draw_by():
    data = Data(edge_index=both_ways([(0, 1)]), num_nodes=4)
    lone = torch.tensor([False, True, True, False])
    for kind in (SaintNode, SaintEdge):
        with pytest.raises(DataError, match=f"training nodes has no edges for {kind.__name__} to draw by"):
            kind(data, 2, train_mask=lone, inductive=True)
        with pytest.raises(DataError, match="data has no edges"):
            kind(Data(edge_index=data.edge_index[:, :0], num_nodes=4), 2)
