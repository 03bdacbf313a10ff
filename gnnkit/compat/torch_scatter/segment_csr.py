"""``torch_scatter.segment_csr``: reductions between boundaries, along the last dimension of ``indptr``.

``indptr`` (int32 or int64) ``[*, S + 1]`` does not decrease along its last dimension, which is ``dim``; its other
dimensions broadcast against those of ``src``. Segment ``s`` is ``indptr[s]:indptr[s + 1]`` along ``dim``; what lies
before the first boundary and behind the last one is left out. ``out`` is overwritten. ``O(E F)`` time; the same bits
for any number of threads.
"""

from math import prod

import torch
from torch import Tensor

from gnnkit.compat.torch_scatter import _rows
from gnnkit.compat.torch_scatter._groups import (
    Groups,
    Layout,
    align,
    check_out,
    check_positions,
    check_size,
    check_values,
    layout_of,
)
from gnnkit.errors import IndexRangeError, ShapeError
from gnnkit.ops._checks import check_reduce, check_same_device, describe, values_readable

REDUCTIONS = ("sum", "add", "mean", "min", "max")


def _check(src: Tensor, indptr: Tensor) -> int:
    check_values(src)
    check_positions("indptr", indptr)
    check_same_device(src=src, indptr=indptr)
    if not 1 <= indptr.dim() <= src.dim():
        raise ShapeError(f"indptr must have 1 to {src.dim()} dimension(s), as src has, got {describe(indptr)}")
    return indptr.dim() - 1


def _check_boundaries(indptr: Tensor, length: int) -> None:
    """Raises where boundaries decrease, or leave the range of what they divide."""
    if indptr.numel() == 0 or not values_readable(indptr):
        return
    low, high = (int(bound) for bound in indptr.aminmax())
    if low < 0 or high > length:
        raise IndexRangeError(f"indptr must lie in [0, {length}], the size of src, got values in [{low}, {high}]")
    if bool((indptr.diff(dim=-1) < 0).any()):
        raise IndexRangeError("indptr must not decrease along its last dimension")


def _prepare(src: Tensor, indptr: Tensor, out: Tensor | None) -> tuple[Tensor, Groups, Tensor | None]:
    """Rows, their groups, and which groups are segments (None: all)."""
    dim = _check(src, indptr)
    length, shape = src.size(dim), tuple(src.shape)
    num_segments = max(indptr.size(dim) - 1, 0)
    check_out(out, (*shape[:dim], num_segments, *shape[dim + 1 :]), src)
    _check_boundaries(indptr, length)
    aligned = align(indptr, shape, dim, indptr.size(dim))
    layout = layout_of(aligned, shape, dim)
    lead = prod(layout.lead)
    num_rows = lead * length
    check_size(num_segments, lead * prod(layout.tail))
    ptr = aligned.reshape(lead, aligned.size(dim))
    if lead == 1 and num_segments > 0 and values_readable(ptr) and ptr[0, 0] == 0 and ptr[0, -1] == length:
        groups = _between(layout, length, num_rows, num_segments, ptr.reshape(-1))
        return layout.to_rows(src), groups, None
    # Gaps before, between and behind the segments of each leading index are groups too, which nobody reads.
    start = torch.arange(lead, device=ptr.device).unsqueeze(1) * length
    ptr = torch.cat([start.new_zeros(1), (ptr.long() + start).reshape(-1), start.new_full((1,), num_rows)])
    group = torch.arange(lead * (num_segments + 1), device=ptr.device) + 1
    kept = group.reshape(lead, num_segments + 1)[:, :num_segments]
    groups = _between(layout, length, num_rows, num_segments, ptr)
    return layout.to_rows(src), groups, kept.reshape(-1)


def _between(layout: Layout, length: int, num_rows: int, dim_size: int, ptr: Tensor) -> Groups:
    num_groups = ptr.size(0) - 1
    return Groups(layout, length=length, dim_size=dim_size, num_rows=num_rows, num_groups=num_groups, ptr=ptr)


