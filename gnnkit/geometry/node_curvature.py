"""From numbers about edges to numbers about nodes."""

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_tensor, describe


def node_curvature(edge_index: Tensor, num_nodes: int, value: Tensor) -> Tensor:
    r"""Mean of a value over the edges at every node, for curvatures of any kind.

    .. math:: \kappa(u) = \frac{1}{d_u} \sum_{v \sim u} \kappa(u, v)

    Args:
        edge_index: ``[2, E]``, both directions of every edge, without self-loops.
        num_nodes: Number of nodes, isolated ones included.
        value: One number per column of ``edge_index``, ``[E]``. The columns of a multi-edge, and both directions,
            are averaged, and count once.

    Returns:
        The mean at each node, float64 ``[N]``; 0 at isolated nodes.

    Raises:
        DataError: If a direction of an edge is missing, or there is a self-loop.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If a tensor has the wrong shape or dtype.

    Determinism: bitwise.
    Complexity: ``O(E log E)`` time, ``O(E + N)`` memory.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes)
    check_tensor("value", value)
    if value.shape != (edge_index.size(1),) or value.is_complex():
        raise ShapeError(
            f"value must hold one real number per column of edge_index, [{edge_index.size(1)}], got {describe(value)}"
        )
    given = value.detach().cpu().double()
    columns = torch.bincount(graph.column_edge, minlength=graph.num_edges)
    mean = given.new_zeros(graph.num_edges).index_add(0, graph.column_edge, given) / columns
    total = given.new_zeros(graph.num_nodes).index_add(0, graph.ends.reshape(-1), mean.repeat(2))
    return (total / graph.degree.clamp(min=1)).to(edge_index.device)
