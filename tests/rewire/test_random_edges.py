"""Random edges: right in number, place and distribution."""

from collections import Counter
from itertools import combinations
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from gnnkit.errors import ConfigError, DataError
from gnnkit.rewire import RandomEdges
from gnnkit.rewire._chance import distinct_integers, first_of_equals, permutation, uniform_integers
from gnnkit.rewire.random_edges import _Pairs
from tests.rewire.made_graphs import EDGE_CASES, assert_well_formed, data_of, networkx_of, pairs_of, random_data


def candidates(data: Any, within: bool) -> set[tuple[int, int]]:
    groups = list(nx.connected_components(networkx_of(data))) if within else [range(data.num_nodes)]
    return {pair for group in groups for pair in combinations(sorted(group), 2)} - pairs_of(data)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(random_data(), st.integers(0, 120), st.booleans(), st.integers(0, 5))
def test_as_many_candidates_as_asked_for_or_all(data: Any, count: int, within: bool, seed: int):
    out = RandomEdges(num_edges=count, within_components=within, seed=seed)(data)
    assert_well_formed(data, out)
    free = candidates(data, within)
    assert pairs_of(out, 1) <= free
    assert len(pairs_of(out, 1)) == min(count, len(free))


@pytest.mark.parametrize("within", [True, False])
def test_every_set_of_candidates_is_equally_likely(within: bool):
    # Two components with 3 candidates and 1, and 12 between them.
    data = data_of(nx.disjoint_union(nx.path_graph(4), nx.path_graph(3)))
    free = candidates(data, within)
    assert len(free) == (4 if within else 16)
    sets = {frozenset(pair) for pair in combinations(sorted(free), 2)}
    draws = 10 * len(sets)
    drawn = [pairs_of(RandomEdges(num_edges=2, within_components=within, seed=s)(data), 1) for s in range(draws)]
    count = Counter(map(frozenset, drawn))
    assert set(count) <= sets
    chi2 = sum((count[each] - 10) ** 2 / 10 for each in sets)
    # Mean len - 1, variance 2 (len - 1): four standard deviations.
    assert abs(chi2 - (len(sets) - 1)) < 4 * (2 * len(sets)) ** 0.5


def test_a_fraction_is_one_of_the_edges():
    data = data_of(nx.cycle_graph(30))
    assert len(pairs_of(RandomEdges(num_edges=0.25)(data), 1)) == 8
    assert len(pairs_of(RandomEdges(num_edges=1.0)(data), 1)) == 30
    assert len(pairs_of(RandomEdges(num_edges=1)(data), 1)) == 1


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases_saturate(name: str):
    data = data_of(EDGE_CASES[name])
    out = RandomEdges(num_edges=1000)(data)
    assert_well_formed(data, out)
    assert pairs_of(out, 1) == candidates(data, within=True)


def test_numbers_and_pairs_are_inverse_even_for_huge_graphs():
    pairs = _Pairs(torch.tensor([0, 1, 0, 0, 2, 1, 1]))
    ends = pairs.ends(torch.arange(pairs.count))
    assert pairs.count == 6
    assert ends.T.tolist() == [[0, 2], [0, 3], [2, 3], [1, 5], [1, 6], [5, 6]]
    huge = _Pairs(torch.zeros(3_000_000, dtype=torch.int64))
    number = torch.tensor([0, 1, 2, huge.count // 3, huge.count - 2, huge.count - 1])
    assert torch.equal(huge.number(huge.ends(number)), number)
    # The numbers at which a row of the triangle starts and ends.
    high = torch.tensor([1, 2, 3, 94_906_265, 94_906_266, 2_147_483_646])
    begin = high * (high - 1) // 2
    huge._end = torch.tensor([2**62])
    for number, low in ((begin, 0), (begin + high - 1, high - 1)):
        huge._node = _Identity()
        found = huge.ends(number)
        assert torch.equal(found, torch.stack([torch.zeros_like(high) + low, high]))


class _Identity:
    def __getitem__(self, index: Any) -> Any:
        return index


def test_a_large_graph_needs_no_table_of_pairs():
    ring = torch.arange(50_000)
    edge_index = torch.stack([torch.cat([ring, ring.roll(-1)]), torch.cat([ring.roll(-1), ring])])
    out = RandomEdges(num_edges=1000)(Data(edge_index=edge_index, num_nodes=50_000))
    assert int((out.edge_type == 1).sum()) == 2000


def test_integers_are_uniform_where_32_bits_would_not_do():
    bound = 3 * 2**30
    drawn = uniform_integers(60_000, bound, torch.Generator().manual_seed(0))
    assert 0 <= int(drawn.min()) < int(drawn.max()) < bound
    # Remainders of 32 random bits lie in the lowest third twice as often as in each other one.
    share = torch.bincount(drawn // 2**30, minlength=3) / drawn.numel()
    assert (share - 1 / 3).abs().max() < 0.01


def test_distinct_integers_and_permutations():
    generator = torch.Generator().manual_seed(1)
    for count, bound in ((0, 0), (0, 5), (3, 5), (5, 5), (40, 100), (100, 10**12)):
        drawn = distinct_integers(count, bound, generator)
        assert drawn.unique().numel() == count
        assert bool(((drawn >= 0) & (drawn < max(bound, 1))).all())
    assert permutation(7, generator).sort().values.tolist() == list(range(7))
    assert first_of_equals(torch.tensor([5, 3, 5, 3, 9])).tolist() == [True, True, False, False, True]


def test_edge_attributes_are_filled_as_asked():
    data = data_of(nx.path_graph(6), edge_attr=torch.ones(10, 2), edge_weight=torch.full((10,), 3.0))
    out = RandomEdges(num_edges=2, edge_fill={"edge_attr": "mean", "edge_weight": 0.5})(data)
    added = out.edge_type == 1
    assert out.edge_attr[added].tolist() == [[1.0, 1.0]] * 4
    assert out.edge_weight[added].tolist() == [0.5] * 4
    assert out.edge_weight[~added].tolist() == [3.0] * 10


def test_a_batch_is_rewired_graph_by_graph():
    graphs = [data_of(nx.path_graph(n)) for n in (4, 1, 8)]
    batch: Any = RandomEdges(num_edges=2, seed=3)(Batch.from_data_list(graphs))
    for single, graph in zip(batch.to_data_list(), graphs, strict=True):
        assert torch.equal(single.edge_index, RandomEdges(num_edges=2, seed=3)(graph).edge_index)


def test_bad_input_is_named():
    for count in (-1, 1.5, True, "3", float("nan")):
        with pytest.raises(ConfigError, match="num_edges"):
            RandomEdges(num_edges=count)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="within_components must be True or False"):
        RandomEdges(num_edges=1, within_components=1)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="directed"):
        RandomEdges(num_edges=1)(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
