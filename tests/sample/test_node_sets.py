"""Operators that draw sets of nodes: kernels against references, laws, threads, tracing, and calls that are wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from gnnkit import Graph
from gnnkit.ops._library import references
from tests.ops.kernels import needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense
from tests.ops.raw_calls import agree, check_threads, check_traceable, runs_kernels


def random_graph(num_nodes: int, num_edges: int, seed: int = 0) -> Graph:
    rng = np.random.default_rng(seed)
    edges = torch.from_numpy(rng.integers(0, num_nodes, (2, num_edges)))
    return Graph.from_edge_index(edges, num_nodes)


GRAPHS: dict[str, Callable[[], Graph]] = {
    "one": lambda: random_graph(1, 0),
    "loops": lambda: random_graph(1, 4),
    "isolated": lambda: random_graph(5, 0),
    "sparse": lambda: random_graph(60, 50),
    "many": lambda: random_graph(3000, 20000),
}
every_graph = pytest.mark.parametrize("kind", GRAPHS)


def cumulative(graph: Graph) -> Tensor:
    """Weights of which some are 0."""
    return torch.from_numpy(np.cumsum(np.arange(graph.num_nodes) % 3 + float(graph.num_nodes < 3)))


CALLS: dict[str, tuple[str, Callable[[Graph], tuple]]] = {
    "walks": ("walk_sets", lambda graph: (None, 40, 3, 0, 70, -7)),
    "long-walks": ("walk_sets", lambda graph: (None, 1, 90, 2**40, 5, 2**62)),
    "weighted": ("walk_sets", lambda graph: (cumulative(graph), 700, 0, 3, 20, 5)),
    "frontiers": ("frontier_sets", lambda graph: (90, 30, 2**63 - 1, 0, 40, 1)),
    "clipped": ("frontier_sets", lambda graph: (300, 7, 2, 2**33, 9, -1)),
    "roots": ("frontier_sets", lambda graph: (600, 600, 1, 0, 3, 0)),
}
every_call = pytest.mark.parametrize("call", CALLS)


def arguments_of(call: str, graph: Graph) -> tuple:
    return graph.rowptr, graph.col, *CALLS[call][1](graph)


def run(call: str, graph: Graph) -> tuple[Tensor, Tensor]:
    return getattr(torch.ops.gnnkit, CALLS[call][0])(*arguments_of(call, graph))


def reference(call: str, graph: Graph) -> tuple[Tensor, Tensor]:
    return references[CALLS[call][0]](*arguments_of(call, graph))


def members_of(found: tuple[Tensor, Tensor]) -> list[list[int]]:
    members, ptr = found
    return [part.tolist() for part in members.split(ptr.diff().tolist())]


@needs_kernels
@every_call
@every_graph
def test_kernel_equals_reference(call: str, kind: str):
    graph = GRAPHS[kind]()
    assert agree(run(call, graph), reference(call, graph))


@every_call
@every_graph
def test_both_index_types(call: str, kind: str):
    graph = GRAPHS[kind]()
    narrow = Graph.from_edge_index(graph.edge_index.int(), graph.num_nodes)
    assert agree(run(call, graph), run(call, narrow))


@every_call
@every_graph
def test_the_same_bits_for_any_number_of_threads(call: str, kind: str):
    graph = GRAPHS[kind]()
    check_threads(lambda: run(call, graph))


@every_call
def test_sets_do_not_depend_on_which_are_asked_for(call: str):
    graph = GRAPHS["many"]()
    name, rest = CALLS[call]
    operator = getattr(torch.ops.gnnkit, name)
    *settings, first, count, seed = rest(graph)
    whole = members_of(run(call, graph))
    assert len(whole) == count
    for number in range(0, count, 3):
        assert members_of(operator(graph.rowptr, graph.col, *settings, first + number, 1, seed)) == [whole[number]]
    assert members_of(operator(graph.rowptr, graph.col, *settings, first, 0, seed)) == []
    assert len({tuple(part) for part in whole}) == count
    assert members_of(operator(graph.rowptr, graph.col, *settings, first, count, seed + 1)) != whole


@every_call
@every_graph
def test_members_are_distinct_and_in_order(call: str, kind: str):
    graph = GRAPHS[kind]()
    for part in members_of(run(call, graph)):
        assert part == sorted(set(part))
        assert part
        assert 0 <= part[0] <= part[-1] < graph.num_nodes


@every_call
def test_is_traceable(call: str):
    sparse, many = (arguments_of(call, GRAPHS[kind]()) for kind in ("sparse", "many"))
    check_traceable(CALLS[call][0], sparse, (sparse, many))


@every_call
@every_graph
def test_reads_nothing_it_did_not_write(call: str, kind: str, nan_filled_memory: None):
    graph = GRAPHS[kind]()
    assert agree(run(call, graph), reference(call, graph))


def test_walks_have_the_law_of_their_matrix():
    # One walk of two steps: the set is a function of (root, first, second), whose law is 1/N P P.
    graph = random_graph(6, 14, seed=3)
    count = 40_000
    adjacency = np.zeros((6, 6))
    source, target = graph.edge_index.numpy()
    np.add.at(adjacency, (target, source), 1)
    degree = adjacency.sum(1, keepdims=True)
    step = np.where(degree > 0, adjacency / np.maximum(degree, 1), np.eye(6))
    law: dict[tuple[int, ...], float] = {}
    for a, b, c in np.ndindex(6, 6, 6):
        met = tuple(sorted({a, b, c}))
        law[met] = law.get(met, 0) + step[a, b] * step[b, c] / 6
    found = members_of(torch.ops.gnnkit.walk_sets(graph.rowptr, graph.col, None, 1, 2, 0, count, 11))
    check_law(found, law)


def test_roots_have_the_law_of_their_weights():
    graph, weight = random_graph(5, 0), np.array([3.0, 0.0, 1.0, 0.5, 0.0])
    law = {(node,): p for node, p in enumerate(weight / weight.sum()) if p > 0}
    given = torch.from_numpy(np.cumsum(weight))
    check_law(members_of(torch.ops.gnnkit.walk_sets(graph.rowptr, graph.col, given, 1, 0, 0, 30_000, 2)), law)


@pytest.mark.parametrize("clip", [1, 2, 2**63 - 1])
def test_frontiers_have_the_law_of_their_definition(clip: int):
    graph = random_graph(4, 9, seed=1)
    rows = [graph.col[graph.rowptr[v] : graph.rowptr[v + 1]].tolist() for v in range(4)]
    law: dict[tuple[int, ...], float] = {}

    def go_on(frontier: tuple[int, ...], met: frozenset[int], steps: int, chance: float) -> None:
        weight = [min(len(rows[node]), clip) for node in frontier]
        if steps == 0 or sum(weight) == 0:
            key = tuple(sorted(met))
            law[key] = law.get(key, 0) + chance
            return
        for place, node in enumerate(frontier):
            for next_node in rows[node]:
                after = (*frontier[:place], next_node, *frontier[place + 1 :])
                share = weight[place] / sum(weight) / len(rows[node])
                go_on(after, met | {next_node}, steps - 1, chance * share)

    for roots in np.ndindex(4, 4):
        go_on(roots, frozenset(roots), 3, 1 / 16)
    found = members_of(torch.ops.gnnkit.frontier_sets(graph.rowptr, graph.col, 5, 2, clip, 0, 60_000, 4))
    check_law(found, law)


def check_law(found: list[list[int]], law: dict[tuple[int, ...], float]) -> None:
    law = {outcome: p for outcome, p in law.items() if p > 1e-12}
    assert sum(law.values()) == pytest.approx(1)
    count = dict.fromkeys(law, 0)
    for part in found:
        count[tuple(part)] += 1
    expected = [p * len(found) for p in law.values()]
    assert min(expected) > 5
    # The draws are fixed by their seed: this is either always true or never.
    assert stats.chisquare(list(count.values()), expected).pvalue > 1e-3


@pytest.mark.parametrize("num_nodes", [1, 2, 7, 40])
def test_a_frontier_of_one_is_a_plain_walk(num_nodes: int):
    for kind in ("isolated", "sparse", "many"):
        graph = GRAPHS[kind]()
        frontier = torch.ops.gnnkit.frontier_sets(graph.rowptr, graph.col, num_nodes, 1, 2**62, 5, 200, 9)
        walk = torch.ops.gnnkit.walk_sets(graph.rowptr, graph.col, None, 1, num_nodes - 1, 5, 200, 9)
        assert agree(frontier, walk)


@needs_kernels
@runs_kernels
@every_call
def test_kernels_refuse_what_is_no_graph(call: str):
    name, rest = CALLS[call]
    for rowptr, col in (([0, 1, 2], [1, 2]), ([0, 1, 2], [-1, 0]), ([0, 9, 2], [1, 0]), ([1, 0, 2], [1, 0]), ([], [])):
        # A row is checked when it is met: roots alone meet none.
        if rowptr and (call == "weighted" or (call == "roots" and rowptr == [0, 1, 2])):
            continue
        pair = torch.tensor(rowptr, dtype=torch.int64), torch.tensor(col, dtype=torch.int64)
        with pytest.raises(RuntimeError, match=r"graph is not valid|must be vectors"):
            getattr(torch.ops.gnnkit, name)(*pair, *rest(random_graph(2, 0)))


@needs_kernels
@runs_kernels
def test_kernels_refuse_arguments_out_of_range():
    pair = (torch.tensor([0, 1, 2]), torch.tensor([1, 0]))
    one = torch.ones(2, dtype=torch.float64)
    for given, words in (
        ((None, 0, 1, 0, 1), "num_roots must lie"),
        ((None, 2**31 + 1, 0, 0, 1), "num_roots must lie"),
        ((None, 1, -1, 0, 1), "length must lie"),
        ((None, 2, 2**31, 0, 1), "length must lie"),
        ((None, 2**20, 2**12, 0, 1), "at most 2\\^31 draws"),
        ((None, 1, 1, -1, 1), "first and count must lie"),
        ((None, 1, 1, 0, -1), "first and count must lie"),
        ((None, 1, 1, 0, 2**40 + 1), "first and count must lie"),
        ((None, 1, 1, 2**63 - 1, 1), "numbered below"),
        ((one.float(), 1, 1, 0, 1), "one float64 number per node"),
        ((one[:1], 1, 1, 0, 1), "one float64 number per node"),
        ((one * 0, 1, 1, 0, 1), "positive and finite"),
        ((one * torch.nan, 1, 1, 0, 1), "positive and finite"),
        ((one * torch.inf, 1, 1, 0, 1), "positive and finite"),
    ):
        with pytest.raises(RuntimeError, match=words):
            torch.ops.gnnkit.walk_sets(*pair, *given, 0)
    for given, words in (
        ((3, 0, 1, 0, 1), "frontier must lie"),
        ((3, 4, 1, 0, 1), "frontier must lie"),
        ((2**31 + 1, 1, 1, 0, 1), "at most 2\\^31 draws"),
        ((3, 1, 0, 0, 1), "degree_clip must be"),
        ((3, 1, 1, -1, 1), "first and count must lie"),
    ):
        with pytest.raises(RuntimeError, match=words):
            torch.ops.gnnkit.frontier_sets(*pair, *given, 0)
    nothing = torch.tensor([0]), torch.tensor([], dtype=torch.int64)
    with pytest.raises(RuntimeError, match="at least one node"):
        torch.ops.gnnkit.walk_sets(*nothing, None, 1, 1, 0, 1, 0)
    with pytest.raises(RuntimeError, match="at least one node"):
        torch.ops.gnnkit.frontier_sets(*nothing, 1, 1, 1, 0, 1, 0)


@needs_kernels
@runs_kernels
@every_call
@nonsense
def test_raw_calls_survive_nonsense(call: str, data: Any):
    name, graph = CALLS[call][0], random_graph(7, 12, data.draw(st.integers(0, 99)))
    capped = (3, 4, 6) if name == "walk_sets" else (2, 3, 6)
    call_with_nonsense(data, name, arguments_of(call, graph), capped=capped)
