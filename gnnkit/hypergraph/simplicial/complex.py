"""The clique complex of a graph up to triangles."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, DtypeError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.graph import Graph
from gnnkit.hypergraph.conv._incidence import inverse_power
from gnnkit.nn._inputs import check_rows
from gnnkit.ops._checks import FLOAT_DTYPES, check_flag, check_float

T = TypeVar("T")


@dataclass(frozen=True, eq=False, repr=False)
class CliqueComplex:
    r"""Nodes, edges and triangles of a simple undirected graph.

    Every simplex lists its nodes in ascending order, which is its orientation, and the simplices of a dimension are in
    lexicographic order. Graphs side by side, as in a ``Batch``, give their complexes side by side.

    Attributes:
        num_nodes: :math:`n_0`.
        edges: Ends of each edge, int64 ``[2, n_1]``, the lower one first.
        triangles: Nodes of each triangle, int64 ``[3, n_2]``.
        column_edge: The edge of each column of the ``edge_index`` given, int64 ``[E]``.
        column_sign: Whether a column runs along its edge, 1, or against it, -1; int64 ``[E]``.
        face: The edges ``(a, b)``, ``(a, c)`` and ``(b, c)`` of each triangle ``(a, b, c)``, int64 ``[3, n_2]``.
    """

    num_nodes: int
    edges: Tensor
    triangles: Tensor
    column_edge: Tensor
    column_sign: Tensor
    face: Tensor
    _derived: dict[str, Any] = field(default_factory=dict, init=False)

    @staticmethod
    def from_edge_index(edge_index: Tensor, num_nodes: int) -> "CliqueComplex":
        """The complex whose simplices are the nodes, the edges and all triangles of a graph.

        Args:
            edge_index: Both directions of every edge, ``[2, E]``, int32 or int64, without self-loops. A multi-edge is
                one edge.
            num_nodes: Number of nodes, isolated ones included.

        Returns:
            The complex, on the device of ``edge_index``; it is found on the CPU.

        Raises:
            DataError: If a direction of an edge is missing, or there is a self-loop.
            ShapeError, IndexRangeError: If ``edge_index`` is not ``[2, E]`` of nodes.

        Determinism: bitwise.
        Complexity: ``O(E log E + P log E)`` time and ``O(E + P)`` memory for the :math:`P = O(E^{3/2})` pairs of
        neighbours of a node that follow it in order of degree.
        """
        graph = SimpleGraph.from_edge_index(edge_index, num_nodes)
        triangles, face = _triangles(graph)
        device = edge_index.device
        source, target = edge_index.long()
        return CliqueComplex(
            num_nodes=graph.num_nodes,
            edges=graph.ends.to(device),
            triangles=triangles.to(device),
            column_edge=graph.column_edge.to(device),
            column_sign=(target - source).sign(),
            face=face.to(device),
        )

    @property
    def num_edges(self) -> int:
        """:math:`n_1`."""
        return self.edges.size(1)

    @property
    def num_triangles(self) -> int:
        """:math:`n_2`."""
        return self.triangles.size(1)

    def size(self, dim: int) -> int:
        """Number of simplices of dimension ``dim``, 0 to 2."""
        return (self.num_nodes, self.num_edges, self.num_triangles)[check_dim(dim)]

    @property
    def device(self) -> torch.device:
        """Where the simplices live."""
        return self.edges.device

    def to(self, device: torch.device | str) -> "CliqueComplex":
        """The same complex on ``device``; itself where it is there already."""
        if self.edges.to(device) is self.edges:
            return self
        moved = {name: getattr(self, name).to(device) for name in ("edges", "triangles", "face")}
        columns = {name: getattr(self, name).to(device) for name in ("column_edge", "column_sign")}
        return CliqueComplex(num_nodes=self.num_nodes, **moved, **columns)

    def per_edge(self, value: Tensor, *, oriented: bool = False) -> Tensor:
        """One row per column of ``edge_index``, ``[E, *]``, as one per edge, ``[n_1, *]``: the mean of its columns.

        Args:
            value: Floating rows of the columns.
            oriented: Whether rows are flows along their columns: one against the orientation of its edge counts with
                the other sign.

        Raises:
            ShapeError: If there is not one row per column.
        """
        check_float("value", value)
        check_rows("value", value, self.column_edge.numel(), "column of edge_index")
        return ops.scatter(self._signed(value, oriented), self.column_edge, self.num_edges, "mean")

    def per_column(self, value: Tensor, *, oriented: bool = False) -> Tensor:
        """One row per edge, ``[n_1, *]``, as one per column of ``edge_index``, ``[E, *]``; ``oriented`` as above.

        Raises:
            ShapeError: If there is not one row per edge.
        """
        check_float("value", value)
        check_rows("value", value, self.num_edges, "edge")
        return self._signed(value.index_select(0, self.column_edge), oriented)

    def _signed(self, rows: Tensor, oriented: bool) -> Tensor:
        check_flag("oriented", oriented)
        return rows * self.column_sign.to(rows.dtype).reshape(-1, *(1,) * (rows.dim() - 1)) if oriented else rows

    def boundary(self, dim: int, dtype: torch.dtype, *, normalize: bool = False) -> tuple[Graph, Tensor]:
        """The boundary matrix of ``dim`` 1 or 2 as a graph from its simplices to their faces, and its entries.

        Both are computed once, then kept. See :func:`boundary_matrices`.
        """
        graph = self._cached(f"boundary/{dim}", lambda: self._boundary_graph(dim))
        return graph, self._cached(f"boundary/{dim}/{dtype}/{normalize}", lambda: self._entries(dim, dtype, normalize))

    def _boundary_graph(self, dim: int) -> Graph:
        faces = self.edges if dim == 1 else self.face
        simplex = torch.arange(faces.size(1), device=faces.device).expand_as(faces)
        index = torch.stack([simplex.flatten(), faces.flatten()])
        return Graph.from_edge_index(index, num_src=self.size(dim), num_dst=self.size(dim - 1))

    def _entries(self, dim: int, dtype: torch.dtype, normalize: bool) -> Tensor:
        signs = torch.tensor([[-1.0], [1.0]] if dim == 1 else [[1.0], [-1.0], [1.0]], device=self.device)
        faces = self.edges if dim == 1 else self.face
        entries = signs.double().expand_as(faces)
        if normalize:
            d1, d2 = self._cached("degrees", self._degrees)
            of_face, of_simplex = (d1, d2.sqrt()) if dim == 1 else (d2, 3**-0.5)
            entries = entries * inverse_power(of_face, 0.5)[faces] * of_simplex
        return entries.to(dtype).flatten()

    def _degrees(self) -> tuple[Tensor, Tensor]:
        """The diagonals of D_1, of the nodes, and D_2, of the edges, float64."""
        count = torch.bincount(self.face.flatten(), minlength=self.num_edges)
        d2 = count.clamp(min=1).double()
        d1 = torch.zeros(self.num_nodes, dtype=torch.float64, device=self.device)
        return 2 * d1.index_add(0, self.edges.flatten(), d2.repeat(2)), d2

    def _cached(self, key: str, compute: Callable[[], T]) -> T:
        if key in self._derived:
            return self._derived[key]
        value = compute()
        if not torch.compiler.is_compiling():
            self._derived[key] = value
        return value

    def __repr__(self) -> str:
        """The counts."""
        return (
            f"CliqueComplex(num_nodes={self.num_nodes}, num_edges={self.num_edges}, num_triangles={self.num_triangles})"
        )


def check_dim(dim: object) -> int:
    """``dim`` itself; raises ConfigError where it is not 0, 1 or 2."""
    if isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim <= 2:
        raise ConfigError(f"dim must be 0 (nodes), 1 (edges) or 2 (triangles), got {dim!r}")
    return dim


def check_complex(clique_complex: object, dtype: torch.dtype) -> None:
    """Raises DtypeError where it is no complex, or ``dtype`` is none that boundary matrices can have."""
    if not isinstance(clique_complex, CliqueComplex):
        raise DtypeError(
            f"clique_complex must be a CliqueComplex, got {type(clique_complex).__name__}; make one with "
            "CliqueComplex.from_edge_index"
        )
    if dtype not in FLOAT_DTYPES:
        raise DtypeError(f"dtype must be float32, float64 or bfloat16, got {dtype}")


def _triangles(graph: SimpleGraph) -> tuple[Tensor, Tensor]:
    """All triangles ``[3, T]``, and the edges ``(a, b)``, ``(a, c)`` and ``(b, c)`` of each.

    Every edge is turned towards its end of higher degree, so that few edges leave a hub; a triangle is a pair of edges
    that leave one node, and whose heads are joined.
    """
    low, high = graph.ends
    turned = graph.degree[low] > graph.degree[high]
    tail, head = torch.where(turned, high, low), torch.where(turned, low, high)
    rowptr, order = ops.sort_index(tail, graph.num_nodes)
    head = head[order]
    place = torch.arange(head.numel())
    later = rowptr[1:][tail[order]] - place - 1
    first = place.repeat_interleave(later)
    second = first + 1 + torch.arange(first.numel()) - (later.cumsum(0) - later)[first]
    closing = graph.find(torch.stack([head[first], head[second]]))
    found = closing >= 0
    apex = tail[order][first[found]]
    nodes = torch.stack([apex, head[first[found]], head[second[found]]]).sort(0).values
    key = nodes[0] * graph.num_nodes + nodes[1]
    by_last = nodes[2].argsort(stable=True)
    nodes = nodes[:, by_last[key[by_last].argsort(stable=True)]]
    a, b, c = nodes
    return nodes, torch.stack([graph.find(torch.stack(pair)) for pair in ((a, b), (a, c), (b, c))])
