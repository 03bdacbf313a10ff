"""Orders of nodes against closed forms, NetworkX and plain searches."""

from collections import Counter
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sequence import BFS, DFS, Degree, Eigenvector, HACOrder, PageRank, Random
from tests.sequence.batches import batch_of, batches, few_examples, one_graph, renumbered, undirected, whole
from tests.tolerances import assert_close

PRIORITIES = ("degree", "low_degree", "index")
ORDERINGS: dict[str, Any] = {
    repr(ordering): ordering
    for ordering in (
        Degree(),
        Degree(noise=False),
        PageRank(),
        PageRank(0.0),
        BFS(),
        BFS(start="index", neighbours="degree"),
        DFS(),
        DFS(start="low_degree", neighbours="low_degree"),
        Eigenvector(),
        Random(),
        HACOrder(),
        HACOrder(linkage="max"),
    )
}
every_ordering = pytest.mark.parametrize("ordering", ORDERINGS.values(), ids=list(ORDERINGS))
SETTLED = {name: ordering for name, ordering in ORDERINGS.items() if not ordering.is_random}
every_settled = pytest.mark.parametrize("ordering", SETTLED.values(), ids=list(SETTLED))
every_search = pytest.mark.parametrize("search", [BFS, DFS])


def order_of(ordering: Any, graph: Any, **options: Any) -> list[int]:
    return ordering(*batch_of(graph), **options).tolist()


@every_ordering
@given(batch=batches(), seed=st.integers(-5, 5))
@few_examples
def test_is_a_permutation_within_every_graph(ordering: Any, batch: tuple[Graph, Tensor], seed: int):
    graph, ptr = batch
    order = ordering(graph, ptr, seed=seed)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(graph.num_nodes))
    number = torch.arange(len(ptr) - 1).repeat_interleave(ptr.diff())
    assert torch.equal(number[order], number)
    assert torch.equal(ordering(graph, ptr, seed=seed), order), "the same for a seed"


@every_settled
@given(batch=batches(), seed=st.integers(0, 3))
@few_examples
def test_a_batch_is_its_graphs(ordering: Any, batch: tuple[Graph, Tensor], seed: int):
    graph, ptr = batch
    order = ordering(graph, ptr, seed=seed)
    for place in range(len(ptr) - 1):
        alone = one_graph(graph, ptr, place)
        assert torch.equal(order[ptr[place] : ptr[place + 1]] - ptr[place], ordering(alone, whole(alone)))


def asymmetric() -> Any:
    """A long path with a branch of one node and one of two: no two nodes are alike."""
    graph = nx.path_graph(13)
    nx.add_path(graph, [5, 13])
    nx.add_path(graph, [6, 14, 15])
    return graph


@pytest.mark.parametrize("ordering", [PageRank(), Eigenvector()], ids=repr)
def test_moves_with_the_nodes_where_all_values_differ(ordering: Any):
    graph, ptr = batch_of(asymmetric(), asymmetric())
    order = ordering(graph, ptr)
    for seed in range(5):
        moved, new = renumbered(graph, ptr, seed)
        assert torch.equal(ordering(moved, ptr), new[order])


@given(batch=batches(), seed=st.integers(0, 9))
@few_examples
def test_degrees_ascend_and_noise_only_breaks_ties(batch: tuple[Graph, Tensor], seed: int):
    graph, ptr = batch
    degree = torch.bincount(graph.edge_index[0], minlength=graph.num_nodes)
    settled, drawn = Degree(noise=False)(graph, ptr), Degree()(graph, ptr, seed=seed)
    for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        expected = sorted(range(begin, end), key=lambda node: (int(degree[node]), node))
        assert settled[begin:end].tolist() == expected
        assert torch.equal(degree[drawn[begin:end]], degree[expected])


@pytest.mark.parametrize("centre", [0, 2, 5])
def test_the_centre_of_a_star(centre: int):
    star: Any = nx.Graph()
    star.add_nodes_from(range(6))
    star.add_edges_from((centre, leaf) for leaf in range(6) if leaf != centre)
    leaves = [leaf for leaf in range(6) if leaf != centre]
    for ordering in (Degree(noise=False), PageRank()):
        assert order_of(ordering, star) == [*leaves, centre]
    assert order_of(Degree(), star, seed=4)[-1] == centre
    for search in (BFS(), DFS()):
        assert order_of(search, star) == [centre, *leaves]


