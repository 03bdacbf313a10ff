"""Graphs in the graph6 format: many short texts, decoded together.

McKay, "Description of graph6, sparse6 and digraph6 encodings", https://users.cecs.anu.edu.au/~bdm/data/formats.txt.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnkit.data.columns import DatasetInfo
from gnnkit.data.packed import GraphDataset
from gnnkit.errors import DataError

HEADER = b">>graph6<<"
ROLES = ("graphs",)

_LOWEST, _HIGHEST = 63, 126
_BITS = 6
_MAX_NODES = 258_047
_BLOCK_BITS = 2**26

Integers = NDArray[np.int64]


class Topology(NamedTuple):
    """Packed graphs, as :class:`gnnkit.data.GraphDataset` holds them."""

    node_ptr: Tensor
    """``[G + 1]``."""
    edge_ptr: Tensor
    """``[G + 1]``."""
    edge_index: Tensor
    """``[2, E]``, node numbers from 0 in every graph; both directions, by source, then target."""


def decode_graph6(texts: Sequence[bytes], *, where: str = "graph6") -> Topology:
    r"""Decodes simple undirected graphs.

    A text is the number of nodes ``n``, as one byte or as ``~`` and three bytes, and then the upper triangle of the
    adjacency matrix column by column, :math:`(0,1), (0,2), (1,2), (0,3), \ldots`, six bits per byte, the last byte
    filled up with zeros. A byte is its six bits plus 63. A header ``>>graph6<<`` before a text is left out.

    Args:
        texts: One graph each, without the end of the line, ``G`` of them.
        where: What messages call the source of the texts.

    Returns:
        The graphs, in the order given.

    Raises:
        DataError: If a text has a byte outside of 63 to 126, is shorter or longer than its number of nodes needs, has
            bits set behind the last pair, or states more than 258,047 nodes. The message names the graph.

    Determinism: a function of the texts.
    Complexity: ``O(sum n^2)`` time; the loop runs over the different sizes, not over graphs. Memory of ``O(E)`` and a
    block.
    """
    stripped = [text.removeprefix(HEADER) for text in texts]
    length = np.array([len(text) for text in stripped], dtype=np.int64)
    start = np.concatenate([[0], np.cumsum(length)])
    content = np.frombuffer(b"".join(stripped), dtype=np.uint8)
    bad = np.flatnonzero((content < _LOWEST) | (content > _HIGHEST))
    if bad.size:
        graph = int(np.searchsorted(start, bad[0], side="right")) - 1
        raise DataError(
            f"{where}, graph {graph}: byte {content[bad[0]]} at position {bad[0] - start[graph]}, expected 63 to 126"
        )
    sizes, begin = _sizes(content - _LOWEST, start, where)
    _check_lengths(sizes, start[1:] - begin, where)
    graph, source, target = _pairs(content - _LOWEST, sizes, begin, where)
    # Both directions, by graph, source and target.
    graph, source, target = (np.concatenate(both) for both in ((graph, graph), (source, target), (target, source)))
    order = np.lexsort((target, source, graph))
    edge_ptr = np.searchsorted(graph[order], np.arange(sizes.size + 1))
    return Topology(
        torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)])),
        torch.from_numpy(edge_ptr.astype(np.int64)),
        torch.from_numpy(np.stack([source[order], target[order]])),
    )


def _sizes(values: NDArray[np.uint8], start: Integers, where: str) -> tuple[Integers, Integers]:
    """Number of nodes of each graph, and where its matrix begins."""
    count = start.size - 1
    first, length = start[:-1], np.diff(start)
    if (length == 0).any():
        raise DataError(f"{where}, graph {int(np.argmax(length == 0))}: the text is empty")
    sizes, width = values[first].astype(np.int64), np.ones(count, dtype=np.int64)
    long = np.flatnonzero(sizes == _HIGHEST - _LOWEST)
    if long.size:
        if (length[long] < 4).any():
            graph = int(long[np.argmax(length[long] < 4)])
            raise DataError(f"{where}, graph {graph}: the text ends within the number of nodes")
        digits = values[first[long][:, None] + np.arange(1, 4)].astype(np.int64)
        if (digits[:, 0] == _HIGHEST - _LOWEST).any():
            graph = int(long[np.argmax(digits[:, 0] == _HIGHEST - _LOWEST)])
            raise DataError(f"{where}, graph {graph}: more than {_MAX_NODES} nodes are not supported")
        sizes[long] = digits @ np.array([1 << 2 * _BITS, 1 << _BITS, 1])
        width[long] = 4
    return sizes, first + width


def _check_lengths(sizes: Integers, given: Integers, where: str) -> None:
    expected = -(-(sizes * (sizes - 1) // 2) // _BITS)
    wrong = np.flatnonzero(given != expected)
    if wrong.size:
        graph = int(wrong[0])
        raise DataError(
            f"{where}, graph {graph}: {given[graph]} bytes of adjacency, "
            f"but {sizes[graph]} nodes need {expected[graph]}; the text is truncated or damaged"
        )


def _pairs(
    values: NDArray[np.uint8], sizes: Integers, begin: Integers, where: str
) -> tuple[Integers, Integers, Integers]:
    """Graph, smaller and larger node of every edge."""
    found: list[tuple[Integers, Integers, Integers]] = []
    for size in np.unique(sizes):
        pairs = int(size) * (int(size) - 1) // 2
        if pairs == 0:
            continue
        members = np.flatnonzero(sizes == size)
        bytes_each = -(-pairs // _BITS)
        step = max(1, _BLOCK_BITS // (bytes_each * _BITS))
        for block in range(0, members.size, step):
            graphs = members[block : block + step]
            rows = values[begin[graphs][:, None] + np.arange(bytes_each)]
            # The two highest bits of a byte carry nothing.
            bits = np.unpackbits(rows[:, :, None], axis=2)[:, :, 8 - _BITS :].reshape(graphs.size, -1)
            behind = np.flatnonzero(bits[:, pairs:].any(axis=1))
            if behind.size:
                raise DataError(f"{where}, graph {graphs[behind[0]]}: bits are set behind the last pair of nodes")
            row, position = np.nonzero(bits[:, :pairs])
            larger = _column(position)
            found.append((graphs[row], position - larger * (larger - 1) // 2, larger))
    if not found:
        none = np.zeros(0, dtype=np.int64)
        return none, none, none
    graph, smaller, larger = (np.concatenate(part) for part in zip(*found, strict=True))
    return graph, smaller, larger


def _column(position: Integers) -> Integers:
    """Column of an entry of the upper triangle that is stored column by column: column ``j`` begins at j(j-1)/2."""
    # Exact: 8 p + 1 is below 2^39 for 2^18 nodes, where float64 has whole numbers, and one step mends the rounding.
    column = ((1 + np.sqrt(8.0 * position + 1)) / 2).astype(np.int64)
    column -= column * (column - 1) // 2 > position
    column += (column + 1) * column // 2 <= position
    return column


def read_graph6(files: Mapping[str, Path], info: DatasetInfo) -> GraphDataset:
    """Reads a file of one graph6 text per line, graphs that are to be told apart.

    Each graph is its own class, ``y`` is its number, and all graphs are in the split ``test``: there is nothing to be
    learnt from some of them about others.

    Args:
        files: ``graphs``.
        info: What the card says.

    Raises:
        DataError: As :func:`decode_graph6` says.

    Determinism: a function of the file.
    """
    path = files["graphs"]
    try:
        texts = path.read_bytes().split()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    topology = decode_graph6(texts, where=str(path))
    return told_apart(topology, info)


def told_apart(topology: Topology, info: DatasetInfo, **graph: Tensor) -> GraphDataset:
    """A dataset of graphs without features, each of which is a class of its own."""
    y = torch.arange(topology.node_ptr.numel() - 1)
    none = torch.zeros(0, dtype=torch.int64)
    return GraphDataset(
        info,
        node_ptr=topology.node_ptr,
        edge_ptr=topology.edge_ptr,
        edge_index=topology.edge_index,
        node={},
        edge={},
        graph={"y": y, **graph},
        split={"train": none, "val": none.clone(), "test": y.clone()},
    )
