"""Which rows of a packed tensor belong to some of its graphs."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gnnkit.errors import DtypeError, IndexRangeError, ShapeError


def ids_of(ids: Tensor | Sequence[int] | Sequence[bool] | slice | np.ndarray | range, count: int) -> Tensor:
    """Graph numbers as an int64 vector on the CPU, negative ones counted from the end.

    Args:
        ids: Numbers, a slice, or a boolean mask with ``count`` entries.
        count: Number of graphs ``G``.

    Raises:
        ShapeError: If ``ids`` is no vector, or a mask of another length.
        DtypeError: If ``ids`` holds neither integers nor booleans.
        IndexRangeError: If a number is not in ``[-G, G)``.
    """
    if isinstance(ids, slice):
        return torch.arange(count)[_positive(ids, count)]
    numbers = _tensor(ids)
    if numbers.dim() != 1:
        raise ShapeError(f"ids must be a vector of graph numbers, got shape {tuple(numbers.shape)}")
    if numbers.dtype == torch.bool:
        if numbers.numel() != count:
            raise ShapeError(f"a boolean mask must have one entry per graph ({count}), got {numbers.numel()}")
        return numbers.nonzero().flatten()
    if numbers.numel() == 0:
        return numbers.to(torch.int64)
    if numbers.is_floating_point() or numbers.is_complex():
        raise DtypeError(f"ids must be integers or a boolean mask, got {numbers.dtype}")
    numbers = numbers.to(torch.int64)
    outside = (numbers < -count) | (numbers >= count)
    if bool(outside.any()):
        position = int(outside.nonzero()[0])
        raise IndexRangeError(
            f"graph number {int(numbers[position])} (ids[{position}]) is out of range for {count} graphs"
        )
    return torch.where(numbers < 0, numbers + count, numbers)


def _tensor(ids: Tensor | Sequence[int] | Sequence[bool] | np.ndarray | range) -> Tensor:
    if isinstance(ids, Tensor):
        return ids.detach().cpu()
    try:
        return torch.as_tensor(np.asarray(ids))
    except (TypeError, ValueError) as error:
        raise DtypeError(f"ids must be integers or a boolean mask, got {type(ids).__name__}") from error


def _positive(chosen: slice, count: int) -> Tensor:
    # torch has no slices with a negative step.
    return torch.tensor(list(range(count))[chosen], dtype=torch.int64)


def rows_of(ptr: Tensor, ids: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of some segments, one segment after the other.

    Args:
        ptr: Segment boundaries, ``[S + 1]``, on the CPU.
        ids: Segment numbers, ``[B]``, on the CPU.
        device: Where the row numbers are wanted.

    Returns:
        Row numbers ``[R]`` on ``device``, and the boundaries ``[B + 1]`` (on the CPU) of the segments among them.
    """
    starts = ptr[ids]
    counts = ptr[ids + 1] - starts
    out_ptr = torch.zeros(ids.numel() + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=out_ptr[1:])
    total = int(out_ptr[-1])
    shift = (starts - out_ptr[:-1]).to(device)
    rows = torch.arange(total, device=device)
    rows += shift.repeat_interleave(counts.to(device), output_size=total)
    return rows, out_ptr
