"""Compressed CSV files: read whole, with every fault named by file and line."""

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnnkit.errors import DataError


def read_text(path: Path) -> str:
    """Text of a ``.gz`` (or plain) file.

    Raises:
        DataError: If the file is missing, truncated, not gzip, or not UTF-8.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except EOFError as error:
        raise DataError(f"{path} is truncated: the compressed stream ends early. Fetch it again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a valid gzip file: {error}. Fetch it again.") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text ({error.reason})") from error


def read_integers(path: Path, columns: int) -> NDArray[np.int64]:
    """A headerless table of integers, ``[rows, columns]``.

    Raises:
        DataError: If a line does not hold ``columns`` integers; the message names the line.
    """
    text = read_text(path)
    if not text.strip():
        return np.empty((0, columns), dtype=np.int64)
    try:
        table = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.int64, ndmin=2, comments=None)
    except ValueError as error:
        raise DataError(_first_bad_integer_line(path, text, columns) or f"{path}: {error}") from error
    # loadtxt skips blank lines; here a blank line is a lost row.
    if table.shape != (len(text.splitlines()), columns):
        expected = f"{columns} integer{'s' if columns > 1 else ''} a line"
        found = f"a table of shape {table.shape}"
        raise DataError(_first_bad_integer_line(path, text, columns) or f"{path}: expected {expected}, got {found}")
    return table


def _first_bad_integer_line(path: Path, text: str, columns: int) -> str | None:
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split(",")
        if len(cells) != columns:
            return f"{path}, line {number}: expected {columns} column(s), got {len(cells)}: {line[:80]!r}"
        for cell in cells:
            try:
                int(cell)
            except ValueError:
                return f"{path}, line {number}: expected an integer, got {cell[:40]!r}"
    return None


def read_numbers(path: Path) -> NDArray[np.float64]:
    """A headerless table of numbers, ``[rows, columns]``; an empty cell or ``nan`` is NaN.

    Raises:
        DataError: If a cell is no number or the lines differ in length; the message names the line.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            row = [float(cell) if cell.strip() else float("nan") for cell in line.split(",")]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        if rows and len(row) != len(rows[0]):
            raise DataError(f"{path}, line {number}: expected {len(rows[0])} column(s), got {len(row)}")
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def read_columns(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """Named columns of a table with a header line.

    Raises:
        DataError: If a column is missing or a row has another length than the header; the message names the row.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise DataError(f"{path} is empty; expected a header line with the columns {', '.join(columns)}")
        positions = [_position(path, header, column) for column in columns]
        table: dict[str, list[str]] = {column: [] for column in columns}
        for number, row in enumerate(reader):
            if len(row) != len(header):
                raise DataError(
                    f"{path}, row {number} (line {reader.line_num}): expected {len(header)} cells, got {len(row)}"
                )
            for column, position in zip(columns, positions, strict=True):
                table[column].append(row[position])
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    return table


def _position(path: Path, header: list[str], column: str) -> int:
    if column in header:
        return header.index(column)
    near = difflib.get_close_matches(column, header, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise DataError(f"{path} has no column {column!r}{hint}; its columns are {', '.join(header)}")
