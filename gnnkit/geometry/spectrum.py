"""Eigenvalues of a graph, and what they say about its bottlenecks."""

import math

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry.simple_graph import SimpleGraph


def spectral_gap(edge_index: Tensor, num_nodes: int, *, weight: Tensor | None = None) -> Tensor:
    r"""Distance between the two largest eigenvalues of the normalised adjacency matrix.

    .. math:: \lambda_2 = 1 - \mu_2, \qquad 1 = \mu_1 \ge \mu_2 \ge \dots \text{ eigenvalues of } D^{-1/2} A D^{-1/2}

    This is the second smallest eigenvalue of the normalised Laplacian. It is 0 where the graph is not connected
    (isolated nodes are components), and 0 for fewer than two nodes, which have no second eigenvalue.

    Args:
        edge_index: ``[2, E]``, both directions of every edge; self-loops are left out.
        num_nodes: Number of nodes ``N``.
        weight: One positive number per column. None: 1.

    Returns:
        A float64 scalar on the device of ``edge_index``.

    Raises:
        DataError: If the graph is directed, a weight is not finite and positive, or no iteration converges.
        IndexRangeError: If an edge leaves the range of the nodes.
        ShapeError: If a tensor has the wrong shape or dtype.

    Determinism: the same bits for any number of threads; the iteration starts from fixed numbers.
    Complexity: a Lanczos iteration with a factorised Laplacian where it can be factorised cheaply (a few dozen passes
    over the factor), or with the adjacency matrix (some hundred passes over the edges).
    """
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, allow_self_loops=True)
    return torch.tensor(graph_gap(graph), dtype=torch.float64, device=edge_index.device)


def cheeger_bounds(edge_index: Tensor, num_nodes: int, *, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Bounds of the Cheeger constant, which tells how narrow the worst bottleneck of a graph is.

    .. math::
        \frac{\lambda_2}{2} \le h \le \sqrt{2 \lambda_2}, \qquad
        h = \min_{\mathrm{vol}(S) \le \mathrm{vol}(V) / 2} \frac{w(\partial S)}{\mathrm{vol}(S)}

    with :math:`\lambda_2` as :func:`spectral_gap` gives it, whose arguments, errors, determinism and complexity are
    the same. Both are 0 where the graph is not connected.

    Returns:
        The lower and the upper bound, float64 scalars on the device of ``edge_index``.
    """
    gap = spectral_gap(edge_index, num_nodes, weight=weight)
    return gap / 2, (2 * gap).sqrt()


def laplacian_spectrum(
    edge_index: Tensor, num_nodes: int, *, weight: Tensor | None = None, normalization: str | None = "sym"
) -> Tensor:
    r"""All eigenvalues of the Laplacian, in ascending order.

    .. math:: L_\mathrm{sym} = I - D^{-1/2} A D^{-1/2}, \qquad L = D - A

    An isolated node counts as an eigenvalue 0 of either, so that there are as many zeros as components.

    Args:
        edge_index: ``[2, E]``, both directions of every edge; self-loops are left out.
        num_nodes: Number of nodes ``N``.
        weight: One positive number per column. None: 1.
        normalization: ``"sym"`` or None, for the matrices above.

    Returns:
        Float64 ``[N]`` on the device of ``edge_index``.

    Raises:
        ConfigError: If ``normalization`` is unknown.
        DataError, IndexRangeError, ShapeError: As :func:`spectral_gap`.

    Complexity: ``O(N^2)`` memory and ``O(N^3)`` time.
    """
    if normalization not in ("sym", None):
        raise ConfigError(f"normalization must be 'sym' or None, got {normalization!r}")
    graph = SimpleGraph.from_edge_index(edge_index, num_nodes, weight=weight, allow_self_loops=True)
    matrix = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    matrix[graph.ends[0], graph.ends[1]] = matrix[graph.ends[1], graph.ends[0]] = -graph.edge_weight
    degree = -matrix.sum(1)
    matrix.diagonal().copy_(degree)
    if normalization == "sym":
        root = torch.where(degree > 0, degree.rsqrt(), 0.0)
        matrix = root[:, None] * matrix * root
    values = torch.linalg.eigvalsh(matrix).clamp_(min=0)
    # Of the zeros that rounding has left, there are as many as components.
    zeros = int(graph.components().max()) + 1 if graph.num_nodes else 0
    values[:zeros] = 0.0
    return values.to(edge_index.device)


def graph_gap(graph: SimpleGraph) -> float:
    """The second smallest eigenvalue of the normalised Laplacian; 0 where there is none or it is not connected."""
    if graph.num_nodes < 2 or bool((graph.components() > 0).any()):
        return 0.0
    return second_eigenpair(graph.rowptr, graph.col, graph.position_weight)[0]


def second_eigenpair(rowptr: Tensor, col: Tensor, weight: Tensor) -> tuple[float, Tensor]:
    r"""The second smallest eigenvalue of ``I - D^-1/2 A D^-1/2`` and an eigenvector of length 1, float64 ``[n]``.

    Of a repeated eigenvalue, it is the projection onto the eigenspace of fixed numbers, one for each node.

    Args:
        rowptr: Boundaries of the nodes of one connected graph of at least two, ``[n + 1]``.
        col: Neighbours, both directions of every edge, int64 ``[2 M]``.
        weight: Positive, float64 ``[2 M]``.

    Raises:
        DataError: If no iteration converges.
    """
    value, vector = torch.ops.gnnkit.second_eigenpair(rowptr, col, weight)
    if math.isnan(float(value)):
        raise DataError(
            f"the second eigenvalue of a graph of {rowptr.numel() - 1} nodes was not found: it is too close to others; "
            "weights that differ less, or a smaller graph, can be served"
        )
    return float(value), vector
