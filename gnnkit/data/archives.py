"""Tables in zip archives: read whole, without a loop over lines, with every fault named by file and line."""

import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnkit.errors import DataError

_BLANK = b" \t\r"
MAX_MEMBER_BYTES = 1 << 31


class Archive:
    """A zip archive of tables whose names share a prefix, such as ``MUTAG/MUTAG_A.txt``; a context manager.

    Args:
        path: The zip file.

    Raises:
        DataError: If it is no zip file, or is truncated.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tables: dict[str, NDArray[Any]] = {}
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise DataError(f"{path} is damaged or truncated: {error}. Fetch it again.") from error
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.clear()
        self._zip.close()

    def has(self, end: str) -> bool:
        """Whether there is a member whose name ends so."""
        return bool(self._members(end))

    def name(self, end: str) -> str:
        """How messages call the member whose name ends so."""
        found = self._members(end)
        return f"{self.path}, {Path(found[0]).name if found else f'*{end}'}"

    def read(self, end: str) -> bytes:
        """Bytes of the one member whose name ends so.

        Raises:
            DataError: If there is none, or more than one, or it is damaged.
        """
        found = self._members(end)
        if len(found) != 1:
            problem = f"{len(found)} files *{end}: {', '.join(found)}" if found else f"no file *{end}"
            raise DataError(f"{self.path} has {problem}; expected one")
        size = self._zip.getinfo(found[0]).file_size
        if size > MAX_MEMBER_BYTES:
            raise DataError(f"{self.path}, {found[0]} has {size} bytes, expected at most {MAX_MEMBER_BYTES}")
        try:
            return self._zip.read(found[0])
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{self.path}, {found[0]} is damaged: {error}. Fetch the archive again.") from error

    def table(self, end: str, parse: Callable[..., NDArray[Any]], *, columns: int | None = None) -> NDArray[Any]:
        """The table in the member whose name ends so; read once.

        Args:
            end: End of the name.
            parse: :func:`integers` or :func:`numbers`.
            columns: How many there must be; None: any number, the same in each line.

        Raises:
            DataError: If the member is missing or damaged, or a line is not as expected.
        """
        if end not in self._tables:
            self._tables[end] = parse(self.read(end), self.name(end), columns)
        return self._tables[end]

    def rows(self, end: str) -> int:
        """Rows of a table that has been read."""
        return len(self._tables[end])

    def check_rows(self, end: str, expected: int, counted_by: str) -> None:
        """Raises DataError where a table does not have one row for each row of another."""
        if self.rows(end) != expected:
            other = Path(self._members(counted_by)[0]).name
            raise DataError(f"{self.name(end)} has {self.rows(end)} rows, but {other} has {expected}")

    def _members(self, end: str) -> list[str]:
        names = (name for name in self._zip.namelist() if name.endswith(end))
        return [name for name in names if not name.startswith("__MACOSX/")]


def integers(content: bytes, where: str, columns: int | None = None) -> NDArray[np.int64]:
    """Lines of integers with commas between them, ``[rows, columns]``.

    Raises:
        DataError: If a line does not hold as many integers as the others, or as ``columns`` says; names the line.
    """
    return _parse(content, where, columns, np.int64, int)


def numbers(content: bytes, where: str, columns: int | None = None) -> NDArray[np.float64]:
    """Lines of finite numbers with commas between them, ``[rows, columns]``.

    Raises:
        DataError: If a line does not hold as many numbers as the others, or as ``columns`` says; names the line.
    """
    table = _parse(content, where, columns, np.float64, float)
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        line = int(np.argmax(bad))
        raise DataError(f"{where}, line {line + 1}: expected finite numbers, got {table[line].tolist()}")
    return table


def _parse(
    content: bytes, where: str, columns: int | None, dtype: type[np.generic], convert: Callable[[str], object]
) -> NDArray[Any]:
    content = content.rstrip()
    if not content:
        raise DataError(f"{where} is empty")
    buffer = np.frombuffer(content + b"\n", dtype=np.uint8)
    ends = np.flatnonzero(buffer == ord("\n"))
    # Commas before the end of each line, so commas per line.
    commas = np.searchsorted(np.flatnonzero(buffer == ord(",")), ends)
    cells = np.diff(commas, prepend=0) + 1
    expected = int(cells[0]) if columns is None else columns
    uneven = cells != expected
    if uneven.any():
        line = int(np.argmax(uneven))
        raise DataError(f"{where}, line {line + 1}: expected {expected} column(s), got {int(cells[line])}")
    flat = b"," + content.replace(b"\n", b",") + b","
    # NumPy reads a blank cell as -1.
    if b",," not in flat.translate(None, _BLANK):
        table = _from_text(flat[1:-1], dtype, ",")
        if table.size == expected * ends.size:
            return table.reshape(ends.size, expected)
    raise DataError(_first_bad_cell(content, where, convert, ","))


def words(content: bytes, where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lines of any number of integers with blanks between them.

    Returns:
        All integers, and at which of them each line begins with their number at the end, ``[lines + 1]``.

    Raises:
        DataError: If something is no integer, or a line is blank; the message names the line.
    """
    content = content.rstrip()
    if not content:
        raise DataError(f"{where} is empty")
    buffer = np.frombuffer(content + b"\n", dtype=np.uint8)
    blank = buffer <= ord(" ")
    begins = ~blank
    begins[1:] &= blank[:-1]
    ends = np.flatnonzero(buffer == ord("\n"))
    counts = np.add.reduceat(begins, np.concatenate([[0], ends[:-1] + 1]), dtype=np.int64)
    if (counts == 0).any():
        raise DataError(f"{where}, line {int(np.argmax(counts == 0)) + 1} is blank")
    found = _from_text(content, np.int64, " ")
    if found.size != int(counts.sum()):
        raise DataError(_first_bad_cell(content, where, int, None))
    return found, np.concatenate([[0], np.cumsum(counts)])


def _from_text(content: bytes, dtype: type[np.generic], separator: str) -> NDArray[Any]:
    """All numbers of a text; none where it holds something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(content.decode("ascii"), dtype=dtype, sep=separator)
        except (ValueError, DeprecationWarning):
            return np.empty(0, dtype=dtype)


def _first_bad_cell(content: bytes, where: str, convert: Callable[[str], object], separator: str | None) -> str:
    """Only after the fast way has failed: which line is to blame."""
    kind = "an integer" if convert is int else "a number"
    for number, line in enumerate(content.split(b"\n"), start=1):
        for cell in line.decode("utf-8", errors="replace").split(separator):
            try:
                convert(cell)
            except ValueError:
                return f"{where}, line {number}: expected {kind}, got {cell[:40]!r}"
    return f"{where} holds something that is not {kind}"
