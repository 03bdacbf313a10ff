"""``torch_scatter.composite``: softmax, its logarithm, log of summed exponentials, and standard deviation by group.

Arguments, errors, determinism and cost are those of :mod:`torch_scatter.scatter`.
"""

import torch
from torch import Tensor

from gnnkit.compat.torch_scatter import _rows
from gnnkit.compat.torch_scatter._groups import Groups
from gnnkit.compat.torch_scatter.scatter import prepare
from gnnkit.errors import DtypeError
from gnnkit.ops._checks import check_tensor, describe


def _check_floating(src: Tensor) -> None:
    check_tensor("src", src)
    if not src.is_floating_point():
        raise DtypeError(f"src must be of floating dtype, got {describe(src)}; convert it with src.float()")


def _widened(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def _exponentials(rows: Tensor, groups: Groups) -> tuple[Tensor, Tensor, Tensor]:
    """Rows minus the maximum of their group, that maximum (0 if infinite), and the sum of exponentials (0: one)."""
    largest = _rows.extremum(rows.detach(), groups, largest=True)[0]
    shift = torch.where(largest.isinf(), 0, largest)
    shifted = rows - _rows.expand(shift, groups)
    sums = _rows.total(shifted.exp(), groups)
    return shifted, shift, sums


def scatter_softmax(src: Tensor, index: Tensor, dim: int = -1, dim_size: int | None = None) -> Tensor:
    r"""Softmax over each group: :math:`y_e = e^{x_e} / \sum_{f : \mathrm{index}_f = \mathrm{index}_e} e^{x_f}`.

    Minus infinity gets weight zero, also where a group has nothing else.
    """
    _check_floating(src)
    rows, groups = prepare(src, index, dim, None, dim_size)
    wide = rows.float() if rows.dtype == torch.float16 else rows
    weight = torch.ops.gnnkit.segment_softmax(wide, *groups.order())
    return groups.layout.from_rows(weight.to(src.dtype), groups.length)


def scatter_log_softmax(
    src: Tensor, index: Tensor, dim: int = -1, eps: float = 1e-12, dim_size: int | None = None
) -> Tensor:
    """Logarithm of :func:`scatter_softmax`; ``eps`` is added to the sum of exponentials, relative to the largest."""
    _check_floating(src)
    rows, groups = prepare(src, index, dim, None, dim_size)
    shifted, _, sums = _exponentials(_widened(rows), groups)
    sums = torch.where(sums == 0, 1, sums)
    value = shifted - _rows.expand((sums + eps).log(), groups)
    return groups.layout.from_rows(value.to(src.dtype), groups.length)


def scatter_logsumexp(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
    eps: float = 1e-12,
) -> Tensor:
    r"""Log of summed exponentials: :math:`y_s = \log(e^{\mathrm{out}_s} + \sum_{e : \mathrm{index}_e = s} e^{x_e})`.

    An empty group gives zero, or leaves ``out`` as it is; one of nothing but minus infinity gives minus infinity.
    """
    _check_floating(src)
    rows, groups = prepare(src, index, dim, out, dim_size)
    _, shift, sums = _exponentials(_widened(rows), groups)
    vanished = sums == 0
    value = (torch.where(vanished, 1, sums) + eps).log() + shift
    value = torch.where(vanished, -torch.inf, value)
    empty = groups.size(value) == 0
    if out is None:
        return groups.result(torch.where(empty, 0, value).to(src.dtype))
    before = _widened(groups.layout.to_rows(out).clone())
    # Where there is nothing to add, logaddexp has no gradient that is a number.
    nothing = empty | vanished
    both = torch.where(nothing, before, torch.logaddexp(before, torch.where(nothing, 0, value)))
    return out.copy_(groups.result(both.to(src.dtype)))


def scatter_std(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
    unbiased: bool = True,
) -> Tensor:
    r"""Standard deviation of each group: :math:`\sqrt{\sum_e (x_e - \bar x)^2 / (\max(n_s - 1, 1) + 10^{-6})}`.

    Args:
        src: Values; integers are taken as the default floating dtype.
        index: As everywhere.
        dim: As everywhere.
        out: Sums of squares to add to, in place; the result is a new tensor.
        dim_size: As everywhere.
        unbiased: Whether to divide by :math:`n_s - 1` and not by :math:`n_s`.

    Returns:
        Zero for a group of one or none, where its gradient is zero too.
    """
    if isinstance(src, Tensor) and not src.is_floating_point() and not src.is_complex() and src.dtype != torch.bool:
        src = src.to(torch.get_default_dtype())
    rows, groups = prepare(src, index, dim, out, dim_size)
    wide = _widened(rows)
    deviation = wide - _rows.expand(_rows.total(wide, groups, mean=True), groups)
    squares = _rows.total(deviation * deviation, groups)
    if out is not None:
        squares = _widened(groups.layout.to_rows(out.add_(groups.result(squares).to(out.dtype))))
    count = (groups.size(squares) - (1 if unbiased else 0)).clamp(min=1)
    variance = squares / (count.to(squares.dtype) + 1e-6)
    zero = variance == 0
    deviation = torch.where(zero, 0, torch.where(zero, 1, variance).sqrt())
    return groups.result(deviation.to(src.dtype))
