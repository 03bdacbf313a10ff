"""Reductions over segments: consecutive rows, or rows listed by a permutation."""

import torch
from torch import Tensor

from gnnkit.errors import IndexRangeError, ShapeError
from gnnkit.ops._checks import check_float, check_reduce, check_same_device, check_segments, values_readable
from gnnkit.ops._library import define
from gnnkit.ops.pick import pick_scatter


def segment_reduce(src: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    r"""Reduces consecutive rows: :math:`y_s = \bigoplus_{p = \mathrm{ptr}_s}^{\mathrm{ptr}_{s+1} - 1} x_p`.

    Args:
        src: Rows to reduce, ``[E, *]``, float32, float64 or bfloat16 (accumulated in float32).
        ptr: Segment boundaries, ``[S + 1]``, non-decreasing, from 0 to ``E``.
        reduce: ``"sum"``, ``"mean"``, ``"min"`` or ``"max"``.

    Returns:
        One row per segment, ``[S, *]``; zero where a segment is empty, for every reduction. The gradient of a minimum
        or maximum goes to the first row that attains it. A NaN in a segment makes its result NaN.

    Raises:
        ShapeError: If ``src`` has no dimension, ``ptr`` is not a vector of at least one boundary, or a dtype or device
            does not fit.
        IndexRangeError: If ``ptr`` decreases, or does not run from 0 to ``E``.

    Determinism: bitwise, for any number of threads: one thread reduces a segment, in blocks of 256 rows.
    Complexity: ``O(E F)`` time, no temporary; minima and maxima keep one index per result.
    """
    check_float("src", src)
    if src.dim() == 0:
        raise ShapeError("src must have at least one dimension, [E, *], got a scalar")
    check_reduce(reduce)
    check_segments(ptr, src.size(0))
    check_same_device(src=src, ptr=ptr)
    return reduce_rows(src, ptr, None, reduce)


def reduce_rows(src: Tensor, ptr: Tensor, perm: Tensor | None, reduce: str) -> Tensor:
    """``segment_reduce`` over rows ``src[perm]``, without checks and without the copy."""
    if reduce in ("sum", "mean"):
        return torch.ops.gnnkit.segment_sum(src, ptr, perm, reduce == "mean")
    return torch.ops.gnnkit.segment_extremum(src, ptr, perm, reduce == "max")[0]


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which values of ``dtype`` are accumulated."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def segment_of_row(ptr: Tensor, num_rows: int) -> Tensor:
    """Segment of each row, ``[num_rows]``, int64.

    Raises:
        IndexRangeError: Where boundaries can be read, and are not those of ``num_rows`` rows: torch would write past
            the end of what it allocates.
    """
    count = ptr.diff().long()
    if values_readable(ptr) and (int(count.sum()) != num_rows or bool((count < 0).any())):
        raise IndexRangeError(f"boundaries must not decrease and must hold {num_rows} rows, got {ptr.tolist()[:8]} ...")
    return torch.repeat_interleave(count, output_size=num_rows)


def in_positions(rows: Tensor, perm: Tensor | None) -> Tensor:
    """Rows in the order of positions: row ``perm[p]`` at position ``p``."""
    return rows if perm is None else rows.index_select(0, perm)


def from_positions(rows: Tensor, perm: Tensor | None) -> Tensor:
    """The inverse of :func:`in_positions`: the row at position ``p`` becomes row ``perm[p]``."""
    return rows if perm is None else torch.empty_like(rows).index_copy(0, perm.long(), rows)


def add_rows(src: Tensor, index: Tensor, dim_size: int) -> Tensor:
    """Sums rows by index, deterministically on every device, in the dtype of ``src``."""
    out = src.new_zeros((dim_size, *src.shape[1:]))
    if src.device.type == "cpu":
        return out.index_add(0, index, src)
    # index_add uses atomics on accelerators; index_put with accumulation sorts first.
    return out.index_put((index,), src, accumulate=True)


def sum_reference(src: Tensor, ptr: Tensor, perm: Tensor | None, mean: bool) -> Tensor:
    """Sum or mean by ``index_add``."""
    rows = in_positions(src, perm).to(wide_dtype(src.dtype))
    out = add_rows(rows, segment_of_row(ptr, rows.size(0)), ptr.numel() - 1)
    if mean:
        out = out / _column(ptr.diff().clamp(min=1), out)
    return out.to(src.dtype)


def expand_reference(src: Tensor, ptr: Tensor, perm: Tensor | None, num_rows: int, mean: bool) -> Tensor:
    """Row ``s`` of ``src`` (divided by the segment's size for a mean) copied to every row of segment ``s``."""
    if mean:
        src = (src.to(wide_dtype(src.dtype)) / _column(ptr.diff().clamp(min=1), src)).to(src.dtype)
    rows = src.index_select(0, segment_of_row(ptr, num_rows))
    return from_positions(rows, perm)


def extremum_reference(src: Tensor, ptr: Tensor, perm: Tensor | None, largest: bool) -> tuple[Tensor, Tensor]:
    """Extremum by ``scatter_reduce``, and the first row of ``src`` that attains it (-1 for an empty segment)."""
    rows = in_positions(src, perm)
    num_segments = ptr.numel() - 1
    flat = rows.flatten(1) if rows.dim() > 1 else rows.unsqueeze(1)
    segment = segment_of_row(ptr, rows.size(0)).unsqueeze(1).expand_as(flat)
    best = flat.new_zeros((num_segments, flat.size(1)))
    best = best.scatter_reduce(0, segment, flat, "amax" if largest else "amin", include_self=False)
    chosen = best.gather(0, segment)
    attains = (flat == chosen) | (flat.isnan() & chosen.isnan())
    position = torch.arange(flat.size(0), device=src.device).unsqueeze(1).expand_as(flat)
    position = torch.where(attains, position, flat.size(0))
    first = position.new_full(best.shape, flat.size(0)).scatter_reduce(0, segment, position, "amin")
    empty = first == flat.size(0)
    if perm is None or perm.numel() == 0:
        arg = first
    else:
        arg = perm.long()[first.clamp(max=flat.size(0) - 1)]
    arg = torch.where(empty, -1, arg).to(ptr.dtype)
    shape = (num_segments, *src.shape[1:])
    return best.reshape(shape), arg.reshape(shape)


def _column(count: Tensor, like: Tensor) -> Tensor:
    """``count`` shaped to divide the rows of ``like``."""
    return count.to(wide_dtype(like.dtype)).reshape(-1, *(1,) * (like.dim() - 1))


def _sum_fake(src: Tensor, ptr: Tensor, perm: Tensor | None, mean: bool) -> Tensor:
    return src.new_empty((ptr.size(0) - 1, *src.shape[1:]))


def _sum_save(ctx, inputs, output) -> None:
    src, ptr, perm, mean = inputs
    ctx.save_for_backward(ptr, perm)
    ctx.num_rows, ctx.mean = src.size(0), mean


def _sum_backward(ctx, grad):
    ptr, perm = ctx.saved_tensors
    return torch.ops.gnnkit.segment_expand(grad, ptr, perm, ctx.num_rows, ctx.mean), None, None, None


def _expand_fake(src: Tensor, ptr: Tensor, perm: Tensor | None, num_rows: int, mean: bool) -> Tensor:
    return src.new_empty((num_rows, *src.shape[1:]))


def _expand_save(ctx, inputs, output) -> None:
    _, ptr, perm, _, mean = inputs
    ctx.save_for_backward(ptr, perm)
    ctx.mean = mean


def _expand_backward(ctx, grad):
    ptr, perm = ctx.saved_tensors
    return torch.ops.gnnkit.segment_sum(grad, ptr, perm, ctx.mean), None, None, None, None


def _extremum_fake(src: Tensor, ptr: Tensor, perm: Tensor | None, largest: bool) -> tuple[Tensor, Tensor]:
    shape = (ptr.size(0) - 1, *src.shape[1:])
    return src.new_empty(shape), ptr.new_empty(shape)


def _extremum_save(ctx, inputs, output) -> None:
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.num_rows = inputs[0].size(0)


def _extremum_backward(ctx, grad, _):
    return pick_scatter(grad, ctx.saved_tensors[0], ctx.num_rows), None, None, None


define(
    "segment_sum(Tensor src, Tensor ptr, Tensor? perm, bool mean) -> Tensor",
    reference=sum_reference,
    fake=_sum_fake,
    backward=_sum_backward,
    save=_sum_save,
)
define(
    "segment_expand(Tensor src, Tensor ptr, Tensor? perm, SymInt num_rows, bool mean) -> Tensor",
    reference=expand_reference,
    fake=_expand_fake,
    backward=_expand_backward,
    save=_expand_save,
)
define(
    "segment_extremum(Tensor src, Tensor ptr, Tensor? perm, bool largest) -> (Tensor, Tensor)",
    reference=extremum_reference,
    fake=_extremum_fake,
    backward=_extremum_backward,
    save=_extremum_save,
)
