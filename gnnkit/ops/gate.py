"""Gated aggregation: source rows weighted, element by element, by logistic functions of edge states."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_flag, check_float, check_graphs, check_number, check_same_device, check_same_dtype
from gnnkit.ops._library import define
from gnnkit.ops.edges import check_rows
from gnnkit.ops.segment import add_rows, from_positions, in_positions, segment_of_row, sum_reference, wide_dtype
from gnnkit.ops.spmm import both_ways, topology

if TYPE_CHECKING:
    from gnnkit.graph import Graph


def gated_aggregate(
    graph: "Graph",
    a_dst: Tensor,
    b_src: Tensor,
    v_src: Tensor,
    edge: Tensor | None = None,
    *,
    normalize: bool = True,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    r"""Gated aggregation (Bresson and Laurent, "Residual gated graph convnets", 2017) with its edge states.

    .. math::
        s_e = a_{\mathrm{dst}(e)} + b_{\mathrm{src}(e)} + c_e, \qquad
        y_i = \frac{\sum_{e : \mathrm{dst}(e) = i} \sigma(s_e) \odot v_{\mathrm{src}(e)}}
                   {\sum_{e : \mathrm{dst}(e) = i} \sigma(s_e) + \epsilon}

    with the logistic function :math:`\sigma`; without normalisation, the numerator alone.

    Args:
        graph: Topology.
        a_dst: Part of the destinations in the states, ``[num_dst, F]``.
        b_src: Part of the sources in the states, ``[num_src, F]``.
        v_src: Values of the sources, ``[num_src, F]``.
        edge: Part of the edges in the states, :math:`c`, ``[E, F]`` in the caller's edge order. None: zero.
        normalize: Divide by the sum of the gates.
        eps: :math:`\epsilon`.

    Returns:
        ``y``, ``[num_dst, F]``, zero for a destination without in-edges; and the states ``s``, ``[E, F]`` in the
        caller's edge order. Both are differentiable, once, in all four tensors.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together.
        ConfigError: If ``eps`` is no real number or ``normalize`` no bool.

    Determinism: bitwise, forward and backward, for any number of threads.
    Complexity: ``O(E F)`` time. The states are a result and take ``O(E F)`` memory; gates and messages take none, and
    the backward pass adds one tensor of that size, the gradient to the states.
    """
    check_graphs(graph=graph)
    check_flag("normalize", normalize)
    rows = {"a_dst": a_dst, "b_src": b_src, "v_src": v_src} | ({} if edge is None else {"edge": edge})
    for name, value in rows.items():
        check_float(name, value)
    check_same_dtype(**rows)
    check_same_device(**rows, graph=graph.col)
    counts = (("num_dst", graph.num_dst), ("num_src", graph.num_src), ("num_src", graph.num_src))
    for (name, value), (what, count) in zip(rows.items(), (*counts, ("num_edges", graph.num_edges)), strict=False):
        check_rows(name, value, count, what)
    if any(value.dim() != 2 or value.size(1) != v_src.size(-1) for value in rows.values()):
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in rows.items())
        raise ShapeError(f"all rows must have one width, [N, F] and [E, F], got {shapes}")
    wanted = torch.is_grad_enabled() and any(value.requires_grad for value in rows.values())
    turned = graph.transpose() if wanted else None
    out, state, _ = torch.ops.gnnkit.gated_aggregate(
        *topology(graph), *topology(turned), a_dst, b_src, v_src, edge, normalize, check_number("eps", eps)
    )
    return out, state


def _gate(state: Tensor, wide: torch.dtype) -> Tensor:
    """The logistic function, rounded from float64: torch's last bits depend on how threads share the elements."""
    return state.double().sigmoid().to(wide)