def _result(values: Tensor, groups: Groups, kept: Tensor | None) -> Tensor:
    return groups.result(values if kept is None else values.index_select(0, kept))


def segment_sum_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Tensor:
    """Sum of each segment; zero for an empty one."""
    rows, groups, kept = _prepare(src, indptr, out)
    return _rows.store(out, _result(_rows.total(rows, groups), groups, kept))


def segment_add_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Tensor:
    """The same as :func:`segment_sum_csr`."""
    return segment_sum_csr(src, indptr, out)


def segment_mean_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Tensor:
    """Mean of each segment; zero for an empty one; integers are rounded down."""
    rows, groups, kept = _prepare(src, indptr, out)
    return _rows.store(out, _result(_rows.total(rows, groups, mean=True), groups, kept))


def segment_min_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Minimum of each segment, zero for an empty one, and its position, as :func:`torch_scatter.scatter_min`."""
    return _segment_extremum_csr(src, indptr, out, largest=False)


def segment_max_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Maximum of each segment, zero for an empty one, and its position, as :func:`torch_scatter.scatter_max`."""
    return _segment_extremum_csr(src, indptr, out, largest=True)


def segment_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None, reduce: str = "sum") -> Tensor:
    """Reduction named by ``reduce``: ``"sum"``, ``"add"``, ``"mean"``, ``"min"`` or ``"max"``."""
    check_reduce(reduce, REDUCTIONS)
    if reduce == "mean":
        return segment_mean_csr(src, indptr, out)
    if reduce in ("min", "max"):
        return _segment_extremum_csr(src, indptr, out, largest=reduce == "max")[0]
    return segment_sum_csr(src, indptr, out)


def gather_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Tensor:
    """Element ``s`` along ``dim`` repeated over segment ``s``: the inverse of :func:`segment_csr`.

    All boundaries start at zero and end at one number, which is the size of the result along ``dim``.
    """
    dim = _check(src, indptr)
    shape, num_segments = tuple(src.shape), max(indptr.size(dim) - 1, 0)
    if shape[dim] != num_segments:
        raise ShapeError(f"src must have {num_segments} elements along dim {dim}, one per segment, got {describe(src)}")
    length = int(indptr.reshape(-1)[-1]) if indptr.numel() > 0 else 0
    check_size(max(length, 0), prod(shape[:dim]) * prod(shape[dim + 1 :]))
    _check_boundaries(indptr, length)
    if values_readable(indptr) and indptr.numel() and not _same_ends(indptr, length):
        raise IndexRangeError(f"indptr must start at 0 and end at {length} for every leading index")
    check_out(out, (*shape[:dim], length, *shape[dim + 1 :]), src)
    aligned = align(indptr, shape, dim, indptr.size(dim))
    layout = layout_of(aligned, shape, dim)
    lead = prod(layout.lead)
    start = torch.arange(lead, device=indptr.device).unsqueeze(1) * length
    # The last boundary of a leading index is the first one of the next.
    ptr = (aligned.reshape(lead, indptr.size(dim))[:, :-1].long() + start).reshape(-1)
    ptr = torch.cat([ptr, start.new_full((1,), lead * length)])
    groups = _between(layout, length, lead * length, num_segments, ptr)
    rows = _rows.expand(layout.to_rows(src), groups)
    return _rows.store(out, layout.from_rows(rows, length))


def _same_ends(indptr: Tensor, length: int) -> bool:
    return bool((indptr[..., 0] == 0).all()) and bool((indptr[..., -1] == length).all())


def _segment_extremum_csr(src: Tensor, indptr: Tensor, out: Tensor | None, *, largest: bool) -> tuple[Tensor, Tensor]:
    rows, groups, kept = _prepare(src, indptr, out)
    value, row = _rows.extremum(rows, groups, largest=largest)
    position = groups.position(_result(row, groups, kept))
    return _rows.store(out, _result(value, groups, kept)), position
