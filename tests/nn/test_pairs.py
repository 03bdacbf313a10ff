"""Pairs of nodes that attend to each other: all of each graph, or what lists name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnkit.errors import DataError, IndexRangeError, ShapeError
from gnnkit.nn import attended_pairs, complete_graphs


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


@settings(max_examples=25, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(0, 6), max_size=5), narrow=st.booleans())
def test_complete_graphs_are_all_pairs_in_order(sizes: list[int], narrow: bool):
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    graph = complete_graphs(ptr.int() if narrow else ptr)
    expected = [
        (source, destination)
        for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True)
        for destination in range(begin, end)
        for source in range(begin, end)
    ]
    assert list(zip(*graph.edge_index.tolist(), strict=True)) == expected
    assert graph.num_nodes == sum(sizes)
    assert graph.edge_id is None
