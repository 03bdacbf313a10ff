"""WebKB and the actor network in the text format of Geom-GCN, and its ten splits.

Pei et al., "Geom-GCN: Geometric Graph Convolutional Networks", ICLR 2020, https://arxiv.org/abs/2002.05287.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data.node_parts import PARTS, classes_of, directed_edges, masks_of
from gnnkit.data.npz import read_npz
from gnnkit.data.tables import read_text
from gnnkit.errors import DataError

ROLES = ("nodes", "edges")
NUM_SPLITS = 10
_AMOUNT = re.compile(r"feature_amount:(\d{1,6})")


def read_geom_gcn(files: Mapping[str, Path], num_classes: int, options: Mapping[str, Any]) -> Data:
    """Reads one network; edges are directed as in the file, each once, self-loops included.

    Args:
        files: ``nodes``, lines of number, features and class; ``edges``, lines of two nodes; and ``split``.
        num_classes: Number of classes.
        options: ``split``: number of the split, None: no masks.

    Raises:
        DataError: If a file is damaged, or does not fit the other; the message names file and line.
    """
    x, y = _nodes(files["nodes"])
    path = files["edges"]
    rows = _cells(path, 2)
    pairs = np.array([[_integer(path, line, cell) for cell in cells] for line, cells in rows], dtype=np.int64)
    source, target = pairs.reshape(-1, 2).T
    data = Data(
        x=torch.from_numpy(x),
        edge_index=directed_edges(path, source, target, len(x)),
        y=classes_of(files["nodes"], y, len(x), num_classes),
    )
    return data if options["split"] is None else data.update(read_split(files["split"], len(x)))


def read_split(path: Path, num_nodes: int) -> dict[str, Tensor]:
    """The masks of one split of Geom-GCN, 48/32/20 percent of each class.

    Raises:
        DataError: If the file is damaged, or does not fit the graph.
    """
    arrays = read_npz(path, [f"{part}_mask" for part in PARTS])
    return masks_of(path, {part: arrays[f"{part}_mask"] for part in PARTS}, num_nodes)


def _nodes(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rows = _cells(path, 3)
    number = np.array([_integer(path, line, cells[0]) for line, cells in rows], dtype=np.int64)
    if not np.array_equal(np.sort(number), np.arange(number.size)):
        raise DataError(f"{path} must name each of the nodes 0 to {number.size - 1} once")
    amount = _AMOUNT.search(read_text(path).split("\n", 1)[0])
    lists = [[_integer(path, line, cell) for cell in cells[1].split(",")] for line, cells in rows]
    # The file of the actors lists the words that occur, of words 0 to the amount; the others have all columns.
    width = int(amount[1]) + 1 if amount else len(lists[0]) if lists else 0
    x = np.zeros((number.size, width), dtype=np.float32)
    for (line, _), node, features in zip(rows, number, lists, strict=True):
        if amount:
            if not 0 <= min(features) <= max(features) < width:
                raise DataError(f"{path}, line {line}: features must be 0 to {width - 1}, got {max(features)}")
            x[node, features] = 1
        elif len(features) == width:
            x[node] = features
        else:
            raise DataError(f"{path}, line {line}: expected {width} features, got {len(features)}")
    y = np.empty(number.size, dtype=np.int64)
    y[number] = [_integer(path, line, cells[2]) for line, cells in rows]
    return x, y


def _cells(path: Path, columns: int) -> list[tuple[int, list[str]]]:
    """Number and cells of each line after the header."""
    rows = [(line, text.split("\t")) for line, text in enumerate(read_text(path).rstrip().split("\n"), start=1)][1:]
    for line, cells in rows:
        if len(cells) != columns:
            raise DataError(f"{path}, line {line}: expected {columns} columns, got {len(cells)}")
    return rows


def _integer(path: Path, line: int, cell: str) -> int:
    try:
        return int(np.int64(int(cell)))
    except (ValueError, OverflowError):
        raise DataError(f"{path}, line {line}: expected an integer, got {cell[:40]!r}") from None
