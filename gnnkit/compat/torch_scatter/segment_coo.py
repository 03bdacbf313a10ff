"""``torch_scatter.segment_coo``: reductions by an ascending index, along its last dimension.

``index`` (int32 or int64) has as many dimensions as ``src``, or fewer; all but its last broadcast against those of
``src``. It must ascend along its last dimension, which is what saves the sorting: ``O(E F + S log E)`` time. ``out``,
``dim_size``, dtypes, errors and determinism are those of :mod:`torch_scatter.scatter`.
"""

from torch import Tensor

from gnnkit.compat.torch_scatter import _rows
from gnnkit.compat.torch_scatter._groups import Groups, check_out, check_positions, check_values, group, size_of_out
from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_reduce, check_same_device, describe

REDUCTIONS = ("sum", "add", "mean", "min", "max")


def _last_dim(src: Tensor, index: Tensor) -> int:
    check_values(src)
    check_positions("index", index)
    check_same_device(src=src, index=index)
    if not 1 <= index.dim() <= src.dim():
        raise ShapeError(f"index must have 1 to {src.dim()} dimension(s), as src has, got {describe(index)}")
    return index.dim() - 1


def _prepare(src: Tensor, index: Tensor, out: Tensor | None, dim_size: int | None) -> tuple[Tensor, Groups]:
    dim = _last_dim(src, index)
    dim_size = size_of_out(out, src, dim, dim_size)
    groups = group(tuple(src.shape), index, dim, dim_size, length=src.size(dim), ascending=True)
    return groups.layout.to_rows(src), groups


def segment_sum_coo(src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None) -> Tensor:
    """Sum of each group and ``out``; zero for an empty one."""
    rows, groups = _prepare(src, index, out, dim_size)
    return _rows.reduce_into(out, rows, groups, "sum")


def segment_add_coo(src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None) -> Tensor:
    """The same as :func:`segment_sum_coo`."""
    return segment_sum_coo(src, index, out, dim_size)


def segment_mean_coo(src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None) -> Tensor:
    """Mean of each group, ``out`` added to its sum; integers are rounded down."""
    rows, groups = _prepare(src, index, out, dim_size)
    return _rows.reduce_into(out, rows, groups, "mean")


def segment_min_coo(
    src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Minimum of each group and ``out``, and its position, as :func:`torch_scatter.scatter_min`."""
    return _segment_extremum_coo(src, index, out, dim_size, largest=False)


def segment_max_coo(
    src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Maximum of each group and ``out``, and its position, as :func:`torch_scatter.scatter_max`."""
    return _segment_extremum_coo(src, index, out, dim_size, largest=True)


def segment_coo(
    src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None, reduce: str = "sum"
) -> Tensor:
    """Reduction named by ``reduce``: ``"sum"``, ``"add"``, ``"mean"``, ``"min"`` or ``"max"``."""
    check_reduce(reduce, REDUCTIONS)
    if reduce == "mean":
        return segment_mean_coo(src, index, out, dim_size)
    if reduce in ("min", "max"):
        return _segment_extremum_coo(src, index, out, dim_size, largest=reduce == "max")[0]
    return segment_sum_coo(src, index, out, dim_size)


def gather_coo(src: Tensor, index: Tensor, out: Tensor | None = None) -> Tensor:
    r"""The row of its group for each element: :math:`y_e = x_{\mathrm{index}_e}` along the last dimension of ``index``.

    The inverse of :func:`segment_coo`; ``out`` is overwritten. The index may be in any order here.
    """
    dim = _last_dim(src, index)
    length = index.size(dim)
    shape = (*src.shape[:dim], length, *src.shape[dim + 1 :])
    check_out(out, shape, src)
    groups = group(tuple(src.shape), index, dim, src.size(dim), length=length)
    rows = _rows.expand(groups.layout.to_rows(src), groups)
    return _rows.store(out, groups.layout.from_rows(rows, length))


def _segment_extremum_coo(
    src: Tensor, index: Tensor, out: Tensor | None, dim_size: int | None, *, largest: bool
) -> tuple[Tensor, Tensor]:
    rows, groups = _prepare(src, index, out, dim_size)
    return _rows.extremum_into(out, rows, groups, largest=largest)
