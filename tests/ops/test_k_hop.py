"""Pairs within k hops, against SciPy's shortest paths and closed forms."""

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.csgraph import shortest_path

from gnnkit import Graph, ops
from gnnkit.ops._library import references
from tests.ops.kernels import needs_kernels
from tests.ops.samples import STRUCTURES, sample

SQUARE = [name for name, (_, num_src, num_dst, _) in STRUCTURES.items() if num_src == num_dst]


def expected_pairs(graph: Graph, k: int) -> list[tuple[int, int, int]]:
    """Destination, source and distance, in this order of importance."""
    source, destination = graph.edge_index.numpy()
    matrix = scipy.sparse.coo_array((np.ones(len(source)), (source, destination)), shape=(graph.num_nodes,) * 2)
    distance = shortest_path(matrix.tocsr(), unweighted=True).T if graph.num_nodes else np.zeros((0, 0))
    return [(int(i), int(j), int(distance[i, j])) for i, j in np.argwhere((distance >= 1) & (distance <= k))]


def found_pairs(pairs: Graph, distance: torch.Tensor) -> list[tuple[int, int, int]]:
    return list(zip(pairs.dst_of_position().tolist(), pairs.col.tolist(), distance.tolist(), strict=True))


@pytest.mark.parametrize("structure", SQUARE)
@pytest.mark.parametrize("index_dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("k", [1, 2, 3, 1000])
def test_equals_shortest_paths(structure, index_dtype, k):
    graph = sample(structure, index_dtype).graph
    pairs, distance = ops.k_hop(graph, k)
    assert found_pairs(pairs, distance) == expected_pairs(graph, k)
    assert (pairs.edge_id, pairs.num_nodes) == (None, graph.num_nodes)
    assert pairs.col.dtype == pairs.rowptr.dtype == index_dtype
    assert distance.dtype == torch.int64


@pytest.mark.parametrize("structure", SQUARE)
@pytest.mark.parametrize("k", [1, 2])
def test_kernel_equals_reference(structure, k):
    graph = sample(structure).graph
    found = torch.ops.gnnkit.k_hop(graph.rowptr, graph.col, k)
    for actual, wanted in zip(found, references["k_hop"](graph.rowptr, graph.col, k), strict=True):
        assert torch.equal(actual, wanted)


def test_cycle_counts_every_distance_once():
    n, k = 4500, 5  # more columns than one block of the bitmap
    graph = Graph.from_edge_index(torch.stack([torch.arange(n), (torch.arange(n) + 1) % n]), n)
    pairs, distance = ops.k_hop(graph, k)
    assert pairs.num_edges == n * k
    assert torch.equal((pairs.dst_of_position() - pairs.col) % n, distance)
    assert bool((distance.bincount()[1:] == n).all())


def test_pattern_of_two_hops_is_that_of_the_product():
    graph = sample("many").graph
    product, _ = ops.spgemm(graph, graph)
    pairs, _ = ops.k_hop(graph, 2)
    wanted = torch.cat([graph.edge_index, product.edge_index], 1)
    wanted = wanted[:, wanted[0] != wanted[1]].flip(0).unique(dim=1).flip(0)
    assert torch.equal(pairs.edge_index, wanted)


def test_same_pairs_for_any_number_of_threads():
    graph = sample("many").graph
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(torch.ops.gnnkit.k_hop(graph.rowptr, graph.col, 3))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_is_traceable():
    graph = sample("isolated-tail").graph
    torch.library.opcheck(torch.ops.gnnkit.k_hop.default, (graph.rowptr, graph.col, 2))
    compiled = torch.compile(
        lambda graph: ops.k_hop(graph, 2)[1].sum(), backend="aot_eager", fullgraph=True, dynamic=True
    )
    for structure in ("isolated-tail", "many"):
        assert compiled(sample(structure).graph) == ops.k_hop(sample(structure).graph, 2)[1].sum()


def test_reads_nothing_it_did_not_write(nan_filled_memory):
    graph = sample("many").graph
    pairs, distance = ops.k_hop(graph, 2)
    assert distance.unique().tolist() == [1, 2]
    assert pairs.col.max() < graph.num_nodes


@needs_kernels
def test_kernel_refuses_what_python_cannot_read():
    for rowptr, col in (([0, 1, 2], [1, 2]), ([0, 1, 2], [-1, 0]), ([0, 9, 2], [1, 0])):
        with pytest.raises(RuntimeError):
            torch.ops.gnnkit.k_hop(torch.tensor(rowptr), torch.tensor(col), 1)
