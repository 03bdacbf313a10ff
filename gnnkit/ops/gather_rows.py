"""Rows of a mapped file and of a cache in memory, by number; see :class:`gnnkit.sample.store.FeatureStore`."""

import torch
from torch import Tensor

from gnnkit.errors import IndexRangeError, ShapeError
from gnnkit.ops._library import define

PAGE = 4096


def reference(
    rows: Tensor, cache: Tensor | None, place: Tensor | None, index: Tensor, ahead: bool
) -> tuple[Tensor, Tensor]:
    """Copies the rows that are asked for.

    Args:
        rows: Those of the file as bytes, uint8 ``[R, B]``, contiguous.
        cache: Those in memory, uint8 ``[C, B]``.
        place: Where each row is, int32 or int64 ``[N]``: at least 0, a row of ``rows``; ``-1 - c``, row ``c`` of
            ``cache``. None: the entries of ``index`` are such places themselves.
        index: Which rows, int64 ``[n]``.
        ahead: Whether all pages are asked for before the first row is read. Changes no result.

    Returns:
        The rows, uint8 ``[n, B]``; and int64 ``[2]``: how many are from the cache, and how many pages of 4096 bytes of
        ``rows`` hold the others, each page counted once.
    """
    if rows.dim() != 2 or index.dim() != 1 or any(t.dtype != torch.uint8 for t in (rows, cache) if t is not None):
        raise ShapeError("rows and cache must be uint8 [N, B], and index [n]")
    found = index if place is None else place[_checked(index, 0, place.size(0))].long()
    spare = rows.new_empty(0, rows.size(1)) if cache is None else cache
    _checked(found, -spare.size(0), rows.size(0))
    kept, size = found < 0, rows.size(1)
    out = rows.new_empty(index.size(0), size)
    out[kept] = spare[-1 - found[kept]]
    out[~kept] = rows[found[~kept]]
    pages = _pages(found[~kept].unique() * size, size)
    return out, torch.stack([kept.sum(), pages])


def _checked(index: Tensor, low: int, high: int) -> Tensor:
    if index.numel() > 0 and bool(((index < low) | (index >= high)).any()):
        raise IndexRangeError("an index lies outside of its range")
    return index


def _pages(start: Tensor, size: int) -> Tensor:
    """Number of pages that rows of ``size`` bytes lie in; ``start`` ascends."""
    if start.numel() == 0 or size == 0:
        return torch.zeros((), dtype=torch.int64)
    first, last = start // PAGE, (start + size - 1) // PAGE
    # The first page of a row may be the last one of the row before it.
    return (last - first + 1).sum() - (first[1:] == last[:-1]).sum()


def _fake(
    rows: Tensor, cache: Tensor | None, place: Tensor | None, index: Tensor, ahead: bool
) -> tuple[Tensor, Tensor]:
    return rows.new_empty(index.size(0), rows.size(1)), index.new_empty(2)


define(
    "gather_rows(Tensor rows, Tensor? cache, Tensor? place, Tensor index, bool ahead) -> (Tensor, Tensor)",
    reference=reference,
    fake=_fake,
)
