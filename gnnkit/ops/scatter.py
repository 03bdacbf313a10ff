"""Reduction by an unsorted index."""

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import (
    check_float,
    check_index,
    check_index_range,
    check_reduce,
    check_same_device,
    check_size,
)
from gnnkit.ops.segment import reduce_rows


def scatter(src: Tensor, index: Tensor, dim_size: int, reduce: str = "sum") -> Tensor:
    r"""Reduces rows that share an index: :math:`y_s = \bigoplus_{e : \mathrm{index}_e = s} x_e`.

    Args:
        src: Rows to reduce, ``[E, *]``, float32, float64 or bfloat16 (accumulated in float32).
        index: Row of the result that each row goes to, ``[E]``, int32 or int64, in any order.
        dim_size: Number of rows ``S`` of the result; explicit, so that trailing empty rows are kept.
        reduce: ``"sum"``, ``"mean"``, ``"min"`` or ``"max"``.

    Returns:
        ``[S, *]``; zero where no row goes. The gradient of a minimum or maximum goes to the first row that attains it.

    Raises:
        ShapeError: If the shapes, dtypes or devices do not fit together.
        IndexRangeError: If an index lies outside of ``[0, dim_size)``.

    Determinism: bitwise, for any number of threads: rows are added in ascending order of ``e``, not atomically.
    Complexity: ``O(E F + S)`` time; memory ``O(E + S)`` for a counting sort of the index.
    """
    check_float("src", src)
    check_index("index", index)
    if src.dim() == 0 or src.size(0) != index.size(0):
        raise ShapeError(f"src must have one row per index, {index.size(0)}, got shape {tuple(src.shape)}")
    dim_size = check_size("dim_size", dim_size)
    check_reduce(reduce)
    check_same_device(src=src, index=index)
    check_index_range("index", index, dim_size, "dim_size")
    ptr, perm = torch.ops.gnnkit.sort_index(index, dim_size)
    return reduce_rows(src, ptr, perm, reduce)
