"""Positional features from trees of clusters."""

from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sequence import (
    HACOrder,
    Hierarchy,
    hierarchical_affinity_clustering,
    hierarchical_positions,
    step_distances,
)
from tests.sequence.batches import batch_of, batches, few_examples, renumbered


def two_pairs() -> Hierarchy:
    """Nodes 0 and 2, and 1 and 3; then a graph of one node."""
    return Hierarchy(
        torch.tensor([5, 6, 5, 6, -1, 7, 7, -1]), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2]), torch.tensor([0, 4, 5])
    )


def test_two_pairs_by_hand():
    found = hierarchical_positions(two_pairs(), 3)
    assert found.dtype == torch.get_default_dtype()
    assert found.tolist() == [[0.5, 1, 1]] * 4 + [[1, 1, 1]]
    assert step_distances(two_pairs(), torch.tensor([0, 2, 1, 3, 4])).tolist() == [0, 2, 4, 2, 0]
    assert step_distances(two_pairs(), torch.arange(5)).tolist() == [0, 4, 4, 4, 0]


@pytest.mark.parametrize("seed", range(3))
def test_positions_are_the_distribution_of_distances(seed: int):
    graph, ptr = batch_of(nx.connected_watts_strogatz_graph(40, 4, 0.3, seed=seed))
    tree = hierarchical_affinity_clustering(graph, ptr)
    pairs = torch.cartesian_prod(torch.arange(40), torch.arange(40)).T
    distance = tree.tree_distance(pairs).reshape(40, 40)
    found = hierarchical_positions(tree, 6)
    for level in range(1, 7):
        assert torch.equal(found[:, level - 1], (distance <= 2 * level).float().mean(1))
    assert bool((found.diff(dim=1) >= 0).all())
    assert bool((found[:, -1] == 1).all())


@given(batch=batches(12), seed=st.integers(0, 9))
@few_examples
def test_positions_move_with_the_nodes(batch: tuple[Graph, Tensor], seed: int):
    graph, ptr = batch
    x = torch.randn(graph.num_nodes, 6, generator=torch.Generator().manual_seed(seed))
    moved, new = renumbered(graph, ptr, seed)
    features = torch.empty_like(x)
    features[new] = x
    expected = hierarchical_positions(hierarchical_affinity_clustering(graph, ptr, x), 4)
    found = hierarchical_positions(hierarchical_affinity_clustering(moved, ptr, features), 4)
    assert torch.equal(found[new], expected)


@given(batch=batches(12))
@few_examples
def test_no_order_takes_shorter_steps_than_that_of_the_leaves(batch: tuple[Graph, Tensor]):
    """Every edge of the tree is walked down and up once, but for the way to the last leaf, which is not walked back."""
    graph, ptr = batch
    tree = hierarchical_affinity_clustering(graph, ptr)
    steps = step_distances(tree, HACOrder()(graph, ptr))
    for seed in range(3):
        _, new = renumbered(graph, ptr, seed)
        other = step_distances(tree, new)
        for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
            walk = int(steps[begin:end].sum())
            deepest = int(tree.depth[begin:end].max()) if end > begin else 0
            assert walk <= int(other[begin:end].sum()) + 2 * deepest


def test_bad_input_is_named():
    tree = two_pairs()
    wrong: Any
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match="num_levels must be an integer of at least 1"):
            hierarchical_positions(tree, wrong)
    with pytest.raises(ShapeError, match="order must hold 5 nodes"):
        step_distances(tree, torch.arange(4))
    with pytest.raises(IndexRangeError, match="order must lie in"):
        step_distances(tree, torch.tensor([0, 1, 2, 3, 5]))
    with pytest.raises(DtypeError, match="order must be int32 or int64"):
        step_distances(tree, torch.ones(5))
    with pytest.raises(DataError, match="joins two"):
        step_distances(tree, torch.tensor([0, 1, 4, 2, 3]))


def test_no_nodes():
    none = torch.empty(0, dtype=torch.int64)
    tree = Hierarchy(none, none, torch.tensor([0, 0]))
    assert hierarchical_positions(tree, 2).shape == (0, 2)
    assert step_distances(tree, none).shape == (0,)
