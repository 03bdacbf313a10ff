"""shaDow: its subgraphs against brute force, its features against NetworkX and closed forms."""

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sample import ShaDow
from tests.sample.part_checks import check_part, check_threads
from tests.sample.saint_graphs import both_ways, path, random_data
from tests.sample.test_root_operators import brute_force_ball, scores


def parts(batch: Data) -> list[list[int]]:
    """Nodes of each subgraph, as numbered in the whole graph."""
    return [part.tolist() for part in batch.n_id.split(batch.ptr.diff().tolist())]


def networkx_of(batch: Data, number: int) -> nx.DiGraph:
    """Edges turned round: distances from a target are those that lead to it."""
    begin, end = batch.ptr[number : number + 2].tolist()
    graph = nx.DiGraph()
    graph.add_nodes_from(range(begin, end))
    graph.add_edges_from((t, s) for s, t in batch.edge_index.T.tolist() if begin <= t < end)
    return graph


def check_union(data: Data, batch: Data) -> None:
    """Induced subgraphs side by side: exactly the edges between two nodes of one part."""
    check_part(data, batch)
    assert torch.equal(batch.batch, torch.repeat_interleave(batch.ptr.diff()))
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
    source, target = data.edge_index.tolist()
    edges = iter(
        batch.e_id.split(torch.bincount(batch.batch[batch.edge_index[1]], minlength=len(batch.ptr) - 1).tolist())
    )
    for part in parts(batch):
        inside = [e for e, (s, t) in enumerate(zip(source, target, strict=True)) if s in part and t in part]
        assert sorted(next(edges).tolist()) == inside


def test_all_neighbours_within_two_hops_are_those_of_brute_force():
    data = random_data()
    graph = Graph.from_edge_index(data.edge_index, 40)
    sampler = ShaDow(data, 2, -1, batch_size=16, features=["hop"])
    assert len(sampler) == 3
    for batch in sampler:
        check_union(data, batch)
        assert torch.equal(batch.root_n_id, batch.ptr[:-1])
        assert torch.equal(batch.n_id[batch.root_n_id], batch.input_id)
        for number, part in enumerate(parts(batch)):
            assert set(part) == brute_force_ball(graph, part[0], 2)
            distance = nx.single_source_shortest_path_length(networkx_of(batch, number), int(batch.ptr[number]))
            assert {place: int(batch.hop[place]) for place in distance} == distance
        assert int(batch.hop.max()) == 2


def test_fanout_bounds_what_a_node_adds_and_is_drawn_anew_in_each_epoch():
    data = random_data(200, 3000)
    sampler = ShaDow(data, 1, 3, batch_size=200, seed=4)
    batch, other = sampler.make(0, 0), sampler.make(1, 0)
    check_union(data, batch)
    assert int(batch.ptr.diff().max()) <= 4
    assert not torch.equal(batch.n_id, other.n_id)
    assert ShaDow(data, 3, 0, batch_size=200).make(0, 0).n_id.tolist() == list(range(200))
    assert ShaDow(data, 0, batch_size=200).make(0, 0).n_id.tolist() == list(range(200))
    # What a target gets does not depend on those beside it.
    alone = ShaDow(data, 1, 3, batch_size=1, seed=4).make(0, 77)
    assert alone.n_id.tolist() == parts(batch)[77]


@pytest.mark.parametrize("precomputed", [False, True])
@pytest.mark.parametrize(("ppr", "threshold"), [(1, 0.0), (3, 0.0), (12, 0.0), (12, 0.2), (12, 5.0)])
def test_ranked_members_are_those_of_the_scores(precomputed: bool, ppr: int, threshold: float):
    data = random_data()
    graph = Graph.from_edge_index(data.edge_index, 40)
    sampler = ShaDow(data, ppr=ppr, threshold=threshold, epsilon=1e-4, batch_size=16, features=["ppr", "hop"])
    if precomputed:
        sampler.precompute()
    for batch in sampler:
        check_union(data, batch)
        for number, part in enumerate(parts(batch)):
            root = int(batch.input_id[number])
            score = scores(graph, root, 1e-4)
            ranked = sorted((node for node in range(40) if score[node] > 0), key=lambda v: (-score[v], v))[:ppr]
            second = score[ranked[min(1, len(ranked) - 1)]]
            wanted = [node for node in ranked if score[node] >= threshold * second and node != root]
            assert part == [root, *wanted]
            begin, end = batch.ptr[number : number + 2].tolist()
            assert batch.ppr[begin:end].tolist() == pytest.approx(score[part].tolist(), rel=1e-6)


