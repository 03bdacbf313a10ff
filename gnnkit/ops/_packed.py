"""What operators on packed sequences share: boundaries, and references whose bits do not depend on threads."""

from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import DtypeError, IndexRangeError, ShapeError
from gnnkit.ops._checks import check_tensor, describe, values_readable


def check_offsets(offsets: Tensor, num_tokens: int) -> Tensor:
    """Boundaries of packed sequences as int64; raises where they are none.

    Raises:
        DtypeError: If they are no integers.
        ShapeError: If there is none.
        IndexRangeError: If they do not start at 0, decrease, or do not end at the number of tokens.
    """
    check_tensor("offsets", offsets)
    if offsets.dtype not in (torch.int32, torch.int64):
        raise DtypeError(f"offsets must be int32 or int64, got {describe(offsets)}; convert them with offsets.long()")
    if offsets.dim() != 1 or offsets.numel() == 0:
        raise ShapeError(f"offsets must have shape [S + 1] for S sequences, got {describe(offsets)}")
    if values_readable(offsets):
        steps = offsets.diff()
        if int(offsets[0]) != 0 or int(offsets[-1]) != num_tokens:
            raise IndexRangeError(
                f"offsets must run from 0 to the number of tokens, {num_tokens}, so that sequences cover all of them; "
                f"they run from {int(offsets[0])} to {int(offsets[-1])}"
            )
        if bool((steps < 0).any()):
            where = int((steps < 0).nonzero()[0, 0])
            raise IndexRangeError(
                f"offsets must not decrease, but offsets[{where}] = {int(offsets[where])} and "
                f"offsets[{where + 1}] = {int(offsets[where + 1])}"
            )
    return offsets.long()


def present(**optional: Tensor | None) -> dict[str, Tensor]:
    """Those that are given."""
    return {name: value for name, value in optional.items() if value is not None}


def check_shapes(given: Mapping[str, Tensor], words: Mapping[str, str], sizes: Mapping[str, int], fits: str) -> None:
    """Raises ShapeError where a shape, spelled by ``words`` in letters of ``sizes``, is another; ``fits``: why."""
    for name, value in given.items():
        wanted = [sizes[letter] for letter in words[name]]
        if list(value.shape) != wanted:
            spelled = ", ".join(words[name])
            raise ShapeError(f"{name} must have shape [{spelled}] = {wanted} to fit {fits}, got {describe(value)}")


def check_dtypes(given: Mapping[str, Tensor], per_token: Container[str], first: str) -> None:
    """Raises DtypeError where a dtype is not that of ``first``. Parameters may be float32 beside bfloat16."""
    dtype = given[first].dtype
    for name, value in given.items():
        widened = dtype == torch.bfloat16 and name not in per_token and value.dtype == torch.float32
        if value.dtype != dtype and not widened:
            raise DtypeError(
                f"{name} must be {dtype} as {first} is, got {describe(value)}; convert it with {name}.to({first}.dtype)"
            )


def in_float64(value: Any) -> Any:
    """In float64, from which results are rounded: torch's last bits depend on strides and on the number of threads."""
    return None if value is None else value.double().contiguous()
