"""Hierarchical affinity clustering against sets and fractions, spanning trees, and clusters known by hand."""

import math
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, DtypeError, ShapeError
from gnnkit.sequence import HACOrder, Hierarchy, hierarchical_affinity_clustering
from tests.sequence.batches import batch_of, batches, few_examples, one_graph, renumbered, undirected, whole

Clusters = set[tuple[frozenset[int], int]]
linkages = st.sampled_from(["mean", "max"])


def clusters_of(found: Hierarchy) -> Clusters:
    """All tree nodes as sets of leaves, with their levels."""
    leaves, offsets = found.leaves(torch.arange(found.num_tree_nodes))
    rows = [frozenset(part.tolist()) for part in leaves.tensor_split(offsets[1:-1])] if len(offsets) > 1 else []
    out = set(zip(rows, found.level.tolist(), strict=True))
    assert len(out) == found.num_tree_nodes
    return out


def brute_force(graph: Any, similarity: Callable[[int, int], int], linkage: str) -> Clusters:
    """The rounds of one graph, on sets of nodes; similarities are whole numbers."""
    clusters = [frozenset([node]) for node in sorted(graph)]
    found: Clusters = {(cluster, 0) for cluster in clusters}
    height = dict.fromkeys(clusters, 0)
    for level in range(1, 100):
        chosen: list[tuple[frozenset[int], frozenset[int]]] = []
        for one in clusters:
            best: Any = None
            for other in clusters:
                between = [similarity(u, v) for u in one for v in other if graph.has_edge(u, v)]
                if one == other or not between:
                    continue
                score = max(between) if linkage == "max" else Fraction(sum(between), len(between))
                if best is None or (score, -min(other)) > (best[0], -min(best[1])):
                    best = (score, other)
            if best is not None:
                chosen.append((one, best[1]))
        if not chosen:
            break
        joined: Any = nx.Graph(chosen)
        merged = [frozenset().union(*part) for part in nx.connected_components(joined)]
        clusters = [cluster for cluster in clusters if cluster not in joined] + merged
        found |= {(cluster, level) for cluster in merged}
        height |= dict.fromkeys(merged, level)
    if len(clusters) > 1:
        found.add((frozenset(graph), 1 + max(height[cluster] for cluster in clusters)))
    return found


def brute_force_batch(graph: Graph, ptr: Tensor, similarity: Callable[[int, int], int], linkage: str) -> Clusters:
    everything = undirected(graph)
    parts = [range(*pair) for pair in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True)]
    return {item for part in parts if part for item in brute_force(everything.subgraph(part), similarity, linkage)}


@given(batch=batches(12), linkage=linkages)
@few_examples
def test_jaccard_clusters_are_those_of_brute_force(batch: tuple[Graph, Tensor], linkage: str):
    graph, ptr = batch
    plain = undirected(graph)

    def similarity(u: int, v: int) -> int:
        one, other = ({*plain[node], node} for node in (u, v))
        return round(Fraction(len(one & other), len(one | other)) * 2**32)

    found = hierarchical_affinity_clustering(graph, ptr, linkage=linkage)
    assert clusters_of(found) == brute_force_batch(graph, ptr, similarity, linkage)


@given(batch=batches(12), linkage=linkages, data=st.data())
@few_examples
def test_given_similarities_are_clustered_as_by_brute_force(batch: tuple[Graph, Tensor], linkage: str, data: Any):
    """Many are equal, some negative; parallel edges and both directions count as one."""
    graph, ptr = batch
    numbers = data.draw(st.lists(st.integers(-8, 8), min_size=graph.num_edges, max_size=graph.num_edges))
    source, target = graph.edge_index
    for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        # With a largest magnitude of 8, all similarities are multiples of 1/8, and rounding leaves them as they are.
        inside = ((begin <= target) & (target < end) & (source != target)).nonzero()[:, 0].tolist()
        if inside:
            numbers[inside[0]] = 8
    by_pair: dict[frozenset[int], list[int]] = {}
    for u, v, number in zip(source.tolist(), target.tolist(), numbers, strict=True):
        by_pair.setdefault(frozenset((u, v)), []).append(number * 2**29)
    merged = {
        pair: max(values) if linkage == "max" else math.floor(Fraction(sum(values), len(values)) + Fraction(1, 2))
        for pair, values in by_pair.items()
    }
    similarity = torch.tensor(numbers, dtype=torch.float64)
    found = hierarchical_affinity_clustering(graph, ptr, similarity=similarity, linkage=linkage)
    expected = brute_force_batch(graph, ptr, lambda u, v: merged[frozenset((u, v))], linkage)
    assert clusters_of(found) == expected


