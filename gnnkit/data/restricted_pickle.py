"""Reading a pickle from outside without running what it names.

Only containers and NumPy arrays are read, and NumPy's own unpickling is not trusted either: the state of a pickled
dtype can set its internal flags, and with them make NumPy follow any eight bytes as a pointer. So arrays are built
here, from a dtype that is built from its name alone. SciPy's sparse matrices, in coordinates or by rows, are not built
at all: what a pickle states of one is checked, and given as :class:`SparseEntries`.
"""

import io
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gnnkit.errors import DataError

_PLAIN_DTYPE = re.compile(r"[<>|=]?(\?|[biufc]\d{1,2}|[SU]\d{1,6}|O8?)")
_NDARRAY = object()
_MAX_DEPTH = 100


class _Dtype:
    """A dtype of a pickle; of its state only the byte order is taken."""

    def __init__(self, name: Any, *_: Any) -> None:
        if isinstance(name, bytes):
            name = name.decode("latin1")
        if not isinstance(name, str) or not _PLAIN_DTYPE.fullmatch(name):
            raise _Refused(f"numpy.dtype({name!r})")
        self.numpy = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        order, *structured = state[1:5]
        if isinstance(order, bytes):
            order = order.decode("latin1")
        if order not in ("<", ">", "|", "=") or any(part is not None for part in structured):
            raise _Refused("a structured numpy.dtype")
        self.numpy = self.numpy.newbyteorder(order)