@pytest.mark.parametrize("ordering", [Degree(), Random()], ids=repr)
def test_every_order_of_equal_nodes_is_as_likely(ordering: Any):
    graph, ptr = batch_of(nx.cycle_graph(4))
    count = Counter(tuple(ordering(graph, ptr, seed=seed).tolist()) for seed in range(720))
    # Of 24 numbers of mean 30, none is five standard deviations away.
    assert len(count) == 24
    assert all(3 < number < 57 for number in count.values())


def test_random_orders_are_known():
    graph, ptr = batch_of(nx.cycle_graph(5), nx.path_graph(3))
    assert Random()(graph, ptr, seed=0).tolist() == [0, 3, 1, 2, 4, 6, 7, 5]
    assert Degree()(graph, ptr, seed=1).tolist() == [4, 0, 3, 1, 2, 7, 5, 6]


@given(batch=batches(), damping=st.sampled_from([0.0, 0.5, 0.85, 0.99]))
@few_examples
def test_page_rank_is_that_of_networkx(batch: tuple[Graph, Tensor], damping: float):
    graph, ptr = batch
    found = PageRank(damping).values(graph, ptr)
    for place in range(len(ptr) - 1):
        alone = one_graph(graph, ptr, place)
        if alone.num_nodes == 0:
            continue
        rank: Any = nx.MultiDiGraph()
        rank.add_nodes_from(range(alone.num_nodes))
        rank.add_edges_from(alone.edge_index.T.tolist())
        expected = nx.pagerank(rank, alpha=damping, tol=1e-15, max_iter=10000)
        values = torch.tensor([expected[node] for node in range(alone.num_nodes)], dtype=torch.float64)
        assert_close(found[ptr[place] : ptr[place + 1]], values)


def test_page_rank_solves_its_equation_and_orders_by_it():
    graph, ptr = batch_of(nx.barabasi_albert_graph(500, 3, seed=1))
    matrix = torch.zeros(500, 500, dtype=torch.float64)
    source, target = graph.edge_index
    matrix[target, source] = 1 / graph.out_degree()[source].double()
    identity = torch.eye(500, dtype=torch.float64)
    solved = torch.linalg.solve(identity - 0.85 * matrix, 0.15 / 500 * identity.new_ones(500))
    assert_close(PageRank().values(graph, ptr), solved)
    order = PageRank()(graph, ptr)
    assert bool((solved[order].diff() > -1e-12).all())


def test_page_rank_breaks_ties_by_index_whatever_rounding_says():
    """In a tree of equal branches, values are sums in different orders."""
    tree = nx.balanced_tree(3, 4)
    expected = nx.pagerank(tree, tol=1e-15, max_iter=1000)
    found = order_of(PageRank(), tree)
    assert found == sorted(tree, key=lambda node: (round(expected[node], 10), node))
    # Walks on a regular graph are everywhere alike.
    assert order_of(PageRank(), nx.petersen_graph()) == list(range(10))


def plain_search(graph: Any, nodes: list[int], search: type, start: str, neighbours: str) -> list[int]:
    """Deques and recursion, with the rules as they are documented."""
    degree = dict(graph.degree)
    keys: dict[str, Any] = {
        "degree": lambda node: (-degree[node], node),
        "low_degree": lambda node: (degree[node], node),
        "index": lambda node: node,
    }
    met: list[int] = []

    def descend(node: int) -> None:
        met.append(node)
        for other in sorted(graph[node], key=keys[neighbours]):
            if other not in met:
                descend(other)

    for root in sorted(nodes, key=keys[start]):
        if root in met:
            continue
        if search is DFS:
            descend(root)
            continue
        begin = len(met)
        met.append(root)
        while begin < len(met):
            met += [other for other in sorted(graph[met[begin]], key=keys[neighbours]) if other not in met]
            begin += 1
    return met


