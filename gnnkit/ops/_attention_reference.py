"""Attention in plain PyTorch, edge by edge: the oracle of the kernels, and what runs where no library is loaded."""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit.ops.segment import add_rows, extremum_reference, segment_of_row, sum_reference, wide_dtype


class _Edges(NamedTuple):
    """Features of every edge by CSR position, in the dtype of accumulation, ``[E, H, *]``."""

    dst: Tensor
    src: Tensor
    edge: Tensor
    q: Tensor
    k: Tensor
    logit: Tensor
    slope: Tensor | None
    """Derivative of the leaky rectifier at what it was given; None where there is no rectifier."""


def _edges(dst, src, edge_id, q, k, att, bias, score: str, parameter: float) -> _Edges:
    """One row per position, whose ends are ``dst`` and ``src``."""
    wide = wide_dtype(q.dtype)
    edge = torch.arange(src.size(0), device=src.device) if edge_id is None else edge_id.long()
    left, right = q.index_select(0, dst).to(wide), k.index_select(0, src).to(wide)
    offset = None
    if bias is not None:
        offset = bias.index_select(0, edge).to(wide)
        offset = offset.unsqueeze(-1) if offset.dim() == 1 else offset
    if score == "product":
        logit, slope = (left * right).sum(-1) * parameter, None
    elif score == "sum":
        before = (left + right).squeeze(-1)
        before = before if offset is None else before + offset
        slope = _leaky_slope(before, parameter)
        # Minus infinity masks an edge: it must stay so for a slope of zero too.
        logit = torch.where(before == -torch.inf, before, before * slope)
        return _Edges(dst, src, edge, left, right, logit, slope)
    else:
        before = left + right
        slope = _leaky_slope(before, parameter)
        logit = (before * slope * att.reshape(att.shape[-2:]).to(wide)).sum(-1)
    return _Edges(dst, src, edge, left, right, logit if offset is None else logit + offset, slope)


def _leaky_slope(value: Tensor, slope: float) -> Tensor:
    return torch.where(value > 0, torch.ones_like(value), torch.full_like(value, slope))


def _end_gradient(edges: _Edges, gradient: Tensor, other: Tensor, att, score: str, parameter: float) -> Tensor:
    """Gradient to one end's features by edge, ``[E, H, D]``, from that to the logits; ``other`` is the opposite end."""
    if score == "product":
        return gradient.unsqueeze(-1) * other * parameter
    if score == "sum":
        return gradient.unsqueeze(-1)
    assert edges.slope is not None
    return gradient.unsqueeze(-1) * edges.slope * att.reshape(att.shape[-2:]).to(gradient.dtype)


def reference(
    rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, q, k, v, att, bias, score: str, parameter: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, softmax and weighted sum as separate passes."""
    dst, src = segment_of_row(rowptr, col.size(0)), col.long()
    logit = _edges(dst, src, edge_id, q, k, att, bias, score, parameter).logit
    peak = extremum_reference(logit, rowptr, None, True)[0]
    peak = torch.where(peak == -torch.inf, 0, peak)
    power = (logit - peak.index_select(0, dst)).exp()
    total = sum_reference(power, rowptr, None, False)
    inverse = torch.where(total == 0, 0, 1 / torch.where(total == 0, 1, total))
    weight = power * inverse.index_select(0, dst)
    out = sum_reference(weight.unsqueeze(-1) * v.index_select(0, src).to(weight.dtype), rowptr, None, False)
    return out.to(v.dtype), peak, inverse


def backward_dst_reference(
    rowptr, col, edge_id, q, k, v, att, bias, grad, out, peak, inverse, score: str, parameter: float, with_bias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients to ``q``, the bias, and ``att`` by destination; and ``<grad, out>``, which the other half needs."""
    wide = wide_dtype(v.dtype)
    dst, src = segment_of_row(rowptr, col.size(0)), col.long()
    edges = _edges(dst, src, edge_id, q, k, att, bias, score, parameter)
    delta = (grad.to(wide) * out.to(wide)).sum(-1)
    gradient, _ = _logit_gradient(edges, v, grad, peak, inverse, delta, score)
    grad_q = sum_reference(_end_gradient(edges, gradient, edges.k, att, score, parameter), rowptr, None, False)
    grad_att = grad.new_empty(0, dtype=wide)
    if score == "mixed":
        assert edges.slope is not None
        grad_att = sum_reference(gradient.unsqueeze(-1) * (edges.q + edges.k) * edges.slope, rowptr, None, False)
    grad_bias = v.new_empty(0)
    if with_bias and bias is not None:
        by_position = gradient if bias.dim() == 2 else gradient.sum(-1)
        grad_bias = torch.empty_like(bias, memory_format=torch.contiguous_format)
        grad_bias = grad_bias.index_copy(0, edges.edge, by_position.to(bias.dtype))
    return grad_q.to(q.dtype), delta, grad_bias, grad_att


def backward_src_reference(
    t_rowptr, t_col, t_edge_id, q, k, v, att, bias, grad, peak, inverse, delta, score: str, parameter: float
) -> tuple[Tensor, Tensor]:
    """Gradients to ``k`` and ``v``, over the transposed graph."""
    dst, src = t_col.long(), segment_of_row(t_rowptr, t_col.size(0))
    edges = _edges(dst, src, t_edge_id, q, k, att, bias, score, parameter)
    gradient, weight = _logit_gradient(edges, v, grad, peak, inverse, delta, score)
    to_k = _end_gradient(edges, gradient, edges.q, att, score, parameter)
    to_v = weight.unsqueeze(-1) * grad.index_select(0, dst).to(weight.dtype)
    num_src = t_rowptr.size(0) - 1
    return add_rows(to_k, src, num_src).to(k.dtype), add_rows(to_v, src, num_src).to(v.dtype)


def _logit_gradient(edges: _Edges, v, grad, peak, inverse, delta, score: str) -> tuple[Tensor, Tensor]:
    """Gradient to the logits (to what the rectifier was given, for a sum), and the weights, ``[E, H]``."""
    wide, dst = wide_dtype(v.dtype), edges.dst
    weight = (edges.logit - peak.index_select(0, dst)).exp() * inverse.index_select(0, dst)
    inner = (grad.index_select(0, dst).to(wide) * v.index_select(0, edges.src).to(wide)).sum(-1)
    gradient = weight * (inner - delta.index_select(0, dst))
    if score == "sum":
        assert edges.slope is not None
        gradient = gradient * edges.slope
    return gradient, weight
