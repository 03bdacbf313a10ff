"""Between nodes and edges: one row per edge from its end, one row per destination from its in-edges."""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_choice, check_float, check_graphs, check_reduce, check_same_device
from gnnkit.ops.segment import reduce_rows

if TYPE_CHECKING:
    from gnnkit.graph import Graph


def gather(graph: "Graph", x: Tensor, end: Literal["src", "dst"]) -> Tensor:
    r"""Copies node rows to edges: :math:`y_e = x_{\mathrm{src}(e)}` or :math:`x_{\mathrm{dst}(e)}`.

    Args:
        graph: Topology.
        x: Rows of the sources, ``[num_src, *]``, or of the destinations, ``[num_dst, *]``.
        end: Which end of the edge to read.

    Returns:
        ``[E, *]`` in the caller's edge order.

    Raises:
        ShapeError: If ``x`` has not one row per node of that end, or its dtype or device does not fit.

    Determinism: bitwise; the gradient is a segment sum over the edges of a node, not an atomic addition.
    Complexity: ``O(E F)`` time and memory.
    """
    check_graphs(graph=graph)
    check_choice("end", end, ("src", "dst"))
    check_float("x", x)
    check_same_device(x=x, graph=graph.col)
    by_end = graph if end == "dst" else graph.transpose()
    check_rows("x", x, by_end.num_dst, "num_dst" if end == "dst" else "num_src")
    return torch.ops.gnnkit.segment_expand(x, by_end.rowptr, by_end.edge_id, graph.num_edges, False)


def aggregate(graph: "Graph", messages: Tensor, reduce: str = "sum") -> Tensor:
    r"""Reduces edge rows at their destination: :math:`y_i = \bigoplus_{e : \mathrm{dst}(e) = i} m_e`.

    Args:
        graph: Topology.
        messages: One row per edge in the caller's order, ``[E, *]``.
        reduce: ``"sum"``, ``"mean"``, ``"min"`` or ``"max"``.

    Returns:
        ``[num_dst, *]``; zero for a destination without in-edges.

    Raises:
        ShapeError: If ``messages`` has not one row per edge, or its dtype or device does not fit.

    Determinism: bitwise, for any number of threads.
    Complexity: ``O(E F)`` time, no temporary.
    """
    check_graphs(graph=graph)
    check_float("messages", messages)
    check_reduce(reduce)
    check_same_device(messages=messages, graph=graph.col)
    check_rows("messages", messages, graph.num_edges, "num_edges")
    return reduce_rows(messages, graph.rowptr, graph.edge_id, reduce)


def check_rows(name: str, value: Tensor, expected: int, what: str) -> None:
    """Raises ShapeError where ``value`` has not ``expected`` rows."""
    if value.dim() == 0 or value.size(0) != expected:
        raise ShapeError(f"{name} must have one row for each of {what} = {expected}, got shape {tuple(value.shape)}")
