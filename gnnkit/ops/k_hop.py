"""All pairs of nodes within k hops, with their distance."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.ops._library import define
from gnnkit.ops.spgemm import check_graphs

if TYPE_CHECKING:
    from gnnkit.graph import Graph


def k_hop(graph: "Graph", k: int) -> tuple["Graph", Tensor]:
    r"""Connects every node to all others that reach it in at most ``k`` hops.

    .. math:: E' = \{(j, i) : 1 \le d(j, i) \le k\}

    with :math:`d(j, i)` the number of edges on a shortest path from ``j`` to ``i`` along the direction of the edges.
    This is the pattern of :math:`A + A^2 + \dots + A^k` without its diagonal.

    Args:
        graph: Topology; sources and destinations are the same nodes.
        k: Largest distance, at least 1. From the number of nodes on, all that reach a node are found.

    Returns:
        The graph of the pairs, each once, from ``j`` to ``i``; positions are in order of destination, then source. And
        the distance of each, int64 ``[E']``, in the same order. Not differentiable.

    Raises:
        ConfigError: If ``k`` is below 1.
        ShapeError: If ``graph`` is bipartite.
        RuntimeError: If there are more pairs than the index dtype can count; int64 indices can.

    Determinism: exact.
    Complexity: ``O(E' \bar d)`` time for mean degree :math:`\bar d`, a breadth-first search per node; ``O(E')`` memory,
    and two numbers per node and thread. :math:`E'` approaches :math:`N^2` as ``k`` approaches the diameter.
    """
    check_graphs(graph=graph)
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}")
    num_nodes = graph.num_nodes
    rowptr, col, distance = torch.ops.gnnkit.k_hop(graph.rowptr, graph.col, k)
    from gnnkit.graph import _trusted

    return _trusted(rowptr, col, None, num_nodes), distance


def reference(rowptr: Tensor, col: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Powers of the pattern, one ring of distances after the other; pairs are numbers ``i * N + j``."""
    num_nodes = rowptr.size(0) - 1
    row = torch.arange(num_nodes, device=col.device)
    degree = rowptr.diff().long()
    frontier = row * (num_nodes + 1)
    seen, rings = frontier, []
    for _ in range(min(k, num_nodes)):
        row, middle = frontier // max(num_nodes, 1), frontier % max(num_nodes, 1)
        count = degree.index_select(0, middle)
        first = rowptr.long().index_select(0, middle) - (count.cumsum(0) - count)
        position = torch.arange(int(count.sum()), device=col.device) + first.repeat_interleave(count)
        reached = torch.unique(row.repeat_interleave(count) * num_nodes + col.long().index_select(0, position))
        frontier = reached[~torch.isin(reached, seen)]
        if frontier.numel() == 0:
            break
        rings.append(frontier)
        seen = torch.cat([seen, frontier])
    pairs = torch.cat([frontier[:0], *rings])
    hop = torch.arange(1, len(rings) + 1, device=col.device)
    distance = hop.repeat_interleave(torch.tensor([len(ring) for ring in rings], dtype=torch.int64, device=col.device))
    pairs, order = pairs.sort()
    found_rowptr = torch.zeros_like(rowptr)
    if num_nodes:
        found_rowptr[1:] = torch.bincount(pairs // num_nodes, minlength=num_nodes).cumsum(0)
    return found_rowptr, (pairs % max(num_nodes, 1)).to(col.dtype), distance.index_select(0, order)


def _fake(rowptr: Tensor, col: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    pairs = torch.library.get_ctx().new_dynamic_size()
    return torch.empty_like(rowptr), col.new_empty(pairs), col.new_empty(pairs, dtype=torch.int64)


define("k_hop(Tensor rowptr, Tensor col, int k) -> (Tensor, Tensor, Tensor)", reference=reference, fake=_fake)
