"""Negative edges against tables of all pairs, and their law."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sample import negative_edges
from tests.sample.test_root_operators import random_graph


def free_pairs(edges: Tensor, num_src: int, num_dst: int, undirected: bool, self_loops: bool) -> set[tuple[int, int]]:
    table = np.ones((num_src, num_dst), dtype=bool)
    table[tuple(edges.numpy())] = False
    if undirected:
        table = np.triu(table & table.T)
    if not self_loops:
        table[np.arange(num_src), np.arange(num_src)] = False
    return set(zip(*np.nonzero(table), strict=True))


def as_set(pairs: Tensor) -> set[tuple[int, int]]:
    found = set(map(tuple, pairs.T.tolist()))
    assert len(found) == pairs.size(1)
    return found


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("num_edges", [0, 20, 300])
def test_all_of_them_are_those_of_a_table(undirected: bool, self_loops: bool, num_edges: int):
    edges = random_graph(20, num_edges).edge_index
    wanted = free_pairs(edges, 20, 20, undirected, self_loops)
    options = {"undirected": undirected, "self_loops": self_loops, "seed": 4}
    for count in (0, 1, len(wanted) // 3, len(wanted)):
        found = negative_edges(edges, 20, count, **options)
        assert as_set(found) <= wanted
        assert found.shape == (2, count)
        assert torch.equal(found, negative_edges(edges, 20, count, method="dense", **options))
    assert as_set(negative_edges(edges, 20, len(wanted), **options)) == wanted
    with pytest.raises(ConfigError, match=f"number of pairs without an edge, {len(wanted)}, got {len(wanted) + 1}"):
        negative_edges(edges, 20, len(wanted) + 1, **options)


@pytest.mark.parametrize(("num_src", "num_dst"), [(3, 11), (11, 3), (1, 1), (4, 0)])
def test_bipartite_pairs(num_src: int, num_dst: int):
    edges = torch.stack([torch.arange(min(num_src, num_dst))] * 2)
    wanted = free_pairs(edges, num_src, num_dst, False, True)
    assert as_set(negative_edges(edges, (num_src, num_dst), len(wanted))) == wanted


@pytest.mark.parametrize("undirected", [False, True])
def test_large_graphs_lose_no_pair_to_rounding(undirected: bool):
    """Numbers of pairs beyond what a float64 holds; the first and the last of them, and the neighbours of edges."""
    from gnnkit.sample.negative import _at_rank, _Pairs

    size = 2**31 - 1
    for self_loops in (False, True):
        pairs = _Pairs.of(size, undirected, self_loops)
        number = torch.tensor([0, 1, 2, 3, pairs.count // 3, pairs.count - 2, pairs.count - 1])
        source, target = pairs.ends(number)
        assert torch.equal(pairs.number(source, target), number)
        assert int(torch.maximum(source, target).max()) == size - 1
        assert int(torch.minimum(source, target).min()) == 0
    assert _at_rank(torch.tensor([0, 1, 5]), torch.arange(5)).tolist() == [2, 3, 4, 6, 7]
    found = negative_edges(torch.tensor([[0, size - 1], [1, 5]]), size, 1000, undirected=undirected)
    assert len(as_set(found)) == 1000


@pytest.mark.parametrize("count", [1, 3])
def test_every_set_is_equally_likely(count: int):
    """Few of many pairs, drawn in sequence, and more than half of them, by a permutation."""
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    free = sorted(free_pairs(edges, 4, 4, False, False))[:9]
    assert len(free) == 9
    number = {pair: place for place, pair in enumerate(itertools.permutations(free, count))}
    seen = np.zeros(len(number), dtype=int)
    for seed in range(20 * len(number)):
        seen[number[tuple(map(tuple, negative_edges(edges, 4, count, seed=seed).T.tolist()))]] += 1
    assert scipy.stats.chisquare(seen).pvalue > 0.001


def test_draws_beyond_half_are_uniform_as_well():
    edges = torch.zeros((2, 0), dtype=torch.int64)
    seen = np.zeros(9, dtype=int)
    for seed in range(600):
        found = negative_edges(edges, 3, 6, seed=seed, self_loops=True)
        np.add.at(seen, (found[0] * 3 + found[1]).numpy(), 1)
    # Counts of draws without replacement vary less than chi-square has it, by this factor.
    statistic = ((seen - 400) ** 2).sum() / 400 / (1 - 6 / 9) * (8 / 9)
    assert scipy.stats.chi2.sf(statistic, 8) > 0.001


def test_narrow_indices_stay_narrow():
    found = negative_edges(torch.tensor([[0], [1]], dtype=torch.int32), 5, 4)
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), negative_edges(torch.tensor([[0], [1]]), 5, 4))


def test_bad_input_is_named():
    edges = torch.tensor([[0], [1]])
    for call, error, words in (
        (lambda: negative_edges(edges, 3, -1), ConfigError, "num_samples must be"),
        (lambda: negative_edges(edges, 3, 1, method="quick"), ConfigError, "method must be one of sparse, dense"),
        (lambda: negative_edges(edges, 3, 1, seed=0.5), ConfigError, "seed must be"),  # type: ignore[arg-type]
        (lambda: negative_edges(edges, 3, 1, undirected=1), ConfigError, "undirected must be"),  # type: ignore[arg-type]
        (lambda: negative_edges(edges, (3, 3), 1, undirected=True), ConfigError, "one set of nodes"),
        (lambda: negative_edges(edges, 1, 0), IndexRangeError, r"edge_index\[1\]"),
        (lambda: negative_edges(edges.float(), 3, 1), DtypeError, "edge_index must be"),
        (lambda: negative_edges(torch.zeros((3, 1), dtype=torch.int64), 3, 1), ShapeError, r"\[2, E\]"),
        (lambda: negative_edges(edges, (1, 2, 3), 1), ShapeError, "a pair of them"),  # type: ignore[arg-type]
        (lambda: negative_edges(edges, 2**31, 1), IndexRangeError, "2\\^62 pairs"),
    ):
        with pytest.raises(error, match=words):
            call()
