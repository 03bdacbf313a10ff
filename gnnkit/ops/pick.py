"""Scattering to, and gathering from, one chosen row per element: the gradients of minima and maxima."""

import math

import torch
from torch import Tensor

from gnnkit.ops._library import define


def pick_scatter(src: Tensor, index: Tensor, dim_size: int) -> Tensor:
    r"""Adds each element to the row chosen for it: :math:`y_{i_{sf}, f} \mathrel{+}= x_{sf}`; negative: dropped.

    ``src`` and ``index`` are ``[S, *]``; the result is ``[dim_size, *]``. Indices are not checked in Python.

    Determinism: bitwise: one thread adds a column in ascending order of ``s``.
    Complexity: ``O(S F)`` time.
    """
    return torch.ops.gnnkit.pick_scatter(src, index, dim_size)


def pick_gather(src: Tensor, index: Tensor) -> Tensor:
    r"""Reads each element from the row chosen for it: :math:`y_{sf} = x_{i_{sf}, f}`; zero where it is negative.

    ``src`` is ``[N, *]`` and ``index`` ``[S, *]``; the result is ``[S, *]``. Indices are not checked in Python.

    Determinism: bitwise.
    Complexity: ``O(S F)`` time.
    """
    return torch.ops.gnnkit.pick_gather(src, index)


def scatter_reference(src: Tensor, index: Tensor, dim_size: int) -> Tensor:
    """``out[index[s, f], f] += src[s, f]``; a negative index drops the element."""
    rows = src.reshape(src.size(0), math.prod(src.shape[1:]))
    index = index.reshape(rows.shape)
    kept = torch.where(index < 0, 0, rows).to(_wide(src.dtype))
    out = kept.new_zeros((max(dim_size, 1), rows.size(1)))
    out = out.scatter_add(0, index.clamp(min=0).long(), kept)
    return out[:dim_size].to(src.dtype).reshape(dim_size, *src.shape[1:])


def gather_reference(src: Tensor, index: Tensor) -> Tensor:
    """``out[s, f] = src[index[s, f], f]``; zero where the index is negative."""
    if index.numel() == 0 or src.numel() == 0:
        return src.new_zeros(index.shape)
    rows = src.reshape(src.size(0), -1)
    flat = index.reshape(index.size(0), -1)
    picked = rows.gather(0, flat.clamp(min=0).long())
    return torch.where(flat < 0, 0, picked).reshape(index.shape)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def _scatter_fake(src: Tensor, index: Tensor, dim_size: int) -> Tensor:
    return src.new_empty((dim_size, *src.shape[1:]))


def _gather_fake(src: Tensor, index: Tensor) -> Tensor:
    return src.new_empty(index.shape)


def _scatter_save(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[1])


def _scatter_backward(ctx, grad):
    return pick_gather(grad, ctx.saved_tensors[0]), None, None


def _gather_save(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.dim_size = inputs[0].size(0)


def _gather_backward(ctx, grad):
    return pick_scatter(grad, ctx.saved_tensors[0], ctx.dim_size), None


define(
    "pick_scatter(Tensor src, Tensor index, SymInt dim_size) -> Tensor",
    reference=scatter_reference,
    fake=_scatter_fake,
    backward=_scatter_backward,
    save=_scatter_save,
)
define(
    "pick_gather(Tensor src, Tensor index) -> Tensor",
    reference=gather_reference,
    fake=_gather_fake,
    backward=_gather_backward,
    save=_gather_save,
)
