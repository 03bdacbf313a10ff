"""Reductions of rows by group, for every dtype: kernels for float32, float64 and bfloat16, plain PyTorch otherwise.

All are deterministic on every device. float16 is widened to float32 and rounded once at the end.
"""

import torch
from torch import Tensor

from gnnkit.compat.torch_scatter._groups import Groups
from gnnkit.ops._checks import FLOAT_DTYPES
from gnnkit.ops.segment import extremum_reference


def total(rows: Tensor, groups: Groups, *, mean: bool = False) -> Tensor:
    """Sum or mean of each group, ``[groups, *]``; a mean of integers is rounded down."""
    if rows.dtype == torch.float16:
        return total(rows.float(), groups, mean=mean).half()
    if rows.is_floating_point() and not _adds_directly(rows, groups):
        return torch.ops.gnnkit.segment_sum(rows, *groups.order(), mean)
    # Sums of integers do not depend on their order.
    out = rows.new_zeros((groups.num_groups, *rows.shape[1:])).index_add(0, groups.group_of_row(), rows)
    return divide(out, groups) if mean else out


def _adds_directly(rows: Tensor, groups: Groups) -> bool:
    """Whether single numbers are added one after the other, which is then faster than sorting them first."""
    wide = rows.dtype in (torch.float32, torch.float64)
    return rows.dim() == 1 and wide and rows.device.type == "cpu" and not groups.is_ordered


def divide(values: Tensor, groups: Groups) -> Tensor:
    """``values`` ``[groups, *]`` over the number of rows of each group; integers are rounded down."""
    if values.is_floating_point():
        wide = torch.float64 if values.dtype == torch.float64 else torch.float32
        return (values.to(wide) / groups.size(values).clamp(min=1).to(wide)).to(values.dtype)
    return torch.div(values.long(), groups.size(values).clamp(min=1), rounding_mode="floor").to(values.dtype)


def extremum(rows: Tensor, groups: Groups, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Minimum or maximum of each group, zero for an empty one, and the first row that attains it, or -1."""
    if rows.dtype in FLOAT_DTYPES:
        return torch.ops.gnnkit.segment_extremum(rows, *groups.order(), largest)
    if rows.dtype == torch.float16:
        value, row = extremum(rows.float(), groups, largest=largest)
        return value.half(), row
    return extremum_reference(rows, *groups.order(), largest)


def product(rows: Tensor, groups: Groups) -> Tensor:
    """Product of each group, one for an empty one; half precision is multiplied in float32."""
    if rows.dtype in (torch.float16, torch.bfloat16):
        return product(rows.float(), groups).to(rows.dtype)
    if rows.device.type != "cpu":
        return product_by_doubling(rows, groups)
    key = groups.group_of_row().long().reshape(-1, *(1,) * (rows.dim() - 1)).expand_as(rows)
    return rows.new_ones((groups.num_groups, *rows.shape[1:])).scatter_reduce(0, key, rows, "prod")


def product_by_doubling(rows: Tensor, groups: Groups) -> Tensor:
    """``product`` without atomics: pairs, then pairs of pairs, in ``log2`` of the largest group steps."""
    if groups.num_rows == 0:
        return rows.new_ones((groups.num_groups, *rows.shape[1:]))
    key = groups.group_of_row().long()
    ptr, perm = groups.order()
    if perm is not None:
        rows, key = rows.index_select(0, perm), key.index_select(0, perm)
    step, largest = 1, int(ptr.diff().max())
    while step < largest:
        same = (key[step:] == key[:-step]).reshape(-1, *(1,) * (rows.dim() - 1))
        partner = torch.where(same, rows[step:], 1)
        rows = torch.cat([rows[:-step] * partner, rows[-step:]])
        step *= 2
    first = ptr[:-1].long().clamp(max=groups.num_rows - 1)
    return torch.where(groups.size(rows) == 0, 1, rows.index_select(0, first))


def expand(values: Tensor, groups: Groups) -> Tensor:
    """``values`` ``[groups, *]`` of the group of each row, ``[rows, *]``."""
    if not values.requires_grad:
        return values.index_select(0, groups.group_of_row())
    if values.dtype == torch.float16:
        return expand(values.float(), groups).half()
    # Its gradient is a segment sum: deterministic on every device.
    return torch.ops.gnnkit.segment_expand(values, *groups.order(), groups.num_rows, False)


def reduce_into(out: Tensor | None, rows: Tensor, groups: Groups, reduce: str) -> Tensor:
    """Sum, mean or product of each group as a tensor; ``out`` takes part, in place."""
    if reduce == "mul":
        value = groups.result(product(rows, groups))
        return value if out is None else out.mul_(value)
    if out is None:
        return groups.result(total(rows, groups, mean=reduce == "mean"))
    if reduce == "mean":
        sums = groups.layout.to_rows(out) + total(rows, groups)
        return out.copy_(groups.result(divide(sums, groups)))
    return out.add_(groups.result(total(rows, groups)))


def extremum_into(out: Tensor | None, rows: Tensor, groups: Groups, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Extremum of each group and its position along ``dim``.

    With ``out``: the better of both, in place, and the size along ``dim`` where ``out`` stays.
    """
    value, row = extremum(rows, groups, largest=largest)
    value, position = groups.result(value), groups.position(groups.result(row))
    if out is None:
        return value, position
    with torch.no_grad():
        better = value > out if largest else value < out
        better = (position < groups.length) & (better | (value.isnan() & ~out.isnan()))
    position = torch.where(better, position, groups.length)
    return out.copy_(torch.where(better, value, out)), position


def store(out: Tensor | None, value: Tensor) -> Tensor:
    """``value``, or ``out`` overwritten with it."""
    return value if out is None else out.copy_(value)
