"""Rows of features that stay on disk, but for those that are asked for most."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError
from gnnkit.ops._checks import check_count, check_flag, check_index, check_index_range, check_tensor, describe
from gnnkit.ops.gather_rows import PAGE
from gnnkit.sample._rows import Rows
from gnnkit.sample.store._container import Mapped, chunks_of, name_of, rows_at_once, writing

KIND = "feature store"
FEATURE_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64)
_NARROW = 2**31 - 1


@dataclass(frozen=True)
class Metrics:
    """What a store has been asked for, and where it has found it.

    Attributes:
        rows: Rows asked for, each time they were.
        hits: Those of them that were in memory.
        bytes_read: Bytes of the others, which are read from the file.
        pages_read: Pages of 4096 bytes that they lie in, each counted once for each call: what a disk must read where
            the system holds none of the file in its page cache.
    """

    rows: int = 0
    hits: int = 0
    bytes_read: int = 0
    pages_read: int = 0

    @property
    def hit_rate(self) -> float:
        """``hits / rows``; 0 where nothing was asked for."""
        return self.hits / self.rows if self.rows else 0.0

    @property
    def page_bytes(self) -> int:
        """``pages_read`` in bytes."""
        return self.pages_read * PAGE


class Counter:
    """Metrics that several threads add to."""

    def __init__(self) -> None:
        self.total = Metrics()
        self._lock = threading.Lock()

    def add(self, rows: int, counts: Tensor, row_bytes: int) -> None:
        """Adds what ``gather_rows`` has counted."""
        hits, pages = counts.tolist()
        with self._lock:
            old, read = self.total, (rows - hits) * row_bytes
            self.total = Metrics(old.rows + rows, old.hits + hits, old.bytes_read + read, old.pages_read + pages)


class FeatureStore(Rows):
    r"""Rows of a file, gathered by number without reading the others.

    ``store[n_id]`` is what ``x[n_id]`` would be. As an attribute of the ``Data`` that a sampler is given
    (``Data(x=store, ...)``), it is gathered for each batch, by the thread that makes batches ahead of time.

    The file is mapped to memory, so that what the system has read stays in its page cache while there is room. Pages
    are asked for all at once before the first row of a call is copied, and then only those that hold rows of it.
    :meth:`keep` holds the rows that are used most in memory of the process, and :meth:`reorder` writes a file in which
    rows that are used together are neighbours.

    Args:
        path: A file that :meth:`write` or :meth:`reorder` wrote.
        read_ahead: Whether the system is told which pages are needed before they are read, so that the disk works on
            all of them at once. Where the whole file is in the page cache already, rows come faster without.

    Attributes:
        path: The file.
        shape: Of all rows together, ``[N, *]``.
        dtype: Of the rows: float32, float16, bfloat16 or int64.
        content: SHA-256 that tells this file from all others.

    Raises:
        DataError: If the file is missing, truncated, damaged, or no feature store.

    Determinism: exact.
    """

    def __init__(self, path: str | Path, *, read_ahead: bool = True) -> None:
        check_flag("read_ahead", read_ahead)
        self._file = Mapped(path, KIND)
        self.read_ahead = read_ahead
        self.path = self._file.path
        self.content = self._file.content
        rows = self._file.tensor("rows")
        self.shape = rows.shape
        self.dtype = rows.dtype
        self._bytes = as_bytes(rows)
        self._file.random("rows")
        self._order = self._file.tensor("place") if "place" in self._file else None
        # What is kept in memory, and where each row is then: as one, since other threads gather meanwhile.
        self._kept: tuple[Tensor | None, Tensor | None] = (None, self._order)
        self._counter = Counter()

    @classmethod
    def write(
        cls,
        path: str | Path,
        rows: Tensor | np.ndarray | Iterable[Tensor | np.ndarray],
        *,
        dtype: torch.dtype | None = None,
        read_ahead: bool = True,
    ) -> "FeatureStore":
        """Writes rows to a file and opens it; the file is there in whole, or not at all.

        Args:
            path: Of the file.
            rows: ``[N, *]``, or any number of such parts one after the other, of which one at a time is in memory. An
                array that is mapped (``np.load(..., mmap_mode="r")``) is read in parts.
            dtype: What they are converted to. None: that of the first part.
            read_ahead: As of the class.

        Returns:
            The store.

        Raises:
            DataError: If there are no parts, a finite number is beyond ``dtype``, or the file cannot be written, such
                as where the disk is full.
            DtypeError: If ``dtype``, or that of a part, is none of those that a store holds.
            ShapeError: If parts have rows of different shapes.

        Complexity: ``O(N F)`` time; memory of a part and some megabytes.
        """
        if dtype is not None and dtype not in FEATURE_DTYPES:
            raise DtypeError(f"dtype must be one of {_names()}, got {dtype}")
        parts = _parts(rows, dtype)
        first = next(parts, None)
        if first is None:
            raise DataError("there is no part of the rows to tell their shape from; give an empty one, [0, F]")
        with writing(Path(path), KIND, {}) as file:
            file.append("rows", _alike(first, parts), first.dtype, first.shape[1:])
        return cls(path, read_ahead=read_ahead)

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Shape, dtype and file."""
        return f"FeatureStore({tuple(self.shape)}, {self.dtype}, {str(self.path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Opens the file again: in another process, nothing of it is sent. What was kept in memory is not."""
        return _open, (self.path, self.read_ahead)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self._bytes.size(1)

    @property
    def kept_rows(self) -> int:
        """Rows that are held in memory."""
        cache = self._kept[0]
        return 0 if cache is None else cache.size(0)

    @property
    def metrics(self) -> Metrics:
        """What has been asked for since the store was opened, or :meth:`reset_metrics` was called."""
        return self._counter.total

    def reset_metrics(self) -> None:
        """Counts from 0 on again."""
        self._counter = Counter()

    def gather(self, n_id: Tensor) -> Tensor:
        """The rows ``n_id``, in that order; the same as ``store[n_id]``.

        Args:
            n_id: Numbers of rows, int32 or int64 ``[n]``; repeats are served.

        Returns:
            ``[n, *]``, on the CPU; memory of its own.

        Raises:
            IndexRangeError: If a number is not in ``[0, N)``.
            ShapeError, DtypeError: If ``n_id`` is no vector of integers.

        Determinism: exact.
        Complexity: ``O(n F)`` time, and a bit for each page of the file.
        """
        check_index("n_id", n_id)
        index = n_id.detach().cpu().long()
        check_index_range("n_id", index, len(self), "number of rows")
        rows, counts = torch.ops.gnnkit.gather_rows(self._bytes, *self._kept, index, self.read_ahead)
        self._counter.add(index.numel(), counts, self.row_bytes)
        return from_bytes(rows, self.dtype, self.shape[1:])

    def __getitem__(self, n_id: Tensor) -> Tensor:
        """See :meth:`gather`."""
        return self.gather(n_id)

    def keep(self, score: Tensor, *, bytes: int | None = None) -> int:
        """Holds the rows with the greatest scores in memory, in place of those held before.

        Scores are such as :func:`~gnnkit.sample.store.reverse_pagerank` (before any batch is sampled) or
        :func:`~gnnkit.sample.store.visit_counts` gives. Of equal scores, the lower number goes first; a row whose score
        is 0 is not kept.

        Args:
            score: ``[N]``, integers or floating-point numbers of at least 0.
            bytes: How many bytes of rows at most; what tells where each row is takes 4 bytes for each of the ``N`` more
                (8 beyond ``2^31``). None: no bound.

        Returns:
            How many rows are kept.

        Raises:
            ConfigError: If ``bytes`` is negative or no integer, or a score is negative or not a number.
            ShapeError: If there is not one score for each row.

        Complexity: ``O(N log N)`` time; reads the rows that are kept.
        """
        chosen = most_scored(score, len(self), self.row_bytes, bytes)
        place = torch.arange(len(self), dtype=_index_dtype(len(self))) if self._order is None else self._order.clone()
        # In order of the file, so that the disk reads on; and in parts, so that little more than the rows is needed.
        chosen = chosen[place[chosen].sort().indices]
        cache = torch.empty(chosen.numel(), self.row_bytes, dtype=torch.uint8)
        begin = 0
        for rows in self.parts(chosen):
            cache[begin : begin + rows.size(0)] = as_bytes(rows)
            begin += rows.size(0)
        place[chosen] = -1 - torch.arange(chosen.numel(), dtype=place.dtype)
        self._kept = cache, place
        return chosen.numel()

    def reorder(self, path: str | Path, order: Tensor) -> "FeatureStore":
        """Writes a file with the same rows in another order; numbers of rows stay what they are.

        Where rows that are used together are neighbours, fewer pages hold those of a batch: see
        :func:`~gnnkit.sample.store.minhash_order`, or order by score, ``score.argsort(descending=True, stable=True)``.

        Args:
            path: Of the new file; not that of this store.
            order: Which row comes at each place of the file, a permutation, int32 or int64 ``[N]``.

        Returns:
            The store of the new file, for which ``new[n_id]`` equals ``self[n_id]``.

        Raises:
            ConfigError: If ``path`` is the file of this store.
            DataError: If the file cannot be written.
            IndexRangeError, ShapeError, DtypeError: If ``order`` is no permutation.

        Complexity: reads and writes all rows once, those it reads in the given order.
        """
        order = checked_permutation("order", order, len(self))
        if Path(path).resolve() == self.path.resolve():
            raise ConfigError(f"{path} is the file that is read from; name another one")
        place = torch.empty(len(self), dtype=_index_dtype(len(self)))
        place[order] = torch.arange(len(self), dtype=place.dtype)
        with writing(Path(path), KIND, {}) as file:
            file.append("rows", self.parts(order), self.dtype, self.shape[1:])
            file.append("place", chunks_of(place), place.dtype, ())
        return FeatureStore(path, read_ahead=self.read_ahead)

    def verify(self) -> None:
        """Reads the whole file and compares it with the checksums of what was written.

        Raises:
            DataError: If it is damaged.
        """
        self._file.verify()

    def parts(self, n_id: Tensor) -> Iterator[Tensor]:
        """As :meth:`gather`, for valid int64 numbers, some megabytes at a time; the metrics stay as they are."""
        for part in n_id.split(rows_at_once(self.row_bytes)):
            rows, _ = torch.ops.gnnkit.gather_rows(self._bytes, *self._kept, part, self.read_ahead)
            yield from_bytes(rows, self.dtype, self.shape[1:])


