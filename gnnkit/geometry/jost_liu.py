"""Bounds of Ollivier-Ricci curvature from degrees and triangles."""

import torch
from torch import Tensor

from gnnkit.geometry.simple_graph import SimpleGraph


def jost_liu_bounds(edge_index: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    r"""Bounds of the Ollivier-Ricci curvature of every edge at :math:`\alpha = 0`, without any transport.

    .. math::
        -\left[1 - \tfrac{1}{d_u} - \tfrac{1}{d_v} - \tfrac{\Delta}{\min}\right]_+
        - \left[1 - \tfrac{1}{d_u} - \tfrac{1}{d_v} - \tfrac{\Delta}{\max}\right]_+ + \tfrac{\Delta}{\max}
        \;\le\; \kappa_0(u, v) \;\le\; \tfrac{\Delta}{\max}

    Jost and Liu, "Ollivier's Ricci curvature, local clustering and curvature-dimension inequalities on graphs", 2014.
    :math:`\Delta` is the number of common neighbours of ``u`` and ``v``; min and max are of their degrees. The lower
    bound is met on trees.

    Args:
        edge_index: ``[2, E]``, both directions of every edge, without self-loops.
        num_nodes: Number of nodes, isolated ones included.

    Returns:
        The lower and the upper bound of each column of ``edge_index``, float64 ``[E]`` each.

    Raises:
        DataError: If a direction of an edge is missing, or there is a self-loop.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If ``edge_index`` has the wrong shape or dtype.

    Determinism: bitwise.
    Complexity: that of :func:`augmented_forman` with triangles.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes)
    common = torch.ops.gnnkit.edge_cycles(graph.rowptr, graph.col, 3).double()
    smaller, larger = graph.degree[graph.ends].double().sort(0).values
    room = 1 - 1 / smaller - 1 / larger
    upper = common / larger
    lower = upper - (room - common / smaller).clamp(min=0) - (room - upper).clamp(min=0)
    device = edge_index.device
    return graph.per_column(lower).to(device), graph.per_column(upper).to(device)