def reference(
    rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, a_dst, b_src, v_src, edge, normalize: bool, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """States, gates, products and sums as separate passes."""
    wide = wide_dtype(v_src.dtype)
    dst = segment_of_row(rowptr, col.size(0))
    state = a_dst.index_select(0, dst).to(wide) + b_src.index_select(0, col).to(wide)
    if edge is not None:
        state = state + in_positions(edge, edge_id).to(wide)
    state = state.to(v_src.dtype)
    gate = _gate(state, wide)
    out = sum_reference(gate * v_src.index_select(0, col).to(wide), rowptr, None, False)
    total = out.new_empty((0, v_src.size(1)))
    if normalize:
        total = sum_reference(gate, rowptr, None, False) + eps
        out = out / total
    return out.to(v_src.dtype), from_positions(state, edge_id), total


def backward_dst_reference(
    rowptr, col, edge_id, v_src, state, out, total, grad, grad_state, normalize: bool
) -> tuple[Tensor, Tensor]:
    """Gradients to the states, by edge, and to the destinations' part of them."""
    wide = wide_dtype(v_src.dtype)
    dst = segment_of_row(rowptr, col.size(0))
    gate = _gate(in_positions(state, edge_id), wide)
    share = grad.to(wide) / total if normalize else grad.to(wide)
    value = v_src.index_select(0, col).to(wide)
    if normalize:
        value = value - out.index_select(0, dst).to(wide)
    gradient = share.index_select(0, dst) * value * gate * (1 - gate)
    if grad_state is not None:
        gradient = gradient + in_positions(grad_state, edge_id).to(wide)
    grad_a = sum_reference(gradient, rowptr, None, False)
    return from_positions(gradient.to(v_src.dtype), edge_id), grad_a.to(v_src.dtype)


def backward_src_reference(
    t_rowptr, t_col, t_edge_id, state, total, grad, grad_edge, normalize: bool
) -> tuple[Tensor, Tensor]:
    """Gradients to the sources, over the transposed graph."""
    wide = wide_dtype(grad.dtype)
    src, num_src = segment_of_row(t_rowptr, t_col.size(0)), t_rowptr.size(0) - 1
    share = grad.to(wide) / total if normalize else grad.to(wide)
    gate = _gate(in_positions(state, t_edge_id), wide)
    grad_b = add_rows(in_positions(grad_edge, t_edge_id).to(wide), src, num_src)
    grad_v = add_rows(gate * share.index_select(0, t_col), src, num_src)
    return grad_b.to(grad.dtype), grad_v.to(grad.dtype)


def _fake(rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, a_dst, b_src, v_src, edge, normalize, eps):
    num_dst, width = rowptr.size(0) - 1, v_src.size(1)
    total = v_src.new_empty((num_dst if normalize else 0, width), dtype=wide_dtype(v_src.dtype))
    return v_src.new_empty((num_dst, width)), v_src.new_empty((col.size(0), width)), total


def _backward_dst_fake(rowptr, col, edge_id, v_src, state, out, total, grad, grad_state, normalize):
    return state.new_empty(state.shape), out.new_empty(out.shape)


def _backward_src_fake(t_rowptr, t_col, t_edge_id, state, total, grad, grad_edge, normalize):
    shape = (t_rowptr.size(0) - 1, grad.size(1))
    return grad.new_empty(shape), grad.new_empty(shape)


def _save(ctx, inputs, output) -> None:
    *both, _, _, v_src, edge, normalize, _ = inputs
    out, state, total = output
    ctx.mark_non_differentiable(total)
    # A result that nothing was made of has no gradient, and zeros of the size of all edges would cost as much as one.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*both, v_src, state, out, total)
    ctx.normalize, ctx.has_edge = normalize, edge is not None


def _backward(ctx, grad, grad_state, _total):
    *both, v_src, state, out, total = ctx.saved_tensors
    forward, turned = both_ways(both[:3], both[3:], v_src.size(0))
    if grad is None:
        grad = torch.zeros_like(out)
    grad_edge, grad_a = torch.ops.gnnkit.gated_aggregate_backward_dst(
        *forward, v_src, state, out, total, grad, grad_state, ctx.normalize
    )
    grad_b = grad_v = None
    if ctx.needs_input_grad[7] or ctx.needs_input_grad[8]:
        grad_b, grad_v = torch.ops.gnnkit.gated_aggregate_backward_src(
            *turned, state, total, grad, grad_edge, ctx.normalize
        )
    return (*(None,) * 6, grad_a, grad_b, grad_v, grad_edge if ctx.has_edge else None, None, None)


_TOPOLOGY = "Tensor rowptr, Tensor col, Tensor? edge_id"
_TURNED = "Tensor? t_rowptr, Tensor? t_col, Tensor? t_edge_id"

define(
    f"gated_aggregate({_TOPOLOGY}, {_TURNED}, Tensor a_dst, Tensor b_src, Tensor v_src, Tensor? edge, bool normalize, "
    "float eps) -> (Tensor, Tensor, Tensor)",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
define(
    f"gated_aggregate_backward_dst({_TOPOLOGY}, Tensor v_src, Tensor state, Tensor out, Tensor total, Tensor grad, "
    "Tensor? grad_state, bool normalize) -> (Tensor, Tensor)",
    reference=backward_dst_reference,
    fake=_backward_dst_fake,
)
define(
    "gated_aggregate_backward_src(Tensor t_rowptr, Tensor t_col, Tensor? t_edge_id, Tensor state, Tensor total, "
    "Tensor grad, Tensor grad_edge, bool normalize) -> (Tensor, Tensor)",
    reference=backward_src_reference,
    fake=_backward_src_fake,
)
