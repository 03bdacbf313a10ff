"""Operators on Laplacians and greedy edges: kernels against references, threads, tracing, and calls that are wrong."""

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
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


def connected(seed: int, most_nodes: int = 25) -> Any:
    graph = random_graph(seed, most_nodes)
    largest = max(nx.connected_components(graph), key=len)
    return nx.convert_node_labels_to_integers(graph.subgraph(largest), ordering="sorted")


def weights(graph: SimpleGraph) -> Tensor:
    generator = torch.Generator().manual_seed(graph.num_edges)
    return (torch.rand(graph.num_edges, dtype=torch.float64, generator=generator) + 0.1)[graph.edge]


def block(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))


def balanced(graph: SimpleGraph, columns: int) -> Tensor:
    given = block(graph.num_nodes, columns)
    return given - given.mean(0)


def eliminated(graph: SimpleGraph, effort: int = 60) -> tuple[Tensor, ...]:
    return references["eliminate"](graph.rowptr, graph.col, weights(graph), effort, effort)


def core_resistances(core_rowptr: Tensor, core_col: Tensor) -> Tensor:
    row = torch.arange(core_rowptr.numel() - 1).repeat_interleave(core_rowptr.diff())
    return 1 / (1 + (torch.minimum(row, core_col) * 7 + torch.maximum(row, core_col)).double())


def words(graph: SimpleGraph) -> Tensor:
    return torch.randint(2**32, (graph.num_edges,), generator=torch.Generator().manual_seed(1))


def dense_inverse(graph: SimpleGraph) -> Tensor:
    matrix = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    matrix[graph.ends[0], graph.ends[1]] = matrix[graph.ends[1], graph.ends[0]] = -1.0
    matrix.diagonal().copy_(-matrix.sum(1))
    return torch.linalg.pinv(matrix, hermitian=True)


def for_gtr(graph: SimpleGraph) -> tuple:
    inverse = dense_inverse(graph)
    nodes = torch.arange(graph.num_nodes)
    ptr = torch.tensor([0, graph.num_nodes])
    return graph.rowptr, graph.col, nodes, ptr, inverse.flatten(), (inverse @ inverse).flatten(), 6


def substitution(backward: bool) -> Callable[[SimpleGraph], tuple]:
    return lambda graph: (*eliminated(graph)[1:4], block(graph.num_nodes, 3), backward)


def solution(columns: int, tolerance: float, single: bool) -> Callable[[SimpleGraph], tuple]:
    return lambda graph: (*rows(graph), balanced(graph, columns), tolerance, 3000, single)


def rows(graph: SimpleGraph) -> tuple[Tensor, Tensor, Tensor]:
    return graph.rowptr, graph.col, weights(graph)


def resistances(graph: SimpleGraph) -> tuple:
    parts = eliminated(graph)
    return (*parts[1:7], core_resistances(parts[5], parts[6]))


CALLS: dict[str, tuple[str, Callable[[SimpleGraph], tuple]]] = {
    "elimination": ("eliminate", lambda graph: (*rows(graph), 60, 200)),
    "whole-elimination": ("eliminate", lambda graph: (*rows(graph), 10**9, 10**9)),
    "no-elimination": ("eliminate", lambda graph: (*rows(graph), 0, 0)),
    "forward": ("substitute", substitution(False)),
    "backward": ("substitute", substitution(True)),
    "resistances": ("eliminated_resistance", resistances),
    "one-solution": ("laplacian_solve", solution(1, 1e-12, False)),
    "solutions": ("laplacian_solve", solution(19, 1e-12, False)),
    "single-precision": ("laplacian_solve", solution(35, 1e-6, True)),
    "eigenpair": ("second_eigenpair", rows),
    "sums": (
        "sketch_sums",
        lambda graph: (graph.rowptr, graph.col, graph.edge, weights_of_edges(graph), words(graph), 9),
    ),
    "distances": ("squared_distances", lambda graph: (block(graph.num_nodes, 5), graph.ends)),
    "gtr": ("gtr", for_gtr),
    "fosr": ("fosr", lambda graph: (graph.rowptr, graph.col, 6, False)),
    "bridging": ("fosr", lambda graph: (graph.rowptr, graph.col, 6, True)),
    "product": ("least_product", lambda graph: (graph.rowptr, graph.col, block(graph.num_nodes, 1)[:, 0], 0.0)),
}
every_call = pytest.mark.parametrize("call", CALLS)


