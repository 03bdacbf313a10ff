"""Trees over nodes: orders of leaves, paths and distances against recursion and NetworkX; what is no tree."""

from itertools import chain
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sequence import Hierarchy, hierarchical_affinity_clustering
from tests.sequence.batches import batch_of, batches, few_examples


@st.composite
def hierarchies(draw: Any) -> Hierarchy:
    """Trees of any shape, deeper ones and such with single children among them."""
    sizes = draw(st.lists(st.integers(0, 7), max_size=3))
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    num_nodes = int(ptr[-1])
    parent, level = [-1] * num_nodes, [0] * num_nodes
    for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        open_nodes = list(range(begin, end))
        while len(open_nodes) > 1 or (open_nodes and open_nodes[0] < num_nodes and draw(st.booleans())):
            taken = draw(st.lists(st.sampled_from(open_nodes), min_size=1, max_size=len(open_nodes), unique=True))
            if len(taken) == 1 and draw(st.booleans()):
                taken = open_nodes
            for node in taken:
                parent[node] = len(parent)
            level.append(1 + max(level[node] for node in taken))
            open_nodes = [node for node in open_nodes if node not in taken] + [len(parent)]
            parent.append(-1)
    return Hierarchy(torch.tensor(parent, dtype=torch.int64), torch.tensor(level, dtype=torch.int64), ptr)


def leaves_below(found: Hierarchy, node: int) -> list[int]:
    """In depth-first order, children by their lowest leaf."""
    children = [child for child, parent in enumerate(found.parent.tolist()) if parent == node]
    if not children:
        return [node]
    return [*chain(*sorted((leaves_below(found, child) for child in children), key=min))]


@given(found=hierarchies())
@few_examples
def test_leaves_paths_and_sizes_are_those_of_recursion(found: Hierarchy):
    parent = found.parent.tolist()
    roots = [node for node, above in enumerate(parent) if above < 0]
    assert found.leaf_order().tolist() == [*chain(*sorted((leaves_below(found, root) for root in roots), key=min))]
    below = [leaves_below(found, node) for node in range(found.num_tree_nodes)]
    assert found.num_leaves.tolist() == [len(leaves) for leaves in below]
    assert found.first_leaf.tolist() == [min(leaves) for leaves in below]
    leaves, offsets = found.leaves(torch.arange(found.num_tree_nodes))
    assert leaves.tolist() == [*chain(*below)]
    assert offsets.diff().tolist() == [len(part) for part in below]
    nodes, offsets = found.paths()
    for leaf in range(found.num_nodes):
        path = [leaf]
        while parent[path[0]] >= 0:
            path.insert(0, parent[path[0]])
        assert nodes[offsets[leaf] : offsets[leaf + 1]].tolist() == path
        assert int(found.depth[leaf]) == len(path) - 1
    for level in range(8):
        expected = list(range(found.num_nodes))
        for leaf in expected[:]:
            while parent[expected[leaf]] >= 0 and int(found.level[parent[expected[leaf]]]) <= level:
                expected[leaf] = parent[expected[leaf]]
        assert found.clusters(level).tolist() == expected


@given(found=hierarchies())
@few_examples
def test_distances_are_those_of_networkx(found: Hierarchy):
    tree: Any = nx.DiGraph()
    tree.add_nodes_from(range(found.num_tree_nodes))
    tree.add_edges_from((above, node) for node, above in enumerate(found.parent.tolist()) if above >= 0)
    distance = dict(nx.all_pairs_shortest_path_length(tree.to_undirected()))
    pairs = [(u, v) for u in distance for v in distance[u]]
    given_pairs = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).mT
    assert found.tree_distance(given_pairs).tolist() == [distance[u][v] for u, v in pairs]
    assert found.tree_distance(given_pairs.int()).tolist() == [distance[u][v] for u, v in pairs]
    for (u, v), ancestor in zip(pairs, found.lowest_common_ancestor(given_pairs).tolist(), strict=True):
        assert ancestor == nx.lowest_common_ancestor(tree, u, v)