class _Array:
    """An array of a pickle, until its state is known."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _array(content, dtype, shape, "F" if fortran else "C")


class SparseEntries(NamedTuple):
    """What a pickled ``scipy.sparse.coo_matrix`` or ``csr_matrix`` holds."""

    row: np.ndarray
    """Row of each entry, int64 ``[E]``, in ``[0, shape[0])``."""
    column: np.ndarray
    """Column of each entry, int64 ``[E]``, in ``[0, shape[1])``."""
    value: np.ndarray
    """Value of each entry, numeric ``[E]``."""
    shape: tuple[int, int]


class _Sparse:
    """A sparse matrix of a pickle, until its state is known; nothing of SciPy takes part."""

    state: dict[str, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a sparse matrix without attributes")
        self.state = state

    def entries(self, depth: int) -> SparseEntries:
        if self.state is None:
            raise pickle.UnpicklingError("a sparse matrix without content")
        row, column, value = (_plain(part, depth + 1) for part in (*self.coordinates(depth + 1), self.state["data"]))
        rows, columns = self.state["_shape"]
        if not (isinstance(rows, int) and isinstance(columns, int) and rows >= 0 and columns >= 0):
            raise pickle.UnpicklingError(f"a sparse matrix of shape {self.state['_shape']!r:.40}")
        for part, kinds in ((row, "iu"), (column, "iu"), (value, "biufc")):
            if not isinstance(part, np.ndarray) or part.dtype.kind not in kinds or part.shape != (len(value),):
                raise pickle.UnpicklingError("a sparse matrix whose entries do not fit together")
        row, column = row.astype(np.int64), column.astype(np.int64)
        for part, size in ((row, rows), (column, columns)):
            if part.size and not 0 <= part.min() <= part.max() < size:
                raise pickle.UnpicklingError("a sparse matrix with an entry outside of its shape")
        return SparseEntries(row, column, value, (rows, columns))

    def coordinates(self, depth: int) -> tuple[Any, Any]:
        """Row and column of each entry."""
        assert self.state is not None
        # SciPy 1.13 put both indices into one tuple.
        return self.state["coords"] if "coords" in self.state else (self.state["row"], self.state["col"])


class _SparseRows(_Sparse):
    """The same by rows, whose boundaries are turned into one row number per entry."""

    def coordinates(self, depth: int) -> tuple[Any, Any]:
        assert self.state is not None
        bounds, column = _plain(self.state["indptr"], depth), _plain(self.state["indices"], depth)
        rows = self.state["_shape"][0]
        if not isinstance(bounds, np.ndarray) or bounds.dtype.kind not in "iu" or bounds.shape != (rows + 1,):
            raise pickle.UnpicklingError("a sparse matrix without the boundaries of its rows")
        bounds = bounds.astype(np.int64)
        # Only then is the number of entries that the boundaries ask for the number that is there. Their differences
        # could wrap around and hide a step back: np.repeat would then write far beyond what it takes memory for.
        if bounds[0] != 0 or bounds[-1] != len(column) or (bounds[1:] < bounds[:-1]).any():
            raise pickle.UnpicklingError("a sparse matrix whose boundaries of rows do not fit its entries")
        return np.repeat(np.arange(rows), np.diff(bounds)), column


def _array(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array without a dtype")
    if dtype.numpy.hasobject:
        if not isinstance(content, list):
            raise pickle.UnpicklingError("an object array must be stored as a list")
        flat = np.empty(len(content), dtype=object)
        flat[:] = content
    else:
        raw = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(raw, bytes | bytearray):
            raise pickle.UnpicklingError("an array must be stored as bytes")
        flat = np.frombuffer(raw, dtype=dtype.numpy).copy() if raw else np.empty(0, dtype=dtype.numpy)
    return flat.reshape(tuple(shape), order=order)


def _scalar(dtype: Any, content: Any = b"") -> Any:
    return _array(content, dtype, (1,), "C")[0]


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError("an array of a class other than numpy.ndarray")
    return _Array()


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    # Pickles of protocol 2 store raw bytes as _codecs.encode(text, "latin1"); no other codec is theirs.
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise _Refused(f"_codecs.encode with {encoding!r}")
    return text.encode("latin1")


def _default_dict(*_: Any) -> dict[Any, Any]:
    # What would be made for a missing key is no part of the data.
    return {}


def _bytes(content: Iterable[int] = ()) -> bytes:
    # bytes(10**12) would ask for that much memory.
    if isinstance(content, int):
        raise _Refused(f"bytes({content})")
    return bytes(content)


def _allowed() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _NDARRAY,
        ("numpy", "dtype"): _Dtype,
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): _default_dict,
        ("_codecs", "encode"): _encode_latin1,
        # SciPy 1.8 renamed the module.
        ("scipy.sparse.coo", "coo_matrix"): _Sparse,
        ("scipy.sparse._coo", "coo_matrix"): _Sparse,
        ("scipy.sparse.csr", "csr_matrix"): _SparseRows,
        ("scipy.sparse._csr", "csr_matrix"): _SparseRows,
    }
    # NumPy 2 renamed the private package that holds these.
    for package in ("numpy.core", "numpy._core"):
        names[f"{package}.multiarray", "_reconstruct"] = _reconstruct
        names[f"{package}.multiarray", "scalar"] = _scalar
        names[f"{package}.numeric", "_frombuffer"] = _array
    kinds: tuple[Callable[..., Any], ...] = (set, frozenset, list, dict, tuple)
    for module in ("builtins", "__builtin__"):
        names.update({(module, kind.__name__): kind for kind in kinds})
        names[module, "bytes"] = _bytes
    return names


ALLOWED: dict[tuple[str, str], Any] = _allowed()
"""The globals that a pickle may name, and what stands for them here; anything else is refused."""


class _Refused(Exception):
    pass


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"persistent id {pid!r}")


def _plain(value: Any, depth: int = 0) -> Any:
    """The value with arrays in place of what stood for them."""
    if depth > _MAX_DEPTH:
        raise pickle.UnpicklingError(f"nested more than {_MAX_DEPTH} deep, or in itself")
    if isinstance(value, _Array):
        value = value.value
        if value is None:
            raise pickle.UnpicklingError("an array without content")
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            value = value.copy()
            for position, item in np.ndenumerate(value):
                value[position] = _plain(item, depth + 1)
        return value
    if isinstance(value, _Sparse):
        return value.entries(depth)
    if isinstance(value, _Dtype):
        return value.numpy
    if isinstance(value, dict):
        return type(value)((_plain(key, depth + 1), _plain(item, depth + 1)) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_plain(item, depth + 1) for item in value)
    if value is _NDARRAY or callable(value):
        raise pickle.UnpicklingError("a class or function where data is expected")
    return value


def load_pickle(path: str | Path, *, encoding: str = "ASCII") -> Any:
    """Reads a pickle that holds only NumPy arrays (no structured ones), sparse matrices and plain containers.

    Args:
        path: File to read.
        encoding: How to decode strings of Python 2 pickles; ``"latin1"`` for those with NumPy arrays in them.

    Returns:
        The object; :class:`SparseEntries` stand for ``scipy.sparse.coo_matrix``.

    Raises:
        DataError: If the file cannot be read, is truncated or damaged, or names any global that is not in
            :data:`ALLOWED`. Nothing that the pickle names is called in that case.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return read_pickles(content, str(path), encoding=encoding)[0]


def read_pickles(content: bytes, where: str, *, count: int = 1, encoding: str = "ASCII") -> list[Any]:
    """Reads pickles that follow each other, as :func:`load_pickle` reads the only one of a file.

    Args:
        content: The bytes; those after the last pickle wanted are not looked at.
        where: What messages call them.
        count: How many pickles to read.
        encoding: How to decode strings of Python 2 pickles.

    Raises:
        DataError: As :func:`load_pickle`.
    """
    stream = io.BytesIO(content)
    try:
        return [_plain(_RestrictedUnpickler(stream, encoding=encoding).load()) for _ in range(count)]
    except _Refused as error:
        raise DataError(
            f"{where} is refused: the pickle names {error}, which data files have no need of. "
            "Allowed are NumPy arrays and plain containers only; do not open this file with pickle.load."
        ) from None
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        MemoryError,
        ImportError,
        RecursionError,
        struct.error,
    ) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{where} is damaged, or not a complete pickle ({len(content)} bytes): {reason}") from error