def weights_of_edges(graph: SimpleGraph) -> Tensor:
    return torch.arange(1.0, graph.num_edges + 1, dtype=torch.float64).sqrt()


def as_tuple(found: Any) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)


def run(call: str, graph: SimpleGraph) -> tuple[Tensor, ...]:
    name, arguments = CALLS[call]
    return as_tuple(getattr(torch.ops.gnnkit, name)(*arguments(graph)))


def agree(call: str, found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for place, (actual, wanted) in enumerate(zip(found, expected, strict=True)):
        assert (actual.shape, actual.dtype) == (wanted.shape, wanted.dtype)
        if CALLS[call][0] == "laplacian_solve":
            if place == 1:  # how many steps it took may differ by the last bits
                assert bool(((actual >= 0) & (wanted >= 0)).all())
                continue
            actual, wanted = actual - actual.mean(0), wanted - wanted.mean(0)
        if CALLS[call][0] == "second_eigenpair" and place == 1:
            actual = actual * torch.sign((actual * wanted).sum())
        if not actual.is_floating_point():
            assert torch.equal(actual, wanted)
        else:
            tolerance = 1e-5 if call == "single-precision" else 1e-9
            scale = float(wanted.abs().max()) if wanted.numel() else 1.0
            torch.testing.assert_close(actual, wanted, rtol=tolerance, atol=tolerance * max(scale, 1.0))


@needs_kernels
@runs_kernels
@every_call
def test_kernel_equals_reference(call):
    name, arguments = CALLS[call]
    others = [nx.path_graph(2), nx.star_graph(20), nx.complete_graph(24), nx.path_graph(16), nx.cycle_graph(9)]
    for graph in [*(connected(seed) for seed in range(30)), *others]:
        read = simple(graph)
        agree(call, run(call, read), as_tuple(references[name](*arguments(read))))


@needs_kernels
@runs_kernels
@pytest.mark.parametrize(
    "call", ["elimination", "whole-elimination", "forward", "backward", "sums", "fosr", "bridging"]
)
def test_kernel_equals_reference_on_graphs_in_pieces(call):
    name, arguments = CALLS[call]
    for graph in [*(random_graph(seed, 18) for seed in range(30)), nx.empty_graph(0), nx.empty_graph(3)]:
        read = simple(graph)
        agree(call, run(call, read), as_tuple(references[name](*arguments(read))))


@needs_kernels
@runs_kernels
def test_gtr_serves_several_components_alike():
    for seed in range(20):
        parts = [simple(connected(seed + shift)) for shift in (0, 100, 200)]
        graph = simple(nx.disjoint_union_all([connected(seed + shift) for shift in (0, 100, 200)]))
        sizes = torch.tensor([0, *(part.num_nodes for part in parts)]).cumsum(0)
        inverses = [dense_inverse(part) for part in parts]
        flat = torch.cat([inverse.flatten() for inverse in inverses])
        square = torch.cat([(inverse @ inverse).flatten() for inverse in inverses])
        arguments = graph.rowptr, graph.col, torch.arange(graph.num_nodes), sizes, flat, square, 15
        assert torch.equal(torch.ops.gnnkit.gtr(*arguments), references["gtr"](*arguments))


@every_call
def test_the_same_bits_for_any_number_of_threads(call):
    graph = simple(nx.barabasi_albert_graph(150, 4, seed=0))
    arguments = CALLS[call][1](graph)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(as_tuple(getattr(torch.ops.gnnkit, CALLS[call][0])(*arguments)))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(result, results[0], strict=True))


