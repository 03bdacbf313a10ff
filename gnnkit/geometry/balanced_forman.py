"""Balanced Forman curvature of edges."""

import torch
from torch import Tensor

from gnnkit.geometry.simple_graph import SimpleGraph


def balanced_forman(edge_index: Tensor, num_nodes: int) -> Tensor:
    r"""Balanced Forman curvature of every edge of an undirected graph, as the paper defines it.

    .. math::
        Ric(i, j) = \frac{2}{d_i} + \frac{2}{d_j} - 2
            + 2 \frac{|\triangle|}{\max(d_i, d_j)} + \frac{|\triangle|}{\min(d_i, d_j)}
            + \frac{|\square^i| + |\square^j|}{\gamma_{\max} \max(d_i, d_j)},

    and 0 where one of the ends has no other neighbour. :math:`\triangle` are the common neighbours of ``i`` and ``j``;
    :math:`\square^i` the neighbours ``k`` of ``i`` alone for which there is a 4-cycle ``i - k - w - j`` without chords,
    that is, with ``w`` a neighbour of ``j`` alone, and :math:`\square^j` those of ``j``. :math:`\gamma_{\max}` is the
    largest number of such cycles that go through one of these nodes; without any, the last term is left out.

    It is a lower bound of the Lin-Lu-Yau curvature. The CUDA code that its authors have published computes another
    quantity (it counts walks over the edge itself as 4-cycles, and leaves are not told apart), which is not offered.

    Args:
        edge_index: ``[2, E]`` with both directions of every edge. Multi-edges count once.
        num_nodes: Number of nodes, isolated ones included.

    Returns:
        One value per column of ``edge_index``, float64 ``[E]``; greater than -2.

    Raises:
        DataError: If the graph is directed or has self-loops.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If ``edge_index`` has the wrong shape or dtype.

    Determinism: bitwise, for any number of threads.
    Complexity: for each edge, the degrees of the neighbours of its end of lower degree are added up (of a hub among
    them, no more than the higher degree, up to a logarithm); ``O(E + N)`` memory, and two numbers per node and thread.

    Paper: `Topping et al., Understanding over-squashing and bottlenecks on graphs via curvature (ICLR 2022)
    <https://arxiv.org/abs/2111.14522>`_, Definition 1.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes)
    value = torch.ops.gnnkit.balanced_forman(graph.rowptr, graph.col)
    return graph.per_column(value).to(edge_index.device)
