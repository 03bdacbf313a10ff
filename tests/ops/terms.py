"""Comparison of results of products of many matrices, which can cancel to much less than their terms, or overflow."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gnnkit.ops._library import references
from tests.ops.recorder import as_tuple
from tests.tolerances import TOLERANCE

AMPLIFIES = {"gated_delta", "gated_delta_backward"}


def _without_signs(name: str, arguments: Sequence[Any], *, largest: bool) -> tuple[Tensor, ...]:
    """The results if all terms had one sign, in float64: ``S + k beta (v - S^T k)^T`` subtracts nothing where ``v`` and
    ``beta`` alone are below zero.

    With ``largest`` nothing decays or is multiplied by zero at last, so that no intermediate result is larger.
    """
    forward = name == "gated_delta"
    *upstream, q, k, v, beta, g, initial, offsets, scale, reverse = arguments[:-1] if forward else arguments

    def size(value: Tensor, more: int = 0) -> Tensor:
        value = value.detach().double().abs()
        return value.nan_to_num(0.0, 0.0) + more if largest else value

    upstream = [None if value is None else size(value, int(largest)) for value in upstream]
    g = None if g is None else g.detach().double()
    scale = abs(scale)
    if largest:
        g = None if g is None else g.nan_to_num(0.0, 0.0).clamp(min=0)
        scale += 1
        initial = q.new_zeros(offsets.size(0) - 1, *q.shape[1:], v.size(3)) if initial is None else initial
    given = [size(q, int(largest)), size(k), -size(v), -size(beta), g, None if initial is None else size(initial)]
    last = [largest or arguments[-1]] if forward else []
    found = references[name](*upstream, *given, offsets, scale, reverse, *last)
    return tuple(value.abs() for value in as_tuple(found))


def assert_close_in_terms(
    name: str, arguments: Sequence[Any], found: Sequence[Tensor], wanted: Sequence[Tensor]
) -> None:
    """Compares results of one of :data:`AMPLIFIES` by the size of what they are sums of.

    Where that is not finite, nothing can be said, and nothing at all where float32 may overflow on the way.
    """
    bound = max(
        (float(value.max()) for value in _without_signs(name, arguments, largest=True) if value.numel()), default=0
    )
    if not bound < 1e-3 * torch.finfo(found[0].dtype).max:
        return
    all_terms = _without_signs(name, arguments, largest=False)
    for actual, expected, terms in zip(found, wanted, all_terms, strict=True):
        allowed = TOLERANCE[actual.dtype]["rtol"] * (terms + 1)
        close = (actual.double() - expected.double()).abs() <= allowed
        assert (close | ~terms.isfinite()).all()