@needs_kernels
@runs_kernels
@pytest.mark.parametrize("single", [False, True])
def test_solutions_have_the_same_bits_where_rows_fall_into_many_chunks(single):
    graph = simple(nx.random_regular_graph(4, 9000, seed=0))
    given = balanced(graph, 20)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(torch.ops.gnnkit.laplacian_solve(*rows(graph), given, 1e-6, 500, single))
    finally:
        torch.set_num_threads(before)
    for solution, steps in results[1:]:
        assert torch.equal(solution, results[0][0])
        assert torch.equal(steps, results[0][1])
    assert int(results[0][1].min()) > 0


@every_call
def test_is_traceable(call):
    name, arguments = CALLS[call]
    operator = getattr(torch.ops.gnnkit, name)
    torch.compiler.reset()  # all operators come through one line of code
    torch.library.opcheck(operator.default, arguments(simple(connected(3))))
    compiled = torch.compile(
        lambda *given: as_tuple(operator(*given))[0].sum(), backend="aot_eager", fullgraph=True, dynamic=True
    )
    for seed in (3, 5):
        graph = simple(connected(seed))
        torch.testing.assert_close(compiled(*arguments(graph)), run(call, graph)[0].sum())


@every_call
def test_reads_nothing_it_did_not_write(call, nan_filled_memory):
    graph = simple(connected(3))
    agree(call, run(call, graph), as_tuple(references[CALLS[call][0]](*CALLS[call][1](graph))))


@needs_kernels
@runs_kernels
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("graph", [nx.path_graph(300), nx.random_regular_graph(6, 300, seed=1), nx.complete_graph(90)])
def test_solutions_are_within_the_tolerance(single, graph):
    read = simple(graph)
    given = balanced(read, 33)
    found, steps = torch.ops.gnnkit.laplacian_solve(*rows(read), given, 1e-5, 5000, single)
    if single and graph.number_of_edges() == 299:
        assert int(steps.max()) == -1, "a path is too ill conditioned for float32"
        return
    assert int(steps.min()) >= 1
    matrix = np.zeros((read.num_nodes, read.num_nodes))
    matrix[np.repeat(np.arange(read.num_nodes), read.degree), read.col] = weights(read)
    laplacian = np.diag(matrix.sum(1)) - matrix
    exact = np.linalg.pinv(laplacian) @ given.numpy()
    error = found.numpy() - exact
    energy = np.einsum("ik,ij,jk->k", exact, laplacian, exact)
    assert np.sqrt(np.einsum("ik,ij,jk->k", error, laplacian, error) / energy).max() <= 1.5e-5


def test_solutions_that_do_not_come_say_so():
    graph = simple(nx.path_graph(400))
    given = balanced(graph, 1)
    for arguments in (
        (*rows(graph), given, 1e-10, 5, False),  # too few steps
        (graph.rowptr, graph.col, torch.full_like(weights(graph), torch.nan), given, 1e-10, 2**62, False),
        (*rows(graph), given * torch.inf, 1e-10, 2**62, False),
        (graph.rowptr, graph.col, -weights(graph), given, 1e-10, 2**62, False),
    ):
        assert torch.ops.gnnkit.laplacian_solve(*arguments)[1].tolist() == [-1]


def test_columns_of_zeros_have_the_solution_zero():
    graph = simple(nx.cycle_graph(12))
    given = balanced(graph, 4)
    given[:, 2] = 0
    found, steps = torch.ops.gnnkit.laplacian_solve(*rows(graph), given, 1e-12, 1000, False)
    assert int(steps.min()) >= 0
    assert not bool(found[:, 2].any())
    assert bool(found[:, [0, 1, 3]].any(0).all())