def test_published_scores_on_a_path():
    batch = ShaDow(path(3), ppr=3, epsilon=1e-12, batch_size=3, features=["ppr"]).make(0, 0)
    first, middle = [0.41793478, 0.425, 0.15706522], [0.575, 0.2125, 0.2125]
    assert batch.ppr.tolist() == pytest.approx([*first, *middle, *first], abs=1e-7)
    ends, (centre, *others) = (parts(batch)[0], parts(batch)[2]), parts(batch)[1]
    assert (ends, centre, set(others)) == (([0, 1, 2], [2, 1, 0]), 1, {0, 2})
    # From the end, the second score is its own: the far end has .376 of it, and goes at .4.
    assert parts(ShaDow(path(3), ppr=3, threshold=0.37, batch_size=3).make(0, 0))[0] == [0, 1, 2]
    assert parts(ShaDow(path(3), ppr=3, threshold=0.4, batch_size=3).make(0, 0))[0] == [0, 1]


@pytest.mark.parametrize("options", [{"depth": 2, "fanout": -1}, {"ppr": 12, "epsilon": 1e-4}])
def test_links_have_the_union_of_both_sets_and_labels(options: dict):
    data = random_data()
    links = torch.tensor([[0, 5, 30, 7, 8], [12, 3, 31, 9, 0]])
    sampler = ShaDow(data, targets=links, batch_size=3, features=["hop", "drnl"], **options)
    sets = parts(ShaDow(data, batch_size=40, **options).make(0, 0))
    for batch in sampler:
        check_union(data, batch)
        assert torch.equal(batch.root_n_id, torch.stack([batch.ptr[:-1], batch.ptr[:-1] + 1]))
        assert torch.equal(batch.n_id[batch.root_n_id], links[:, batch.input_id])
        for number, part in enumerate(parts(batch)):
            u, v = links[:, batch.input_id[number]].tolist()
            assert part == [u, v, *sorted({*sets[u], *sets[v]} - {u, v})]
            check_labels(batch, number)


def check_labels(batch: Data, number: int) -> None:
    graph = networkx_of(batch, number)
    first, second = batch.root_n_id[:, number].tolist()
    shortest = nx.single_source_shortest_path_length
    plain = shortest(graph, first), shortest(graph, second)
    without = (
        shortest(nx.restricted_view(graph, [second], []), first),
        shortest(nx.restricted_view(graph, [first], []), second),
    )
    for place in graph:
        assert batch.hop[place].tolist() == [distance.get(place, -1) for distance in plain]
        label = 0
        if place in (first, second):
            label = 1
        elif place in without[0] and place in without[1]:
            a, b = without[0][place], without[1][place]
            half, odd = divmod(a + b, 2)
            label = 1 + min(a, b) + half * (half + odd - 1)
        assert int(batch.drnl[place]) == label


def test_labels_that_are_published():
    """Common neighbours have label 2, then come (1, 2), (1, 3), (2, 2) with 3, 4, 5 (Zhang and Chen, 2018)."""
    pairs = [(0, 2), (1, 2), (0, 3), (3, 4), (4, 1), (0, 5), (5, 6), (6, 7), (7, 1), (0, 1)]
    data = Data(edge_index=both_ways(pairs), num_nodes=9)
    batch = ShaDow(data, 4, -1, targets=torch.tensor([[0], [1]]), features=["drnl"]).make(0, 0)
    label = dict(zip(batch.n_id.tolist(), batch.drnl.tolist(), strict=True))
    assert label == {0: 1, 1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 5, 7: 4}


def test_scores_of_links_are_of_each_end():
    data = random_data(seed=3)
    links = torch.tensor([[0, 5, 2], [12, 3, 30]])
    batch = ShaDow(data, ppr=6, targets=links, features=["ppr"]).make(0, 0)
    single = ShaDow(data, ppr=6, batch_size=40, features=["ppr"]).make(0, 0)
    known = [
        dict(zip(part, score.tolist(), strict=True))
        for part, score in zip(parts(single), single.ppr.split(single.ptr.diff().tolist()), strict=True)
    ]
    for number, part in enumerate(parts(batch)):
        begin = int(batch.ptr[number])
        for place, node in enumerate(part):
            ends = links[:, number].tolist()
            assert batch.ppr[begin + place].tolist() == [known[end].get(node, 0.0) for end in ends]


@pytest.mark.parametrize("options", [{"fanout": 3}, {"ppr": 20, "epsilon": 1e-3}])
def test_the_same_batches_for_any_number_of_threads(options: dict):
    data = random_data(2000, 10_000)
    sampler = ShaDow(data, targets=torch.arange(0, 2000, 7), batch_size=100, shuffle=True, **options)
    check_threads(sampler)


