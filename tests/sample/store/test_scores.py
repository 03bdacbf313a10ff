"""Scores of rows against dense algebra, counts by hand, and orders of rows that are used together."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import Graph
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sample import Neighbor
from gnnkit.sample.store import minhash_order, reverse_pagerank, scores, visit_counts


def random_edges(num_nodes: int, num_edges: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(num_edges).integers(0, num_nodes, (2, num_edges)))


def dense(edges: Tensor, num_nodes: int, start: np.ndarray, weight: np.ndarray, damping: float) -> np.ndarray:
    matrix = np.zeros((num_nodes, num_nodes))
    np.add.at(matrix, (edges[1].numpy(), edges[0].numpy()), weight)
    total = matrix.sum(1, keepdims=True)
    matrix = np.divide(matrix, total, out=np.zeros_like(matrix), where=total > 0)
    return np.linalg.solve(np.eye(num_nodes) - damping * matrix.T, (1 - damping) * start)


@pytest.mark.parametrize(("num_nodes", "num_edges"), [(30, 90), (30, 20), (5, 0), (1, 3)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85])
def test_pagerank_solves_its_equation(num_nodes: int, num_edges: int, weighted: bool, damping: float):
    edges = random_edges(num_nodes, num_edges)
    weight = torch.rand(num_edges).where(torch.arange(num_edges) % 4 > 0, 0.0)
    nodes = torch.tensor([0, num_nodes - 1, 0])
    start = np.bincount(nodes.numpy(), minlength=num_nodes) / 3
    given = weight.numpy() if weighted else np.ones(num_edges)
    found = reverse_pagerank(
        Graph.from_edge_index(edges, num_nodes),
        nodes,
        weight=weight if weighted else None,
        damping=damping,
        tolerance=1e-14,
        max_iterations=1000,
    )
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), dense(edges, num_nodes, start, given, damping), atol=1e-12)


def test_pagerank_of_a_path_has_a_closed_form():
    # 0 <- 1 <- 2 <- 3: from node 0, the walker is at k with probability d^k.
    graph = Graph.from_edge_index(torch.tensor([[1, 2, 3], [0, 1, 2]]), 4)
    found = reverse_pagerank(graph, torch.tensor([0]), damping=0.5, tolerance=1e-15)
    assert found.tolist() == [0.5, 0.25, 0.125, 0.0625]


def test_pagerank_from_a_mask_and_in_parts(monkeypatch: pytest.MonkeyPatch):
    graph = Graph.from_edge_index(random_edges(50, 400), 50)
    mask, weight = torch.arange(50) % 3 == 0, torch.rand(400)
    whole = reverse_pagerank(graph, mask, weight=weight)
    assert torch.equal(whole, reverse_pagerank(graph, mask.nonzero()[:, 0], weight=weight))
    for size in (1, 7, 100):
        monkeypatch.setattr(scores, "_EDGES_AT_ONCE", size)
        assert torch.equal(whole, reverse_pagerank(graph, mask, weight=weight))


def test_tolerance_bounds_the_error():
    graph = Graph.from_edge_index(random_edges(50, 400), 50)
    exact = reverse_pagerank(graph, torch.tensor([3]), tolerance=1e-15, max_iterations=2000)
    for tolerance in (1e-2, 1e-4, 1e-8):
        error = float((exact - reverse_pagerank(graph, torch.tensor([3]), tolerance=tolerance)).sum())
        assert 0 <= error <= tolerance
    for most in (1, 5):
        rough = reverse_pagerank(graph, torch.tensor([3]), tolerance=1e-15, max_iterations=most)
        assert 0.85 ** (most + 2) < float((exact - rough).sum()) <= 0.85**most


def test_pagerank_finds_what_a_sampler_visits():
    data = Data(edge_index=random_edges(200, 1500), num_nodes=200)
    train = torch.arange(10)
    counts = torch.zeros(200, dtype=torch.int64)
    for seed in range(40):
        counts += visit_counts(Neighbor(data, [3, 3], train, batch_size=1, seed=seed), 200)
    score = reverse_pagerank(Graph.from_edge_index(data.edge_index, 200), train)
    # The 40 nodes of the greatest scores have nearly as many visits as the 40 that are visited most.
    found, most = counts[score.argsort(descending=True)[:40]].sum(), counts.sort(descending=True).values[:40].sum()
    assert int(found) > 0.85 * int(most)
    assert int(found) > 1.5 * int(counts.sum()) * 40 / 200


def test_options_of_pagerank_that_are_wrong():
    graph, nodes = Graph.from_edge_index(random_edges(30, 90), 30), torch.tensor([1])
    for damping in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="damping must be in"):
            reverse_pagerank(graph, nodes, damping=damping)
    with pytest.raises(ConfigError, match="tolerance must be positive"):
        reverse_pagerank(graph, nodes, tolerance=0)
    with pytest.raises(ConfigError, match="max_iterations must be"):
        reverse_pagerank(graph, nodes, max_iterations=0)
    for none in (nodes[:0], torch.zeros(30, dtype=torch.bool)):
        with pytest.raises(ConfigError, match="names none"):
            reverse_pagerank(graph, none)
    with pytest.raises(ShapeError, match="one entry per node, 30"):
        reverse_pagerank(graph, torch.ones(29, dtype=torch.bool))
    with pytest.raises(IndexRangeError):
        reverse_pagerank(graph, torch.tensor([30]))
    with pytest.raises(DtypeError):
        reverse_pagerank(graph, torch.tensor([1.0]))
    with pytest.raises(ShapeError, match="one entry for each of 90 edges"):
        reverse_pagerank(graph, nodes, weight=torch.ones(89))
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="weights must be finite"):
            reverse_pagerank(graph, nodes, weight=torch.full((90,), value))
    with pytest.raises(DtypeError, match=r"graph must be a gnnkit\.Graph"):
        reverse_pagerank(random_edges(30, 90), nodes)  # type: ignore[arg-type]


def test_visits_are_counted():
    batches = [Data(n_id=torch.tensor([0, 3, 3])), Data(n_id=torch.tensor([3, 1])), Data(n_id=torch.empty(0).long())]
    assert visit_counts(batches, 5).tolist() == [1, 1, 0, 3, 0]
    assert visit_counts([], 2).tolist() == [0, 0]
    with pytest.raises(IndexRangeError):
        visit_counts(batches, 3)
    with pytest.raises(DtypeError, match="n_id must be"):
        visit_counts([Data()], 3)


def test_nodes_of_the_same_batches_are_neighbours():
    # Four groups of nodes, dealt out at random; each group is in batches of its own.
    group = torch.from_numpy(np.random.default_rng(0).permutation(np.arange(400) % 5))
    batches = [Data(n_id=(group == number % 4).nonzero()[:, 0]) for number in range(12)]
    for hashes in (1, 2, 3):
        order = minhash_order(batches, 400, num_hashes=hashes, seed=3)
        assert torch.equal(order.sort().values, torch.arange(400))
        runs = torch.unique_consecutive(group[order])
        assert len(runs) == 5
        # Those of no batch, and within each group the lower number first.
        assert int(runs[-1]) == 4
        for run in range(5):
            members = order[group[order] == run]
            assert torch.equal(members, members.sort().values)
    assert torch.equal(minhash_order(batches, 400, seed=3), minhash_order(batches, 400, seed=3))
    assert len({tuple(minhash_order(batches, 400, seed=seed).tolist()) for seed in range(8)}) > 1


def test_equal_hashes_are_as_likely_as_batches_are_shared():
    # Nodes 0 and 1 share 2 of 6 batches: how often they come before both of two others follows from the law of minima.
    batches = [Data(n_id=torch.tensor(nodes)) for nodes in ([0, 1], [0, 1], [0], [0], [1], [1])]
    equal = 0
    for seed in range(2000):
        keys = scores.mixed(np.array([seed], dtype=np.uint64) + np.arange(1, dtype=np.uint64))
        place = [scores.mixed(keys ^ scores.mixed(np.array([b], dtype=np.uint64)))[0] for b in range(6)]
        equal += min(place[b] for b in (0, 1, 2, 3)) == min(place[b] for b in (0, 1, 4, 5))
    assert abs(equal / 2000 - 1 / 3) < 4 * (2 / 9 / 2000) ** 0.5
    assert minhash_order(batches, 3, num_hashes=1, seed=0)[-1] == 2


def test_options_of_orders_that_are_wrong():
    with pytest.raises(ConfigError, match="num_hashes must be"):
        minhash_order([], 3, num_hashes=0)
    with pytest.raises(ConfigError, match="seed must be"):
        minhash_order([], 3, seed=0.5)  # type: ignore[arg-type]
    with pytest.raises(IndexRangeError):
        minhash_order([Data(n_id=torch.tensor([3]))], 3)
    assert minhash_order([], 0).tolist() == []
    assert minhash_order([], 3).tolist() == [0, 1, 2]
