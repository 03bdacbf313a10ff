"""Topology that stays on disk: a graph whose tensors are mapped, and how its file is made from parts of its edges."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import DataError, ShapeError
from gnnkit.graph import Graph, _resolve_sizes, _trusted
from gnnkit.ops._checks import check_flag, check_index, check_index_range
from gnnkit.sample._counts import fingerprint
from gnnkit.sample.store._container import Mapped, writing

KIND = "graph"
_NARROW = 2**31 - 1
_AT_ONCE = 2**21

Chunks = Iterable[Tensor] | Callable[[], Iterable[Tensor]]


class MappedGraph(Graph):
    r"""A :class:`~gnnkit.Graph` whose rows stay in a file; operators and samplers read what they touch.

    Give it to a sampler as ``Data(graph=MappedGraph(path), num_nodes=N, x=FeatureStore(...), ...)``, without
    ``edge_index``. What is derived from a graph as a whole is in memory as ever: ``edge_index`` (16 bytes or 8 for each
    edge), ``transpose()`` and ``to()``.

    Args:
        path: A file that :meth:`build` wrote.

    Attributes:
        path: The file.

    Raises:
        DataError: If the file is missing, truncated, damaged, or no graph.
    """

    path: Path
    _file: Mapped

    def __init__(self, path: str | Path) -> None:
        file = Mapped(path, KIND)
        edge_id = file.tensor("edge_id") if "edge_id" in file else None
        known: dict[str, Any] = {"fingerprint": file.about["fingerprint"]}
        # A frozen class; and its own checks would read all of the file. They were made when it was written.
        for name, value in {
            "rowptr": file.tensor("rowptr"),
            "col": file.tensor("col"),
            "edge_id": edge_id,
            "num_src": file.about["num_src"],
            "path": file.path,
            "_file": file,
            "_derived": known,
        }.items():
            object.__setattr__(self, name, value)

    @classmethod
    def build(
        cls,
        path: str | Path,
        chunks: Chunks,
        num_nodes: int | None = None,
        *,
        num_src: int | None = None,
        num_dst: int | None = None,
        edge_ids: bool = True,
    ) -> "MappedGraph":
        """Writes the graph of edges that come in parts, never all of them in memory, and opens it.

        A counting sort by destination: the first pass over the edges counts those of each, the second one puts each
        edge in its place in the mapped file. The file is there in whole, or not at all.

        Args:
            path: Of the file.
            chunks: Edge lists ``[2, e]``, sources and destinations, int32 or int64, one after the other; what is
                iterated over twice, such as a list, or a function that gives a new iterator each time.
            num_nodes: As in :meth:`Graph.from_edge_index`.
            num_src: As there.
            num_dst: As there.
            edge_ids: Whether to keep which edge of the given order is where (as many bytes again as the sources take).
                Without, edges are numbered by their place in the file: those of the first destination first. Nothing is
                kept where they come in order of destination anyway.

        Returns:
            The graph; with ``edge_ids`` it equals ``Graph.from_edge_index`` of all edges, with int32 indices where
            these suffice.

        Raises:
            DataError: If the two passes give different edges, or the file cannot be written.
            DtypeError, ShapeError, IndexRangeError: If a part is no edge list of these nodes; it names the edge.

        Determinism: in-edges keep the given order.
        Complexity: ``O(E log e)`` time; memory ``O(N)`` and some of a part, ``8 N + 64 e`` bytes.
        """
        check_flag("edge_ids", edge_ids)
        sizes = _resolve_sizes(num_nodes, num_src, num_dst)
        again = _repeatable(chunks)
        degree, ordered = _degrees(_parts(again(), sizes), sizes[1])
        num_edges = int(degree.sum())
        dtype = torch.int32 if max(*sizes, num_edges) <= _NARROW else torch.int64
        with writing(Path(path), KIND, {"num_src": sizes[0]}) as file:
            rowptr = file.place("rowptr", dtype, [sizes[1] + 1])
            torch.cumsum(degree, 0, out=degree)
            rowptr[0] = 0
            rowptr[1:] = degree
            col = file.place("col", dtype, [num_edges])
            edge_id = file.place("edge_id", dtype, [num_edges]) if edge_ids and not ordered else None
            _place(_parts(again(), sizes), rowptr, col, edge_id)
            file.about["fingerprint"] = fingerprint(_trusted(rowptr, col, edge_id, sizes[0]), ())
        return cls(path)

    def verify(self) -> None:
        """Reads the whole file and compares it with the checksums of what was written.

        Raises:
            DataError: If it is damaged.
        """
        self._file.verify()

    def __repr__(self) -> str:
        """Sizes and file."""
        return f"MappedGraph(num_src={self.num_src}, num_dst={self.num_dst}, num_edges={self.num_edges}, {self.path})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Opens the file again: in another process, nothing of it is sent."""
        return MappedGraph, (self.path,)


def _repeatable(chunks: Chunks) -> Callable[[], Iterable[Tensor]]:
    if callable(chunks):
        return chunks
    if isinstance(chunks, Iterator) or not isinstance(chunks, Iterable):
        raise DataError(
            f"edges are read twice, which {type(chunks).__name__} does not allow; give a list of edge lists, or a "
            "function that returns a new iterator"
        )
    if isinstance(chunks, Tensor):
        return lambda: (chunks,)
    return lambda: chunks


def _parts(chunks: Iterable[Tensor], sizes: tuple[int, int]) -> Iterator[Tensor]:
    """Checked parts of a bounded size."""
    for chunk in chunks:
        check_index("edges", chunk, dim=2)
        if chunk.size(0) != 2:
            raise ShapeError(f"edges must have shape [2, e] (sources, destinations), got {tuple(chunk.shape)}")
        for part in chunk.detach().cpu().split(_AT_ONCE, dim=1):
            check_index_range("edges[0]", part[0], sizes[0], "number of sources")
            check_index_range("edges[1]", part[1], sizes[1], "number of destinations")
            yield part


def _degrees(parts: Iterator[Tensor], num_dst: int) -> tuple[Tensor, bool]:
    """In-degrees, int64, and whether the edges come in order of destination."""
    degree, last, ordered = torch.zeros(num_dst, dtype=torch.int64), 0, True
    for part in parts:
        target = part[1].long()
        degree.index_add_(0, target, torch.ones_like(target))
        if target.numel() > 0:
            ordered = ordered and int(target[0]) >= last and bool((target[1:] >= target[:-1]).all())
            last = int(target[-1])
    return degree, ordered


def _place(parts: Iterator[Tensor], rowptr: Tensor, col: Tensor, edge_id: Tensor | None) -> None:
    """Writes sources and numbers of edges to their places; ``rowptr`` says where each row begins."""
    free, end, number = rowptr[:-1].to(torch.int64, copy=True), rowptr[1:], 0
    for part in parts:
        target, order = part[1].long().sort(stable=True)
        row, count = torch.unique_consecutive(target, return_counts=True)
        first = free[row]
        if number + target.numel() > col.numel() or bool((first + count > end[row]).any()):
            raise DataError(_CHANGED)
        within = torch.arange(target.numel()) - torch.repeat_interleave(count.cumsum(0) - count, count)
        place = torch.repeat_interleave(first, count) + within
        col[place] = part[0][order].to(col.dtype)
        if edge_id is not None:
            edge_id[place] = (order + number).to(edge_id.dtype)
        free[row] = first + count
        number += target.numel()
    if number != col.numel():
        raise DataError(_CHANGED)


_CHANGED = (
    "the edges were not the same in the second pass as in the first; a function that gives them must give the same "
    "ones each time it is called, so seed what is random in it"
)
