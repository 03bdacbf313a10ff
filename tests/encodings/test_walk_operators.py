"""Operators over random walks: kernels against references, threads, tracing, and calls that are wrong."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.ops._library import references
from tests.encodings.walks import random_data
from tests.ops.kernels import needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense
from tests.ops.raw_calls import as_tuple, check_close, check_threads, check_traceable, runs_kernels

CALLS: dict[str, tuple[str, tuple]] = {
    "returns": ("return_probabilities", (7,)),
    "all-pairs": ("walk_pairs", (5, None, 0.0)),
    "near-pairs": ("walk_pairs", (5, 2, 0.0)),
    "likely-pairs": ("walk_pairs", (6, 5, 0.15)),
}
every_call = pytest.mark.parametrize("call", CALLS)
GRAPHS: dict[str, Callable[[], Any]] = {
    "none": lambda: random_data(0, 0),
    "lone": lambda: random_data(3, 0),
    "sparse": lambda: random_data(60, 70, symmetric=True),
    "directed": lambda: random_data(60, 110),
    "unweighted": lambda: random_data(50, 90, weighted=False, symmetric=True),
    "full": lambda: random_data(110, 9000, symmetric=True),
    "full-directed": lambda: random_data(200, 30000),
}
every_graph = pytest.mark.parametrize("kind", GRAPHS)


def rows(data: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    graph = Graph.from_edge_index(data.edge_index.flip(0), data.num_nodes)
    if data.edge_weight is None or graph.edge_id is None:
        return graph.rowptr, graph.col, data.edge_weight
    return graph.rowptr, graph.col, data.edge_weight[graph.edge_id]


def run(call: str, data: Any) -> tuple[Tensor, ...]:
    name, rest = CALLS[call]
    return as_tuple(getattr(torch.ops.gnnkit, name)(*rows(data), *rest))


@needs_kernels
@every_call
@every_graph
def test_kernel_equals_reference(call: str, kind: str):
    name, rest = CALLS[call]
    data = GRAPHS[kind]()
    check_close(run(call, data), references[name](*rows(data), *rest))


@every_call
@every_graph
def test_the_same_bits_for_any_number_of_threads(call: str, kind: str):
    data = GRAPHS[kind]()
    check_threads(lambda: run(call, data))


@every_call
def test_is_traceable(call: str):
    name, rest = CALLS[call]
    directed, sparse = ((*rows(GRAPHS[kind]()), *rest) for kind in ("directed", "sparse"))
    check_traceable(name, directed, (directed, sparse), result=-1)


@every_call
@every_graph
def test_reads_nothing_it_did_not_write(call: str, kind: str, nan_filled_memory: None):
    name, rest = CALLS[call]
    data = GRAPHS[kind]()
    check_close(run(call, data), references[name](*rows(data), *rest))


@needs_kernels
@runs_kernels
@every_call
def test_kernels_refuse_what_is_no_graph(call: str):
    name, rest = CALLS[call]
    operator, one = getattr(torch.ops.gnnkit, name), torch.ones(2, dtype=torch.float64)
    for rowptr, col in (([0, 1, 2], [1, 2]), ([0, 1, 2], [-1, 0]), ([0, 9, 2], [1, 0]), ([0, 1], [0, 0]), ([], [])):
        with pytest.raises(RuntimeError, match=r"boundaries must|outside of its range|must be vectors"):
            operator(torch.tensor(rowptr, dtype=torch.int64), torch.tensor(col, dtype=torch.int64), None, *rest)
    pair = (torch.tensor([0, 1, 2]), torch.tensor([1, 0]))
    for weight in (-one, one * torch.nan, one * torch.inf, one * 1e308, one.float(), torch.cat([one, one])):
        with pytest.raises(RuntimeError, match="weight"):
            operator(*pair, weight, *rest)
    with pytest.raises(RuntimeError, match="steps must be at least 1"):
        operator(*pair, None, 0, *rest[1:])


@needs_kernels
@runs_kernels
def test_kernels_refuse_arguments_out_of_range():
    pair = (torch.tensor([0, 1, 2]), torch.tensor([1, 0]), None)
    with pytest.raises(RuntimeError, match="max_hops must not be negative"):
        torch.ops.gnnkit.walk_pairs(*pair, 3, -1, 0.0)
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(RuntimeError, match="threshold must be a probability"):
            torch.ops.gnnkit.walk_pairs(*pair, 3, 1, threshold)


@needs_kernels
@runs_kernels
@every_call
@nonsense
def test_raw_calls_survive_nonsense(call: str, data: Any):
    name, rest = CALLS[call]
    graph = random_data(12, 20, seed=data.draw(st.integers(0, 99)))
    call_with_nonsense(data, name, (*rows(graph), *rest), capped=(3,))
