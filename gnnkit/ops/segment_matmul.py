"""Grouped matrix products: consecutive rows, one matrix per segment."""

from itertools import pairwise

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_float, check_same_device, check_same_dtype, check_segments
from gnnkit.ops._library import define


def segment_matmul(x: Tensor, ptr: Tensor, weight: Tensor) -> Tensor:
    r"""Multiplies each segment of rows by a matrix of its own.

    .. math:: y_p = x_p W_r \qquad \text{for } \mathrm{ptr}_r \le p < \mathrm{ptr}_{r+1}

    Args:
        x: Rows, ``[E, K]``, float32, float64 or bfloat16 (accumulated in float32).
        ptr: Segment boundaries, ``[R + 1]``, int32 or int64, non-decreasing, from 0 to ``E``.
        weight: One matrix per segment, ``[R, K, N]``, of the dtype of ``x``. A transposed view is read as it lies.

    Returns:
        ``[E, N]``. An empty segment gives no rows, and its matrix a gradient of zero. Differentiable any number of
        times in ``x`` and ``weight``.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together.
        IndexRangeError: If ``ptr`` decreases, or does not run from 0 to ``E``.

    Determinism: bitwise, for any number of threads: every element is summed in one order that depends on the shapes
    and on ``ptr`` alone.
    Complexity: ``O(E K N)`` time, no temporary. The gradient to ``weight`` sums long segments in blocks of rows, whose
    partial sums take at most a quarter of the memory of ``x`` and ``y``.
    """
    check_float("x", x)
    check_float("weight", weight)
    check_same_dtype(x=x, weight=weight)
    check_same_device(x=x, ptr=ptr, weight=weight)
    if x.dim() != 2 or weight.dim() != 3 or x.size(1) != weight.size(1):
        raise ShapeError(
            f"x must be [E, K] and weight [R, K, N] with one K, got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    check_segments(ptr, x.size(0))
    if ptr.size(0) != weight.size(0) + 1:
        raise ShapeError(
            f"ptr must hold one boundary more than weight has matrices, {weight.size(0) + 1}, got {ptr.size(0)}"
        )
    return torch.ops.gnnkit.segment_matmul(x, ptr, weight)


def reference(x: Tensor, ptr: Tensor, weight: Tensor) -> Tensor:
    """One product per segment.

    In float64, rounded once: the last bits of torch's products depend on the number of threads; rounding drops them.
    """
    out = x.new_empty((x.size(0), weight.size(2)))
    for segment, (begin, end) in enumerate(pairwise(ptr.tolist())):
        out[begin:end] = x[begin:end].double() @ weight[segment].double()
    return out


def outer_reference(x: Tensor, grad: Tensor, ptr: Tensor) -> Tensor:
    """One transposed product per segment, in float64 as above."""
    out = x.new_empty((ptr.size(0) - 1, x.size(1), grad.size(1)))
    for segment, (begin, end) in enumerate(pairwise(ptr.tolist())):
        out[segment] = x[begin:end].double().t() @ grad[begin:end].double()
    return out


def _fake(x: Tensor, ptr: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((x.size(0), weight.size(2)))


def _outer_fake(x: Tensor, grad: Tensor, ptr: Tensor) -> Tensor:
    return x.new_empty((ptr.size(0) - 1, x.size(1), grad.size(1)))


def _save(ctx, inputs, output) -> None:
    x, ptr, weight = inputs
    # Each factor is needed for the gradient to the other alone.
    ctx.save_for_backward(x if weight.requires_grad else None, ptr, weight if x.requires_grad else None)


def _backward(ctx, grad):
    x, ptr, weight = ctx.saved_tensors
    grad_x = grad_weight = None
    if ctx.needs_input_grad[0]:
        grad_x = torch.ops.gnnkit.segment_matmul(grad, ptr, weight.transpose(1, 2))
    if ctx.needs_input_grad[2]:
        grad_weight = torch.ops.gnnkit.segment_outer(x, grad, ptr)
    return grad_x, None, grad_weight


def _outer_save(ctx, inputs, output) -> None:
    x, grad, ptr = inputs
    ctx.save_for_backward(x if grad.requires_grad else None, grad if x.requires_grad else None, ptr)


def _outer_backward(ctx, upstream):
    x, grad, ptr = ctx.saved_tensors
    grad_x = grad_grad = None
    if ctx.needs_input_grad[0]:
        grad_x = torch.ops.gnnkit.segment_matmul(grad, ptr, upstream.transpose(1, 2))
    if ctx.needs_input_grad[1]:
        grad_grad = torch.ops.gnnkit.segment_matmul(x, ptr, upstream)
    return grad_x, grad_grad, None


define(
    "segment_matmul(Tensor x, Tensor ptr, Tensor weight) -> Tensor",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
define(
    "segment_outer(Tensor x, Tensor grad, Tensor ptr) -> Tensor",
    reference=outer_reference,
    fake=_outer_fake,
    backward=_outer_backward,
    save=_outer_save,
)