@given(batch=batches(12))
@few_examples
def test_every_cluster_is_read_without_a_break(batch: tuple[Graph, Tensor]):
    graph, ptr = batch
    found = hierarchical_affinity_clustering(graph, ptr)
    order = found.leaf_order()
    for level in range(int(found.level.max()) + 1 if found.num_tree_nodes else 0):
        label = found.clusters(level)[order]
        runs = 1 + int((label[1:] != label[:-1]).sum())
        assert runs == label.unique().numel()
    above, below = found.parent[found.parent >= 0], (found.parent >= 0).nonzero()[:, 0]
    assert bool((found.level[above] > found.level[below]).all())
    assert int((found.parent < 0).sum()) == int((ptr.diff() > 0).sum())


def test_distances_between_leaves_are_an_ultrametric():
    graph, ptr = batch_of(nx.connected_watts_strogatz_graph(30, 4, 0.3, seed=1))
    found = hierarchical_affinity_clustering(graph, ptr)
    pairs = torch.cartesian_prod(torch.arange(30), torch.arange(30)).T
    distance = found.tree_distance(pairs).reshape(30, 30)
    assert torch.equal(distance, distance.T)
    assert torch.equal(distance == 0, torch.eye(30, dtype=torch.bool))
    # d(i, k) <= max(d(i, j), d(j, k))
    assert bool((distance[:, None, :] <= torch.maximum(distance[:, :, None], distance[None])).all())


def test_pairs_must_lie_in_one_tree():
    found = hierarchical_affinity_clustering(*batch_of(nx.path_graph(2), nx.path_graph(3)))
    with pytest.raises(DataError, match=r"pair 1, \(1, 2\), joins two"):
        found.tree_distance(torch.tensor([[0, 1], [1, 2]]))
    with pytest.raises(IndexRangeError, match=r"pairs\[1\] must lie in \[0, 6\]"):
        found.tree_distance(torch.tensor([[0], [7]]))
    with pytest.raises(ShapeError, match=r"pairs must have shape \[2, P\]"):
        found.tree_distance(torch.tensor([[0], [1], [1]]))
    with pytest.raises(DtypeError, match="pairs must be int32 or int64"):
        found.tree_distance(torch.tensor([[0.0], [1.0]]))
    with pytest.raises(ShapeError, match="level must not be negative"):
        found.clusters(-1)


@pytest.mark.parametrize(
    ("parent", "level", "ptr", "message"),
    [
        ([2, 2, -1], [0, 0], [0, 2], "one entry per tree node, 3, got 2"),
        ([2, 2, -1], [0, 0, 1], [0, 4], "at most 3"),
        ([2, 2, -1], [0, 0, 1], [], "at most 3"),
        ([2, 2, -1], [0, 0, 1], [1, 2], "ptr must start at 0"),
        ([2, 3, -1], [0, 0, 1], [0, 2], "parent must lie in"),
        ([1, 2, -1], [0, 0, 1], [0, 2], "must be a cluster"),
        ([2, 2, 2], [0, 0, 1], [0, 2], "must be a cluster, and have a higher number"),
        ([2, 2, -1], [0, 1, 1], [0, 2], "level of a tree node must be below"),
        ([2, 2, -1, -1], [0, 0, 1, 1], [0, 2], "must be the parent of another"),
        ([2, 2, -1], [0, 0, 1], [0, 1, 2], "must have one root"),
        ([-1, -1], [0, 0], [0, 2], "must have one root"),
        ([3, 4, 3, -1, -1], [0, 0, 0, 1, 1], [0, 1, 2, 3], "must have one root"),
    ],
)
def test_what_is_no_hierarchy_is_refused(parent: list[int], level: list[int], ptr: list[int], message: str):
    tensors = (torch.tensor(value, dtype=torch.int64) for value in (parent, level, ptr))
    with pytest.raises((DataError, IndexRangeError, ShapeError), match=message):
        Hierarchy(*tensors)


def test_tensors_must_be_int64():
    with pytest.raises(ShapeError, match="level must be int64"):
        Hierarchy(torch.tensor([1, -1]), torch.tensor([0, 1], dtype=torch.int32), torch.tensor([0, 1]))
    with pytest.raises(DtypeError, match="parent must be int32 or int64"):
        Hierarchy(torch.tensor([1.0, -1.0]), torch.tensor([0, 1]), torch.tensor([0, 1]))
