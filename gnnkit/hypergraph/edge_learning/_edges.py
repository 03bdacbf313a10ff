"""Edges of graphs that lie side by side: which of them belong to which graph, and their dual hypergraph."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import DataError, ShapeError
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.hypergraph.transforms.dual import dual_hyperedge_index
from gnnkit.nn._inputs import check_rows
from gnnkit.nn.graph_network import boundaries
from gnnkit.ops._checks import check_segments, check_tensor, values_readable
from gnnkit.ops.segment import segment_of_row


def dual_of_edges(edge_index: Tensor, num_nodes: int) -> Hypergraph:
    """The dual of a graph, with loops: column ``e`` of ``edge_index`` is node ``e``, node ``v`` is hyperedge ``v``.

    See :func:`gnnkit.hypergraph.dual_hyperedge_index`.
    """
    incidences, num_edges = dual_hyperedge_index(edge_index, num_nodes), edge_index.size(1)
    return Hypergraph.from_incidence(incidences, num_nodes=num_edges, num_hyperedges=num_nodes + num_edges)


def edge_boundaries(edge_index: Tensor, ptr: Tensor) -> Tensor:
    """First edge of each graph, and ``E`` at the end, int64 ``[G + 1]``.

    Args:
        edge_index: Edges in order of their graphs, ``[2, E]``.
        ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``.

    Raises:
        DataError: If the edges of a graph do not stand together, or an edge joins two graphs (checked on the CPU only).

    Complexity: ``O(E + N + G log E)``.
    """
    num_graphs = ptr.numel() - 1
    of_node = segment_of_row(ptr, int(ptr[-1]))
    source, target = (of_node[ends] for ends in edge_index.long())
    if values_readable(source):
        _check_order(source, target)
    return torch.searchsorted(source, torch.arange(num_graphs + 1, device=source.device))


def _check_order(source: Tensor, target: Tensor) -> None:
    crosses = (source != target).nonzero()
    if crosses.numel():
        where = int(crosses[0, 0])
        raise DataError(
            f"edge {where} joins graph {int(source[where])} and graph {int(target[where])}; check edge_index and ptr"
        )
    falls = (source[1:] < source[:-1]).nonzero()
    if falls.numel():
        where = int(falls[0, 0]) + 1
        raise DataError(
            f"edges must be in order of their graphs, but edge {where} is of graph {int(source[where])} and the one "
            f"before of graph {int(source[where - 1])}; sort edge_index by batch[edge_index[0]], as a Batch has it"
        )


def checked_boundaries(ptr: Tensor | None, num_edges: int, device: torch.device) -> Tensor:
    """Boundaries of edges that were given, or of one graph, as int64."""
    if ptr is None:
        return torch.tensor([0, num_edges], device=device)
    check_segments(ptr, num_edges)
    return ptr.long()


def node_boundaries(data: Any, num_nodes: int) -> Tensor:
    """First node of each graph of a ``Data`` or ``Batch``, and ``N`` at the end, int64 ``[G + 1]``."""
    ptr = boundaries(torch.empty((num_nodes, 0), device=data.edge_index.device), data)
    check_segments(ptr, num_nodes)
    return ptr.long()


def edge_features_of(data: Any, width: int, dtype: torch.dtype) -> Tensor:
    """``data.edge_attr`` as ``[E, width]``; ones where there is none and ``width`` is 1.

    Raises:
        DataError: If edge features are missing and ``width`` is not 1.
        ShapeError, DtypeError: If they are no tensor ``[E, width]``.
    """
    num_edges = required(data, "edge_index").size(1)
    value = getattr(data, "edge_attr", None)
    if value is None:
        if width != 1:
            raise DataError(
                f"data.edge_attr is missing, and the model was made for edge features of width {width}; without edge "
                "features make it with edge_channels=1, for which every edge has the feature 1"
            )
        return torch.ones((num_edges, 1), dtype=dtype, device=data.edge_index.device)
    check_tensor("data.edge_attr", value)
    value = value.unsqueeze(1) if value.dim() == 1 else value
    check_rows("data.edge_attr", value, num_edges, "edge")
    if value.dim() != 2 or value.size(1) != width:
        raise ShapeError(f"data.edge_attr must have shape [{num_edges}, {width}], got {tuple(value.shape)}")
    return value.to(dtype)


def required(data: Any, name: str) -> Tensor:
    """An attribute; raises DataError where it is missing."""
    value = getattr(data, name, None)
    if not isinstance(value, Tensor):
        raise DataError(f"data.{name} is missing; the model needs it")
    return value
