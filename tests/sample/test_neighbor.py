"""Neighbour sampling against its definition, hop by hop."""

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sample import Neighbor
from tests.sample.part_checks import check_part, check_threads, same
from tests.sample.saint_graphs import random_data
from tests.sample.test_root_operators import random_graph


def directed_data(num_nodes: int = 60, num_edges: int = 400, seed: int = 0) -> Data:
    """Multi-edges, self-loops, isolated nodes, nodes that no edge reaches."""
    edge_index = random_graph(num_nodes, num_edges, seed).edge_index
    return Data(
        edge_index=edge_index,
        x=torch.randn(num_nodes, 3),
        edge_attr=torch.arange(edge_index.size(1)),
        num_nodes=num_nodes,
    )


def neighbours(data: Data, node: int, direction: str) -> list[int]:
    """Edges by which a node has neighbours."""
    assert data.edge_index is not None
    source, target = data.edge_index
    arrives, leaves = target == node, source == node
    wanted = {"in": arrives, "out": leaves, "both": arrives | leaves}[direction]
    return wanted.nonzero()[:, 0].tolist()


def trees(batch: Data, disjoint: bool) -> Tensor:
    return batch.batch if disjoint else torch.zeros_like(batch.n_id)


@pytest.mark.parametrize("direction", ["in", "out", "both"])
@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("fanout", [[3, 2], [2, 0, 4], [-1, 1], [1000, 2, 1]])
def test_every_node_has_its_share_of_neighbours(direction: str, disjoint: bool, fanout: list[int]):
    data = directed_data()
    seeds = torch.randperm(60)[:20]
    sampler = Neighbor(data, fanout, seeds, batch_size=7, direction=direction, disjoint=disjoint, seed=3)
    assert len(sampler) == 3
    for number, batch in enumerate(sampler):
        check_part(data, batch)
        assert torch.equal(batch.n_id[: batch.batch_size], seeds[7 * number : 7 * number + 7])
        assert torch.equal(batch.input_id, torch.arange(20)[7 * number : 7 * number + 7])
        tree = trees(batch, disjoint)
        source, target = batch.edge_index
        assert torch.equal(tree[source], tree[target])
        pairs = list(zip(tree.tolist(), batch.n_id.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        assert sum(batch.num_sampled_nodes) == batch.num_nodes
        assert sum(batch.num_sampled_edges) == batch.e_id.numel()
        edges = list(zip(tree[source].tolist(), batch.e_id.tolist(), strict=True))
        assert len(set(edges)) == len(edges)
        check_hops(data, batch, direction, fanout)


def check_hops(data: Data, batch: Data, direction: str, fanout: list[int]) -> None:
    """Each hop samples the nodes that the last one found, and no others."""
    assert batch.edge_index is not None
    begin, first, seen = 0, 0, set(range(batch.batch_size))
    for hop, most in enumerate(fanout):
        end, last = begin + batch.num_sampled_nodes[hop], first + batch.num_sampled_edges[hop]
        ends = batch.edge_index[:, first:last]
        for place in range(begin, end):
            node = int(batch.n_id[place])
            all_edges = neighbours(data, node, direction)
            wanted = len(all_edges) if most < 0 else min(most, len(all_edges))
            if direction == "both":  # some may have been sampled from the other end
                assert int((batch.edge_index[:, :last] == place).any(0).sum()) >= wanted
            else:
                mine = ends[1 if direction == "in" else 0] == place
                assert int(mine.sum()) == wanted
                assert set(batch.e_id[first:last][mine].tolist()) <= set(all_edges)
        found = seen | set(ends.flatten().tolist())
        assert found - seen == set(range(end, end + batch.num_sampled_nodes[hop + 1]))
        seen, begin, first = found, end, last


@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_all_neighbours_to_the_end_are_all_that_reach_the_seeds(direction: str):
    data = directed_data(40, 45, seed=2)
    for seed in range(0, 40, 9):
        batch = Neighbor(data, [-1] * 40, torch.tensor([seed]), direction=direction).make(0, 0)
        reached, edges = {seed}, set()
        while True:
            more = {edge for node in reached for edge in neighbours(data, node, direction)}
            if more == edges:
                break
            edges = more
            reached |= set(data.edge_index[:, sorted(edges)].flatten().tolist())
        assert set(batch.n_id.tolist()) == reached
        assert sorted(batch.e_id.tolist()) == sorted(edges)


def test_both_directions_sample_each_end():
    """A path 0 -> 1 -> 2: from 1, one of its two edges; from 0, the only one, whatever its direction."""
    data = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    seen = set()
    for seed in range(20):
        batch = Neighbor(data, [1], torch.tensor([1]), direction="both", seed=seed).make(0, 0)
        check_part(data, batch)
        seen.add(tuple(batch.e_id.tolist()))
    assert seen == {(0,), (1,)}
    assert Neighbor(data, [1, 1], torch.tensor([0]), direction="both").make(0, 0).e_id.tolist()[0] == 0
    # Both ends sample the one edge: it is there once, or with replacement as often as it was drawn.
    both = torch.tensor([0, 1])
    pair = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2)
    assert Neighbor(pair, [1], both, batch_size=2, direction="both").make(0, 0).e_id.tolist() == [0]
    assert Neighbor(pair, [2], both, batch_size=2, direction="both", replace=True).make(0, 0).e_id.tolist() == [0] * 4
    loop = Data(edge_index=torch.tensor([[0], [0]]), num_nodes=1)
    assert Neighbor(loop, [-1], direction="both", replace=True).make(0, 0).e_id.tolist() == [0]


@pytest.mark.parametrize("disjoint", [False, True])
def test_with_replacement_each_node_has_exactly_as_many(disjoint: bool):
    data = directed_data()
    batch = Neighbor(data, [4, 3], torch.arange(30), batch_size=30, replace=True, disjoint=disjoint).make(0, 0)
    check_part(data, batch)
    degree = torch.bincount(data.edge_index[1], minlength=60)[batch.n_id]
    count = torch.bincount(batch.edge_index[1], minlength=batch.num_nodes)
    first, second = batch.num_sampled_nodes[:2]
    assert torch.equal(count[:first], 4 * (degree[:first] > 0))
    assert torch.equal(count[first : first + second], 3 * (degree[first : first + second] > 0))
    assert not count[first + second :].any()


def test_a_seed_in_a_disjoint_batch_may_be_there_twice_with_draws_of_its_own():
    data = directed_data()
    batch = Neighbor(data, [2], torch.zeros(12, dtype=torch.int64), batch_size=12, disjoint=True).make(0, 0)
    drawn = {tuple(batch.e_id[batch.batch[batch.edge_index[1]] == tree].tolist()) for tree in range(12)}
    assert len(drawn) > 1
    with pytest.raises(ConfigError, match=r"node 0 is there 12 times.*disjoint=True"):
        Neighbor(data, [2], torch.zeros(12, dtype=torch.int64))


def test_epochs_and_seeds_differ_and_batches_do_not_depend_on_who_asks():
    data = directed_data()
    options = {"batch_size": 16, "shuffle": True}
    one, two = Neighbor(data, [3, 3], seed=1, **options), Neighbor(data, [3, 3], seed=1, prefetch=0, **options)
    list(two)  # what was made before does not matter
    assert same(one.make(0, 2), two.make(0, 2))
    assert not same(one.make(0, 0), one.make(1, 0))
    assert not same(one.make(0, 0), Neighbor(data, [3, 3], seed=2, **options).make(0, 0))
    assert sorted(torch.cat([batch.input_id for batch in one]).tolist()) == list(range(60))
    plain = Neighbor(data, [3, 3], batch_size=16)
    assert torch.cat([batch.input_id for batch in plain]).tolist() == list(range(60))
    assert same(next(iter(two.shard(2, 3))), one.make(1, 2))


def test_the_same_batches_for_any_number_of_threads():
    data = random_data(4000, 30_000)
    sampler = Neighbor(data, [15, 10], batch_size=1024, shuffle=True)
    check_threads(sampler)


def test_masks_empty_seeds_isolated_nodes_and_narrow_indices():
    data = random_data()
    by_mask = Neighbor(data, [2], data.train_mask, batch_size=100).make(0, 0)
    assert torch.equal(by_mask.n_id[: by_mask.batch_size], data.train_mask.nonzero()[:, 0])
    nothing = Neighbor(data, [2], torch.zeros(0, dtype=torch.int64))
    assert (len(nothing), list(nothing)) == (0, [])
    alone = Neighbor(Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=3), [5, 5], batch_size=3)
    assert alone.make(0, 0).num_sampled_nodes == [3, 0, 0]
    no_hops = Neighbor(data, [], batch_size=40).make(0, 0)
    assert (no_hops.num_nodes, no_hops.edge_index.shape) == (40, (2, 0))
    wide = Neighbor(data, [3, 3], batch_size=40).make(0, 0)
    data.edge_index = data.edge_index.int()
    narrow = Neighbor(data, [3, 3], batch_size=40).make(0, 0)
    assert narrow.edge_index.dtype == torch.int32
    assert torch.equal(narrow.edge_index, wide.edge_index.int())