@given(batch=batches(12), linkage=linkages, seed=st.integers(0, 99))
@few_examples
def test_cosine_clusters_are_those_of_brute_force(batch: tuple[Graph, Tensor], linkage: str, seed: int):
    graph, ptr = batch
    x = torch.randn(graph.num_nodes, 5, generator=torch.Generator().manual_seed(seed))

    def similarity(u: int, v: int) -> int:
        return round(torch.cosine_similarity(x[u].double(), x[v].double(), dim=0).item() * 2**32)

    found = hierarchical_affinity_clustering(graph, ptr, x, linkage=linkage)
    assert clusters_of(found) == brute_force_batch(graph, ptr, similarity, linkage)


@given(batch=batches(12), seed=st.integers(0, 9), linkage=linkages)
@few_examples
def test_the_tree_moves_with_the_nodes_where_similarities_differ(batch: tuple[Graph, Tensor], seed: int, linkage: str):
    graph, ptr = batch
    x = torch.randn(graph.num_nodes, 6, generator=torch.Generator().manual_seed(seed))
    moved, new = renumbered(graph, ptr, seed)
    features = torch.empty_like(x)
    features[new] = x
    expected = {
        (frozenset(new[list(leaves)].tolist()), level)
        for leaves, level in clusters_of(hierarchical_affinity_clustering(graph, ptr, x, linkage=linkage))
    }
    assert clusters_of(hierarchical_affinity_clustering(moved, ptr, features, linkage=linkage)) == expected


@given(batch=batches(), linkage=linkages)
@few_examples
def test_a_batch_is_its_graphs(batch: tuple[Graph, Tensor], linkage: str):
    graph, ptr = batch
    expected: Clusters = set()
    for place, begin in enumerate(ptr[:-1].tolist()):
        alone = one_graph(graph, ptr, place)
        found = hierarchical_affinity_clustering(alone, whole(alone), linkage=linkage)
        expected |= {(frozenset(leaf + begin for leaf in leaves), level) for leaves, level in clusters_of(found)}
    assert clusters_of(hierarchical_affinity_clustering(graph, ptr, linkage=linkage)) == expected


@given(batch=batches(), seed=st.integers(0, 9))
@few_examples
def test_the_order_of_the_edges_does_not_matter(batch: tuple[Graph, Tensor], seed: int):
    graph, ptr = batch
    weight = torch.rand(graph.num_edges, generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(seed))
    shuffled = Graph.from_edge_index(graph.edge_index[:, order], graph.num_nodes)
    for linkage in ("mean", "max"):
        one = hierarchical_affinity_clustering(graph, ptr, similarity=weight, linkage=linkage)
        other = hierarchical_affinity_clustering(shuffled, ptr, similarity=weight[order], linkage=linkage)
        assert torch.equal(one.parent, other.parent)
        assert torch.equal(one.level, other.level)


@pytest.mark.parametrize("seed", range(5))
def test_with_the_largest_similarity_clusters_are_connected_in_the_spanning_tree(seed: int):
    graph = nx.gnm_random_graph(60, 200, seed=seed)
    edges = [frozenset(edge) for edge in graph.edges]
    random.Random(seed).shuffle(edges)
    weight = {edge: place for place, edge in enumerate(edges)}
    nx.set_edge_attributes(graph, {(u, v): weight[frozenset((u, v))] for u, v in graph.edges}, "weight")
    tree = nx.maximum_spanning_tree(graph)
    batch = batch_of(graph)
    similarity = torch.tensor([weight[frozenset(pair)] for pair in batch[0].edge_index.T.tolist()])
    found = hierarchical_affinity_clustering(*batch, similarity=similarity, linkage="max")
    for leaves, level in clusters_of(found):
        if len(leaves) < 60:
            assert nx.is_connected(tree.subgraph(leaves))
        assert 2**level <= len(leaves) or len(leaves) == 60


def two_cliques(first: int, second: int) -> Any:
    """Joined by one edge, nodes of both in turn as far as they go."""
    graph = nx.disjoint_union(nx.complete_graph(first), nx.complete_graph(second))
    graph.add_edge(0, first)
    order = sorted(graph, key=lambda node: (node % first if node < first else node - first, node))
    return nx.relabel_nodes(graph, {node: place for place, node in enumerate(order)}), [
        {place for place, node in enumerate(order) if (node < first) == inside} for inside in (True, False)
    ]


