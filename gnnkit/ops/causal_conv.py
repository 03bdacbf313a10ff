"""Causal depthwise convolution over packed sequences."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_choice, check_flag, check_float, check_same_device, check_same_dtype, describe
from gnnkit.ops._library import define
from gnnkit.ops._packed import check_offsets, in_float64


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    offsets: Tensor,
    activation: Literal["none", "silu"] | None = "none",
    reverse: bool = False,
) -> Tensor:
    r"""Convolves each channel with the tokens before it, never across the boundary of a sequence.

    .. math::
        y_{td} = \sigma\Big(b_d + \sum_{j=0}^{K-1} w_{d, K-1-j}\, x_{t-j, d}\Big)

    where what lies before the first token of a sequence counts as zero.

    Args:
        x: Tokens, ``[T, D]``.
        weight: ``[D, K]``; the last tap is that of the token itself, as in ``torch.nn.Conv1d`` with padding to the
            left.
        bias: ``[D]``. None: zero.
        offsets: Boundaries of the ``S`` sequences, int32 or int64 ``[S + 1]``, from 0 to ``T``; a sequence may be
            empty.
        activation: ``"none"`` or ``"silu"``. None: as ``"none"``.
        reverse: Whether the tokens after it are taken in place of those before it.

    Returns:
        ``[T, D]``. Differentiable once in ``x``, ``weight`` and ``bias``; bfloat16 is computed in float32.

    Raises:
        DtypeError: If tensors have more than one dtype, or one that is not floating.
        ShapeError: If shapes do not fit together, or ``activation`` is unknown.
        IndexRangeError: If ``offsets`` do not start at 0, decrease, or do not end at ``T``.
        ConfigError: If ``reverse`` is no bool.

    Determinism: bitwise, for any number of threads; the results of a sequence do not depend on the others.
    Complexity: ``O(T D K)`` time.
    """
    activation = "none" if activation is None else activation
    check_choice("activation", activation, ("none", "silu"))
    check_flag("reverse", reverse)
    given = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    for name, value in given.items():
        check_float(name, value)
    check_same_dtype(**given)
    if x.dim() != 2 or weight.dim() != 2 or weight.size(0) != x.size(1) or weight.size(1) == 0:
        raise ShapeError(
            f"x must have shape [T, D] and weight [D, K] with K at least 1, got {describe(x)} and {describe(weight)}"
        )
    if bias is not None and tuple(bias.shape) != (x.size(1),):
        raise ShapeError(f"bias must have shape [{x.size(1)}] to fit x {list(x.shape)}, got {describe(bias)}")
    offsets = check_offsets(offsets, x.size(0))
    check_same_device(**given, offsets=offsets)
    dtype = x.dtype
    if dtype == torch.bfloat16:
        x, weight, bias = x.float(), weight.float(), None if bias is None else bias.float()
    return torch.ops.gnnkit.causal_conv1d(x, weight, bias, offsets, activation == "silu", reverse).to(dtype)


def _shifted(value: Tensor, back: int, offsets: Tensor, reverse: bool) -> Tensor:
    """What lies ``back`` tokens before each (after it, in reverse) within its sequence, else zero."""
    token = torch.arange(value.size(0), device=value.device)
    sequence = torch.searchsorted(offsets, token, right=True) - 1
    source = token + back if reverse else token - back
    inside = (source >= offsets[sequence]) & (source < offsets[sequence + 1])
    rows = value.index_select(0, torch.where(inside, source, 0))
    return torch.where(inside.unsqueeze(1), rows, 0.0)


def _before_activation(x: Tensor, weight: Tensor, bias: Any, offsets: Tensor, reverse: bool) -> Tensor:
    out = torch.zeros_like(x) if bias is None else bias.expand_as(x)
    for back in reversed(range(weight.size(1))):
        out = out + weight[:, -1 - back] * _shifted(x, back, offsets, reverse)
    return out


def reference(x, weight, bias, offsets, silu: bool, reverse: bool) -> Tensor:
    """One pass for each tap."""
    dtype = x.dtype
    if x.size(0) == 0:
        return x.new_empty(x.shape)
    out = _before_activation(in_float64(x), in_float64(weight), in_float64(bias), offsets, reverse)
    return (functional.silu(out) if silu else out).to(dtype).contiguous()


def backward_reference(grad, x, weight, bias, offsets, silu: bool, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The same passes with the tokens on the other side."""
    dtype, taps = x.dtype, weight.size(1)
    if x.size(0) == 0:
        grad_bias = x.new_zeros((0,) if bias is None else bias.shape)
        return x.new_empty(x.shape), torch.zeros_like(weight, memory_format=torch.contiguous_format), grad_bias
    grad, x, weight, bias = in_float64(grad), in_float64(x), in_float64(weight), in_float64(bias)
    if silu:
        value = _before_activation(x, weight, bias, offsets, reverse)
        sigmoid = value.sigmoid()
        grad = grad * sigmoid * (1 + value * (1 - sigmoid))
    grad_x = torch.zeros_like(x)
    for back in range(taps):
        grad_x = grad_x + weight[:, -1 - back] * _shifted(grad, back, offsets, not reverse)
    taps_back = reversed(range(taps))
    grad_weight = torch.stack([(grad * _shifted(x, back, offsets, reverse)).sum(0) for back in taps_back], dim=1)
    grad_bias = x.new_empty((0,)) if bias is None else grad.sum(0)
    return grad_x.to(dtype), grad_weight.to(dtype).contiguous(), grad_bias.to(dtype)


def _fake(x, weight, bias, offsets, silu, reverse) -> Tensor:
    return x.new_empty(x.shape)


def _backward_fake(grad, x, weight, bias, offsets, silu, reverse) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(weight.shape), x.new_empty((0,) if bias is None else bias.shape)


def _save(ctx, inputs, output) -> None:
    x, weight, bias, offsets, silu, reverse = inputs
    ctx.save_for_backward(x, weight, bias, offsets)
    ctx.silu, ctx.reverse = silu, reverse


def _backward(ctx, grad):
    x, weight, bias, offsets = ctx.saved_tensors
    grads = torch.ops.gnnkit.causal_conv1d_backward(grad, x, weight, bias, offsets, ctx.silu, ctx.reverse)
    present = (True, True, bias is not None)
    wanted = zip(grads, present, ctx.needs_input_grad[:3], strict=True)
    return (*(value if given and needed else None for value, given, needed in wanted), None, None, None)


_INPUTS = "Tensor x, Tensor weight, Tensor? bias, Tensor offsets, bool silu, bool reverse"

define(f"causal_conv1d({_INPUTS}) -> Tensor", reference=reference, fake=_fake, backward=_backward, save=_save)
define(
    f"causal_conv1d_backward(Tensor grad, {_INPUTS}) -> (Tensor, Tensor, Tensor)",
    reference=backward_reference,
    fake=_backward_fake,
)
