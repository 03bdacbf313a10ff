"""Nodes along the Fiedler vector."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.geometry.spectrum import second_eigenpair
from gnnkit.graph import Graph
from gnnkit.sequence._batch import ascending, graph_of_nodes, simple_graph

_TIE = 1e-8
_EQUAL = 1e-6


class Eigenvector:
    r"""Ascending entries of the second eigenvector of the normalised Laplacian, which puts neighbours near each other.

    .. math:: L u = \lambda_2 u, \qquad L = I - D^{-1} A

    of each connected component by itself; :math:`D^{1/2} u` is the eigenvector of the symmetric
    :math:`I - D^{-1/2} A D^{-1/2}` of the same eigenvalue. Of both, :math:`u` is the one that is monotone along a path;
    it solves the relaxed normalised cut (Shi and Malik, "Normalized cuts and image segmentation", 2000). Components
    follow one another in order of their lowest nodes.

    The sign is such that of the nodes whose entries are largest in magnitude (up to a relative 1e-6) the lowest comes
    first. Of a repeated eigenvalue, :math:`D^{1/2} u` is the projection onto the eigenspace of the numbers
    :math:`\mathrm{frac}((i + 1) \varphi) - 1/2` for the ``i``-th node of the component, with the golden ratio
    :math:`\varphi = 0.618\ldots`: the order then depends on how nodes are numbered, as any must. Entries that differ by
    1e-8 of the largest are tied, and ties are broken by index. Edges are taken in both directions; multi-edges and
    self-loops do not matter.

    Attributes:
        is_random: False.

    Determinism: bitwise, for any number of threads.
    Complexity: per component a Lanczos iteration, one call each, on the CPU; see
    :func:`gnnkit.geometry.spectral_gap`.
    """

    is_random = False

    def __call__(self, graph: Graph, ptr: Tensor, x: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """The nodes in reading order, int64 ``[N]``; see :class:`~gnnkit.sequence.parts.Ordering`.

        Raises:
            DataError: If an edge joins two graphs, or an eigenvector is not found.
            IndexRangeError, ShapeError: If ``graph`` and ``ptr`` are not those of a batch.
        """
        graph_of_nodes(graph, ptr)
        simple = simple_graph(graph)
        component = simple.components()
        num_components = int(component.max()) + 1 if component.numel() > 0 else 0
        value = _fiedler_vectors(simple, component, num_components)
        # Graphs lie one after the other, so that their components do, too.
        return ascending(value, component, num_components, _TIE).to(graph.device)

    def __repr__(self) -> str:
        """The name."""
        return "Eigenvector()"


def _fiedler_vectors(simple: SimpleGraph, component: Tensor, num_components: int) -> Tensor:
    """Entries of each node, scaled and shifted to [1, 3], where a relative difference is an absolute one."""
    ptr, order = ops.sort_index(component, num_components)
    degree = simple.degree[order]
    rowptr = torch.zeros(order.numel() + 1, dtype=torch.int64)
    torch.cumsum(degree, 0, out=rowptr[1:])
    # All components side by side, nodes in order within each.
    place = torch.empty_like(order)
    place[order] = torch.arange(order.numel())
    shift = (simple.rowptr[order] - rowptr[:-1]).repeat_interleave(degree)
    col = place[simple.col[shift + torch.arange(shift.numel())]]
    value = torch.full((order.numel(),), 2.0, dtype=torch.float64)
    begins, sizes = ptr[:-1], ptr.diff()
    for number in (sizes > 2).nonzero()[:, 0].tolist():
        begin, end = int(begins[number]), int(ptr[number + 1])
        first, last = int(rowptr[begin]), int(rowptr[end])
        ones = torch.ones(last - first, dtype=torch.float64)
        _, vector = second_eigenpair(rowptr[begin : end + 1] - first, col[first:last] - begin, ones)
        vector = vector / degree[begin:end].sqrt()
        largest = vector.abs().max()
        lowest = int((vector.abs() >= largest * (1 - _EQUAL)).nonzero()[0, 0])
        value[begin:end] += vector / (largest if vector[lowest] < 0 else -largest)
    out = torch.empty_like(value)
    out[order] = value
    return out
