"""The largest scores of every segment, of all segments at once."""

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.ops._checks import (
    check_float,
    check_has_values,
    check_ratio,
    check_same_device,
    check_segments,
    check_size,
    describe,
)
from gnnkit.ops._library import define
from gnnkit.ops.segment import segment_of_row

# Two roundings, of a decimal ratio and of its product with a size, must not raise a whole number to the next one.
_ROUNDING = 1 - 2.0**-50


def segment_topk(
    score: Tensor, ptr: Tensor, *, ratio: float | None = None, k: int | None = None
) -> tuple[Tensor, Tensor]:
    r"""Picks the rows of largest score in every segment.

    Of a segment of :math:`n_s` rows, the first :math:`k_s` in order of falling score are kept, and of equal scores
    those of lower position first, with

    .. math:: k_s = \lceil \rho\, n_s \rceil \quad\text{or}\quad k_s = \min(k, n_s)

    Args:
        score: One number per row, ``[E]``, float32, float64 or bfloat16. A NaN counts as larger than every number, as
            in ``torch.sort``; the two zeros are equal.
        ptr: Segment boundaries, ``[S + 1]``, non-decreasing, from 0 to ``E``.
        ratio: The share :math:`\rho` in [0, 1] that is kept; 0 keeps nothing, and anything above at least one row of
            every segment that has any. A product that is a whole number but for the rounding of float64 counts as one:
            0.55 of 100 rows are 55.
        k: The number that is kept. Either this or ``ratio``.

    Returns:
        Boundaries of what is kept, ``[S + 1]``, and the positions kept, ``[K]``, ascending, both of the dtype of
        ``ptr``: segment ``s`` keeps ``position[kept[s]:kept[s + 1]]``. Not differentiable, being indices.

    Raises:
        ShapeError: If ``score`` is no vector, ``ptr`` is not a vector of at least one boundary, or a dtype or device
            does not fit.
        IndexRangeError: If ``ptr`` decreases, or does not run from 0 to ``E``.
        ConfigError: If both or neither of ``ratio`` and ``k`` are given, or ``ratio`` is no number in [0, 1].

    Determinism: exact, and for any number of threads.
    Complexity: ``O(E + S)`` time on average, since scores are selected and not sorted; per thread two numbers for each
    row of the longest segment. On a GPU, three sorts, and it waits for the number of rows.
    """
    check_float("score", score)
    if score.dim() != 1:
        raise ShapeError(f"score must be one number per row, [E], got {describe(score)}")
    check_segments(ptr, score.size(0))
    check_same_device(score=score, ptr=ptr)
    check_has_values(score=score, ptr=ptr)
    return torch.ops.gnnkit.segment_topk(score, ptr, kept_counts(ptr.diff(), ratio, k))


def kept_counts(size: Tensor, ratio: float | None, k: int | None) -> Tensor:
    """How many of ``size`` rows are kept; see :func:`segment_topk` for both, and for the errors."""
    if (ratio is None) == (k is None):
        raise ConfigError(f"give either ratio or k, got ratio={ratio!r} and k={k!r}")
    if k is not None:
        return size.clamp(max=check_size("k", k))
    return (size.double() * check_ratio("ratio", ratio) * _ROUNDING).ceil().to(size.dtype)


def reference(score: Tensor, ptr: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """A stable sort of all scores, a stable sort of that by segment, and the first rows of each."""
    by_score = torch.sort(score, descending=True, stable=True).indices
    by_segment = torch.sort(segment_of_row(ptr, score.size(0))[by_score], stable=True)
    place = torch.arange(score.size(0), device=score.device) - ptr.long()[by_segment.values]
    kept = by_score[by_segment.indices[place < count.long()[by_segment.values]]]
    bounds = torch.zeros_like(ptr)
    bounds[1:] = count.cumsum(0)
    return bounds, kept.sort().values.to(ptr.dtype)


def _fake(score: Tensor, ptr: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(ptr), ptr.new_empty(torch.library.get_ctx().new_dynamic_size())


# count [S], of the dtype of ptr: how many rows of each segment are kept, at most all of them.
define("segment_topk(Tensor score, Tensor ptr, Tensor count) -> (Tensor, Tensor)", reference=reference, fake=_fake)