def as_bytes(rows: Tensor) -> Tensor:
    """Rows ``[N, *]`` as uint8 ``[N, B]``, sharing their memory."""
    size = prod(rows.shape[1:]) * rows.element_size()
    return rows.reshape(-1).view(torch.uint8).reshape(rows.size(0), size)


def from_bytes(rows: Tensor, dtype: torch.dtype, shape: Iterable[int]) -> Tensor:
    """The opposite of :func:`as_bytes`."""
    return rows.reshape(-1).view(dtype).reshape(rows.size(0), *shape)


def most_scored(score: Tensor, count: int, row_bytes: int, most_bytes: int | None) -> Tensor:
    """Numbers of the rows with the greatest scores, the greatest first, as many as fit; int64.

    Raises:
        ConfigError, ShapeError, DtypeError: If scores or bytes are not valid.
    """
    check_tensor("score", score)
    if score.shape != (count,):
        raise ShapeError(f"score must have one entry for each of {count} rows, got {describe(score)}")
    score = score.detach().cpu()
    if score.is_complex() or not bool((score >= 0).all()):
        raise ConfigError("scores must be numbers of at least 0; check for NaN and negative ones")
    most = count if most_bytes is None else check_count("bytes", most_bytes, 0) // max(row_bytes, 1)
    best = score.argsort(descending=True, stable=True)[:most]
    return best[score[best] > 0]


