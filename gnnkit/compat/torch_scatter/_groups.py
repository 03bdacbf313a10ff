"""How elements that share an index along one dimension become groups of rows, which is what gnnkit reduces.

A tensor is permuted to ``[varying dimensions, dim, other dimensions]`` and its first part is flattened to rows. An
index that is the same for all other dimensions, the usual case, leaves no varying dimension: rows are then what the
tensor has along ``dim``, and nothing is copied for ``dim = 0``. An index of full shape makes rows of single elements.
"""

import operator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from gnnkit.errors import DtypeError, IndexRangeError, ShapeError
from gnnkit.ops._checks import (
    INDEX_DTYPES,
    check_index_range,
    check_same_device,
    check_tensor,
    describe,
    values_readable,
)
from gnnkit.ops.segment import segment_of_row

DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)
# No machine holds a result of this many elements: an index this large is a mistake, and is called one.
_MAX_ELEMENTS = 2**40


@dataclass(frozen=True)
class Layout:
    """The permutation between a tensor and its rows.

    Attributes:
        order: Dimensions of the tensor: those the index varies in, ``dim``, all others.
        lead: Sizes of the dimensions that the index varies in.
        tail: Sizes of the others.
    """

    order: tuple[int, ...]
    lead: tuple[int, ...]
    tail: tuple[int, ...]

    def to_rows(self, value: Tensor) -> Tensor:
        """``[rows, *tail]`` of a tensor."""
        value = value.permute(self.order)
        return value.reshape(prod(value.shape[: len(self.lead) + 1]), *self.tail)

    def from_rows(self, rows: Tensor, length: int) -> Tensor:
        """The contiguous tensor with ``length`` elements along ``dim`` that has these rows."""
        inverse = [self.order.index(d) for d in range(len(self.order))]
        return rows.reshape(*self.lead, length, *self.tail).permute(inverse).contiguous()