def test_bad_input_is_named():
    data = random_data()
    for make, error, words in (
        (lambda: Neighbor(data, 3), ConfigError, "fanout must be a list"),  # type: ignore[arg-type]
        (lambda: Neighbor(data, [-2]), ConfigError, "or -1 for all neighbours, got -2"),
        (lambda: Neighbor(data, [2.0]), ConfigError, "must hold integers"),  # type: ignore[list-item]
        (lambda: Neighbor(data, [2**21], replace=True), ConfigError, "at most 2\\^20"),
        (lambda: Neighbor(data, [2], direction="up"), ConfigError, "direction must be one of in, out, both"),
        (lambda: Neighbor(data, [2], batch_size=0), ConfigError, "batch_size must be"),
        (lambda: Neighbor(data, [2], replace=1), ConfigError, "replace must be True or False"),  # type: ignore[arg-type]
        (lambda: Neighbor(data, [2], seed="a"), ConfigError, "seed must be"),  # type: ignore[arg-type]
        (lambda: Neighbor(data, [2], torch.tensor([40])), IndexRangeError, r"seeds\[0\] = 40"),
        (lambda: Neighbor(data, [2], torch.tensor([-1])), IndexRangeError, "seeds"),
        (lambda: Neighbor(data, [2], torch.zeros(3)), DtypeError, "seeds must be int32 or int64"),
        (lambda: Neighbor(data, [2], torch.zeros(3, dtype=torch.bool)), ShapeError, "one entry per node, 40"),
        (lambda: Neighbor(Data(num_nodes=3), [2]), DataError, "edge_index"),
        (lambda: Neighbor(Data(edge_index=data.edge_index), [2]), DataError, "num_nodes"),
        (lambda: Neighbor(data, [2], batch_size=10).make(0, 4), ConfigError, "below num_batches = 4"),
    ):
        with pytest.raises(error, match=words):
            make()