@every_search
@given(batch=batches(), start=st.sampled_from(PRIORITIES), neighbours=st.sampled_from(PRIORITIES))
@few_examples
def test_searches_are_the_plain_ones(search: Any, batch: tuple[Graph, Tensor], start: str, neighbours: str):
    graph, ptr = batch
    order = search(start=start, neighbours=neighbours)(graph, ptr)
    for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        nodes = list(range(begin, end))
        assert order[begin:end].tolist() == plain_search(undirected(graph), nodes, search, start, neighbours)


def test_searches_are_those_of_networkx():
    for seed in range(5):
        graph = nx.gnm_random_graph(40, 90, seed=seed)
        part = nx.convert_node_labels_to_integers(graph.subgraph(max(nx.connected_components(graph), key=len)))
        bfs = [0, *(v for _, v in nx.bfs_edges(part, 0, sort_neighbors=sorted))]
        dfs = list(nx.dfs_preorder_nodes(part, 0, sort_neighbors=sorted))
        assert order_of(BFS(start="index"), part) == bfs
        assert order_of(DFS(start="index"), part) == dfs


def test_paths_have_closed_forms():
    path = nx.path_graph(7)
    forward = list(range(7))
    for ordering in (BFS(start="index"), BFS(start="low_degree"), DFS(start="index"), Eigenvector()):
        assert order_of(ordering, path) == forward
    assert order_of(BFS(), path) == [1, 0, 2, 3, 4, 5, 6]
    assert order_of(DFS(), path) == [1, 0, 2, 3, 4, 5, 6]
    assert order_of(Degree(noise=False), path) == [0, 6, 1, 2, 3, 4, 5]
    # The second nodes take all of the ends' rank.
    assert order_of(PageRank(), path)[:2] == [0, 6]
    assert order_of(PageRank(), path)[-2:] == [1, 5]


def eigenvectors(graph: Any) -> tuple[np.ndarray, np.ndarray]:
    adjacency = nx.to_numpy_array(graph, nodelist=range(graph.number_of_nodes()))
    root = 1 / np.sqrt(adjacency.sum(1))
    values, vectors = np.linalg.eigh(np.eye(len(adjacency)) - root[:, None] * adjacency * root)
    return values, root[:, None] * vectors


@pytest.mark.parametrize("seed", range(6))
def test_eigenvector_orders_by_the_dense_fiedler_vector(seed: int):
    graph: Any = nx.connected_watts_strogatz_graph(60, 4, 0.2, seed=seed)
    values, vectors = eigenvectors(graph)
    assert values[2] - values[1] > 1e-4
    vector = vectors[:, 1]
    first = int(np.argmax(np.abs(vector) >= np.abs(vector).max() * (1 - 1e-6)))
    vector = vector if vector[first] < 0 else -vector
    assert order_of(Eigenvector(), graph) == np.argsort(vector, kind="stable").tolist()


