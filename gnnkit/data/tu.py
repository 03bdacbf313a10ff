"""The TU collection of graph classification sets, from its zip archives.

Morris et al., "TUDataset: A collection of benchmark datasets for learning with graphs", ICML 2020 workshop on graph
representation learning and beyond, https://arxiv.org/abs/2007.08663.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnnkit.data.archives import Archive, integers, numbers
from gnnkit.data.columns import DatasetInfo
from gnnkit.data.folds import fold_split
from gnnkit.data.packed import GraphDataset
from gnnkit.errors import DataError

MAX_CATEGORIES = 4096

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Edges:
    """Edges of all graphs, each ordered pair once, by source, then target, without self-loops.

    Attributes:
        pairs: Node numbers from 0 over all graphs, ``[E, 2]``.
        first: In which of the rows given each of them stands first, ``[E]``.
    """

    pairs: Integers
    first: Integers


def read_tu(files: Mapping[str, Path], info: DatasetInfo, options: Mapping[str, Any]) -> GraphDataset:
    """Reads one set of the TU collection.

    - ``x`` is one-hot over the range of the node labels, float32, as the usual loaders make it; with the option
      ``attributes`` (or where there are no labels) the node attributes come before it. A set with neither has no ``x``.
    - ``edge_attr`` is made of edge attributes and edge labels in the same way.
    - An edge that is listed several times is kept once, and self-loops are left out, as the usual loaders do; edges
      are in order of source, then target, in the directions that are listed.
    - Classes are numbered from 0 in ascending order of their labels.

    Args:
        files: ``archive`` (zip), and ``folds`` where the option ``splits`` is ``"listed"``.
        info: What the card says.
        options: ``fold``, ``splits`` and ``seed`` as in :func:`gnnkit.data.folds.fold_split`; ``attributes``.

    Raises:
        DataError: If a file is missing in the archive or damaged, row counts do not fit together, a node or edge
            belongs to no graph or to two, or an edge is listed with two labels. The message names file and line.

    Determinism: a function of the files and options.
    Complexity: ``O(N + E log E)``.
    """
    with Archive(files["archive"]) as archive:
        indicator = archive.table("_graph_indicator.txt", integers, columns=1)[:, 0]
        labels = archive.table("_graph_labels.txt", integers, columns=1)[:, 0]
        graph_of = _graph_of(archive, indicator, labels.size)
        edges = _read_edges(archive, graph_of)
        x = _features(archive, "node", indicator.size, "_graph_indicator.txt", bool(options.get("attributes")))
        edge_attr = _edge_features(archive, edges)
    node_ptr = np.searchsorted(graph_of, np.arange(labels.size + 1))
    graph_of_edge = graph_of[edges.pairs[:, 0]]
    local = edges.pairs - node_ptr[graph_of_edge][:, None]
    y = torch.from_numpy(np.unique(labels, return_inverse=True)[1].astype(np.int64))
    return GraphDataset(
        info,
        node_ptr=torch.from_numpy(node_ptr),
        edge_ptr=torch.from_numpy(np.searchsorted(graph_of_edge, np.arange(labels.size + 1))),
        edge_index=torch.from_numpy(np.ascontiguousarray(local.T)),
        node={} if x is None else {"x": torch.from_numpy(x)},
        edge={} if edge_attr is None else {"edge_attr": torch.from_numpy(edge_attr)},
        graph={"y": y},
        split=fold_split(y, files.get("folds"), options),
    )


def _graph_of(archive: Archive, indicator: Integers, graphs: int) -> Integers:
    """Graph of each node from 0; the nodes of a graph must stand together, and no graph may be without nodes."""
    where = archive.name("_graph_indicator.txt")
    outside = (indicator < 1) | (indicator > graphs)
    if outside.any():
        line = int(np.argmax(outside))
        expected = f"{archive.name('_graph_labels.txt')} has {graphs} graphs"
        raise DataError(f"{where}, line {line + 1}: graph {indicator[line]}, but {expected}")
    falls = np.diff(indicator) < 0
    if falls.any():
        line = int(np.argmax(falls)) + 1
        raise DataError(f"{where}, line {line + 1}: graph {indicator[line]} comes after graph {indicator[line - 1]}")
    sizes = np.bincount(indicator - 1, minlength=graphs)
    if (sizes == 0).any():
        raise DataError(f"{where}: graph {int(np.argmax(sizes == 0)) + 1} has no nodes")
    return indicator - 1


def _read_edges(archive: Archive, graph_of: Integers) -> Edges:
    pairs = archive.table("_A.txt", integers, columns=2)
    where, nodes = archive.name("_A.txt"), graph_of.size
    outside = ((pairs < 1) | (pairs > nodes)).any(axis=1)
    if outside.any():
        line = int(np.argmax(outside))
        raise DataError(f"{where}, line {line + 1}: edge {tuple(pairs[line].tolist())}, but there are {nodes} nodes")
    pairs = pairs - 1
    crosses = graph_of[pairs[:, 0]] != graph_of[pairs[:, 1]]
    if crosses.any():
        line = int(np.argmax(crosses))
        of = " and ".join(str(graph_of[end] + 1) for end in pairs[line])
        ends = tuple((pairs[line] + 1).tolist())
        raise DataError(f"{where}, line {line + 1}: edge {ends} joins nodes of two graphs, {of}")
    return coalesced(pairs, nodes)


def coalesced(pairs: Integers, num_nodes: int) -> Edges:
    """Ordered pairs ``[E', 2]`` in order of source, then target, each once, without self-loops."""
    listed = np.flatnonzero(pairs[:, 0] != pairs[:, 1])
    if listed.size < len(pairs):
        pairs = pairs[listed]
    key = pairs[:, 0] * num_nodes + pairs[:, 1]
    if (np.diff(key) > 0).all():
        return Edges(pairs, listed)
    key, first = np.unique(key, return_index=True)
    return Edges(np.stack(np.divmod(key, max(num_nodes, 1)), axis=1), listed[first])


def _edge_features(archive: Archive, edges: Edges) -> NDArray[np.float32] | None:
    listed = archive.rows("_A.txt")
    table = _features(archive, "edge", listed, "_A.txt", True)
    if table is None:
        return None
    if edges.first.size < listed:
        _check_duplicates(archive, table, edges)
    return table[edges.first]


def _check_duplicates(archive: Archive, table: NDArray[np.float32], edges: Edges) -> None:
    pairs = archive.table("_A.txt", integers, columns=2)
    rows = np.flatnonzero(pairs[:, 0] != pairs[:, 1])
    nodes = int(pairs.max())
    key = (pairs[rows] - 1) @ np.array([nodes, 1])
    first = edges.first[np.searchsorted(edges.pairs @ np.array([nodes, 1]), key)]
    differs = (table[rows] != table[first]).any(axis=1)
    if differs.any():
        where = int(np.argmax(differs))
        line = int(rows[where])
        raise DataError(
            f"{archive.name('_A.txt')}, line {line + 1}: edge {tuple(pairs[line].tolist())} is listed again "
            f"(first in line {int(first[where]) + 1}) with another label or attribute"
        )


def _features(archive: Archive, kind: str, rows: int, counted_by: str, attributes: bool) -> NDArray[np.float32] | None:
    parts: list[NDArray[np.float32]] = []
    labelled = archive.has(f"_{kind}_labels.txt")
    if archive.has(f"_{kind}_attributes.txt") and (attributes or not labelled):
        end = f"_{kind}_attributes.txt"
        parts.append(archive.table(end, numbers).astype(np.float32))
        archive.check_rows(end, rows, counted_by)
    if labelled:
        end = f"_{kind}_labels.txt"
        labels = archive.table(end, integers)
        archive.check_rows(end, rows, counted_by)
        parts += [one_hot(labels[:, column], archive.name(end)) for column in range(labels.shape[1])]
    return np.concatenate(parts, axis=1) if parts else None


def one_hot(labels: Integers, where: str) -> NDArray[np.float32]:
    """Rows of the identity, one column for every integer from the smallest label to the largest."""
    smallest = int(labels.min()) if labels.size else 0
    width = int(labels.max()) - smallest + 1 if labels.size else 0
    if width > MAX_CATEGORIES:
        raise DataError(f"{where}: labels from {smallest} to {labels.max()} are too many for one-hot features")
    table = np.zeros((labels.size, width), dtype=np.float32)
    table[np.arange(labels.size), labels - smallest] = 1
    return table
