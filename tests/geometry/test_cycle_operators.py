"""Operators over the cycles around edges: kernels against references, threads, tracing, and calls that are wrong."""

import math
from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._library import references
from tests.geometry.undirected import edge_index_of, random_graph
from tests.ops.kernels import EMULATED, needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense

runs_kernels = pytest.mark.skipif(EMULATED, reason="no kernels of a GPU for these")


def simple(graph: Any) -> SimpleGraph:
    return SimpleGraph.from_edge_index(*edge_index_of(graph))


def uniform(count: int) -> Tensor:
    return torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


CALLS: dict[str, tuple[str, Callable[[SimpleGraph], tuple]]] = {
    "triangles": ("edge_cycles", lambda graph: (graph.rowptr, graph.col, 3)),
    "squares": ("edge_cycles", lambda graph: (graph.rowptr, graph.col, 4)),
    "curvature": ("balanced_forman", lambda graph: (graph.rowptr, graph.col)),
    "flow": ("sdrf", lambda graph: (graph.rowptr, graph.col, 5, math.inf, 0.3, uniform(0))),
    "sampled-flow": ("sdrf", lambda graph: (graph.rowptr, graph.col, 5, 8.0, math.inf, uniform(5))),
    "supports": ("supporting_edges", lambda graph: (graph.rowptr, graph.col, graph.ends.flip(1).contiguous())),
}
every_call = pytest.mark.parametrize("call", CALLS)


def run(call: str, graph: SimpleGraph) -> Tensor:
    name, arguments = CALLS[call]
    return getattr(torch.ops.gnnkit, name)(*arguments(graph))


@needs_kernels
@every_call
def test_kernel_equals_reference_bit_by_bit(call):
    name, arguments = CALLS[call]
    graphs = [random_graph(seed, 18) for seed in range(30)]
    for graph in [*graphs, nx.empty_graph(0), nx.empty_graph(3), nx.star_graph(30), nx.complete_graph(7)]:
        read = simple(graph)
        found, expected = run(call, read), references[name](*arguments(read))
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


@every_call
def test_the_same_bits_for_any_number_of_threads(call):
    graph = simple(nx.barabasi_albert_graph(400, 12, seed=0))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(call, graph))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


@every_call
def test_is_traceable(call):
    graph = simple(random_graph(3))
    name, arguments = CALLS[call]
    operator = getattr(torch.ops.gnnkit, name)
    torch.library.opcheck(operator.default, arguments(graph))
    compiled = torch.compile(lambda *given: operator(*given).sum(), backend="aot_eager", fullgraph=True, dynamic=True)
    for seed in (3, 5):
        again = simple(random_graph(seed))
        assert compiled(*arguments(again)) == run(call, again).sum()


@every_call
def test_reads_nothing_it_did_not_write(call, nan_filled_memory):
    graph = simple(random_graph(3))
    assert torch.equal(run(call, graph), references[CALLS[call][0]](*CALLS[call][1](graph)))


@needs_kernels
@runs_kernels
def test_hubs_do_not_make_counting_slow():
    """A star of this size has ten thousand million walks of two steps."""
    leaves = torch.arange(1, 100_001)
    edge_index = torch.stack([torch.zeros_like(leaves), leaves])
    star = SimpleGraph.from_edge_index(torch.cat([edge_index, edge_index.flip(0)], 1), 100_001)
    for call in ("triangles", "squares", "curvature"):
        assert int(run(call, star).count_nonzero()) == 0


@needs_kernels
@runs_kernels
@every_call
@pytest.mark.parametrize(
    ("rowptr", "col"),
    [
        ([0, 1, 1], [1]),  # one direction
        ([0, 1, 2], [0, 0]),  # a self-loop
        ([0, 2, 4], [1, 1, 0, 0]),  # multi-edges
        ([0, 2, 3, 4], [2, 1, 0, 0]),  # not ascending
        ([0, 1, 2], [1, 2]),  # out of range
        ([0, 1, 2], [-1, 0]),
        ([0, 9, 2], [1, 0]),
        ([0, 1, 2, 3], [1, 2, 0]),  # a directed triangle
        ([0, 2, 3, 5, 6], [1, 3, 2, 0, 1, 0]),
    ],
)
def test_kernels_refuse_what_is_no_undirected_graph(call, rowptr, col):
    name, arguments = CALLS[call]
    wrong = (torch.tensor(rowptr), torch.tensor(col), *arguments(simple(nx.path_graph(2)))[2:])
    with pytest.raises(RuntimeError, match=r"rows must ascend|boundaries must|outside of its range"):
        getattr(torch.ops.gnnkit, name)(*wrong)


@needs_kernels
@runs_kernels
def test_kernels_refuse_arguments_out_of_range():
    graph = simple(nx.path_graph(4))
    for length in (2, 5):
        with pytest.raises(RuntimeError, match="3 and of 4"):
            torch.ops.gnnkit.edge_cycles(graph.rowptr, graph.col, length)
    flow, rows = torch.ops.gnnkit.sdrf, (graph.rowptr, graph.col)
    for rest in ((-1, 1.0, 1.0, uniform(1)), (1, float("nan"), 1.0, uniform(1)), (1, 1.0, float("nan"), uniform(1))):
        with pytest.raises(RuntimeError, match="must"):
            flow(*rows, *rest)
    for numbers in (uniform(1), uniform(2).float(), uniform(4).reshape(2, 2)):
        with pytest.raises(RuntimeError, match="uniform"):
            flow(*rows, 2, 1.0, 1.0, numbers)
    with pytest.raises(RuntimeError, match="outside"):
        torch.ops.gnnkit.supporting_edges(*rows, torch.tensor([[0], [4]]))
    with pytest.raises(RuntimeError, match="ends must be"):
        torch.ops.gnnkit.supporting_edges(*rows, torch.tensor([0, 1]))


@needs_kernels
@runs_kernels
@every_call
@nonsense
def test_raw_calls_survive_nonsense(call, data):
    name, arguments = CALLS[call]
    graph = simple(random_graph(data.draw(st.integers(0, 99)), 8))
    call_with_nonsense(data, name, arguments(graph), capped=(2,) if name == "sdrf" else ())
