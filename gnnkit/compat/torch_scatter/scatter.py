"""``torch_scatter.scatter``: reductions by an index in any order.

Common to all functions here:

* ``src`` has any floating dtype, or an integer one (no gradient then).
* ``index`` (int32 or int64) is a vector along ``dim``, or is expandable to the shape of ``src`` after dimensions of
  size one were appended to it.
* ``out`` takes part in the reduction, is changed in place and returned; its size along ``dim`` is that of the result.
* ``dim_size`` is the size of the result along ``dim``; None: the largest index plus one, zero without any.

They raise :class:`~gnnkit.errors.ShapeError` (``DtypeError``, ``DeviceError``) or
:class:`~gnnkit.errors.IndexRangeError`, give the same bits for any number of threads, and take ``O(E F + S)`` time.
"""

from torch import Tensor

from gnnkit.compat.torch_scatter import _rows
from gnnkit.compat.torch_scatter._groups import Groups, check_dim, check_positions, check_values, group, size_of_out
from gnnkit.ops._checks import check_reduce, check_same_device

REDUCTIONS = ("sum", "add", "mul", "mean", "min", "max")


def prepare(src: Tensor, index: Tensor, dim: int, out: Tensor | None, dim_size: int | None) -> tuple[Tensor, Groups]:
    """Checked arguments as rows and their groups."""
    check_values(src)
    check_positions("index", index)
    check_same_device(src=src, index=index)
    dim = check_dim(dim, src.dim())
    dim_size = size_of_out(out, src, dim, dim_size)
    groups = group(tuple(src.shape), index, dim, dim_size, length=src.size(dim))
    return groups.layout.to_rows(src), groups


def scatter_sum(
    src: Tensor, index: Tensor, dim: int = -1, out: Tensor | None = None, dim_size: int | None = None
) -> Tensor:
    r"""Sum of each group: :math:`y_s = \mathrm{out}_s + \sum_{e : \mathrm{index}_e = s} x_e`; zero for an empty one."""
    rows, groups = prepare(src, index, dim, out, dim_size)
    return _rows.reduce_into(out, rows, groups, "sum")


def scatter_add(
    src: Tensor, index: Tensor, dim: int = -1, out: Tensor | None = None, dim_size: int | None = None
) -> Tensor:
    """The same as :func:`scatter_sum`."""
    return scatter_sum(src, index, dim, out, dim_size)


def scatter_mul(
    src: Tensor, index: Tensor, dim: int = -1, out: Tensor | None = None, dim_size: int | None = None
) -> Tensor:
    r"""Product of each group and ``out``: :math:`y_s = \mathrm{out}_s \prod_e x_e`; one for an empty one.

    Its gradient is the product of all others, also where factors are zero.
    """
    rows, groups = prepare(src, index, dim, out, dim_size)
    return _rows.reduce_into(out, rows, groups, "mul")


def scatter_mean(
    src: Tensor, index: Tensor, dim: int = -1, out: Tensor | None = None, dim_size: int | None = None
) -> Tensor:
    r"""Mean of each group: :math:`(\mathrm{out}_s + \sum_e x_e) / \max(n_s, 1)`; integers are rounded down."""
    rows, groups = prepare(src, index, dim, out, dim_size)
    return _rows.reduce_into(out, rows, groups, "mean")


def scatter_min(
    src: Tensor, index: Tensor, dim: int = -1, out: Tensor | None = None, dim_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Minimum of each group (and of ``out``), and its position along ``dim``.

    Zero for an empty group. The position is that of the first of equals, and ``src.size(dim)`` for an empty group or
    where ``out`` was not undercut; the gradient goes to that element. A NaN makes the result NaN.
    """
    return _scatter_extremum(src, index, dim, out, dim_size, largest=False)


def scatter_max(
    src: Tensor, index: Tensor, dim: int = -1, out: Tensor | None = None, dim_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Maximum of each group, and its position along ``dim``; otherwise as :func:`scatter_min`."""
    return _scatter_extremum(src, index, dim, out, dim_size, largest=True)


def scatter(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
    reduce: str = "sum",
) -> Tensor:
    """Reduction named by ``reduce``: ``"sum"``, ``"add"``, ``"mul"``, ``"mean"``, ``"min"`` or ``"max"``."""
    check_reduce(reduce, REDUCTIONS)
    if reduce == "mul":
        return scatter_mul(src, index, dim, out, dim_size)
    if reduce == "mean":
        return scatter_mean(src, index, dim, out, dim_size)
    if reduce in ("min", "max"):
        return _scatter_extremum(src, index, dim, out, dim_size, largest=reduce == "max")[0]
    return scatter_sum(src, index, dim, out, dim_size)


def _scatter_extremum(
    src: Tensor, index: Tensor, dim: int, out: Tensor | None, dim_size: int | None, *, largest: bool
) -> tuple[Tensor, Tensor]:
    rows, groups = prepare(src, index, dim, out, dim_size)
    return _rows.extremum_into(out, rows, groups, largest=largest)
