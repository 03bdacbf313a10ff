"""What orderings and tokenizers share: the graphs of a batch, checked, and sorting within each of them."""

import numpy as np
import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import DataError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_graphs, check_same_device, check_seed, check_segments
from gnnkit.ops._philox import mixed, philox_words
from gnnkit.ops.segment import segment_of_row

# The last word of the counters of random numbers, by use: no two draw the same numbers.
TIES = 0
ORDER = 1
PATCHES = 2
BUCKETS = 3
WALKS = 4


def graph_of_nodes(graph: Graph, ptr: Tensor) -> Tensor:
    """Graph of each node of a batch, int64 ``[N]``.

    Raises:
        DtypeError, ShapeError, IndexRangeError: If ``graph`` is no graph, it is bipartite, or ``ptr`` does not hold the
            boundaries of its nodes.
        DataError: If an edge joins two graphs; it is named.
    """
    check_graphs(graph=graph)
    check_segments(ptr, graph.num_nodes)
    check_same_device(graph=graph.col, ptr=ptr)
    number = segment_of_row(ptr, graph.num_nodes)
    source, target = graph.edge_index
    crosses = number[source] != number[target]
    if bool(crosses.any()):
        where = int(crosses.nonzero()[0, 0])
        i, j = int(source[where]), int(target[where])
        raise DataError(
            f"edges must stay within a graph, but edge {where} joins node {i} of graph {int(number[i])} and node {j} "
            f"of graph {int(number[j])}; check ptr, which must be the boundaries that the batch was put together with"
        )
    return number


def simple_graph(graph: Graph) -> SimpleGraph:
    """The undirected graph of the pairs that some edge joins, kept with the graph."""
    return graph.cached("simple_graph", lambda: SimpleGraph.from_graph(graph))


def regrouped(order: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Brings nodes in order of their group; those of one group keep their order."""
    return order[ops.sort_index(group[order], num_groups)[1]]


def ascending(value: Tensor, group: Tensor, num_groups: int, tolerance: float) -> Tensor:
    """Nodes by group, then by a value that is known up to a relative error.

    Rounding must not decide between nodes that a symmetry makes alike: neighbours in the order whose values differ by
    no more than ``tolerance`` times the larger magnitude are tied, and the lowest index of those that are so linked
    comes first.
    """
    order = regrouped(torch.sort(value, stable=True).indices, group, num_groups)
    sorted_value, sorted_group = value[order], group[order]
    begins = torch.ones_like(order, dtype=torch.bool)
    gap = tolerance * torch.maximum(sorted_value[1:].abs(), sorted_value[:-1].abs())
    begins[1:] = (sorted_value.diff() > gap) | (sorted_group.diff() > 0)
    rank = torch.empty_like(order)
    rank[order] = begins.cumsum(0) - 1
    return ops.sort_index(rank, order.size(0))[1]


def random_keys(count: int, seed: int, use: int, device: torch.device) -> Tensor:
    """Independent numbers of 62 random bits, int64 ``[count]``: the same for a seed on every machine.

    Raises:
        ConfigError: If ``seed`` is no integer.
    """
    key = mixed(np.array([check_seed(seed) % 2**64], dtype=np.uint64))
    place = np.arange(count, dtype=np.uint64)
    words = philox_words(key, place & np.uint64(0xFFFFFFFF), place >> np.uint64(32), 0, use)
    high, low = (words[part] >> np.uint64(1) for part in (0, 1))
    return torch.from_numpy((high << np.uint64(31) | low).astype(np.int64)).to(device)
