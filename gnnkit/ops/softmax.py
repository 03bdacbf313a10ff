"""Softmax over segments."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_float, check_graphs, check_same_device, check_segments
from gnnkit.ops._library import define
from gnnkit.ops.edges import check_rows
from gnnkit.ops.segment import expand_reference, extremum_reference, sum_reference, wide_dtype

if TYPE_CHECKING:
    from gnnkit.graph import Graph


def segment_softmax(src: Tensor, ptr: Tensor) -> Tensor:
    r"""Softmax of consecutive rows: :math:`y_p = e^{x_p - m_s} / \sum_{q \in s} e^{x_q - m_s}` with :math:`p \in s`.

    Args:
        src: Scores, ``[E, *]``, float32, float64 or bfloat16; ``m_s`` is their maximum in the segment.
        ptr: Segment boundaries, ``[S + 1]``, non-decreasing, from 0 to ``E``.

    Returns:
        Weights, ``[E, *]``, that sum to one over every segment that is not empty. A score of minus infinity gets weight
        zero, also where a whole segment has none other: no NaN arises unless one was given.

    Raises:
        ShapeError, IndexRangeError: As ``segment_reduce``.

    Determinism: bitwise, for any number of threads.
    Complexity: ``O(E F)`` time, no temporary.
    """
    check_float("src", src)
    if src.dim() == 0:
        raise ShapeError("src must have at least one dimension, [E, *], got a scalar")
    check_segments(ptr, src.size(0))
    check_same_device(src=src, ptr=ptr)
    return torch.ops.gnnkit.segment_softmax(src, ptr, None)


def edge_softmax(graph: "Graph", score: Tensor) -> Tensor:
    r"""Softmax over the in-edges of each destination, for every head on its own.

    .. math:: y_e = \frac{e^{s_e}}{\sum_{f : \mathrm{dst}(f) = \mathrm{dst}(e)} e^{s_f}}

    Args:
        graph: Topology.
        score: ``[E]`` or ``[E, H]`` in the caller's edge order; minus infinity masks an edge.

    Returns:
        Of the shape of ``score``; over the in-edges of a destination it sums to one.

    Raises:
        ShapeError: If ``score`` has not one row per edge, or its dtype or device does not fit.

    Determinism: bitwise, for any number of threads.
    Complexity: ``O(E H)`` time, no temporary.
    """
    check_graphs(graph=graph)
    check_float("score", score)
    check_same_device(score=score, graph=graph.col)
    check_rows("score", score, graph.num_edges, "num_edges")
    return torch.ops.gnnkit.segment_softmax(score, graph.rowptr, graph.edge_id)


def reference(src: Tensor, ptr: Tensor, perm: Tensor | None) -> Tensor:
    """Maximum, exponential and sum as separate passes."""
    wide = src.to(wide_dtype(src.dtype))
    shift = extremum_reference(wide, ptr, perm, True)[0]
    shift = torch.where(shift == -torch.inf, 0, shift)
    weight = (wide - expand_reference(shift, ptr, perm, src.size(0), False)).exp()
    total = sum_reference(weight, ptr, perm, False)
    total = torch.where(total == 0, 1, total)
    return (weight / expand_reference(total, ptr, perm, src.size(0), False)).to(src.dtype)


def backward_reference(grad: Tensor, out: Tensor, ptr: Tensor, perm: Tensor | None) -> Tensor:
    r""":math:`\bar x_p = y_p (\bar y_p - \sum_{q \in s} \bar y_q y_q)`."""
    wide = wide_dtype(out.dtype)
    grad, weight = grad.to(wide), out.to(wide)
    inner = sum_reference(grad * weight, ptr, perm, False)
    return (weight * (grad - expand_reference(inner, ptr, perm, out.size(0), False))).to(out.dtype)


def _fake(src: Tensor, ptr: Tensor, perm: Tensor | None) -> Tensor:
    return torch.empty_like(src, memory_format=torch.contiguous_format)


def _backward_fake(grad: Tensor, out: Tensor, ptr: Tensor, perm: Tensor | None) -> Tensor:
    return torch.empty_like(out, memory_format=torch.contiguous_format)


def _save(ctx, inputs, output) -> None:
    _, ptr, perm = inputs
    ctx.save_for_backward(output, ptr, perm)


def _backward(ctx, grad):
    return torch.ops.gnnkit.segment_softmax_backward(grad, *ctx.saved_tensors), None, None


def _save_second(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward_second(ctx, grad_grad):
    grad, out, ptr, perm = ctx.saved_tensors

    def mean_field(values: Tensor) -> Tensor:
        inner = torch.ops.gnnkit.segment_sum(values, ptr, perm, False)
        return torch.ops.gnnkit.segment_expand(inner, ptr, perm, out.size(0), False)

    projected = mean_field(grad_grad * out)
    grad_of_grad = out * (grad_grad - projected)
    grad_of_out = grad_grad * (grad - mean_field(grad * out)) - grad * projected
    return grad_of_grad, grad_of_out, None, None


define(
    "segment_softmax(Tensor src, Tensor ptr, Tensor? perm) -> Tensor",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
define(
    "segment_softmax_backward(Tensor grad, Tensor out, Tensor ptr, Tensor? perm) -> Tensor",
    reference=backward_reference,
    fake=_backward_fake,
    backward=_backward_second,
    save=_save_second,
)
