"""Eigenvectors and eigenvalues of the graphs of a batch, as the encoders that use them take them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnkit.errors import DataError, DtypeError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn.pool import graph_boundaries
from gnnkit.ops._checks import check_float, check_same_device, check_segments, values_readable
from gnnkit.ops.segment import segment_of_row


class Spectrum(NamedTuple):
    """Eigenvectors of graphs that stand side by side; zero where there are none.

    Attributes:
        vectors: ``[N, k]``.
        values: Eigenvalues of each graph, ``[G, k]``. None: not given.
        present: Which columns there are, bool ``[G, k]``.
        ptr: First node of each graph, and ``N`` at the end, int64 ``[G + 1]``.
        graph_of_node: ``[N]``.
    """

    vectors: Tensor
    values: Tensor | None
    present: Tensor
    ptr: Tensor
    graph_of_node: Tensor

    @classmethod
    def of(
        cls,
        vectors: Tensor,
        values: Tensor | None,
        graph: Graph,
        ptr: Tensor | None,
        mask: Tensor | None,
        dtype: torch.dtype,
    ) -> "Spectrum":
        """Checks what an encoder was given and brings it into one form. Errors as the encoders say."""
        num_nodes = graph.num_nodes
        check_float("vectors", vectors)
        if vectors.dim() != 2 or vectors.size(0) != num_nodes:
            raise ShapeError(f"vectors must have shape [{num_nodes}, k], one row per node, got {tuple(vectors.shape)}")
        ptr = graph_boundaries(vectors) if ptr is None else ptr
        check_segments(ptr, num_nodes)
        check_same_device(vectors=vectors, eigenvalues=values, mask=mask, ptr=ptr, graph=graph.col)
        ptr = ptr.long()
        graph_of_node = segment_of_row(ptr, num_nodes)
        k, num_graphs = vectors.size(1), ptr.size(0) - 1
        if mask is None:
            present = torch.ones((num_graphs, k), dtype=torch.bool, device=vectors.device)
        else:
            if mask.dtype != torch.bool:
                raise DtypeError(f"mask must be bool, got {mask.dtype}; use e.g. mask > 0")
            present = _per_graph("mask", mask, k, ptr, graph_of_node)
        if values is not None:
            check_float("eigenvalues", values)
            values = _per_graph("eigenvalues", values, k, ptr, graph_of_node, present)
            values = torch.where(present, values, 0.0).to(dtype)
        vectors = torch.where(present[graph_of_node], vectors, 0.0).to(dtype)
        return cls(vectors, values, present, ptr, graph_of_node)


class SpectralEncoder(torch.nn.Module):
    """Base of encoders of eigenvectors: how they read a ``Data`` or ``Batch``."""

    reads_eigenvalues = True

    def encode_data(self, data: Any, *, attr_name: str = "laplacian_eigenvector_pe") -> Tensor:
        """Encodes what :class:`gnnkit.encodings.LaplacianEigenvectors` has written.

        Args:
            data: A ``Data`` or ``Batch`` with ``edge_index`` (or a :class:`gnnkit.Graph` in ``data.graph``) and the
                attributes ``attr_name``, ``attr_name + "_eigenvalue"`` and ``attr_name + "_mask"``, each ``[N, k]``.
            attr_name: As given to the transform.

        Returns:
            ``[N, out_channels]``.

        Raises:
            DataError: If an attribute is missing.
            ShapeError: If attributes do not fit together.
        """
        vectors, mask = (self._attribute(data, attr_name + suffix) for suffix in ("", "_mask"))
        graph = getattr(data, "graph", None)
        if not isinstance(graph, Graph):
            graph = Graph.from_edge_index(self._attribute(data, "edge_index"), vectors.size(0))
        batch, num_graphs = getattr(data, "batch", None), getattr(data, "num_graphs", None)
        ptr = getattr(data, "ptr", None)
        if not isinstance(ptr, Tensor):
            ptr = graph_boundaries(vectors, batch, num_graphs=num_graphs)
        values = None
        if self.reads_eigenvalues:
            values = _of_first_node(self._attribute(data, attr_name + "_eigenvalue"), ptr.long())
        return self(vectors, values, graph, ptr=ptr, mask=_of_first_node(mask, ptr.long()))

    def _attribute(self, data: Any, name: str) -> Tensor:
        value = getattr(data, name, None)
        if not isinstance(value, Tensor):
            raise DataError(
                f"{type(self).__name__} reads data.{name}, which is missing; "
                "gnnkit.encodings.LaplacianEigenvectors writes the eigenvectors and what belongs to them"
            )
        return value


def _per_graph(
    name: str, value: Tensor, k: int, ptr: Tensor, graph_of_node: Tensor, present: Tensor | None = None
) -> Tensor:
    """Rows of graphs, from these or from rows of nodes that are the same throughout a graph."""
    num_nodes, num_graphs = graph_of_node.size(0), ptr.size(0) - 1
    if value.dim() != 2 or value.size(1) != k or value.size(0) not in (num_nodes, num_graphs):
        raise ShapeError(
            f"{name} must have shape [{num_graphs}, {k}] (a row per graph) or [{num_nodes}, {k}] (a row per node), "
            f"got {tuple(value.shape)}"
        )
    if value.size(0) == num_graphs:
        return value
    rows = _of_first_node(value, ptr)
    if values_readable(value):
        differs = rows[graph_of_node] != value
        if present is not None:
            differs &= present[graph_of_node]
        if bool(differs.any()):
            node = int(differs.any(1).nonzero()[0])
            raise DataError(
                f"{name} must be the same for all nodes of a graph and not NaN, but those of node {node} are not those "
                f"of the first node of its graph {int(graph_of_node[node])}"
            )
    return rows


def _of_first_node(value: Tensor, ptr: Tensor) -> Tensor:
    """The row of the first node of each graph, ``[G, k]``; zero for a graph without nodes."""
    rows = torch.cat([value, value.new_zeros((1, *value.shape[1:]))])
    return rows.index_select(0, torch.where(ptr.diff() > 0, ptr[:-1], value.size(0)))