def checked_permutation(name: str, order: Tensor, count: int) -> Tensor:
    """``order`` as int64 on the CPU; raises where it is no permutation of ``count`` numbers."""
    check_index(name, order)
    if order.numel() != count:
        raise ShapeError(f"{name} must have one entry for each of {count} rows, got {describe(order)}")
    order = order.detach().cpu().long()
    check_index_range(name, order, count, "number of rows")
    seen = torch.zeros(count, dtype=torch.bool).index_fill_(0, order, True)
    if not bool(seen.all()):
        raise IndexRangeError(f"{name} must name each row once, but row {int((~seen).nonzero()[0])} is not in it")
    return order


def _open(path: Path, read_ahead: bool) -> FeatureStore:
    return FeatureStore(path, read_ahead=read_ahead)


def _index_dtype(count: int) -> torch.dtype:
    return torch.int32 if count <= _NARROW else torch.int64


def _names() -> str:
    return ", ".join(map(name_of, FEATURE_DTYPES))


def _parts(rows: Any, dtype: torch.dtype | None) -> Iterator[Tensor]:
    """Rows as tensors of a dtype, some megabytes at a time; at least one for each part that is given."""
    for part in (rows,) if isinstance(rows, (Tensor, np.ndarray)) else rows:
        if not isinstance(part, (Tensor, np.ndarray)):
            raise DtypeError(f"rows must be tensors or arrays, [N, *], got {type(part).__name__}")
        if isinstance(part, Tensor):
            check_tensor("rows", part)
        if part.ndim == 0:
            raise ShapeError("rows must have a first dimension, [N, *], got a scalar")
        step = rows_at_once(prod(part.shape[1:]) * part.itemsize)
        for begin in range(0, max(part.shape[0], 1), step):
            some = part[begin : begin + step]
            # A copy, since memory that is mapped read-only can be no tensor.
            yield _converted(some if isinstance(some, Tensor) else torch.from_numpy(np.array(some)), dtype)


def _converted(part: Tensor, dtype: torch.dtype | None) -> Tensor:
    wanted = part.dtype if dtype is None else dtype
    if wanted not in FEATURE_DTYPES:
        raise DtypeError(f"rows are {part.dtype}, and a store holds {_names()}; name one of them by dtype=")
    if part.dtype == wanted:
        return part
    if (not wanted.is_floating_point and part.is_floating_point()) or part.is_complex():
        raise DtypeError(f"rows are {part.dtype}, which {wanted} cannot hold; choose a floating-point dtype")
    made = part.to(wanted)
    if wanted.is_floating_point and not torch.equal(made.isfinite(), part.isfinite()):
        raise DataError(f"rows hold numbers that are too large for {wanted}; take float32 or bfloat16, or scale them")
    return made


def _alike(first: Tensor, rest: Iterator[Tensor]) -> Iterator[Tensor]:
    yield first
    for part in rest:
        if part.shape[1:] != first.shape[1:] or part.dtype != first.dtype:
            raise ShapeError(
                f"all parts must have rows of one shape and dtype, {tuple(first.shape[1:])} and {first.dtype}, got "
                f"{tuple(part.shape[1:])} and {part.dtype}"
            )
        yield part
