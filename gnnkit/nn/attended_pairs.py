"""Pairs of nodes that attend to each other, as the edges of a graph."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit.errors import DataError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_index, check_index_range, check_segments, values_readable

_INT32_MAX = 2**31 - 1


def complete_graphs(ptr: Tensor) -> Graph:
    r"""All pairs of nodes of each graph, self-pairs included, as edges.

    The pair from source :math:`j` to destination :math:`i`, both of a graph that starts at node :math:`s` and has
    :math:`n` nodes, is edge :math:`b_i + j - s`, where :math:`b_i` counts the pairs of the nodes before :math:`i`: the
    pairs of a graph are its :math:`n \times n` matrix, row by row, one row per destination.

    Args:
        ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``.

    Returns:
        A graph of ``N`` nodes and ``P = sum n^2`` edges, with int32 indices where they suffice.

    Raises:
        ShapeError, DtypeError: If ``ptr`` is no vector of at least one integer.
        IndexRangeError: If ``ptr`` decreases or does not start at 0 (checked on the CPU only).

    Determinism: bitwise.
    Complexity: ``O(N + P)`` time, ``O(P)`` memory. The number of pairs is read from the device.
    """
    check_index("ptr", ptr)
    check_segments(ptr, int(ptr[-1]) if ptr.numel() > 0 else 0)
    sizes = ptr.long().diff()
    num_nodes, num_pairs = int(ptr[-1]), int(sizes.square().sum())
    dtype = torch.int32 if max(num_nodes, num_pairs) <= _INT32_MAX else torch.int64
    count = sizes.repeat_interleave(sizes, output_size=num_nodes)
    rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    first = ptr[:-1].long().repeat_interleave(sizes, output_size=num_nodes)
    shift = (rowptr[:-1] - first).to(dtype).repeat_interleave(count, output_size=num_pairs)
    col = torch.arange(num_pairs, dtype=dtype, device=ptr.device) - shift
    return Graph(rowptr.to(dtype), col, None, num_nodes)


def attended_pairs(
    lists: Sequence[Tensor], num_nodes: int, *, ptr: Tensor | None = None
) -> tuple[Graph, tuple[Tensor, ...]]:
    """Joins lists of pairs: each pair once, and where the pairs of every list stand among them.

    Args:
        lists: Pairs as columns (source, destination), each ``[2, P_l]``. A pair may stand in several lists, and several
            times in one.
        num_nodes: ``N``.
        ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``: all pairs of each graph are taken, in the
            order of :func:`complete_graphs`. None: those of the lists only, by destination, then by source.

    Returns:
        The pairs as a graph of ``N`` nodes, and for each list the edge of each of its pairs, int64 ``[P_l]``.

    Raises:
        IndexRangeError: If a pair leaves ``[0, num_nodes)``.
        DataError: If a pair joins two graphs (checked on the CPU only).

    Determinism: bitwise.
    Complexity: ``O(P)`` with ``ptr``, and one sort without, for ``P`` pairs in all.
    """
    for number, index in enumerate(lists):
        check_index(f"lists[{number}]", index, dim=2)
        if index.size(0) != 2:
            raise ShapeError(f"lists[{number}] must be [2, P], got {tuple(index.shape)}")
        for end in (0, 1):
            check_index_range(f"lists[{number}][{end}]", index[end], num_nodes, "num_nodes")
    pairs = [index.long() for index in lists]
    if ptr is not None:
        graph = complete_graphs(ptr)
        if graph.num_nodes != num_nodes:
            raise ShapeError(f"ptr must end at num_nodes = {num_nodes}, got {graph.num_nodes}")
        return graph, tuple(_complete_position(graph, ptr.long(), index) for index in pairs)
    sizes = [index.size(1) for index in pairs]
    keys = torch.cat([index[1] * num_nodes + index[0] for index in pairs]) if pairs else torch.empty(0).long()
    unique, position = keys.unique(return_inverse=True)
    divisor = max(num_nodes, 1)
    edge_index = torch.stack([unique % divisor, unique.div(divisor, rounding_mode="floor")])
    return Graph.from_edge_index(edge_index, num_nodes=num_nodes), position.split(sizes)


def _complete_position(graph: Graph, ptr: Tensor, index: Tensor) -> Tensor:
    source, destination = index
    owner = torch.searchsorted(ptr, destination, right=True) - 1
    begin, end = ptr[owner], ptr[owner + 1]
    across = (source < begin) | (source >= end)
    if values_readable(across) and bool(across.any()):
        where = int(across.nonzero()[0])
        raise DataError(
            f"a pair must not leave its graph, but pair {where}, ({int(source[where])}, {int(destination[where])}), "
            f"has its source outside of nodes {int(begin[where])} to {int(end[where]) - 1}; check how the pairs were "
            "batched (the name of their attribute should end in 'index')"
        )
    return graph.rowptr.long()[destination] + source - begin
