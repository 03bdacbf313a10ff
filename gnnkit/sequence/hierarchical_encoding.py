"""Positional features from a hierarchy of clusters: distances in its tree."""

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_count, check_index, check_index_range, check_same_device, describe
from gnnkit.ops.segment import segment_of_row
from gnnkit.sequence.hierarchy import Hierarchy


def hierarchical_positions(hierarchy: Hierarchy, num_levels: int) -> Tensor:
    r"""How the other nodes of a graph are spread over distances from a node in the tree.

    .. math:: p_{v, l} = \frac{|C_l(v)|}{n}, \qquad l = 1, \dots, L

    with :math:`C_l(v)` the cluster of ``v`` after round ``l``: the share of the ``n`` nodes of the graph that are within
    ``2 l`` edges of the tree from ``v`` (where a graph is connected, so that all leaves are equally deep). It ends with 1
    once the root is reached.

    Args:
        hierarchy: The trees of a batch.
        num_levels: Number of rounds ``L``, at least 1. About :math:`\log_2 n` of them reach the root.

    Returns:
        Features of each node in torch's default dtype, ``[N, L]``. They move with the nodes, and need no sign or basis
        to be chosen.

    Raises:
        ConfigError: If ``num_levels`` is no integer of at least 1.

    Determinism: bitwise.
    Complexity: ``O(N L^2)``.
    """
    check_count("num_levels", num_levels, 1)
    sizes = [hierarchy.num_leaves[hierarchy.clusters(level)] for level in range(1, num_levels + 1)]
    total = segment_of_row(hierarchy.ptr, hierarchy.num_nodes)
    total = hierarchy.ptr.diff()[total]
    return (torch.stack(sizes, 1).double() / total[:, None]).to(torch.get_default_dtype())


def step_distances(hierarchy: Hierarchy, order: Tensor) -> Tensor:
    """Distance in the tree from each node of a reading order to the one before it in its graph.

    What a sequence model cannot see in the order itself: in the order of leaves, a distance of 2 stays within a cluster
    of the first round, and larger ones begin clusters of later rounds.

    Args:
        hierarchy: The trees of a batch.
        order: Nodes in reading order, those of a graph at its places, ``[N]``; see
            :class:`~gnnkit.sequence.parts.Ordering`.

    Returns:
        Int64 ``[N]``, by place in the order; 0 at the first node of each graph.

    Raises:
        DataError: If a place of one graph holds a node of another.
        DtypeError, IndexRangeError, ShapeError: If ``order`` does not hold one node per place.
    """
    check_index("order", order)
    if order.numel() != hierarchy.num_nodes:
        raise ShapeError(f"order must hold {hierarchy.num_nodes} nodes, got {describe(order)}")
    check_same_device(order=order, hierarchy=hierarchy.parent)
    check_index_range("order", order, hierarchy.num_nodes, "the number of nodes")
    before = order.roll(1)
    first = hierarchy.ptr[:-1][hierarchy.ptr.diff() > 0]
    before[first] = order[first]
    return hierarchy.tree_distance(torch.stack([before, order]))
