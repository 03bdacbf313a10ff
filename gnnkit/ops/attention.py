"""Attention over the in-edges of each destination, fused: nothing of the size of edges times features is stored."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._attention_reference import backward_dst_reference, backward_src_reference, reference
from gnnkit.ops._checks import check_float, check_graphs, check_number, check_same_device, check_same_dtype
from gnnkit.ops._library import define
from gnnkit.ops.edges import check_rows
from gnnkit.ops.segment import wide_dtype
from gnnkit.ops.spmm import both_ways, topology

if TYPE_CHECKING:
    from gnnkit.graph import Graph


def attend(
    graph: "Graph", q: Tensor, k: Tensor, v: Tensor, *, bias: Tensor | None = None, scale: float | None = None
) -> Tensor:
    r"""Attention by scaled dot products (Vaswani et al., "Attention is all you need", 2017), along edges.

    .. math::
        s_e = c\, \langle q_{\mathrm{dst}(e)}, k_{\mathrm{src}(e)} \rangle + b_e, \qquad
        y_i = \sum_{e : \mathrm{dst}(e) = i} \frac{e^{s_e}}{\sum_{f : \mathrm{dst}(f) = i} e^{s_f}}\,
        v_{\mathrm{src}(e)}

    for every head on its own.

    Args:
        graph: Topology.
        q: Queries of the destinations, ``[num_dst, H, D]``.
        k: Keys of the sources, ``[num_src, H, D]``.
        v: Values of the sources, ``[num_src, H, F]``.
        bias: ``[E]`` or ``[E, H]`` in the caller's edge order, added to the logits; minus infinity masks an edge.
        scale: :math:`c`. None: :math:`D^{-1/2}`.

    Returns:
        ``[num_dst, H, F]``; zero for a destination without in-edges, or with masked ones only. Differentiable once in
        ``q``, ``k``, ``v`` and ``bias``.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together.
        ConfigError: If a parameter is no real number.

    Determinism: bitwise, forward and backward, for any number of threads.
    Complexity: ``O(E H (D + F))`` time. Saves the arguments, the result, and two numbers per destination and head; the
    backward pass computes the weights anew, twice. Nothing is stored per edge but the gradient to ``bias``.
    """
    _check(graph, q, k, v, bias, ("q", "k", "v"))
    if q.shape[2:] != k.shape[2:]:
        raise ShapeError(f"q and k must have rows of one shape, [H, D], got {tuple(q.shape)} and {tuple(k.shape)}")
    factor = float(max(q.size(2), 1)) ** -0.5 if scale is None else check_number("scale", scale)
    return _attention(graph, q, k, v, None, bias, "product", factor)


def gat(
    graph: "Graph", a_dst: Tensor, a_src: Tensor, v: Tensor, *, negative_slope: float = 0.2, bias: Tensor | None = None
) -> Tensor:
    r"""Additive attention (Veličković et al., "Graph attention networks", 2018), along edges.

    The logits, for every head, are

    .. math:: s_e = \mathrm{leaky}(a_{\mathrm{dst}(e)} + a_{\mathrm{src}(e)} + b_e)

    and their softmax weighs the sources' values, as in :func:`attend`.

    Args:
        graph: Topology.
        a_dst: Part of the destinations, ``[num_dst, H]``.
        a_src: Part of the sources, ``[num_src, H]``.
        v: Values of the sources, ``[num_src, H, F]``.
        negative_slope: Slope of the leaky rectifier below zero.
        bias: Part of the edges, ``[E]`` or ``[E, H]`` in the caller's order; minus infinity masks an edge.

    Returns:
        ``[num_dst, H, F]``; zero for a destination without in-edges. Differentiable once in all tensors.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together.
        ConfigError: If a parameter is no real number.

    Determinism: bitwise, forward and backward, for any number of threads.
    Complexity: ``O(E H F)`` time; memory as for :func:`attend`.
    """
    check_graphs(graph=graph)
    for name, value in (("a_dst", a_dst), ("a_src", a_src)):
        check_float(name, value)
        if value.dim() != 2:
            raise ShapeError(f"{name} must be [N, H], one number per node and head, got {tuple(value.shape)}")
    q, k = a_dst.unsqueeze(-1), a_src.unsqueeze(-1)
    _check(graph, q, k, v, bias, ("a_dst", "a_src", "v"))
    return _attention(graph, q, k, v, None, bias, "sum", check_number("negative_slope", negative_slope))


def gatv2(
    graph: "Graph",
    x_dst: Tensor,
    x_src: Tensor,
    att: Tensor,
    *,
    negative_slope: float = 0.2,
    bias: Tensor | None = None,
) -> Tensor:
    r"""Attention by a small network (Brody et al., "How attentive are graph attention networks?", 2022), along edges.

    The logits, for every head, are

    .. math:: s_e = \langle a, \mathrm{leaky}(x_{\mathrm{dst}(e)} + x_{\mathrm{src}(e)}) \rangle + b_e

    and their softmax weighs the sources' rows themselves, as in :func:`attend`.

    Args:
        graph: Topology.
        x_dst: Rows of the destinations, ``[num_dst, H, F]``.
        x_src: Rows of the sources, which are the values too, ``[num_src, H, F]``.
        att: :math:`a`, ``[H, F]``.
        negative_slope: Slope of the leaky rectifier below zero.
        bias: ``[E]`` or ``[E, H]`` in the caller's edge order, added to the logits; minus infinity masks an edge.

    Returns:
        ``[num_dst, H, F]``; zero for a destination without in-edges. Differentiable once in all tensors.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together.
        ConfigError: If a parameter is no real number.

    Determinism: bitwise, forward and backward, for any number of threads.
    Complexity: ``O(E H F)`` time; memory as for :func:`attend`, and ``O(num_dst H F)`` for the gradient to ``att``.
    """
    _check(graph, x_dst, x_src, x_src, bias, ("x_dst", "x_src", "x_src"))
    check_float("att", att)
    check_same_dtype(x_src=x_src, att=att)
    check_same_device(x_src=x_src, att=att)
    if x_dst.shape[1:] != x_src.shape[1:] or att.shape != x_src.shape[1:]:
        raise ShapeError(
            f"x_dst, x_src and att must be [num_dst, H, F], [num_src, H, F] and [H, F], got {tuple(x_dst.shape)}, "
            f"{tuple(x_src.shape)} and {tuple(att.shape)}"
        )
    return _attention(graph, x_dst, x_src, x_src, att, bias, "mixed", check_number("negative_slope", negative_slope))


def _check(graph: "Graph", q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, names: tuple[str, str, str]) -> None:
    check_graphs(graph=graph)
    given = dict(zip(names, (q, k, v), strict=True)) | ({} if bias is None else {"bias": bias})
    for name, value in given.items():
        check_float(name, value)
    check_same_dtype(**given)
    check_same_device(**given, graph=graph.col)
    check_rows(names[0], q, graph.num_dst, "num_dst")
    check_rows(names[1], k, graph.num_src, "num_src")
    check_rows(names[2], v, graph.num_src, "num_src")
    if any(value.dim() != 3 for value in (q, k, v)) or not q.size(1) == k.size(1) == v.size(1):
        shapes = ", ".join(f"{name} {tuple(given[name].shape)}" for name in dict.fromkeys(names))
        raise ShapeError(f"all rows must be given head by head, [N, H, *] with one H, got {shapes}")
    if bias is None:
        return
    check_rows("bias", bias, graph.num_edges, "num_edges")
    if bias.dim() != 1 and bias.shape[1:] != v.shape[1:2]:
        raise ShapeError(f"bias must be [E] or [E, H] with H = {v.size(1)}, got {tuple(bias.shape)}")


def _attention(graph, q, k, v, att, bias, score: str, parameter: float) -> Tensor:
    given = (q, k, v, att, bias)
    wanted = torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in given)
    turned = graph.transpose() if wanted else None
    return torch.ops.gnnkit.attention(*topology(graph), *topology(turned), *given, score, parameter)[0]


def _fake(rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, q, k, v, att, bias, score, parameter):
    statistic = v.new_empty((rowptr.size(0) - 1, v.size(1)), dtype=wide_dtype(v.dtype))
    return v.new_empty((rowptr.size(0) - 1, *v.shape[1:])), statistic, torch.empty_like(statistic)


def _backward_dst_fake(rowptr, col, edge_id, q, k, v, att, bias, grad, out, peak, inverse, score, parameter, with_bias):
    wide = wide_dtype(v.dtype)
    return (
        q.new_empty(q.shape),
        v.new_empty((rowptr.size(0) - 1, v.size(1)), dtype=wide),
        v.new_empty(bias.shape if with_bias and bias is not None else (0,)),
        v.new_empty(q.shape if score == "mixed" else (0,), dtype=wide),
    )


def _backward_src_fake(t_rowptr, t_col, t_edge_id, q, k, v, att, bias, grad, peak, inverse, delta, score, parameter):
    return k.new_empty(k.shape), v.new_empty(v.shape)


def _save(ctx, inputs, output) -> None:
    *tensors, score, parameter = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*tensors, *output)
    ctx.score, ctx.parameter = score, parameter


def _backward(ctx, grad, _peak, _inverse):
    *both, q, k, v, att, bias, out, peak, inverse = ctx.saved_tensors
    forward, turned = both_ways(both[:3], both[3:], v.size(0))
    needs_k, needs_v, needs_att, needs_bias = ctx.needs_input_grad[7:11]
    given, how = (q, k, v, att, bias), (ctx.score, ctx.parameter)
    grad_q, delta, grad_bias, grad_att = torch.ops.gnnkit.attention_backward_dst(
        *forward, *given, grad, out, peak, inverse, *how, needs_bias
    )
    grad_k = grad_v = None
    if needs_k or needs_v:
        grad_k, grad_v = torch.ops.gnnkit.attention_backward_src(*turned, *given, grad, peak, inverse, delta, *how)
    grad_att = _sum_rows(grad_att).to(v.dtype).reshape(att.shape) if needs_att else None
    return (*(None,) * 6, grad_q, grad_k, grad_v, grad_att, grad_bias if needs_bias else None, None, None)


def _sum_rows(value: Tensor) -> Tensor:
    """Sum over the first dimension: of blocks of fixed size first, so that the bits do not depend on the threads."""
    num_rows = value.size(0)
    blocks = 128
    bounds = torch.arange(blocks + 1, device=value.device) * num_rows // blocks
    partial = torch.ops.gnnkit.segment_sum(value, bounds, None, False)
    ends = torch.arange(2, device=value.device) * blocks
    return torch.ops.gnnkit.segment_sum(partial, ends, None, False).squeeze(0)


_GIVEN = "Tensor q, Tensor k, Tensor v, Tensor? att, Tensor? bias"
_STATISTICS = "Tensor peak, Tensor inverse"

define(
    "attention(Tensor rowptr, Tensor col, Tensor? edge_id, Tensor? t_rowptr, Tensor? t_col, Tensor? t_edge_id, "
    f"{_GIVEN}, str score, float parameter) -> (Tensor, Tensor, Tensor)",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
define(
    f"attention_backward_dst(Tensor rowptr, Tensor col, Tensor? edge_id, {_GIVEN}, Tensor grad, Tensor out, "
    f"{_STATISTICS}, str score, float parameter, bool with_bias) -> (Tensor, Tensor, Tensor, Tensor)",
    reference=backward_dst_reference,
    fake=_backward_dst_fake,
)
define(
    f"attention_backward_src(Tensor t_rowptr, Tensor t_col, Tensor? t_edge_id, {_GIVEN}, Tensor grad, "
    f"{_STATISTICS}, Tensor delta, str score, float parameter) -> (Tensor, Tensor)",
    reference=backward_src_reference,
    fake=_backward_src_fake,
)
