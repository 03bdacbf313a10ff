"""Operators on transport between random walks: kernels against references, threads, tracing, and wrong calls."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.geometry.ollivier import _walks
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._library import references
from tests.geometry.undirected import edge_index_of, random_graph
from tests.ops.kernels import EMULATED, needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense
from tests.ops.recorder import as_tuple

runs_kernels = pytest.mark.skipif(EMULATED, reason="no kernels of a GPU for these")


def simple(graph: Any) -> SimpleGraph:
    return SimpleGraph.from_edge_index(*edge_index_of(graph))


def lazy(graph: SimpleGraph, stays: int, of: int) -> tuple[Tensor, ...]:
    shares = (torch.full_like(graph.ends[0], number) for number in (stays, of))
    return (graph.rowptr, graph.col, graph.ends, *shares)


def walks(graph: SimpleGraph) -> tuple[Tensor, ...]:
    length = torch.rand(graph.num_edges, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    return _walks(replace(graph, weight=length), 0.3)


CALLS: dict[str, tuple[str, Callable[[SimpleGraph], tuple]]] = {
    "exact": ("ollivier", lambda graph: lazy(graph, 0, 1)),
    "lazy": ("ollivier", lambda graph: lazy(graph, 2, 7)),
    "plan": ("ollivier_plan", lambda graph: lazy(graph, 1, 3)),
    "weighted": ("ollivier_weighted", walks),
    "weighted-plan": ("ollivier_weighted_plan", walks),
    "sinkhorn": ("ollivier_sinkhorn", lambda graph: (*walks(graph), 0.2, 30, 1e-6)),
    "flow": ("borf", lambda graph: (graph.ends, graph.num_nodes, 2, 2, 1)),
}
every_call = pytest.mark.parametrize("call", CALLS)


def run(call: str, graph: SimpleGraph) -> tuple[Tensor, ...]:
    name, arguments = CALLS[call]
    return as_tuple(getattr(torch.ops.gnnkit, name)(*arguments(graph)))


@needs_kernels
@every_call
def test_kernel_equals_reference(call: str):
    name, arguments = CALLS[call]
    graphs = [random_graph(seed, 10) for seed in range(6)]
    for graph in [*graphs, nx.empty_graph(0), nx.empty_graph(3), nx.star_graph(9), nx.complete_graph(5)]:
        read = simple(graph)
        found, expected = run(call, read), as_tuple(references[name](*arguments(read)))
        if "plan" in call:
            found, expected = ((totals(read, *plan),) for plan in (found, expected))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9 if one.is_floating_point() else 0)


def totals(graph: SimpleGraph, edge: Tensor, source: Tensor, target: Tensor, mass: Tensor) -> Tensor:
    """What each node sends and gets along each edge: the same for all plans."""
    both = mass.new_zeros(2, max(graph.num_edges, 1), max(graph.num_nodes, 1))
    return both.index_put((torch.zeros_like(edge), edge, source), mass, accumulate=True).index_put(
        (torch.ones_like(edge), edge, target), mass, accumulate=True
    )


@needs_kernels
@every_call
def test_the_same_bits_for_any_number_of_threads(call: str):
    graph = simple(nx.barabasi_albert_graph(90 if call == "flow" else 150, 6, seed=0))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(call, graph))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(result, results[0], strict=True))


@every_call
def test_is_traceable(call: str):
    graph = simple(random_graph(3, 9))
    name, arguments = CALLS[call]
    operator = getattr(torch.ops.gnnkit, name)
    torch.library.opcheck(operator.default, arguments(graph))
    compiled = torch.compile(
        lambda *given: as_tuple(operator(*given))[-1].sum(), backend="aot_eager", fullgraph=True, dynamic=True
    )
    for seed in (3, 5):
        again = simple(random_graph(seed, 9))
        assert compiled(*arguments(again)) == run(call, again)[-1].sum()


@every_call
def test_reads_nothing_it_did_not_write(call: str, nan_filled_memory: None):
    once, again = (run(call, simple(random_graph(3, 9))) for _ in range(2))
    for one, other in zip(once, again, strict=True):
        assert torch.equal(one, other)
        assert bool(one.isfinite().all())
        assert bool((one.abs() < 10**6).all())


@needs_kernels
@runs_kernels
@pytest.mark.parametrize("call", [call for call in CALLS if call != "flow"])
@pytest.mark.parametrize(
    ("rowptr", "col"),
    [
        ([0, 1, 1], [1]),  # one direction
        ([0, 1, 2], [0, 0]),  # a self-loop
        ([0, 2, 4], [1, 1, 0, 0]),  # multi-edges
        ([0, 1, 2], [1, 2]),  # out of range
        ([0, 9, 2], [1, 0]),
    ],
)
def test_kernels_refuse_what_is_no_undirected_graph(call: str, rowptr: list[int], col: list[int]):
    name, arguments = CALLS[call]
    wrong = (torch.tensor(rowptr), torch.tensor(col), *arguments(simple(nx.path_graph(2)))[2:])
    with pytest.raises(RuntimeError):
        getattr(torch.ops.gnnkit, name)(*wrong)


@needs_kernels
@runs_kernels
def test_kernels_refuse_arguments_out_of_range():
    graph = simple(nx.path_graph(4))
    rows, ends = (graph.rowptr, graph.col), graph.ends
    one = torch.ones_like(ends[0])
    for pairs in (torch.tensor([[0], [2]]), torch.tensor([[0], [4]]), torch.tensor([[1], [1]]), ends[0]):
        with pytest.raises(RuntimeError, match=r"neighbours in the graph|outside|must be"):
            torch.ops.gnnkit.ollivier(*rows, pairs, one[: pairs.size(-1)] * 0, one[: pairs.size(-1)])
    for stays, of in ((-1, 1), (2, 1), (0, 0), (1, 2**62)):
        with pytest.raises(RuntimeError, match="fraction from 0 to 1"):
            torch.ops.gnnkit.ollivier(*rows, ends, one * stays, one * of)
    good = walks(graph)
    for place, value in ((2, -1.0), (2, float("nan")), (3, -1.0), (3, 0.7), (5, 1.5), (5, float("nan"))):
        wrong = list(good)
        wrong[place] = torch.full_like(wrong[place], value)
        with pytest.raises(RuntimeError, match="lengths must be finite"):
            torch.ops.gnnkit.ollivier_weighted(*wrong)
    for rest in ((0.0, 1, 0.1), (float("nan"), 1, 0.1), (1.0, 0, 0.1), (1.0, 1, -0.1)):
        with pytest.raises(RuntimeError, match="epsilon must be positive"):
            torch.ops.gnnkit.ollivier_sinkhorn(*good, *rest)
    for pairs in (ends.flip(0), ends.flip(1), torch.tensor([[0, 0], [1, 1]])):
        with pytest.raises(RuntimeError, match="lexicographic order"):
            torch.ops.gnnkit.borf(pairs.contiguous(), 4, 1, 1, 1)
    for counts in ((-1, 1, 1), (1, -1, 1), (1, 1, -1)):
        with pytest.raises(RuntimeError, match="must not be negative"):
            torch.ops.gnnkit.borf(ends, 4, *counts)


@needs_kernels
@runs_kernels
@every_call
@nonsense
def test_raw_calls_survive_nonsense(call: str, data: st.DataObject):
    name, arguments = CALLS[call]
    graph = simple(random_graph(data.draw(st.integers(0, 99)), 8))
    call_with_nonsense(data, name, arguments(graph), capped=range(9))