class Groups:
    """Rows by group: those of group ``s``, in ascending order, are ``perm[ptr[s]:ptr[s + 1]]``.

    Args:
        layout: From tensors to rows.
        length: Size of the tensor along ``dim``.
        dim_size: Size of the result along ``dim``.
        num_rows: Number of rows.
        num_groups: Number of groups, over all leading dimensions.
        ptr: Boundaries, ``[groups + 1]``, where the rows are in order of their groups. None: they are not.
        key: Group of each row. None: to be had from ``ptr``.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        length: int,
        dim_size: int,
        num_rows: int,
        num_groups: int,
        ptr: Tensor | None = None,
        key: Tensor | None = None,
    ) -> None:
        self.layout, self.length, self.dim_size = layout, length, dim_size
        self.num_rows, self.num_groups, self.key = num_rows, num_groups, key
        self._order = None if ptr is None else (ptr, None)

    @property
    def is_ordered(self) -> bool:
        """Whether ``order`` is there without sorting."""
        return self._order is not None

    def order(self) -> tuple[Tensor, Tensor | None]:
        """``ptr`` ``[groups + 1]``, and ``perm`` ``[rows]`` or None where the rows are in order. Sorts once."""
        if self._order is None:
            self._order = torch.ops.gnnkit.sort_index(self.key, self.num_groups)
        return self._order

    def group_of_row(self) -> Tensor:
        """Group of each row, ``[rows]``."""
        return segment_of_row(self.order()[0], self.num_rows) if self.key is None else self.key

    def size(self, like: Tensor) -> Tensor:
        """Number of rows of each group, int64, shaped to go with ``like`` ``[groups, *]``."""
        if not self.is_ordered and self.key is not None and values_readable(self.key):
            count = torch.bincount(self.key, minlength=self.num_groups)
        else:
            count = self.order()[0].diff().long()
        return count.reshape(-1, *(1,) * (like.dim() - 1))

    def result(self, values: Tensor) -> Tensor:
        """The tensor with ``dim_size`` along ``dim`` of ``[groups, *]``."""
        return self.layout.from_rows(values, self.dim_size)

    def position(self, row: Tensor) -> Tensor:
        """Position along ``dim`` of a row; the size along ``dim`` for a negative one."""
        return torch.where(row < 0, self.length, row % max(self.length, 1)).long()


def check_values(src: Tensor) -> None:
    """Raises where ``src`` is not a dense tensor of real numbers with at least one dimension."""
    check_tensor("src", src)
    if src.dtype not in DTYPES or src.layout != torch.strided:
        raise DtypeError(
            f"src must be a dense tensor of floating or integer dtype, got {describe(src)}, {src.layout}; convert it, "
            "for example a mask with src.to(torch.uint8)"
        )
    if src.dim() == 0:
        raise ShapeError("src must have at least one dimension, got a scalar; use src.unsqueeze(0)")


def check_positions(name: str, index: Tensor) -> None:
    """Raises DtypeError where ``index`` is not a dense tensor of int32 or int64."""
    check_tensor(name, index)
    if index.dtype not in INDEX_DTYPES or index.layout != torch.strided:
        raise DtypeError(f"{name} must be int32 or int64, got {describe(index)}; convert it with {name}.long()")


def check_out(out: Tensor | None, shape: tuple[int, ...], src: Tensor) -> None:
    """Raises where ``out`` cannot take a result of this shape, dtype and device in place."""
    if out is None:
        return
    check_tensor("out", out)
    if tuple(out.shape) != tuple(shape):
        raise ShapeError(f"out must have shape {tuple(shape)}, got {describe(out)}")
    if out.dtype != src.dtype:
        raise DtypeError(f"out must have the dtype of src, {src.dtype}, got {describe(out)}")
    check_same_device(src=src, out=out)
    if out.numel() > 0 and any(stride == 0 and size > 1 for stride, size in zip(out.stride(), out.shape, strict=True)):
        raise ShapeError("out must own each of its elements, got an expanded tensor; use out.clone()")
    if out.requires_grad and out.is_leaf and torch.is_grad_enabled():
        raise ShapeError("out is a leaf that requires a gradient, which cannot be changed in place; use out.clone()")


def size_of_out(out: Tensor | None, src: Tensor, dim: int, dim_size: int | None) -> int | None:
    """Size of a checked ``out`` along ``dim``; ``dim_size`` without one."""
    if out is None:
        return dim_size
    check_tensor("out", out)
    if out.dim() != src.dim():
        raise ShapeError(f"out must have as many dimensions as src, {src.dim()}, got {describe(out)}")
    check_out(out, (*src.shape[:dim], out.size(dim), *src.shape[dim + 1 :]), src)
    return out.size(dim)


def check_dim(dim: int, num_dims: int) -> int:
    """``dim`` counted from the front."""
    try:
        dim = operator.index(dim)
    except TypeError as error:
        raise DtypeError(f"dim must be an integer, got {type(dim).__name__}") from error
    if not -num_dims <= dim < num_dims:
        raise IndexRangeError(f"dim must lie in [{-num_dims}, {num_dims - 1}] for {num_dims} dimension(s), got {dim}")
    return dim % num_dims


def check_size(size: int, rest: int) -> int:
    """``size``, where a result with ``size`` along one dimension and ``rest`` over all others can exist."""
    if not isinstance(size, int | torch.SymInt):
        try:
            size = operator.index(size)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DtypeError(f"dim_size must be an integer, got {type(size).__name__}") from error
    if size < 0:
        raise ShapeError(f"dim_size must not be negative, got {size}")
    if size * max(rest, 1) > _MAX_ELEMENTS:
        raise ShapeError(
            f"a result with {size} elements along dim and {rest} for each of them fits nowhere; "
            "give dim_size, and check the largest index"
        )
    return size


def align(index: Tensor, shape: tuple[int, ...], dim: int, length: int) -> Tensor:
    """``index`` with one dimension for each of ``shape``; of size one wherever it only repeats itself."""
    num_dims = len(shape)
    if index.dim() > num_dims:
        raise ShapeError(f"index must have at most {num_dims} dimension(s), as src has, got {describe(index)}")
    before = (1,) * dim if index.dim() <= 1 else ()
    sizes = before + tuple(index.shape)
    aligned = index.reshape(sizes + (1,) * (num_dims - len(sizes)))
    for d, size in enumerate(aligned.shape):
        wanted = length if d == dim else shape[d]
        if size not in (1, wanted):
            raise ShapeError(
                f"index must be expandable to {(*shape[:dim], length, *shape[dim + 1 :])} along dim {dim}, "
                f"got {describe(index)}"
            )
        if d != dim and size > 1 and aligned.stride(d) == 0:
            aligned = aligned.narrow(d, 0, 1)
    return aligned


def layout_of(aligned: Tensor, shape: tuple[int, ...], dim: int) -> Layout:
    """The layout for an aligned index."""
    varying = [d for d in range(len(shape)) if d != dim and aligned.size(d) != 1]
    other = [d for d in range(len(shape)) if d != dim and aligned.size(d) == 1]
    return Layout((*varying, dim, *other), tuple(shape[d] for d in varying), tuple(shape[d] for d in other))


def group(
    shape: tuple[int, ...],
    index: Tensor,
    dim: int,
    dim_size: int | None,
    *,
    length: int,
    ascending: bool = False,
) -> Groups:
    """Groups by an index.

    Args:
        shape: Sizes of the tensor; the one along ``dim`` does not matter.
        index: int32 or int64, expandable to ``shape`` with ``length`` along ``dim``.
        dim: From zero.
        dim_size: Number of groups. None: the largest index plus one.
        length: Number of elements along ``dim``.
        ascending: Whether the index must ascend along ``dim``, which saves sorting it.
    """
    aligned = align(index, shape, dim, length)
    if dim_size is None:
        # Where all are negative, the check below says so: no index lies in an empty range.
        dim_size = max(int(aligned.max()) + 1, 0) if aligned.numel() > 0 and length > 0 else 0
    layout = layout_of(aligned, shape, dim)
    lead = prod(layout.lead)
    dim_size = check_size(dim_size, lead * prod(layout.tail))
    if length > 0:
        check_index_range("index", aligned.reshape(-1), dim_size, "dim_size")
    key = aligned.permute(layout.order).reshape(lead, aligned.size(dim)).expand(lead, length)
    if ascending and values_readable(key) and bool((key[:, 1:] < key[:, :-1]).any()):
        raise IndexRangeError(
            f"index must ascend along its last dimension, {describe(index)} does not; sort it, or use scatter"
        )
    if lead > 1 or dim_size > torch.iinfo(torch.int32).max:
        key = key.long() + torch.arange(lead, device=key.device).unsqueeze(1) * dim_size
    key = key.reshape(-1)
    ptr = None
    if ascending:
        bounds = torch.arange(lead * dim_size + 1, dtype=key.dtype, device=key.device)
        ptr = torch.searchsorted(key.contiguous(), bounds, out_int32=key.dtype == torch.int32)
    return Groups(
        layout,
        length=length,
        dim_size=dim_size,
        num_rows=key.size(0),
        num_groups=lead * dim_size,
        ptr=ptr,
        key=key,
    )
