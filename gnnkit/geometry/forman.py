"""Forman curvature of edges, plain and augmented by the cycles through them."""

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph


def forman(edge_index: Tensor, num_nodes: int, *, weight: Tensor | None = None) -> Tensor:
    r"""Forman curvature of every edge of an undirected graph.

    .. math::
        F(u, v) = 4 - d_u - d_v
        \qquad \text{and, with weights } w, \qquad
        F(e) = 2 - \sum_{e' \sim e} \sqrt{w_e / w_{e'}}
             = 4 - \sqrt{w_e} \Big(\sum_{e' \ni u} w_{e'}^{-1/2} + \sum_{e' \ni v} w_{e'}^{-1/2}\Big)

    with degrees :math:`d`, over all other edges :math:`e'` that share an end with :math:`e`; nodes weigh 1. The second
    form is that of Sreejith et al. and becomes the first one where all weights are equal.

    Args:
        edge_index: ``[2, E]`` with both directions of every edge. Weights of multi-edges are added up.
        num_nodes: Number of nodes, isolated ones included.
        weight: Weight of each column, ``[E]``, positive, the same for both directions. None: all weights are equal.

    Returns:
        One value per column of ``edge_index``, float64 ``[E]``.

    Raises:
        DataError: If the graph is directed or has self-loops, or a weight is not finite and positive.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If a tensor has the wrong shape or dtype.

    Determinism: exact without weights, else bitwise on one machine.
    Complexity: ``O(E log E)`` time, to sort the edges; ``O(E + N)`` memory.

    Papers: `Forman, Bochner's method for cell complexes and combinatorial Ricci curvature (2003)
    <https://doi.org/10.1007/s00454-002-0743-x>`_; `Sreejith et al., Forman curvature for complex networks (2016)
    <https://arxiv.org/abs/1603.00386>`_.
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight)
    if graph.weight is None:
        value = _unweighted(graph)
    else:
        root = graph.weight.sqrt()
        near = torch.zeros(graph.num_nodes, dtype=torch.float64)
        for end in graph.ends:
            near.index_add_(0, end, 1 / root)
        value = 4 - root * (near[graph.ends[0]] + near[graph.ends[1]])
    return graph.per_column(value).to(edge_index.device)


def augmented_forman(edge_index: Tensor, num_nodes: int, *, cycles: int = 3) -> Tensor:
    r"""Forman curvature of every edge, with triangles, or triangles and 4-cycles, as faces.

    .. math::
        AF_3(u, v) = 4 - d_u - d_v + 3 \triangle(u, v), \qquad
        AF_4(u, v) = AF_3(u, v) + 2 \, \square(u, v)

    with the number of triangles :math:`\triangle` and of 4-cycles :math:`\square` that the edge lies in. A 4-cycle
    counts whether or not it has chords: each edge of the complete graph of four nodes lies in two.

    Args:
        edge_index: ``[2, E]`` with both directions of every edge. Multi-edges count once.
        num_nodes: Number of nodes, isolated ones included.
        cycles: Length of the longest cycles that count, 3 or 4.

    Returns:
        One value per column of ``edge_index``, float64 ``[E]``.

    Raises:
        ConfigError: If ``cycles`` is neither 3 nor 4.
        DataError: If the graph is directed or has self-loops.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If ``edge_index`` has the wrong shape or dtype.

    Determinism: exact.
    Complexity: time in the sum of the smaller degrees of the two ends over all edges, at most
    :math:`O(E \sqrt{E})`, beside sorting; ``O(E + N)`` memory, and one number per node and thread.

    Papers: `Samal et al., Comparative analysis of two discretizations of Ricci curvature for complex networks (2018)
    <https://arxiv.org/abs/1712.07600>`_; `Fesser and Weber, Mitigating over-smoothing and over-squashing using
    augmentations of Forman-Ricci curvature (LoG 2023) <https://arxiv.org/abs/2309.09384>`_.
    """
    check_cycles(cycles)
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes)
    return graph.per_column(augmented_forman_of_edges(graph, cycles)).to(edge_index.device)


def check_cycles(cycles: object) -> None:
    """Raises ConfigError where ``cycles`` is neither 3 nor 4."""
    if isinstance(cycles, bool) or cycles not in (3, 4):
        raise ConfigError(f"cycles must be 3 (triangles) or 4 (triangles and 4-cycles), got {cycles!r}")


def augmented_forman_of_edges(graph: SimpleGraph, cycles: int) -> Tensor:
    """Augmented Forman curvature of each edge of a graph that is read already, float64 ``[M]``."""
    value = _unweighted(graph) + 3.0 * torch.ops.gnnkit.edge_cycles(graph.rowptr, graph.col, 3)
    if cycles == 4:
        value += 2.0 * torch.ops.gnnkit.edge_cycles(graph.rowptr, graph.col, 4)
    return value


def _unweighted(graph: SimpleGraph) -> Tensor:
    degree = graph.degree
    return (4 - degree[graph.ends[0]] - degree[graph.ends[1]]).double()