def test_elimination_ends_where_the_rest_fills_up():
    dense, tree = simple(nx.complete_graph(60)), simple(nx.random_labeled_tree(60, seed=1))
    assert torch.ops.gnnkit.eliminate(*rows(dense), 10**9, 10**9)[4].numel() == 0
    parts = torch.ops.gnnkit.eliminate(*rows(tree), 10**9, 10**9)
    assert parts[4].numel() == 60
    assert parts[2].numel() == 59, "trees do not fill up"
    assert (parts[4] == 0).nonzero().flatten().tolist() == [59], "the last node is grounded"
    assert sorted(parts[0].tolist()) == list(range(60))


@needs_kernels
@runs_kernels
def test_hubs_do_not_make_elimination_slow():
    """Merging the neighbours of a hub with those of each of its leaves would take ten thousand million steps."""
    leaves = torch.arange(2, 200_002)
    ends = torch.cat(
        [torch.stack([torch.zeros_like(leaves), leaves]), torch.stack([torch.ones_like(leaves), leaves])], 1
    )
    graph = SimpleGraph.from_ends(ends, 200_002)
    ones = torch.ones(graph.col.numel(), dtype=torch.float64)
    parts = torch.ops.gnnkit.eliminate(graph.rowptr, graph.col, ones, 10**7, 10**7)
    assert parts[4].numel() == 200_002
    assert float(parts[4].max()) == pytest.approx(100_000.0)


@needs_kernels
@runs_kernels
def test_kernels_refuse_what_would_be_out_of_bounds():
    graph = simple(nx.path_graph(5))
    ops, one = torch.ops.gnnkit, torch.ones(8, dtype=torch.float64)
    wrong_col = graph.col.clone()
    wrong_col[3] = 5
    for name, arguments in {
        "eliminate": (graph.rowptr, wrong_col, one, 9, 9),
        "laplacian_solve": (graph.rowptr, wrong_col, one, balanced(graph, 1), 1e-9, 9, False),
        "second_eigenpair": (graph.rowptr, wrong_col, one),
        "fosr": (graph.rowptr, wrong_col, 1, False),
        "least_product": (graph.rowptr, wrong_col, one[:5], 0.0),
        "squared_distances": (block(4, 2), graph.ends),
        "sketch_sums": (graph.rowptr, graph.col, graph.edge + 1, one[:4], words(graph), 3),
    }.items():
        with pytest.raises(RuntimeError, match="outside of its range"):
            getattr(ops, name)(*arguments)
    parts = eliminated(graph, 10**9)
    with pytest.raises(RuntimeError, match="must come after it"):
        ops.substitute(parts[1], parts[2] * 0, parts[3], block(5, 2), False)
    with pytest.raises(RuntimeError, match="must come after it"):
        ops.substitute(*parts[1:4], block(3, 2), False)
    with pytest.raises(RuntimeError, match="one pivot per eliminated node"):
        ops.eliminated_resistance(*parts[1:4], parts[4][:2], *parts[5:7], parts[7])
    with pytest.raises(RuntimeError, match="64 bits"):
        ops.sketch_sums(graph.rowptr, graph.col, graph.edge, one[:4], words(graph), 65)
    with pytest.raises(RuntimeError, match="two nodes"):
        ops.second_eigenpair(torch.zeros(2, dtype=torch.int64), graph.col[:0], one[:0])
    with pytest.raises(RuntimeError, match="one matrix of each kind"):
        ops.gtr(*for_gtr(graph)[:4], one, one, 3)
    with pytest.raises(RuntimeError, match="leaves its component"):
        ops.gtr(graph.rowptr, graph.col, torch.arange(3), torch.tensor([0, 3]), block(9, 1)[:, 0], one.repeat(2), 3)
    with pytest.raises(RuntimeError, match="finite"):
        ops.least_product(graph.rowptr, graph.col, one[:5] * torch.nan, 0.0)


@needs_kernels
@runs_kernels
@every_call
@nonsense
def test_raw_calls_survive_nonsense(call, data):
    name, arguments = CALLS[call]
    graph = simple(connected(data.draw(st.integers(0, 99)), 8))
    call_with_nonsense(data, name, arguments(graph))
