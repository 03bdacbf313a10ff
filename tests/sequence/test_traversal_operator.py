"""The operator behind both searches: kernel against reference, tracing, and calls that are wrong."""

from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.ops._library import references
from tests.ops.kernels import EMULATED, needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense

runs_kernels = pytest.mark.skipif(EMULATED, reason="no kernels of a GPU for these")
every_search = pytest.mark.parametrize("depth_first", [False, True])
every_size = pytest.mark.parametrize(("num_nodes", "num_edges"), [(0, 0), (5, 0), (40, 30), (60, 400), (2000, 5000)])


def arguments(num_nodes: int, num_edges: int, depth_first: bool) -> tuple[Tensor, Tensor, Tensor, bool]:
    generator = torch.Generator().manual_seed(num_edges)
    edges = torch.randint(max(num_nodes, 1), (2, num_edges), generator=generator)
    graph = Graph.from_edge_index(edges, num_nodes)
    return graph.rowptr, graph.col, torch.randperm(num_nodes, generator=generator), depth_first


@needs_kernels
@every_search
@every_size
def test_kernel_equals_reference(num_nodes: int, num_edges: int, depth_first: bool):
    call = arguments(num_nodes, num_edges, depth_first)
    assert torch.equal(torch.ops.gnnkit.traversal_order(*call), references["traversal_order"](*call))


@every_search
@every_size
def test_reads_nothing_it_did_not_write(num_nodes: int, num_edges: int, depth_first: bool, nan_filled_memory: None):
    call = arguments(num_nodes, num_edges, depth_first)
    assert torch.equal(torch.ops.gnnkit.traversal_order(*call), references["traversal_order"](*call))


@every_search
def test_is_traceable(depth_first: bool):
    operator = torch.ops.gnnkit.traversal_order
    torch.library.opcheck(operator.default, arguments(40, 30, depth_first))
    compiled = torch.compile(
        lambda *given: operator(*given, depth_first) + 1, backend="aot_eager", fullgraph=True, dynamic=True
    )
    for size in ((40, 30), (60, 400)):
        *tensors, _ = arguments(*size, depth_first)
        assert torch.equal(compiled(*tensors), operator(*tensors, depth_first) + 1)


@needs_kernels
@runs_kernels
@every_search
def test_a_path_of_any_length_needs_no_deep_stack(depth_first: bool):
    num_nodes = 1_000_000
    graph = Graph.from_edge_index(torch.stack([torch.arange(1, num_nodes), torch.arange(num_nodes - 1)]), num_nodes)
    order = torch.ops.gnnkit.traversal_order(graph.rowptr, graph.col, torch.tensor([0]), depth_first)
    assert torch.equal(order, torch.arange(num_nodes))


@needs_kernels
@runs_kernels
@every_search
@pytest.mark.parametrize(
    ("rowptr", "col", "roots", "message"),
    [
        ([0, 1, 2], [1, 2], [0, 1], "outside of its range"),
        ([0, 1, 2], [-1, 0], [0, 1], "outside of its range"),
        ([0, 1, 2], [1, 0], [0, 2], "outside of its range"),
        ([0, 1, 2], [1, 0], [-1], "outside of its range"),
        ([0, 9, 2], [1, 0], [0], "boundaries must"),
        ([], [], [], "must be vectors"),
        ([0, 0, 0], [], [1], "must be reached"),
        ([0, 1, 2], [1, 0], [], "must be reached"),
    ],
)
def test_the_kernel_refuses_what_is_no_search(
    rowptr: list[int], col: list[int], roots: list[int], message: str, depth_first: bool
):
    tensors = (torch.tensor(value, dtype=torch.int64) for value in (rowptr, col, roots))
    with pytest.raises(RuntimeError, match=message):
        torch.ops.gnnkit.traversal_order(*tensors, depth_first)


@needs_kernels
@runs_kernels
@every_search
@nonsense
def test_raw_calls_survive_nonsense(depth_first: bool, data: Any):
    call_with_nonsense(data, "traversal_order", arguments(12, data.draw(st.integers(0, 40)), depth_first))
