"""Which rows a training asks for most, and which ones together: what to keep in memory, and how to order the disk."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import (
    check_count,
    check_graphs,
    check_index,
    check_index_range,
    check_number,
    check_seed,
    check_size,
    check_tensor,
    describe,
)
from gnnkit.ops._philox import mixed
from gnnkit.sample._targets import nodes_of

_EDGES_AT_ONCE = 2**22
_NEVER = np.uint64(2**64 - 1)


def reverse_pagerank(
    graph: Graph,
    nodes: Tensor,
    *,
    weight: Tensor | None = None,
    damping: float = 0.85,
    tolerance: float = 1e-6,
    max_iterations: int = 200,
) -> Tensor:
    r"""How often a sampler that starts from ``nodes`` comes to each node, before it has been run.

    Min et al., "Graph neural network training with data tiering", KDD 2022: PageRank along reversed edges. A walker
    starts at a uniform node of ``nodes``, and goes on with probability ``d`` from the target of an edge to its source,
    by in-edges in proportion to their weights; where there are none, it ends. The score of a node is ``1 - d`` times
    how often the walker is expected to be there:

    .. math:: r = (1 - d)\, t + d\, P^\top r, \qquad P_{vu} = \frac{\sum_{u \to v} w_{uv}}{\sum_{u'} w_{u'v}},
              \qquad t_v = \frac{[v \in \text{nodes}]}{|\text{nodes}|}

    It is computed by power iteration over the rows of the graph, part by part, so that a
    :class:`~gnnkit.sample.store.MappedGraph` stays on disk; the transpose is not made.

    Args:
        graph: The graph that is sampled from; of one kind of nodes.
        nodes: The training nodes: int32 or int64 ``[S]``, or a mask, bool ``[N]``; at least one. Repeats count.
        weight: Of each edge, in the caller's order, ``[E]``, at least 0. None: all the same, which is how
            :class:`~gnnkit.sample.Neighbor` chooses.
        damping: ``d``, in ``[0, 1)``.
        tolerance: Iterations end when what is left to add is no more than this in total; positive.
        max_iterations: Most of them. The error in total is ``damping ** max_iterations`` at most.

    Returns:
        Scores, float64 ``[N]``, at least 0, which add up to at most 1.

    Raises:
        ConfigError: If an option is out of range, a weight is negative or not finite, or there are no nodes.
        ShapeError, DtypeError, IndexRangeError: If an argument does not fit the graph.

    Determinism: bitwise: sums are taken in the order of the rows.
    Complexity: ``O((N + E) log(tolerance) / log(damping))`` time, ``O(N)`` memory and that of a part.
    """
    check_graphs(graph=graph)
    d, size = check_number("damping", damping), graph.num_nodes
    if not 0 <= d < 1:
        raise ConfigError(f"damping must be in [0, 1), got {damping}")
    if not check_number("tolerance", tolerance) > 0:
        raise ConfigError(f"tolerance must be positive, got {tolerance}")
    check_count("max_iterations", max_iterations, 1)
    weight = None if weight is None else _checked_weight(weight, graph.num_edges)
    walkers = (1 - d) * _start(nodes, size)
    total = walkers.clone()
    scale = None if weight is None else _row_sums(graph, weight)
    for _ in range(max_iterations):
        walkers = d * _step(graph, walkers, weight, scale)
        total += walkers
        if float(walkers.sum()) * d <= tolerance * (1 - d):
            break
    return total


def visit_counts(batches: Iterable[Any], num_nodes: int) -> Tensor:
    """How often each node is in a batch: the scores of an epoch that has been sampled.

    Args:
        batches: A sampler, whose next epoch it is, a :class:`~gnnkit.sample.store.Schedule`, or anything that gives
            objects with ``n_id``.
        num_nodes: Number of nodes of the whole graph.

    Returns:
        int64 ``[N]``; a node that is in a batch several times counts each time.

    Raises:
        IndexRangeError, ShapeError, DtypeError: If ``n_id`` does not fit.

    Complexity: of going over the batches.
    """
    count = torch.zeros(check_size("num_nodes", num_nodes), dtype=torch.int64)
    for n_id in _members(batches, num_nodes):
        count.index_add_(0, n_id, torch.ones_like(n_id))
    return count


def minhash_order(batches: Iterable[Any], num_nodes: int, *, num_hashes: int = 2, seed: int = 0) -> Tensor:
    r"""An order in which nodes that are in the same batches are neighbours.

    As DiskGNN does (Liu et al., SIGMOD 2025). With :math:`B_v` the batches that a node is in and :math:`h_i` random
    orders of the batches, nodes are sorted by :math:`(\min h_1(B_v), \min h_2(B_v), \ldots)`. Two nodes have the same
    :math:`\min h_i` with the probability that is the Jaccard similarity of their batches. Nodes that are in no batch
    come last; ties are in order of number.

    Args:
        batches: As in :func:`visit_counts`.
        num_nodes: Number of nodes of the whole graph.
        num_hashes: How many random orders.
        seed: Of these.

    Returns:
        A permutation, int64 ``[N]``: which node comes at each place, as
        :meth:`~gnnkit.sample.store.FeatureStore.reorder` takes it.

    Raises:
        ConfigError: If ``num_hashes`` is not positive, or ``seed`` no integer.
        IndexRangeError, ShapeError, DtypeError: If ``n_id`` does not fit.

    Determinism: the same for a seed on every machine.
    Complexity: ``O(num_hashes N log N)`` time besides that of going over the batches, ``8 num_hashes N`` bytes.
    """
    check_count("num_hashes", num_hashes, 1)
    keys = mixed(np.array([check_seed(seed) % 2**64], dtype=np.uint64) + np.arange(num_hashes, dtype=np.uint64))
    least = np.full((num_hashes, check_size("num_nodes", num_nodes)), _NEVER)
    for number, n_id in enumerate(_members(batches, num_nodes)):
        members, place = n_id.numpy(), mixed(keys ^ mixed(np.array([number], dtype=np.uint64)))
        for i in range(num_hashes):
            least[i, members] = np.minimum(least[i, members], place[i])
    return torch.from_numpy(np.lexsort(least[::-1]))


def _members(batches: Iterable[Any], num_nodes: int) -> Iterable[Tensor]:
    # A schedule has them by themselves: nothing else of its batches is read.
    members = getattr(batches, "members", None)
    for batch in batches if members is None else members():
        n_id: Any = batch if members is not None else getattr(batch, "n_id", None)
        check_index("n_id", n_id)
        n_id = n_id.detach().cpu().long()
        check_index_range("n_id", n_id, num_nodes, "num_nodes")
        yield n_id


def _start(nodes: Tensor, size: int) -> Tensor:
    check_tensor("nodes", nodes)
    nodes = nodes_of("nodes", nodes, size)
    if nodes.numel() == 0:
        raise ConfigError("nodes must name at least one node to start from, and names none; check the split")
    start = torch.zeros(size, dtype=torch.float64)
    return start.index_add_(0, nodes, torch.ones(nodes.numel(), dtype=torch.float64)) / nodes.numel()


def _checked_weight(weight: Tensor, num_edges: int) -> Tensor:
    check_tensor("weight", weight)
    if weight.shape != (num_edges,):
        raise ShapeError(f"weight must have one entry for each of {num_edges} edges, got {describe(weight)}")
    weight = weight.detach().cpu()
    if weight.is_complex() or not bool(((weight >= 0) & weight.isfinite()).all()):
        raise ConfigError("weights must be finite numbers of at least 0")
    return weight


def _row_parts(graph: Graph) -> Iterable[tuple[int, int]]:
    """Ranges of rows with a bounded number of edges (or one row), in order."""
    rowptr, begin = graph.rowptr, 0
    while begin < graph.num_dst:
        stop = int(rowptr[begin]) + _EDGES_AT_ONCE
        end = int(torch.searchsorted(rowptr, torch.tensor(stop, dtype=rowptr.dtype), right=True)) - 1
        end = min(max(end, begin + 1), graph.num_dst)
        yield begin, end
        begin = end


def _weights_of(graph: Graph, weight: Tensor, first: int, last: int) -> Tensor:
    """Those of some positions."""
    number = slice(first, last) if graph.edge_id is None else graph.edge_id[first:last].long()
    return weight[number].double()


def _row_sums(graph: Graph, weight: Tensor) -> Tensor:
    total = torch.zeros(graph.num_dst, dtype=torch.float64)
    for begin, end in _row_parts(graph):
        ptr = graph.rowptr[begin : end + 1].long()
        row = torch.repeat_interleave(ptr.diff())
        total[begin:end].index_add_(0, row, _weights_of(graph, weight, int(ptr[0]), int(ptr[-1])))
    return total


def _step(graph: Graph, walkers: Tensor, weight: Tensor | None, scale: Tensor | None) -> Tensor:
    """:math:`P^T` times the walkers at each node."""
    moved = torch.zeros_like(walkers)
    for begin, end in _row_parts(graph):
        ptr = graph.rowptr[begin : end + 1].long()
        degree, first, last = ptr.diff(), int(ptr[0]), int(ptr[-1])
        share = walkers[begin:end] / (degree.clamp(min=1) if scale is None else scale[begin:end])
        # Rows whose weights are all 0 lead nowhere.
        share = share if scale is None else torch.where(scale[begin:end] > 0, share, 0.0)
        share = torch.repeat_interleave(share, degree, output_size=last - first)
        if weight is not None:
            share = share * _weights_of(graph, weight, first, last)
        moved.index_add_(0, graph.col[first:last].long(), share)
    return moved