@pytest.mark.parametrize("sizes", [(3, 3), (5, 4), (8, 8), (4, 11)])
@pytest.mark.parametrize("linkage", ["mean", "max"])
def test_two_cliques_come_apart_at_the_top_and_stay_together_in_the_order(sizes: tuple[int, int], linkage: str):
    graph, cliques = two_cliques(*sizes)
    plain: Any = nx.Graph()
    plain.add_nodes_from(sorted(graph))
    plain.add_edges_from(graph.edges)
    batch = batch_of(plain)
    found = hierarchical_affinity_clustering(*batch, linkage=linkage)
    root = int(found.depth.eq(0).nonzero())
    top = (found.parent == root).nonzero()[:, 0]
    leaves, offsets = found.leaves(top)
    assert [set(part.tolist()) for part in leaves.tensor_split(offsets[1:-1])] == cliques
    order = HACOrder(linkage=linkage)(*batch).tolist()
    assert [set(order[: sizes[0]]), set(order[sizes[0] :])] == cliques
    # Features that agree within each clique lead to the same.
    x = torch.tensor([[1.0, 0.1] if node in cliques[0] else [-0.1, 1.0] for node in range(sum(sizes))])
    order = HACOrder(linkage=linkage)(*batch, x).tolist()
    assert [set(order[: sizes[0]]), set(order[sizes[0] :])] == cliques


def test_a_path_of_given_similarities_by_hand():
    """0 -5- 1 -1- 2 -4- 3 -2- 4 -3- 5: pairs first, then the pairs in the middle and at the end."""
    edges = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    graph = Graph.from_edge_index(edges, 6)
    found = hierarchical_affinity_clustering(graph, whole(graph), similarity=torch.tensor([5, 1, 4, 2, 3]))
    assert found.parent.tolist() == [6, 6, 7, 7, 8, 8, 9, 9, 9, -1]
    assert found.level.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]
    # Turned round, the weakest edges join first, and 1 and 2 are the first pair.
    found = hierarchical_affinity_clustering(graph, whole(graph), similarity=-torch.tensor([5, 1, 4, 2, 3]))
    assert found.parent.tolist() == [6, 6, 6, 7, 7, 7, 8, 8, -1]


def test_mean_and_largest_similarity_differ():
    """Pairs A, B, C, D in a row; A and B have edges of 4 and 0, B and C one of 3, C and D one of 3.5."""
    edges = torch.tensor([[0, 2, 4, 6, 1, 0, 2, 5], [1, 3, 5, 7, 2, 3, 4, 6]])
    similarity = torch.tensor([9, 9, 9, 9, 4, 0, 3, 3.5])
    graph = Graph.from_edge_index(edges, 8)
    by_largest = hierarchical_affinity_clustering(graph, whole(graph), similarity=similarity, linkage="max")
    by_mean = hierarchical_affinity_clustering(graph, whole(graph), similarity=similarity)
    pairs = [8, 8, 9, 9, 10, 10, 11, 11]
    assert by_largest.parent.tolist() == [*pairs, 12, 12, 13, 13, 14, 14, -1]
    assert by_mean.parent.tolist() == [*pairs, 12, 12, 12, 12, -1]


def test_ties_are_broken_by_the_lowest_index():
    # Everyone in a clique chooses node 0, which chooses node 1.
    for size in (2, 3, 7):
        found = hierarchical_affinity_clustering(*batch_of(nx.complete_graph(size)))
        assert found.parent.tolist() == [size] * size + [-1]
    # Around a cycle: 1 chooses 0, 2 chooses 1, ..., the last chooses 0.
    found = hierarchical_affinity_clustering(*batch_of(nx.cycle_graph(6)))
    assert found.parent.tolist() == [6] * 6 + [-1]
    # 0-2, 1-3, 2-1: node 1 chooses 2 of (2, 3), node 3 chooses 1, node 2 chooses 0: one cluster.
    edges = torch.tensor([[0, 1, 2], [2, 3, 1]])
    graph = Graph.from_edge_index(edges, 4)
    found = hierarchical_affinity_clustering(graph, whole(graph), similarity=torch.ones(3))
    assert found.parent.tolist() == [4, 4, 4, 4, -1]


def test_the_mean_of_equal_similarities_is_equal_to_them():
    """In floating point, 0.1 + 0.1 + 0.1 is more than 3 times 0.1, and a tie would go to the higher cluster."""
    # Pairs A, B, C, D in a row: one edge between A and B, three between B and C, a better one between C and D.
    edges = torch.tensor([[0, 2, 4, 6, 1, 2, 2, 3, 5], [1, 3, 5, 7, 2, 4, 5, 4, 6]])
    graph = Graph.from_edge_index(edges, 8)
    found = hierarchical_affinity_clustering(graph, whole(graph), similarity=torch.tensor([10] * 4 + [1] * 4 + [2]))
    assert found.parent.tolist() == [8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, -1]


