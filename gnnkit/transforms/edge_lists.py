"""Edge lists as text: two columns of nodes, and perhaps a weight."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gnnkit.errors import DataError

_SOURCE = {"source", "src", "from", "u", "node1", "node_1", "i", "head", "source_id"}
_TARGET = {"target", "dst", "to", "v", "node2", "node_2", "j", "tail", "target_id", "destination"}
_WEIGHT = {"weight", "w", "edge_weight"}
_TYPE = {"edge_type"}


class EdgeList(NamedTuple):
    """What a text file holds."""

    edge_index: Tensor
    """One column per line, ``[2, L]``."""
    names: list[str]
    """The text of each node."""
    weight: Tensor | None
    """Float64 ``[L]``."""
    edge_type: Tensor | None
    """Int64 ``[L]``."""
    left_out: list[str]
    """Names of columns that are not read."""


def read_edge_list(path: Path, num_nodes: int | None = None) -> EdgeList:
    """Reads lines of two nodes, separated by commas, semicolons, tabs or blanks; ``#`` and ``%`` start comments.

    A first line of words, such as ``source,target,weight``, names the columns. Where all nodes are integers they are
    ordered as such, else by their first line. With ``num_nodes``, they are the numbers ``0 .. num_nodes - 1``
    themselves, so that nodes without edges are there as well.

    Raises:
        DataError: If the file cannot be read, or a line does not fit.
    """
    rows, lines = _rows(path)
    columns = ["source", "target", "weight"]
    if rows and _is_header(rows):
        columns, rows, lines = [cell.strip().lower() for cell in rows[0]], rows[1:], lines[1:]
        if columns[0] not in _SOURCE and not columns[1:2]:
            raise DataError(f"{path}: the header must name two columns of nodes, got {','.join(columns)}")
    elif rows and len(rows[0]) > 3:
        raise DataError(f"{path} has {len(rows[0])} columns and no header; expected source, target and perhaps weight")
    width = len(rows[0]) if rows else 2
    for row, line in zip(rows, lines, strict=True):
        if len(row) != width or width < 2:
            raise DataError(f"{path}, line {line}: expected {max(width, 2)} columns, got {len(row)}")
    edge_index, names = _numbered(path, rows, lines, num_nodes)
    weight = edge_type = None
    left_out = []
    for place, column in enumerate(columns[2:width], 2):
        cells = [row[place] for row in rows]
        if column in _WEIGHT:
            weight = torch.from_numpy(_numbers(path, column, cells, lines, np.float64))
        elif column in _TYPE:
            edge_type = torch.from_numpy(_numbers(path, column, cells, lines, np.int64))
        else:
            left_out.append(column)
    return EdgeList(edge_index, names, weight, edge_type, left_out)


def edge_list_text(pairs: Tensor, names: Sequence[str], columns: dict[str, Tensor], *, delimiter: str) -> bytes:
    """A text file with a header and one line per pair ``[2, L]``; ``columns`` hold one number for each."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["source", "target", *columns])
    values = [value.tolist() for value in columns.values()]
    source, target = pairs.tolist()
    writer.writerows(zip((names[u] for u in source), (names[v] for v in target), *values, strict=True))
    return out.getvalue().encode()


def _rows(path: Path) -> tuple[list[list[str]], list[int]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file: {error}") from error
    numbered = [(line.strip(), number) for number, line in enumerate(text.splitlines(), 1)]
    numbered = [(line, number) for line, number in numbered if line and line[0] not in "#%"]
    if not numbered:
        return [], []
    delimiter = next((mark for mark in "\t,;" if mark in numbered[0][0]), None)
    lines = [line for line, _ in numbered]
    if delimiter is None:
        rows = [line.split() for line in lines]
    else:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    if len(rows) != len(lines):
        raise DataError(f"{path}: a quotation mark is not closed on its line")
    return rows, [number for _, number in numbered]


def _is_header(rows: list[list[str]]) -> bool:
    first = rows[0]
    if len(first) >= 2 and first[0].lower() in _SOURCE and first[1].lower() in _TARGET:
        return True
    if len(first) >= 3 and not _is_number(first[2]):
        return True
    integers = all(_is_integer(cell) for row in rows[1:] for cell in row[:2])
    return len(rows) > 1 and integers and not any(_is_integer(cell) for cell in first[:2])


def _numbered(path: Path, rows: list[list[str]], lines: list[int], num_nodes: int | None) -> tuple[Tensor, list[str]]:
    cells = [cell for row in rows for cell in row[:2]]
    integers = all(map(_is_integer, cells))
    if num_nodes is not None:
        wrong = next((i for i, cell in enumerate(cells) if not _is_integer(cell) or not 0 <= int(cell) < num_nodes), -1)
        if wrong >= 0:
            raise DataError(
                f"{path}, line {lines[wrong // 2]}: with a number of nodes given, nodes are the numbers 0 to "
                f"{num_nodes - 1}, got {cells[wrong]!r}"
            )
        names = [str(node) for node in range(num_nodes)]
        number = [int(cell) for cell in cells]
    else:
        # "01" and "1" are the same number.
        cells = [str(int(cell)) for cell in cells] if integers else cells
        names = list(dict.fromkeys(cells))
        if integers:
            names.sort(key=int)
        place = {name: index for index, name in enumerate(names)}
        number = [place[cell] for cell in cells]
    return torch.tensor(number, dtype=torch.int64).reshape(-1, 2).T.contiguous(), names


def _numbers(path: Path, column: str, cells: list[str], lines: list[int], dtype: type) -> np.ndarray:
    convert = float if dtype is np.float64 else int
    out = np.empty(len(cells), dtype=dtype)
    for place, cell in enumerate(cells):
        try:
            out[place] = convert(cell)
        except (ValueError, OverflowError):
            raise DataError(f"{path}, line {lines[place]}: {column} must be a number, got {cell!r}") from None
    return out


def _is_integer(cell: str) -> bool:
    return cell.lstrip("-").isascii() and cell.lstrip("-").isdigit() and cell.count("-") == (cell[0] == "-")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
