"""Operators behind tokenizers: kernels against references, threads, tracing, and calls that are wrong."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._library import references
from tests.ops.kernels import needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense
from tests.ops.raw_calls import agree, as_tuple, check_threads, check_traceable, runs_kernels
from tests.sequence.token_graphs import batch_of, random_graph

GRAPHS: dict[str, Callable[[], tuple[Graph, Tensor]]] = {
    "none": lambda: batch_of([]),
    "empty": lambda: batch_of([random_graph(0, 0)]),
    "lone": lambda: batch_of([random_graph(1, 0), random_graph(3, 0)]),
    "sparse": lambda: batch_of([random_graph(60, 50), random_graph(0, 0), random_graph(25, 80)]),
    "many": lambda: batch_of([random_graph(300 + n, 900, n) for n in range(12)]),
}
every_graph = pytest.mark.parametrize("kind", GRAPHS)


def walk_arguments(graph: Graph, ptr: Tensor, *rest: int) -> tuple:
    leaving = graph.transpose()
    return (leaving.rowptr, leaving.col, *(rest or (3, 4, 2, -7)))


def partition_arguments(graph: Graph, ptr: Tensor, parts: int = 4) -> tuple:
    simple = SimpleGraph.from_graph(graph)
    pieces = zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True)
    shuffled = [
        torch.randperm(end - begin, generator=torch.Generator().manual_seed(3)) + begin for begin, end in pieces
    ]
    return simple.rowptr, simple.col, torch.cat([ptr[:0], *shuffled]), ptr, parts


CALLS: dict[str, Callable[[Graph, Tensor], tuple]] = {
    "walk_tokens": walk_arguments,
    "greedy_partition": partition_arguments,
}
every_call = pytest.mark.parametrize("name", CALLS)


def run(name: str, arguments: tuple) -> tuple[Tensor, ...]:
    return as_tuple(getattr(torch.ops.gnnkit, name)(*arguments))


@needs_kernels
@every_call
@every_graph
def test_kernel_equals_reference(name: str, kind: str):
    arguments = CALLS[name](*GRAPHS[kind]())
    assert agree(run(name, arguments), as_tuple(references[name](*arguments)))


@every_graph
@pytest.mark.parametrize("settings", [(0, 1, 1, 0), (1, 1, 1, 2**62), (5, 2, 1, -1), (2, 7, 3, 5)])
def test_walks_of_all_lengths_and_index_types(kind: str, settings: tuple[int, ...]):
    graph, ptr = GRAPHS[kind]()
    narrow = Graph.from_edge_index(graph.edge_index.int(), graph.num_nodes)
    found = run("walk_tokens", walk_arguments(graph, ptr, *settings))
    assert agree(found, run("walk_tokens", walk_arguments(narrow, ptr, *settings)))
    assert agree(found, as_tuple(references["walk_tokens"](*walk_arguments(graph, ptr, *settings))))


@every_graph
@pytest.mark.parametrize("parts", [1, 3, 32, 1000])
def test_parts_of_all_numbers(kind: str, parts: int):
    arguments = partition_arguments(*GRAPHS[kind](), parts)
    assert agree(run("greedy_partition", arguments), (references["greedy_partition"](*arguments),))


@every_call
@every_graph
def test_the_same_bits_for_any_number_of_threads(name: str, kind: str):
    arguments = CALLS[name](*GRAPHS[kind]())
    check_threads(lambda: run(name, arguments))


@every_call
def test_is_traceable(name: str):
    sparse, many = (CALLS[name](*GRAPHS[kind]()) for kind in ("sparse", "many"))
    check_traceable(name, sparse, (sparse, many))


@every_call
@every_graph
def test_reads_nothing_it_did_not_write(name: str, kind: str, nan_filled_memory: None):
    arguments = CALLS[name](*GRAPHS[kind]())
    assert agree(run(name, arguments), as_tuple(references[name](*arguments)))


@needs_kernels
@runs_kernels
@every_call
def test_kernels_refuse_what_is_no_graph(name: str):
    rest = (2, 2, 2, 0) if name == "walk_tokens" else (torch.arange(2), torch.tensor([0, 2]), 2)
    for rowptr, col in (([0, 1, 2], [1, 2]), ([0, 1, 2], [-1, 0]), ([0, 9, 2], [1, 0]), ([0, 1], [0, 0]), ([], [])):
        if name == "greedy_partition" and rowptr == [0, 1, 2]:
            continue  # neighbours out of range are in no other graph, and are passed over
        with pytest.raises(RuntimeError, match=r"boundaries must|outside of its range|must be vectors"):
            getattr(torch.ops.gnnkit, name)(torch.tensor(rowptr).long(), torch.tensor(col).long(), *rest)


@needs_kernels
@runs_kernels
def test_kernels_refuse_arguments_out_of_range():
    pair = (torch.tensor([0, 1, 2]), torch.tensor([1, 0]))
    for settings, words in (
        ((-1, 1, 1), "max_length must lie"),
        ((2**16, 1, 1), "max_length must lie"),
        ((1, 0, 1), "num_walks must lie"),
        ((1, 2**16 + 1, 1), "num_walks must lie"),
        ((1, 1, 0), "repeats must lie"),
        ((1, 1, 2**40), "repeats must lie"),
    ):
        with pytest.raises(RuntimeError, match=words):
            torch.ops.gnnkit.walk_tokens(*pair, *settings, 0)
    for order, ptr, parts, words in (
        ([0, 1], [0, 2], 0, "num_parts must lie"),
        ([0, 1], [0, 2], 2**31, "num_parts must lie"),
        ([0, 0], [0, 2], 1, "list each node once"),
        ([1, 0], [0, 1, 2], 1, "list each node once"),
        ([0, 5], [0, 2], 1, "list each node once"),
        ([0, -1], [0, 2], 1, "list each node once"),
        ([0], [0, 2], 1, "one entry of order"),
        ([0, 1], [0, 3], 1, "boundaries must"),
    ):
        with pytest.raises(RuntimeError, match=words):
            torch.ops.gnnkit.greedy_partition(*pair, torch.tensor(order), torch.tensor(ptr), parts)


@needs_kernels
@runs_kernels
@every_call
@nonsense
def test_raw_calls_survive_nonsense(name: str, data: Any):
    batch = batch_of([random_graph(7, 12, data.draw(st.integers(0, 99))), random_graph(4, 3)])
    call_with_nonsense(data, name, CALLS[name](*batch), capped=(2, 3, 4))