def test_shuffled_targets_are_all_there_once_and_others_in_order():
    data = random_data()
    given = torch.tensor([7, 7, 3, 20])
    sampler = ShaDow(data, targets=given, batch_size=3, shuffle=True, seed=1)
    orders = []
    for _ in range(6):
        chosen = torch.cat([batch.input_id for batch in sampler])
        assert sorted(chosen.tolist()) == [0, 1, 2, 3]
        orders.append(tuple(chosen.tolist()))
    assert len(set(orders)) > 1
    plain = ShaDow(data, targets=given, batch_size=3)
    assert [batch.n_id[batch.root_n_id].tolist() for batch in plain] == [[7, 7, 3], [20]]
    assert [parts(batch) for batch in ShaDow(data, targets=data.train_mask, batch_size=40, depth=0)] == [
        [[node] for node in data.train_mask.nonzero()[:, 0].tolist()]
    ]


@pytest.mark.parametrize("options", [{}, {"ppr": 5}, {"ppr": 5, "threshold": 0.1}])
def test_isolated_targets_are_alone_and_no_targets_make_no_batches(options: dict):
    lone = Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), x=torch.randn(3, 2))
    batch = ShaDow(lone, batch_size=3, features=["hop"], **options).make(0, 0)
    assert (batch.n_id.tolist(), batch.ptr.tolist(), batch.hop.tolist()) == ([0, 1, 2], [0, 1, 2, 3], [0, 0, 0])
    pair = ShaDow(lone, targets=torch.tensor([[0], [2]]), features=["hop", "drnl"], **options).make(0, 0)
    assert (pair.n_id.tolist(), pair.hop.tolist(), pair.drnl.tolist()) == ([0, 2], [[0, -1], [-1, 0]], [1, 1])
    for empty in (torch.zeros(0, dtype=torch.int64), torch.zeros((2, 0), dtype=torch.int64)):
        nothing = ShaDow(lone, targets=empty, **options)
        if options:
            nothing.precompute()
        assert (len(nothing), list(nothing)) == (0, [])


def refused() -> list[tuple[dict, type[Exception], str]]:
    links = torch.tensor([[0, 1], [2, 1]])
    return [
        ({"depth": -1}, ConfigError, "depth must be"),
        ({"fanout": -2}, ConfigError, "fanout must be"),
        ({"fanout": 3, "ppr": 3}, ConfigError, "not both"),
        ({"ppr": 0}, ConfigError, "ppr must be"),
        ({"epsilon": 0.0}, ConfigError, "epsilon must be"),
        ({"alpha": 1.5}, ConfigError, "alpha must be"),
        ({"alpha": float("nan")}, ConfigError, "alpha must be"),
        ({"threshold": -0.1}, ConfigError, "threshold must be at least 0"),
        ({"threshold": float("inf")}, ConfigError, "threshold must be at least 0 and finite"),
        ({"features": "hop"}, ConfigError, "features must be a list"),
        ({"features": ["far"]}, ConfigError, "features must be some of hop, drnl, ppr"),
        ({"features": ["drnl"]}, ConfigError, "give links"),
        ({"features": ["ppr"]}, ConfigError, "give ppr="),
        ({"targets": links}, DataError, "link 1 joins node 1 to itself"),
        ({"targets": links.float()}, DtypeError, "links must be int32 or int64"),
        ({"targets": torch.zeros((3, 2), dtype=torch.int64)}, ShapeError, r"shape \[2, T\]"),
        ({"targets": torch.tensor([[0], [40]])}, IndexRangeError, r"targets\[1\]"),
        ({"targets": torch.tensor([40])}, IndexRangeError, "targets"),
        ({"batch_size": 0}, ConfigError, "batch_size must be"),
    ]


@pytest.mark.parametrize(("options", "error", "words"), refused())
def test_bad_input_is_named(options: dict, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        ShaDow(random_data(), **options)


def test_features_replace_nothing_and_only_scores_are_computed_ahead():
    data = random_data()
    data.hop = torch.zeros(40)
    with pytest.raises(DataError, match="attribute 'hop' already"):
        ShaDow(data, features=["hop"])
    with pytest.raises(ConfigError, match="without ppr"):
        ShaDow(data).precompute()


def test_renumbering_nodes_renumbers_subgraphs():
    """Distances and memberships follow the nodes; all neighbours are taken, so that nothing is drawn."""
    data, permutation = random_data(), torch.randperm(40)
    renamed = Data(edge_index=permutation[data.edge_index], num_nodes=40)
    one = ShaDow(Data(edge_index=data.edge_index, num_nodes=40), 2, -1, batch_size=40, features=["hop"]).make(0, 0)
    two = ShaDow(renamed, 2, -1, targets=permutation, batch_size=40, features=["hop"]).make(0, 0)
    assert torch.equal(one.ptr, two.ptr)

    def sorted_members(batch: Data, names: Tensor) -> list[tuple[int, int, int]]:
        return sorted(zip(batch.batch.tolist(), names.tolist(), batch.hop.tolist(), strict=True))

    assert sorted_members(one, permutation[one.n_id]) == sorted_members(two, two.n_id)
