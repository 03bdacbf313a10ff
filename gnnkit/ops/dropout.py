"""Bias, activation, dropout and residual in one pass, with random numbers from a counter."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gnnkit.errors import ConfigError, ShapeError
from gnnkit.ops._checks import (
    check_float,
    check_integer,
    check_number,
    check_same_device,
    check_same_dtype,
    check_tensor,
)
from gnnkit.ops._library import define
from gnnkit.ops.segment import wide_dtype

Activation = Literal["none", "relu", "gelu", "silu"]

_ACTIVATIONS = {"none": lambda x: x, "relu": functional.relu, "gelu": functional.gelu, "silu": functional.silu}
_MASK = 0xFFFFFFFF


def dropout_epilogue(
    x: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    p: float = 0.0,
    seed: int | Tensor = 0,
    act: Activation | None = "none",
) -> Tensor:
    r"""What follows a layer's matrix product: :math:`y = m \odot \sigma(x + b) / (1 - p) + r`.

    Args:
        x: Input, ``[*, F]``.
        bias: ``[F]``. None: none is added.
        residual: Of the shape of ``x``. None: none is added.
        p: Probability that an element of the mask ``m`` is zero, in ``[0, 1]``.
        seed: Key of the random numbers: an int, or an int64 tensor of one element (which ``torch.compile`` can trace).
        act: Activation: ``"none"``, ``"relu"``, ``"gelu"`` (exact, by the error function) or ``"silu"``.
            None: as ``"none"``.

    Returns:
        Of the shape of ``x``. Differentiable once in ``x``, ``bias`` and ``residual``.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together, or ``seed`` is no integer.
        ConfigError: If ``p`` lies outside of ``[0, 1]`` or ``act`` is unknown.

    Determinism: bitwise, for any number of threads. The mask depends on the seed and an element's position alone
    (Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), and is the same on every
    device; it is generated again in the backward pass rather than stored.
    Complexity: ``O(N F)`` time, one pass; saves ``x``.
    """
    check_float("x", x)
    act = "none" if act is None else act
    if not isinstance(act, str) or act not in _ACTIVATIONS:
        raise ConfigError(f"act must be one of {', '.join(_ACTIVATIONS)}, got {act!r}")
    p = check_number("p", p)
    if not 0.0 <= p <= 1.0:
        raise ConfigError(f"p must be a probability in [0, 1], got {p}")
    for name, value in (("bias", bias), ("residual", residual)):
        if value is not None:
            check_tensor(name, value)
    if x.dim() == 0:
        raise ShapeError("x must have at least one dimension, [*, F], got a scalar")
    check_same_dtype(x=x, bias=bias, residual=residual)
    if bias is not None and bias.shape != x.shape[-1:]:
        raise ShapeError(f"bias must have shape [{x.size(-1)}] to fit x {tuple(x.shape)}, got {tuple(bias.shape)}")
    if residual is not None and residual.shape != x.shape:
        raise ShapeError(f"residual must have the shape of x, {tuple(x.shape)}, got {tuple(residual.shape)}")
    key = _as_key(seed, x.device)
    check_same_device(x=x, bias=bias, residual=residual, seed=key)
    return torch.ops.gnnkit.dropout_epilogue(x, bias, residual, key, p, act)


def _as_key(seed: int | Tensor, device: torch.device) -> Tensor:
    if not isinstance(seed, Tensor):
        # A key is 64 bits: a Python integer of any size is taken modulo 2^64.
        wrapped = (check_integer("seed", seed) + 2**63) % 2**64 - 2**63
        return torch.full((1,), wrapped, dtype=torch.int64, device=device)
    check_tensor("seed", seed)
    if seed.dtype != torch.int64 or seed.numel() != 1:
        raise ShapeError(f"seed must be an int or an int64 tensor of one element, got {seed.dtype} {tuple(seed.shape)}")
    return seed


def philox(seed: Tensor, count: int) -> Tensor:
    """The first ``count`` 32-bit random numbers of a key, as int64, ``[count]``.

    Element ``i`` is word ``(i % 64) // 16`` of the Philox4x32-10 block with counter ``i // 64 * 16 + i % 16``: runs of
    sixteen elements share a word, so that sixteen blocks fill vector registers without a shuffle.
    """
    position = torch.arange(count, device=seed.device, dtype=torch.int64)
    counter = position // 64 * 16 + position % 16
    words = [counter & _MASK, counter >> 32, torch.zeros_like(counter), torch.zeros_like(counter)]
    keys = [seed & _MASK, (seed >> 32) & _MASK]
    for _ in range(10):
        high0, low0 = _multiply(0xD2511F53, words[0])
        high1, low1 = _multiply(0xCD9E8D57, words[2])
        words = [high1 ^ words[1] ^ keys[0], low1, high0 ^ words[3] ^ keys[1], low0]
        keys = [(keys[0] + 0x9E3779B9) & _MASK, (keys[1] + 0xBB67AE85) & _MASK]
    return torch.stack(words).gather(0, (position % 64 // 16).unsqueeze(0)).squeeze(0)


def _multiply(constant: int, value: Tensor) -> tuple[Tensor, Tensor]:
    """High and low words of a 32 by 32 bit product; int64 wraps as unsigned multiplication does."""
    product = value * constant
    return (product >> 32) & _MASK, product & _MASK


def _keep_scale(shape: torch.Size, seed: Tensor, p: float, dtype: torch.dtype) -> Tensor | None:
    """``m / (1 - p)``; None where nothing is dropped."""
    if p == 0.0:
        return None
    if p == 1.0:
        return torch.zeros(shape, dtype=dtype, device=seed.device)
    threshold = min(round(p * 2**32), _MASK)
    keep = philox(seed, shape.numel()) >= threshold
    return (keep.to(dtype) / (1.0 - p)).reshape(shape)


def reference(x: Tensor, bias: Tensor | None, residual: Tensor | None, seed: Tensor, p: float, act: str) -> Tensor:
    """Separate passes over the same random numbers."""
    wide = wide_dtype(x.dtype)
    out = _ACTIVATIONS[act](x.to(wide) if bias is None else x.to(wide) + bias.to(wide))
    scale = _keep_scale(x.shape, seed, p, wide)
    if scale is not None:
        out = out * scale
    if residual is not None:
        out = out + residual.to(wide)
    return out.to(x.dtype).clone(memory_format=torch.contiguous_format)


def backward_reference(
    grad: Tensor, x: Tensor, bias: Tensor | None, seed: Tensor, p: float, act: str
) -> tuple[Tensor, Tensor]:
    """Gradients to ``x`` and, summed over rows, to the bias (empty where there is none)."""
    wide = wide_dtype(x.dtype)
    before = x.to(wide) if bias is None else x.to(wide) + bias.to(wide)
    scale = _keep_scale(x.shape, seed, p, wide)
    upstream = grad.to(wide) if scale is None else grad.to(wide) * scale
    grad_x = upstream * _DERIVATIVES[act](before)
    grad_bias = _sum_rows(grad_x) if bias is not None else grad_x.new_empty(0)
    return grad_x.to(x.dtype).clone(memory_format=torch.contiguous_format), grad_bias.to(x.dtype)


def _gelu_derivative(x: Tensor) -> Tensor:
    return (1 + torch.erf(x * 0.5**0.5)) / 2 + x * torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5


def _silu_derivative(x: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(x)
    return sigmoid * (1 + x * (1 - sigmoid))


_DERIVATIVES = {
    "none": torch.ones_like,
    "relu": lambda x: (x > 0).to(x.dtype),
    "gelu": _gelu_derivative,
    "silu": _silu_derivative,
}


def _sum_rows(value: Tensor) -> Tensor:
    """Sum over every dimension but the last."""
    return value.sum(tuple(range(value.dim() - 1))) if value.dim() > 1 else value


def _fake(x, bias, residual, seed, p, act) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward_fake(grad, x, bias, seed, p, act) -> tuple[Tensor, Tensor]:
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    return grad_x, x.new_empty(x.shape[-1:] if bias is not None else (0,))


def _save(ctx, inputs, output) -> None:
    x, bias, _, seed, p, act = inputs
    ctx.save_for_backward(x, bias, seed)
    ctx.p, ctx.act = p, act


def _backward(ctx, grad):
    x, bias, seed = ctx.saved_tensors
    needs_x, needs_bias, needs_residual = ctx.needs_input_grad[:3]
    grad_x = grad_bias = None
    if needs_x or needs_bias:
        grad_x, grad_bias = torch.ops.gnnkit.dropout_epilogue_backward(grad, x, bias, seed, ctx.p, ctx.act)
    return (
        grad_x if needs_x else None,
        grad_bias if needs_bias else None,
        grad if needs_residual else None,
        *(None,) * 3,
    )


define(
    "dropout_epilogue(Tensor x, Tensor? bias, Tensor? residual, Tensor seed, float p, str act) -> Tensor",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
define(
    "dropout_epilogue_backward(Tensor grad, Tensor x, Tensor? bias, Tensor seed, float p, str act) -> (Tensor, Tensor)",
    reference=backward_reference,
    fake=_backward_fake,
)