def test_components_are_joined_under_the_root_of_their_graph():
    graph: Any = nx.Graph()
    graph.add_nodes_from(range(7))
    graph.add_edges_from([(1, 4), (0, 5), (5, 6), (6, 3)])
    found = hierarchical_affinity_clustering(*batch_of(graph, nx.empty_graph(2), nx.empty_graph(1), nx.path_graph(2)))
    roots = (found.parent < 0).nonzero()[:, 0].tolist()
    trees = [found.leaves(torch.tensor([root]))[0].tolist() for root in roots]
    assert sorted(sorted(tree) for tree in trees) == [list(range(7)), [7, 8], [9], [10, 11]]
    assert found.leaf_order().tolist() == [0, 5, 3, 6, 1, 4, 2, 7, 8, 9, 10, 11]
    assert found.depth[9] == 0
    assert found.level[found.parent[7]] == 1
    assert found.parent[2] == found.parent[found.parent[1]]


def test_graphs_without_nodes_or_edges():
    none = torch.empty((2, 0), dtype=torch.int64)
    found = hierarchical_affinity_clustering(Graph.from_edge_index(none, 0), torch.tensor([0, 0]))
    assert found.num_tree_nodes == 0
    assert found.leaf_order().numel() == 0
    loops = torch.tensor([[0, 1], [0, 1]])
    found = hierarchical_affinity_clustering(
        Graph.from_edge_index(loops, 2), torch.tensor([0, 1, 2]), similarity=torch.ones(2)
    )
    assert found.parent.tolist() == [-1, -1]
    found = hierarchical_affinity_clustering(Graph.from_edge_index(none, 3), torch.tensor([0, 3]), torch.ones(3, 0))
    assert found.parent.tolist() == [3, 3, 3, -1]


def test_features_of_any_scale_and_type():
    graph, ptr = batch_of(nx.gnm_random_graph(20, 50, seed=3))
    x = torch.randint(0, 5, (20, 4))
    x[3] = 0
    expected = hierarchical_affinity_clustering(graph, ptr, x)
    for other in (x.double() * 1e300, x.double() * 1e-300, x.float(), x.bfloat16(), x.int()):
        found = hierarchical_affinity_clustering(graph, ptr, other)
        assert torch.equal(found.parent, expected.parent)
    weight = torch.rand(graph.num_edges, dtype=torch.float64)
    small = hierarchical_affinity_clustering(graph, ptr, similarity=weight * 2.0**-900)
    assert torch.equal(small.parent, hierarchical_affinity_clustering(graph, ptr, similarity=weight).parent)


def test_rounds_halve_a_long_path():
    graph, ptr = batch_of(nx.path_graph(4096))
    similarity = torch.rand(graph.num_edges)
    found = hierarchical_affinity_clustering(graph, ptr, similarity=similarity)
    for level in range(int(found.level.max())):
        more, fewer = (found.clusters(value).unique().numel() for value in (level, level + 1))
        assert 2 * fewer <= more


def test_the_same_for_any_number_of_threads():
    graph, ptr = batch_of(nx.gnm_random_graph(2000, 20000, seed=0))
    before, found, x = torch.get_num_threads(), [], torch.randn(2000, 16)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found += [hierarchical_affinity_clustering(graph, ptr, x), hierarchical_affinity_clustering(graph, ptr)]
    finally:
        torch.set_num_threads(before)
    for one, other in zip(found, found[2:], strict=False):
        assert torch.equal(one.parent, other.parent)
        assert torch.equal(one.level, other.level)


def test_what_does_not_fit_is_refused():
    graph, ptr = batch_of(nx.path_graph(4))
    one_infinite = torch.ones(6)
    one_infinite[1] = torch.inf
    cases: list[tuple[type, str, dict[str, Any]]] = [
        (ConfigError, "similarity must be one of cosine, jaccard or None, got 'dot'", {"similarity": "dot"}),
        (ConfigError, 'similarity "cosine" needs node features x', {"similarity": "cosine"}),
        (ConfigError, "linkage must be one of mean, max, got 'single'", {"linkage": "single"}),
        (ShapeError, r"x must hold real node features, \[4, F\]", {"x": torch.ones(3, 2)}),
        (ShapeError, r"x must hold real node features, \[4, F\]", {"x": torch.ones(4)}),
        (ShapeError, "x must hold real", {"x": torch.ones(4, 1, dtype=torch.complex64)}),
        (
            DataError,
            "x must be finite, but the features of node 2",
            {"x": torch.tensor([[1.0], [1], [torch.nan], [1]])},
        ),
        (DtypeError, r"x must be a torch\.Tensor, got list", {"x": [[1.0]] * 4}),
        (ShapeError, r"one real number per edge, \[6\]", {"similarity": torch.ones(5)}),
        (DataError, "similarity must be finite, but that of edge 1 is inf", {"similarity": one_infinite}),
        (DataError, "similarity must be finite", {"similarity": torch.full((6,), torch.nan)}),
    ]
    for error, message, options in cases:
        with pytest.raises(error, match=message):
            hierarchical_affinity_clustering(graph, ptr, **options)
    with pytest.raises(DataError, match="edges must stay within a graph"):
        hierarchical_affinity_clustering(graph, torch.tensor([0, 2, 4]))
