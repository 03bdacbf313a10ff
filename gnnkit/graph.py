"""The graph: destination-major CSR topology, checked once and immutable."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from gnnkit.errors import DeviceError, IndexRangeError, ShapeError
from gnnkit.ops._checks import (
    check_index,
    check_index_range,
    check_same_device,
    check_same_dtype,
    check_segments,
    check_size,
    values_readable,
)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Graph:
    r"""Topology of a directed graph, or of a bipartite one from sources to destinations.

    The in-edges of destination ``i`` are the positions ``rowptr[i]:rowptr[i + 1]``; position ``p`` comes from source
    ``col[p]`` and is edge ``edge_id[p]`` of the caller's list. Multi-edges, self-loops, isolated nodes, zero nodes and
    zero edges are all legal. Tensors that hold one row per edge are always given and returned in the caller's order.

    Attributes:
        rowptr: Row boundaries, ``[num_dst + 1]``, int32 or int64.
        col: Source of each position, ``[num_edges]``, same dtype as ``rowptr``.
        edge_id: The caller's edge at each position, ``[num_edges]``. None: positions are in the caller's order.
        num_src: Number of sources; explicit, since the largest source may have no edge.

    Raises:
        ShapeError: If a tensor has the wrong shape, dtype or device.
        IndexRangeError: If ``rowptr`` decreases, or an index leaves its range.
    """

    rowptr: Tensor
    col: Tensor
    edge_id: Tensor | None
    num_src: int
    _derived: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Checks the topology. See the class."""
        check_index("rowptr", self.rowptr)
        check_index("col", self.col)
        if self.edge_id is not None:
            check_index("edge_id", self.edge_id)
        check_same_device(rowptr=self.rowptr, col=self.col, edge_id=self.edge_id)
        check_same_dtype(rowptr=self.rowptr, col=self.col, edge_id=self.edge_id)
        check_size("num_src", self.num_src)
        check_segments(self.rowptr, self.col.size(0))
        check_index_range("col", self.col, self.num_src, "num_src")
        if self.edge_id is not None:
            if self.edge_id.shape != self.col.shape:
                raise ShapeError(f"edge_id must have one entry per edge, {self.num_edges}, got {len(self.edge_id)}")
            check_index_range("edge_id", self.edge_id, self.num_edges, "num_edges")
            _check_each_once(self.edge_id)

    @staticmethod
    def from_edge_index(
        edge_index: Tensor,
        num_nodes: int | None = None,
        *,
        num_src: int | None = None,
        num_dst: int | None = None,
    ) -> "Graph":
        """Builds a graph from PyTorch Geometric's edge list.

        Args:
            edge_index: Sources ``edge_index[0]`` and destinations ``edge_index[1]``, ``[2, E]``, int32 or int64.
            num_nodes: Number of nodes of a graph whose sources and destinations are the same nodes.
            num_src: Number of sources of a bipartite graph; needs ``num_dst``.
            num_dst: Number of destinations of a bipartite graph; needs ``num_src``.

        Returns:
            The graph; its ``edge_index`` equals the one given.

        Raises:
            ShapeError: If ``edge_index`` is not ``[2, E]``, is not int32 or int64, or the sizes are not given.
            IndexRangeError: If an index is negative or not below the number of nodes; it names the edge.

        Determinism: bitwise. In-edges keep the caller's order.
        Complexity: ``O(E + N)`` time and memory.
        """
        num_src, num_dst = _resolve_sizes(num_nodes, num_src, num_dst)
        check_index("edge_index", edge_index, dim=2)
        if edge_index.size(0) != 2:
            raise ShapeError(
                f"edge_index must have shape [2, E] (sources, destinations), got {tuple(edge_index.shape)}; "
                "a list of pairs is transposed with edge_index.t().contiguous()"
            )
        src, dst = edge_index[0], edge_index[1]
        size_name = "num_nodes" if num_nodes is not None else None
        check_index_range("edge_index[0]", src, num_src, size_name or "num_src")
        check_index_range("edge_index[1]", dst, num_dst, size_name or "num_dst")
        rowptr, edge_id = torch.ops.gnnkit.sort_index(dst, num_dst)
        if values_readable(dst) and bool((dst[1:] >= dst[:-1]).all()):
            # Sorted already: weights and messages are then read in order, not through an index. A copy, since whoever
            # changes edge_index later must not change a graph that has been checked.
            return _trusted(rowptr, src.clone(memory_format=torch.contiguous_format), None, num_src)
        return _trusted(rowptr, src.index_select(0, edge_id), edge_id, num_src)

    @property
    def num_dst(self) -> int:
        """Number of destinations."""
        return self.rowptr.size(0) - 1

    @property
    def num_nodes(self) -> int:
        """Number of nodes, where sources and destinations are the same nodes.

        Raises:
            ShapeError: If the graph is bipartite (``num_src != num_dst``).
        """
        if self.num_src != self.num_dst:
            raise ShapeError(
                f"a graph of {self.num_src} sources and {self.num_dst} destinations has no single number of nodes; "
                "use num_src or num_dst"
            )
        return self.num_src

    @property
    def num_edges(self) -> int:
        """Number of edges, multi-edges counted each."""
        return self.col.size(0)

    @property
    def device(self) -> torch.device:
        """Where the topology lives."""
        return self.col.device

    @property
    def edge_index(self) -> Tensor:
        """Sources and destinations in the caller's edge order, ``[2, E]``."""
        return self.cached("edge_index", self._edge_index)

    def _edge_index(self) -> Tensor:
        by_position = torch.stack([self.col, self.dst_of_position()])
        if self.edge_id is None:
            return by_position
        return torch.empty_like(by_position).index_copy(1, self.edge_id.long(), by_position)

    def dst_of_position(self) -> Tensor:
        """Destination of each CSR position, ``[E]``."""
        count = self.rowptr.diff()
        return torch.repeat_interleave(count, output_size=self.num_edges).to(self.col.dtype)

    def transpose(self) -> "Graph":
        """The graph with every edge turned round, sharing the caller's edge order; computed once, then cached.

        Determinism: bitwise.
        Complexity: ``O(E + N)`` time and memory, the first time.
        """
        origin: _Origin | None = self._derived.get("origin")
        graph = None if origin is None else origin.graph()
        return self.cached("transpose", self._transpose) if graph is None else graph

    def _transpose(self) -> "Graph":
        origin: _Origin | None = self._derived.get("origin")
        if origin is None:
            rowptr, perm = torch.ops.gnnkit.sort_index(self.col, self.num_src)
            edge_id = perm if self.edge_id is None else self.edge_id.index_select(0, perm)
            turned = _trusted(rowptr, self.dst_of_position().index_select(0, perm), edge_id, self.num_dst)
        else:
            turned = _trusted(*origin.tensors)
        if not torch.compiler.is_compiling():
            turned._derived["origin"] = _Origin(self)
        return turned

    def in_degree(self) -> Tensor:
        """Number of in-edges of each destination, ``[num_dst]``."""
        return self.rowptr.diff()

    def out_degree(self) -> Tensor:
        """Number of out-edges of each source, ``[num_src]``."""
        return self.transpose().rowptr.diff()

    def to(self, device: torch.device | str) -> "Graph":
        """The same graph on ``device``; itself where it is there already.

        Raises:
            DeviceError: If the device does not exist.
        """
        try:
            target = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError, TypeError) as error:
            raise DeviceError(f"cannot move a graph to device {device!r}: {error}") from error
        if target == self.device:
            return self
        edge_id = None if self.edge_id is None else self.edge_id.to(target)
        return _trusted(self.rowptr.to(target), self.col.to(target), edge_id, self.num_src)

    def cached(self, key: str, compute: Callable[[], T]) -> T:
        """A value derived from this graph: computed the first time, then kept as long as the graph.

        The graph never changes, so neither does what follows from it. While ``torch.compile`` traces, nothing is kept:
        what a trace computes belongs to that trace.
        """
        if key in self._derived:
            return self._derived[key]
        if torch.compiler.is_compiling():
            return compute()
        # What is made under inference_mode could never take part in a backward pass, and the graph outlives the block.
        with torch.inference_mode(False):
            value = self._derived[key] = compute()
        return value


