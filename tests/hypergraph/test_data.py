"""Hypergraphs through PyTorch Geometric's Batch, DataLoader and copies."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from gnnkit.errors import DataError, ShapeError
from gnnkit.hypergraph import HyperData, Hypergraph, batch_hyperedges
from tests.hypergraph.made_hypergraphs import SHAPES, data_of, dense, hypergraph_of, random_hypergraphs


def with_attributes(hypergraph: Hypergraph) -> HyperData:
    return data_of(
        hypergraph,
        x=torch.randn(hypergraph.num_nodes, 3),
        hyperedge_attr=torch.randn(hypergraph.num_hyperedges, 2),
        hyperedge_weight=torch.rand(hypergraph.num_hyperedges),
        y=torch.tensor([1]),
    )


def assert_same(first: HyperData, second: HyperData):
    ours, theirs = first.to_dict(), second.to_dict()
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, theirs[key])
            assert value.dtype == theirs[key].dtype
        else:
            assert (type(value), value) == (type(theirs[key]), theirs[key])


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.lists(random_hypergraphs(5, 4), min_size=1, max_size=5))
def test_a_batch_is_block_diagonal_and_comes_apart_again(hypergraphs: list[Hypergraph]):
    items = [with_attributes(hypergraph) for hypergraph in hypergraphs]
    batch = Batch.from_data_list(items)
    whole = Hypergraph.from_data(batch)
    assert torch.equal(dense(whole), torch.block_diag(*map(dense, hypergraphs)))
    assert (batch.num_nodes, batch.num_hyperedges) == (whole.num_nodes, whole.num_hyperedges)
    counts = [hypergraph.num_hyperedges for hypergraph in hypergraphs]
    assert batch_hyperedges(batch).tolist() == [graph for graph, count in enumerate(counts) for _ in range(count)]
    for item, back in zip(items, batch.to_data_list(), strict=True):
        assert_same(item, back)


def test_trailing_empty_ones_keep_their_rows_without_features():
    items = [data_of(hypergraph_of(shape)) for shape in SHAPES]
    batch = Batch.from_data_list(items)
    assert torch.equal(
        dense(Hypergraph.from_data(batch)), torch.block_diag(*(dense(hypergraph_of(shape)) for shape in SHAPES))
    )
    assert batch.num_nodes == sum(num_nodes for num_nodes, _, _ in SHAPES.values())


def test_loaders_copies_pickles_and_mixtures():
    items = [with_attributes(hypergraph_of(shape)) for shape in ("trailing ones empty", "empty hyperedges")]
    batch = next(iter(DataLoader(items, batch_size=2, follow_batch=["hyperedge_weight"])))
    assert torch.equal(batch.hyperedge_weight_batch, batch_hyperedges(batch))
    for twin in (
        copy.copy(batch),
        copy.deepcopy(batch),
        pickle.loads(pickle.dumps(batch)),
        batch.clone(),
        batch.to("cpu"),
    ):
        assert twin.num_hyperedges == 9
        assert_same(twin.to_data_list()[1], items[1])
    again = Batch.from_data_list([items[0], batch.to_data_list()[1], copy.copy(items[0])])
    assert again.num_hyperedges == 14
    # What a loader in another process sends.
    batch = next(iter(DataLoader(items, batch_size=2, num_workers=1)))
    assert repr(Hypergraph.from_data(batch)) == "Hypergraph(num_nodes=9, num_hyperedges=9, num_incidences=7)"


def test_one_hypergraph_is_a_batch_of_one():
    data = data_of(hypergraph_of("trailing ones empty"))
    assert batch_hyperedges(data).tolist() == [0] * 5
    assert data.num_edges == 0
    data.num_hyperedges = 7
    assert Hypergraph.from_data(data).num_hyperedges == 7


def test_missing_and_wrong_counts():
    data = HyperData(num_nodes=2, hyperedge_index=torch.tensor([[0], [0]]))
    assert data.num_hyperedges is None
    with pytest.raises(DataError, match="without their num_hyperedges"):
        Batch.from_data_list([data, data])
    with pytest.raises(DataError, match="num_hyperedges is missing"):
        batch_hyperedges(data)
    for wrong in (-1, 1.5, torch.tensor([2])):
        with pytest.raises(ShapeError, match="num_hyperedges must"):
            data.num_hyperedges = wrong  # type: ignore[assignment]
