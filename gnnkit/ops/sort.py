"""Stable counting sort of an index: what turns an edge list into CSR."""

import torch
from torch import Tensor

from gnnkit.ops._checks import check_index, check_index_range, check_size
from gnnkit.ops._library import define


def sort_index(index: Tensor, dim_size: int) -> tuple[Tensor, Tensor]:
    r"""Groups positions by their index value, keeping their order within a group.

    Args:
        index: Values in ``[0, dim_size)``, ``[E]``, int32 or int64.
        dim_size: Number of groups ``S``.

    Returns:
        ``ptr`` ``[S + 1]`` and ``perm`` ``[E]``, both of the dtype of ``index``: the positions of value ``s``, in
        ascending order, are ``perm[ptr[s]:ptr[s + 1]]``.

    Raises:
        DtypeError, ShapeError: If ``index`` is not a vector of integers, or ``dim_size`` is negative or no integer.
        IndexRangeError: If a value lies outside of ``[0, dim_size)``.

    Determinism: bitwise; a stable sort has one result.
    Complexity: ``O(E + S)`` time and memory.
    """
    check_index("index", index)
    dim_size = check_size("dim_size", dim_size)
    check_index_range("index", index, dim_size, "dim_size")
    return torch.ops.gnnkit.sort_index(index, dim_size)


def reference(index: Tensor, dim_size: int) -> tuple[Tensor, Tensor]:
    """Sorting by ``torch.sort`` and counting by ``torch.bincount``."""
    perm = torch.sort(index, stable=True).indices.to(index.dtype)
    count = torch.bincount(index, minlength=dim_size)
    ptr = index.new_zeros(dim_size + 1)
    ptr[1:] = count.cumsum(0)
    return ptr, perm


def _fake(index: Tensor, dim_size: int) -> tuple[Tensor, Tensor]:
    return index.new_empty(dim_size + 1), torch.empty_like(index)


define("sort_index(Tensor index, SymInt dim_size) -> (Tensor, Tensor)", reference=reference, fake=_fake)
