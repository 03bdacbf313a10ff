"""Operators behind samplers around given roots: kernels against references, threads, tracing, and wrong calls."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.ops._library import references
from tests.ops.kernels import needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense
from tests.ops.raw_calls import agree, as_tuple, check_close, check_threads, check_traceable, runs_kernels


def random_graph(num_nodes: int, num_edges: int, seed: int = 0, dtype: torch.dtype = torch.int64) -> Graph:
    """Directed, with multi-edges, self-loops, isolated nodes and nodes that no edge reaches."""
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, max(num_nodes, 1), (2, num_edges if num_nodes else 0))
    return Graph.from_edge_index(torch.from_numpy(edges).to(dtype), num_nodes)


def undirected(num_nodes: int, num_pairs: int, seed: int = 0) -> Graph:
    edges = random_graph(num_nodes, num_pairs, seed).edge_index
    return Graph.from_edge_index(torch.cat([edges, edges.flip(0)], 1), num_nodes)


def star(leaves: int) -> Graph:
    """Edges from all leaves to node 0."""
    leaf = torch.arange(1, leaves + 1)
    return Graph.from_edge_index(torch.stack([leaf, 0 * leaf]), leaves + 1)


def roots_of(graph: Graph, count: int) -> Tensor:
    return torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(5))[:count]


def push_arguments(graph: Graph) -> tuple:
    return graph.rowptr, graph.col, roots_of(graph, 25), 0.15, 1e-4, 8


def hop_arguments(graph: Graph, *rest: int) -> tuple:
    roots = roots_of(graph, 25)
    return (graph.rowptr, graph.col, roots, 3 * roots + 2**33, *(rest or (3, 2, -7)))


def neighbor_arguments(graph: Graph, *rest: Any) -> tuple:
    settings = rest or (torch.tensor([3, 2]), False, False, 2**62)
    return (graph.rowptr, graph.col, roots_of(graph, 25), *settings)


def distance_arguments(graph: Graph) -> tuple:
    """The graph cut into parts of at most seven nodes; edges between parts stay."""
    ptr = torch.tensor([*range(0, graph.num_nodes, 7), graph.num_nodes])
    closed = torch.where(ptr.diff() > 2, ptr[:-1] + 2, -1)
    return graph.rowptr, graph.col, ptr, ptr[1:] - 1, closed


CALLS: dict[str, Callable[[Graph], tuple]] = {
    "k_hop_sample": hop_arguments,
    "neighbor_sample": neighbor_arguments,
    "ppr_push": push_arguments,
    "root_distance": distance_arguments,
}
GRAPHS: dict[str, Callable[[], Graph]] = {
    "none": lambda: random_graph(0, 0),
    "lone": lambda: random_graph(3, 0),
    "sparse": lambda: random_graph(60, 70),
    "many": lambda: random_graph(500, 4000),
    "undirected": lambda: undirected(80, 160),
    "hub": lambda: star(300),
}
every_call = pytest.mark.parametrize("name", CALLS)
every_graph = pytest.mark.parametrize("kind", GRAPHS)


def run(name: str, arguments: tuple) -> tuple[Tensor, ...]:
    return as_tuple(getattr(torch.ops.gnnkit, name)(*arguments))


@needs_kernels
@every_call
@every_graph
def test_kernel_equals_reference(name: str, kind: str):
    arguments = CALLS[name](GRAPHS[kind]())
    check_close(run(name, arguments), references[name](*arguments))


@every_graph
@pytest.mark.parametrize("settings", [(0, 5, 0), (1, 0, 1), (2, -1, 2), (4, 1, -1), (2**40, 3, 2**62)])
def test_hops_of_all_settings_and_index_types(kind: str, settings: tuple[int, ...]):
    graph = GRAPHS[kind]()
    narrow = Graph.from_edge_index(graph.edge_index.int(), graph.num_nodes)
    found = run("k_hop_sample", hop_arguments(graph, *settings))
    assert agree(found, as_tuple(references["k_hop_sample"](*hop_arguments(graph, *settings))))
    members, ptr = run("k_hop_sample", hop_arguments(narrow, *settings))
    assert members.dtype == torch.int32
    assert agree(found, (members.long(), ptr))


@every_graph
@pytest.mark.parametrize("fanout", [[], [0], [4], [2, 0, 3], [-1, 1], [10**12, 2]])
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("disjoint", [False, True])
def test_neighbours_of_all_settings(kind: str, fanout: list[int], replace: bool, disjoint: bool):
    fanout = [min(most, 7) for most in fanout] if replace else fanout
    arguments = neighbor_arguments(GRAPHS[kind](), torch.tensor(fanout, dtype=torch.int64), replace, disjoint, -3)
    assert agree(run("neighbor_sample", arguments), references["neighbor_sample"](*arguments))


def test_neighbours_on_more_nodes_than_a_table_is_made_for():
    graph = random_graph(300_000, 900_000)
    arguments = neighbor_arguments(graph, torch.tensor([3, 2, 2]), False, True, 1)
    assert agree(run("neighbor_sample", arguments), references["neighbor_sample"](*arguments))


@every_call
@every_graph
def test_the_same_bits_for_any_number_of_threads(name: str, kind: str):
    arguments = CALLS[name](GRAPHS[kind]())
    check_threads(lambda: run(name, arguments))


@every_call
def test_is_traceable(name: str):
    sparse, many = (CALLS[name](GRAPHS[kind]()) for kind in ("sparse", "many"))
    check_traceable(name, sparse, (sparse, many))


@every_call
@every_graph
def test_reads_nothing_it_did_not_write(name: str, kind: str, nan_filled_memory: None):
    arguments = CALLS[name](GRAPHS[kind]())
    check_close(run(name, arguments), references[name](*arguments))


def dense_pagerank(graph: Graph, alpha: float) -> np.ndarray:
    """Column ``s``: of lazy walks from ``s``, by a linear system; degrees are at least 1."""
    size = graph.num_nodes
    adjacency = np.zeros((size, size))
    np.add.at(adjacency, tuple(graph.edge_index.numpy()), 1.0)
    walk = (np.eye(size) + adjacency / adjacency.sum(0)) / 2
    return alpha * np.linalg.inv(np.eye(size) - (1 - alpha) * walk)


def scores(graph: Graph, root: int, epsilon: float, alpha: float = 0.15) -> np.ndarray:
    members, score, _ = torch.ops.gnnkit.ppr_push(
        graph.rowptr, graph.col, torch.tensor([root]), alpha, epsilon, graph.num_nodes
    )
    found = np.zeros(graph.num_nodes)
    found[members.numpy()] = score.numpy()
    return found


def both_ways(pairs: list[tuple[int, int]], num_nodes: int) -> Graph:
    one = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return Graph.from_edge_index(torch.cat([one, one.flip(0)], 1), num_nodes)


def test_push_gives_the_closed_forms():
    pair, path = both_ways([(0, 1)], 2), both_ways([(0, 1), (1, 2)], 3)
    assert scores(pair, 0, 1e-13) == pytest.approx([0.575, 0.425], abs=1e-11)
    assert scores(path, 1, 1e-13) == pytest.approx([0.2125, 0.575, 0.2125], abs=1e-11)
    assert scores(path, 0, 1e-13) == pytest.approx([0.41793478, 0.425, 0.15706522], abs=1e-8)
    # Nowhere to go: all of the walk stays.
    assert scores(both_ways([], 3), 1, 1e-6).tolist() == [0, 1, 0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("epsilon", [1e-2, 1e-4, 1e-6])
def test_push_errs_by_no_more_than_its_bound(seed: int, epsilon: float):
    """A cycle through all nodes, so that degrees are at least 1, and other edges, some of them twice."""
    cycle = torch.stack([torch.arange(40), torch.arange(1, 41) % 40])
    edges = torch.cat([cycle, random_graph(40, 50, seed).edge_index], 1)
    graph = Graph.from_edge_index(torch.cat([edges, edges.flip(0)], 1), 40)
    degree = graph.in_degree().numpy()
    for alpha in (0.15, 0.5):
        exact = dense_pagerank(graph, alpha)
        for root in range(0, 40, 7):
            error = exact[:, root] - scores(graph, root, epsilon, alpha)
            assert (error > -1e-12).all()
            assert (error <= epsilon * degree + 1e-12).all()
            assert error.max() > 0


def test_push_is_exact_on_directed_graphs_and_where_walks_end():
    """Of 0 -> 1 -> 2, a walk from 2 that follows in-edges ends at 0; from 3, which has a self-loop, it never leaves."""
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 3], [1, 2, 3]]), 4)
    there = 0.425 / 0.575  # of a walk at a node, what goes on to the next one
    assert scores(graph, 2, 1e-14) == pytest.approx([there**2, (1 - there) * there, 1 - there, 0], abs=1e-11)
    assert scores(graph, 3, 1e-14) == pytest.approx([0, 0, 0, 1], abs=1e-11)


def test_ties_go_to_the_lowest_number_and_the_root_is_always_there():
    graph = both_ways([(9, other) for other in range(9)], 10)
    members, score, ptr = torch.ops.gnnkit.ppr_push(graph.rowptr, graph.col, torch.tensor([9, 4]), 0.15, 1e-8, 4)
    assert members.tolist()[:4] == [9, 0, 1, 2]
    assert members.tolist()[4:8] == [9, 4, 0, 1]
    assert ptr.tolist() == [0, 4, 8]
    only, score, ptr = torch.ops.gnnkit.ppr_push(graph.rowptr, graph.col, torch.tensor([4]), 0.15, 1e-8, 1)
    assert only.tolist() == [9, 4]
    assert score[0] > score[1] > 0.15
    # Too large a residual is allowed for anything to be pushed.
    nothing, score, _ = torch.ops.gnnkit.ppr_push(graph.rowptr, graph.col, torch.tensor([9]), 0.15, 0.5, 3)
    assert (nothing.tolist(), score.tolist()) == ([9], [0.0])


def brute_force_ball(graph: Graph, root: int, depth: int) -> set[int]:
    ball = {root}
    for _ in range(depth):
        ball |= {s for s, t in graph.edge_index.T.tolist() if t in ball}
    return ball


@every_graph
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_all_neighbours_are_those_of_brute_force(kind: str, depth: int):
    graph = GRAPHS[kind]()
    roots = roots_of(graph, 6)
    members, ptr = torch.ops.gnnkit.k_hop_sample(graph.rowptr, graph.col, roots, roots, depth, -1, 0)
    for root, part in zip(roots.tolist(), members.split(ptr.diff().tolist()), strict=True):
        assert part[0] == root
        assert len(set(part.tolist())) == len(part)
        assert set(part.tolist()) == brute_force_ball(graph, root, depth)


def test_draws_of_hops_are_uniform_with_replacement():
    """Of 12 neighbours 3 are drawn: 12^3 outcomes; how many are different has a known law."""
    graph, count = star(12), 6000
    roots = torch.zeros(count, dtype=torch.int64)
    members, ptr = torch.ops.gnnkit.k_hop_sample(graph.rowptr, graph.col, roots, torch.arange(count), 1, 3, 11)
    law = np.array([12, 12 * 11 * 3, 12 * 11 * 10]) / 12**3
    sizes = np.bincount(ptr.diff().numpy() - 2, minlength=3)
    assert scipy.stats.chisquare(sizes, law * count).pvalue > 0.001
    seen = np.bincount(members.numpy(), minlength=13)[1:]
    assert scipy.stats.chisquare(seen).pvalue > 0.001


@pytest.mark.parametrize("replace", [False, True])
def test_draws_of_neighbours_follow_their_law(replace: bool):
    """All subsets of 2 of 5 neighbours, or all pairs of draws, are equally likely."""
    graph = star(5)
    outcomes = np.zeros((6, 6), dtype=int)
    for seed in range(4000):
        _, _, _, _, position, _, _ = torch.ops.gnnkit.neighbor_sample(
            graph.rowptr, graph.col, torch.tensor([0]), torch.tensor([2]), replace, False, seed
        )
        first, second = position.tolist()
        outcomes[first, second] += 1
    rows, columns = np.indices((6, 6))
    possible = (rows < 5) & (columns < 5) & (replace | (rows < columns))
    assert outcomes[~possible].sum() == 0
    assert scipy.stats.chisquare(outcomes[possible]).pvalue > 0.001


@pytest.mark.parametrize("count", [1, 40, 255])
def test_many_draws_without_replacement_are_different_and_uniform(count: int):
    graph, seen = star(256), np.zeros(256)
    for seed in range(600):
        position = torch.ops.gnnkit.neighbor_sample(
            graph.rowptr, graph.col, torch.tensor([0]), torch.tensor([count]), False, False, seed
        )[4]
        assert position.unique().numel() == count == position.numel()
        assert torch.equal(position, position.sort().values)
        seen[position.numpy()] += 1
    # The counts of draws without replacement vary less than chi-square has it, by this factor.
    statistic = ((seen - 600 * count / 256) ** 2).sum() / (600 * count / 256 * (1 - count / 256))
    assert scipy.stats.chi2.sf(statistic * 255 / 256, 255) > 0.001


@needs_kernels
@runs_kernels
@every_call
def test_kernels_refuse_what_is_no_graph(name: str):
    good = torch.tensor([0, 1])
    rest = {
        "k_hop_sample": (good, good, 2, -1, 0),
        "neighbor_sample": (good, torch.tensor([-1, -1]), False, False, 0),
        "ppr_push": (good, 0.15, 1e-3, 2),
        "root_distance": (torch.tensor([0, 2]), torch.tensor([0]), torch.tensor([-1])),
    }[name]
    for rowptr, col in (
        ([0, 1, 2], [1, 2]),
        ([0, 1, 2], [-1, 0]),
        ([0, 9, 2], [1, 0]),
        ([1, 0, 2], [1, 0]),
        ([-(2**62), 2**62, 2], [1, 0]),
        ([0, 1], [0, 0]),
        ([], []),
    ):
        if name == "root_distance" and rowptr == [0, 1, 2]:
            continue  # neighbours out of range are in no part, and are passed over
        with pytest.raises(RuntimeError, match=r"graph is not valid|boundaries must|outside of its range|must be vec"):
            getattr(torch.ops.gnnkit, name)(torch.tensor(rowptr).long(), torch.tensor(col).long(), *rest)


@needs_kernels
@runs_kernels
def test_kernels_refuse_arguments_out_of_range():
    pair, root, operators = (torch.tensor([0, 1, 2]), torch.tensor([1, 0])), torch.tensor([0]), torch.ops.gnnkit
    for call, words in (
        (lambda: operators.ppr_push(*pair, root, 0.0, 1e-3, 1), "alpha must lie"),
        (lambda: operators.ppr_push(*pair, root, float("nan"), 1e-3, 1), "alpha must lie"),
        (lambda: operators.ppr_push(*pair, root, 0.5, 0.0, 1), "epsilon must lie"),
        (lambda: operators.ppr_push(*pair, root, 0.5, 1e-3, 0), "k must be"),
        (lambda: operators.ppr_push(*pair, root + 2, 0.5, 1e-3, 1), "outside of its range"),
        (lambda: operators.k_hop_sample(*pair, root, root, -1, 1, 0), "depth must"),
        (lambda: operators.k_hop_sample(*pair, root, root, 1, -2, 0), "fanout must"),
        (lambda: operators.k_hop_sample(*pair, root, root[:0], 1, 1, 0), "one entry for each root"),
        (lambda: operators.k_hop_sample(*pair, root - 1, root, 1, 1, 0), "outside of its range"),
        (lambda: operators.neighbor_sample(*pair, root, root - 2, False, False, 0), "fan-out must"),
        (lambda: operators.neighbor_sample(*pair, root, root + 2**21, True, False, 0), "at most 2\\^20"),
        (lambda: operators.neighbor_sample(*pair, root + 2, root, True, False, 0), "outside of its range"),
        (lambda: operators.root_distance(*pair, torch.tensor([0, 1, 2]), root, root), "a root and a closed"),
        (lambda: operators.root_distance(*pair, torch.tensor([0, 2]), root + 2, root), "lie in its part"),
        (lambda: operators.root_distance(*pair, torch.tensor([0, 3]), root, root), "boundaries must"),
    ):
        with pytest.raises(RuntimeError, match=words):
            call()


@needs_kernels
@runs_kernels
@every_call
@nonsense
def test_raw_calls_survive_nonsense(name: str, data: Any):
    graph = random_graph(9, 20, data.draw(st.integers(0, 99)))
    call_with_nonsense(data, name, CALLS[name](graph), capped=(3, 4, 5))
