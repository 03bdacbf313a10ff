"""Checks that every block makes of what it is given."""

from torch import Tensor

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.ops._checks import check_flag, check_float, check_number, describe
from gnnkit.ops._packed import check_offsets


def check_tokens(x: Tensor, offsets: Tensor, *, reverse: bool, block: str, dim: int) -> Tensor:
    """Checks the arguments of a block; returns the boundaries as int64.

    Raises:
        DtypeError: If ``x`` is not floating, or ``offsets`` are no integers.
        ShapeError: If ``x`` is not ``[T, dim]``, or ``offsets`` not ``[S + 1]``.
        IndexRangeError: If ``offsets`` do not start at 0, decrease, or do not end at ``T``.
        ConfigError: If ``reverse`` is no bool.
    """
    check_float("x", x)
    check_flag("reverse", reverse)
    if x.dim() != 2 or x.size(1) != dim:
        raise ShapeError(f"{block} needs x of shape [T, {dim}], got {describe(x)}")
    return check_offsets(offsets, x.size(0))


def check_steps(dt_min: float, dt_max: float) -> None:
    """Raises ConfigError where two numbers are no range of step widths."""
    check_number("dt_min", dt_min)
    check_number("dt_max", dt_max)
    if not 0.0 < dt_min <= dt_max < float("inf"):
        raise ConfigError(f"step widths need 0 < dt_min <= dt_max, got dt_min={dt_min} and dt_max={dt_max}")