class _Origin:
    """The graph of which another is the transpose, which keeps its tensors and not itself.

    A graph keeps its transpose. If that kept the graph in turn, memory of both would be free only when the cyclic
    collector of Python comes by, which does not know how large they are: in training, batches would pile up. Where the
    graph is gone, its transpose makes and keeps one of the same tensors: then that one has the origin.
    """

    def __init__(self, graph: Graph) -> None:
        self.tensors = (graph.rowptr, graph.col, graph.edge_id, graph.num_src)
        self._graph = weakref.ref(graph)

    def graph(self) -> Graph | None:
        """The graph itself while someone has it; None in a trace, to which it does not belong."""
        return None if torch.compiler.is_compiling() else self._graph()

    def __reduce__(self) -> tuple[Any, ...]:
        """Weak references can be neither copied nor pickled: a copy has the tensors alone."""
        return _origin, self.tensors


def _origin(rowptr: Tensor, col: Tensor, edge_id: Tensor | None, num_src: int) -> _Origin:
    return _Origin(_trusted(rowptr, col, edge_id, num_src))


def _trusted(rowptr: Tensor, col: Tensor, edge_id: Tensor | None, num_src: int) -> Graph:
    """A graph from tensors that are right by construction: no second check."""
    graph = object.__new__(Graph)
    for name, value in {"rowptr": rowptr, "col": col, "edge_id": edge_id, "num_src": num_src, "_derived": {}}.items():
        object.__setattr__(graph, name, value)
    return graph


def _resolve_sizes(num_nodes: int | None, num_src: int | None, num_dst: int | None) -> tuple[int, int]:
    if num_nodes is not None:
        if num_src is not None or num_dst is not None:
            raise ShapeError("give either num_nodes, or num_src and num_dst, not both")
        num_src = num_dst = num_nodes
    if num_src is None or num_dst is None:
        raise ShapeError(
            "the number of nodes must be given: num_nodes=..., or num_src=... and num_dst=... for a bipartite graph. "
            "It is not inferred from the largest index, since that would lose trailing isolated nodes"
        )
    return check_size("num_nodes or num_src", num_src), check_size("num_nodes or num_dst", num_dst)


def _check_each_once(edge_id: Tensor) -> None:
    """Raises IndexRangeError where an edge has no position: what is written by edge would then be left unwritten."""
    if not values_readable(edge_id):
        return
    seen = torch.zeros(edge_id.size(0), dtype=torch.bool).index_fill(0, edge_id.long(), True)
    if not bool(seen.all()):
        missing = int((~seen).nonzero()[0])
        raise IndexRangeError(f"edge_id must name every edge once, but edge {missing} has no position")