def test_eigenvector_follows_a_path_of_any_length_and_grids():
    assert order_of(Eigenvector(), nx.path_graph(1000)) == list(range(1000))
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(8, 3), ordering="sorted")
    # The long side comes first; entries of one row differ, since nodes at the border have fewer neighbours.
    values, _ = eigenvectors(grid)
    assert values[2] - values[1] > 1e-3
    assert [node // 3 for node in order_of(Eigenvector(), grid)] == [row for row in range(8) for _ in range(3)]


def test_eigenvector_splits_two_cliques_at_their_bridge():
    barbell = nx.barbell_graph(6, 0)
    order = order_of(Eigenvector(), barbell)
    assert {*order[:6]} == {*range(6)}
    # The clique's inner nodes are alike, and stand by index; the bridge's ends are nearest to the middle.
    assert order == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_eigenvector_of_repeated_eigenvalues_is_settled():
    for graph in (nx.cycle_graph(8), nx.complete_graph(5), nx.star_graph(6), nx.petersen_graph()):
        values, vectors = eigenvectors(graph)
        same = np.isclose(values, values[1])
        multiple = np.arange(1, len(values) + 1) * 0.6180339887498949
        numbers = multiple - np.floor(multiple) - 0.5
        root = np.sqrt([degree for _, degree in graph.degree])[:, None]
        space = (root * vectors)[:, same]
        vector = (space @ (space.T @ numbers)) / root[:, 0]
        first = int(np.argmax(np.abs(vector) >= np.abs(vector).max() * (1 - 1e-6)))
        vector = np.round(vector * np.sign(-vector[first]) / np.abs(vector).max(), 7)
        assert order_of(Eigenvector(), graph) == np.argsort(vector, kind="stable").tolist()


def test_components_follow_one_another():
    graph: Any = nx.Graph()
    graph.add_nodes_from(range(8))
    graph.add_edges_from([(0, 3), (3, 5), (1, 2), (2, 4), (4, 6)])
    assert order_of(Eigenvector(), graph) == [0, 3, 5, 1, 2, 4, 6, 7]
    assert order_of(BFS(), graph) == [2, 1, 4, 6, 3, 0, 5, 7]
    assert order_of(DFS(start="low_degree"), graph) == [7, 0, 3, 5, 1, 2, 4, 6]


@every_ordering
def test_graphs_without_nodes_or_edges(ordering: Any):
    none = torch.empty((2, 0), dtype=torch.int64)
    for ptr in ([0], [0, 0, 0], [0, 1], [0, 2, 2, 5]):
        graph = Graph.from_edge_index(none, ptr[-1])
        order = ordering(graph, torch.tensor(ptr))
        if ordering.is_random:
            assert sorted(order.tolist()) == list(range(ptr[-1]))
        else:
            assert order.tolist() == list(range(ptr[-1]))


@every_ordering
def test_int32_graphs_have_the_same_order(ordering: Any):
    graph, ptr = batch_of(nx.gnm_random_graph(20, 40, seed=1), nx.path_graph(4))
    narrow = Graph.from_edge_index(graph.edge_index.int(), graph.num_nodes)
    assert torch.equal(ordering(narrow, ptr.int(), seed=3), ordering(graph, ptr, seed=3))


@every_ordering
def test_the_same_for_any_number_of_threads(ordering: Any):
    edges = torch.randint(700, (2, 20000))
    graph, ptr = Graph.from_edge_index(torch.cat([edges, edges[:, :99] + 700], 1), 1400), torch.tensor([0, 700, 1400])
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(ordering(Graph.from_edge_index(graph.edge_index, graph.num_nodes), ptr, seed=1))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@every_ordering
def test_what_is_no_batch_is_refused(ordering: Any):
    graph, ptr = batch_of(nx.path_graph(4))
    with pytest.raises(DataError, match=r"edge \d joins node 1 of graph 0 and node 2 of graph 1"):
        ordering(graph, torch.tensor([0, 2, 4]))
    for wrong in ([0, 3], [1, 4], [0, 3, 2, 4]):
        with pytest.raises(IndexRangeError, match="ptr must"):
            ordering(graph, torch.tensor(wrong))
    with pytest.raises(ShapeError, match="at least one boundary"):
        ordering(graph, ptr[:0])
    with pytest.raises(DtypeError, match=r"graph must be a gnnkit\.Graph"):
        ordering(graph.edge_index, ptr)
    with pytest.raises(ShapeError, match="no single number of nodes"):
        ordering(Graph.from_edge_index(graph.edge_index, num_src=4, num_dst=5), ptr)


def test_settings_are_checked_and_printed():
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (Degree, {"noise": 1}, "noise must be True or False"),
        (PageRank, {"damping": 1.0}, r"damping must lie in \[0, 1\), got 1.0"),
        (PageRank, {"damping": float("nan")}, r"damping must lie in \[0, 1\)"),
        (PageRank, {"damping": "high"}, "damping must be a real number"),
        (BFS, {"start": "random"}, "start must be one of degree, low_degree, index, got 'random'"),
        (DFS, {"neighbours": None}, "neighbours must be one of"),
        (HACOrder, {"similarity": "dot"}, "similarity must be one of cosine, jaccard or None, got 'dot'"),
        (HACOrder, {"linkage": "min"}, "linkage must be one of mean, max, got 'min'"),
    ]
    for ordering, options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            ordering(**options)
    graph, ptr = batch_of(nx.path_graph(3))
    seed: Any = "one"
    for ordering in (Degree(), Random()):
        with pytest.raises(ConfigError, match="seed must be an integer, got 'one'"):
            ordering(graph, ptr, seed=seed)
    assert repr(BFS(start="index")) == "BFS(start='index', neighbours='index')"
    assert [Degree().is_random, Degree(noise=False).is_random, Random().is_random] == [True, False, True]
