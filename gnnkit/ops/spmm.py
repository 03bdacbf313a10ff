"""Sparse times dense: weighted neighbourhood aggregation, and the products of edge ends that are its gradient."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_float, check_graphs, check_reduce, check_same_device, check_same_dtype
from gnnkit.ops._library import define
from gnnkit.ops.edges import check_rows
from gnnkit.ops.pick import pick_gather, pick_scatter
from gnnkit.ops.segment import (
    extremum_reference,
    from_positions,
    in_positions,
    segment_of_row,
    sum_reference,
    wide_dtype,
)

if TYPE_CHECKING:
    from gnnkit.graph import Graph


def spmm(graph: "Graph", x: Tensor, weight: Tensor | None = None, reduce: str = "sum") -> Tensor:
    r"""Aggregates source rows at each destination.

    .. math:: y_i = \bigoplus_{e : \mathrm{dst}(e) = i} w_e\, x_{\mathrm{src}(e)}

    In matrix form, ``reduce="sum"`` is :math:`Y = A X` with :math:`A_{ij}` the summed weight of the edges from ``j`` to
    ``i``.

    Args:
        graph: Topology.
        x: Source rows, ``[num_src, *]``, or ``[num_src, H, *]`` with one weight per edge and head.
        weight: ``[E]``, or ``[E, H]``, in the caller's edge order and of the dtype of ``x``. None: all ones.
        reduce: ``"sum"``, ``"mean"`` (over the in-edges, weights do not enter the count), ``"min"`` or ``"max"``.

    Returns:
        ``[num_dst, *]``; zero for a destination without in-edges. Multi-edges count each. Differentiable in ``x`` and
        ``weight``; the gradient of a minimum or maximum goes to the first edge that attains it.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together.

    Determinism: bitwise, for any number of threads: one thread adds the in-edges of a destination, in blocks of 256.
    Complexity: ``O(E F)`` time, no temporary per edge. The gradient to ``x`` needs the transposed graph, which is built
    once per graph and cached.
    """
    check_graphs(graph=graph)
    check_float("x", x)
    check_rows("x", x, graph.num_src, "num_src")
    check_reduce(reduce)
    if weight is not None:
        _check_weight(graph, x, weight)
    check_same_device(x=x, weight=weight, graph=graph.col)
    if reduce in ("min", "max"):
        return torch.ops.gnnkit.spmm_extremum(graph.rowptr, graph.col, graph.edge_id, weight, x, reduce == "max")[0]
    turned = graph.transpose() if torch.is_grad_enabled() and _needs_gradient(x, weight) else None
    return torch.ops.gnnkit.spmm(*topology(graph), *topology(turned), weight, None, x, reduce == "mean")


def spmm_by_position(graph: "Graph", x: Tensor, weight: Tensor, turned_weight: Callable[[], Tensor]) -> Tensor:
    """:func:`spmm` with constant weights that lie in the order in which they are read, forward and backward.

    Args:
        graph: Topology. Its ``edge_id`` plays no part, nor does that of its transpose.
        x: Source rows, ``[num_src, *]``.
        weight: By position, ``[E]``, of the dtype of ``x`` and without gradient.
        turned_weight: Gives the weights by position of the transposed graph; called where a gradient will be wanted.
    """
    check_same_device(x=x, graph=graph.col)
    wanted = torch.is_grad_enabled() and x.requires_grad
    turned, t_weight = (graph.transpose(), turned_weight()) if wanted else (None, None)
    both = (*topology(graph)[:2], None, *topology(turned)[:2], None)
    return torch.ops.gnnkit.spmm(*both, weight, t_weight, x, False)


def sddmm(graph: "Graph", a_dst: Tensor, b_src: Tensor) -> Tensor:
    r"""Dot product of the ends of each edge: :math:`s_e = \langle a_{\mathrm{dst}(e)}, b_{\mathrm{src}(e)} \rangle`.

    Args:
        graph: Topology.
        a_dst: Destination rows, ``[num_dst, F]``, or ``[num_dst, H, F]``.
        b_src: Source rows, ``[num_src, F]``, or ``[num_src, H, F]``.

    Returns:
        ``[E]``, or ``[E, H]``, in the caller's edge order. Differentiable in both.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together.

    Determinism: bitwise, for any number of threads.
    Complexity: ``O(E F)`` time, no temporary.
    """
    check_graphs(graph=graph)
    check_float("a_dst", a_dst)
    check_float("b_src", b_src)
    check_same_dtype(a_dst=a_dst, b_src=b_src)
    check_same_device(a_dst=a_dst, b_src=b_src, graph=graph.col)
    check_rows("a_dst", a_dst, graph.num_dst, "num_dst")
    check_rows("b_src", b_src, graph.num_src, "num_src")
    if a_dst.shape[1:] != b_src.shape[1:] or a_dst.dim() not in (2, 3):
        raise ShapeError(
            "a_dst and b_src must be [N, F] or [N, H, F] with equal trailing sizes, "
            f"got {tuple(a_dst.shape)} and {tuple(b_src.shape)}"
        )
    turned = graph.transpose() if torch.is_grad_enabled() and b_src.requires_grad else None
    return torch.ops.gnnkit.sddmm(*topology(graph), *topology(turned), a_dst, b_src, a_dst.dim() == 3)


def topology(graph: "Graph | None") -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The tensors of a graph as operators take them; None: as those of a transpose that is not needed."""
    return (None, None, None) if graph is None else (graph.rowptr, graph.col, graph.edge_id)


def _needs_gradient(x: Tensor, weight: Tensor | None) -> bool:
    return x.requires_grad or (weight is not None and weight.requires_grad)


def _check_weight(graph: "Graph", x: Tensor, weight: Tensor) -> None:
    check_float("weight", weight)
    check_same_dtype(x=x, weight=weight)
    check_rows("weight", weight, graph.num_edges, "num_edges")
    per_head = weight.dim() == 2 and x.dim() >= 3 and weight.size(1) == x.size(1)
    if weight.dim() != 1 and not per_head:
        raise ShapeError(
            "weight must be [E], or [E, H] with x of [num_src, H, ...], "
            f"got weight {tuple(weight.shape)} with x {tuple(x.shape)}"
        )


def _messages(col: Tensor, edge_id: Tensor | None, weight: Tensor | None, x: Tensor) -> Tensor:
    """Weighted source rows by CSR position, ``[E, *]``, in the dtype of accumulation."""
    rows = x.index_select(0, col).to(wide_dtype(x.dtype))
    if weight is None:
        return rows
    by_position = in_positions(weight, edge_id)
    return rows * by_position.to(rows.dtype).reshape(*by_position.shape, *(1,) * (rows.dim() - by_position.dim()))


def reference(rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, weight, t_weight, x, mean: bool) -> Tensor:
    """Gather, multiply, ``index_add``."""
    return sum_reference(_messages(col, edge_id, weight, x), rowptr, None, mean).to(x.dtype)


def extremum_spmm_reference(rowptr, col, edge_id, weight, x, largest: bool) -> tuple[Tensor, Tensor]:
    """Gather, multiply, extremum; and the CSR position that attains it first (-1 for none)."""
    out, position = extremum_reference(_messages(col, edge_id, weight, x), rowptr, None, largest)
    return out.to(x.dtype), position


def sddmm_reference(rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, a_dst, b_src, per_head: bool) -> Tensor:
    """Gather both ends, multiply, sum."""
    wide = wide_dtype(a_dst.dtype)
    dst = segment_of_row(rowptr, col.size(0))
    by_position = (a_dst.index_select(0, dst).to(wide) * b_src.index_select(0, col).to(wide)).sum(-1).to(a_dst.dtype)
    return from_positions(by_position, edge_id)


def _spmm_fake(rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, weight, t_weight, x, mean) -> Tensor:
    return x.new_empty((rowptr.size(0) - 1, *x.shape[1:]))


def _extremum_fake(rowptr, col, edge_id, weight, x, largest) -> tuple[Tensor, Tensor]:
    shape = (rowptr.size(0) - 1, *x.shape[1:])
    return x.new_empty(shape), rowptr.new_empty(shape)


def _sddmm_fake(rowptr, col, edge_id, t_rowptr, t_col, t_edge_id, a_dst, b_src, per_head) -> Tensor:
    return a_dst.new_empty((col.size(0), a_dst.size(1)) if per_head else (col.size(0),))


def _turn(rowptr: Tensor, col: Tensor, edge_id: Tensor | None, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    """The transposed topology, for the gradient of a call that was not given it."""
    t_rowptr, perm = torch.ops.gnnkit.sort_index(col, num_src)
    dst = segment_of_row(rowptr, col.size(0)).to(col.dtype)
    return t_rowptr, dst.index_select(0, perm), perm if edge_id is None else edge_id.index_select(0, perm)


def both_ways(forward, turned, num_src: int):
    """The topology and its transpose, built here where the call was not given it."""
    return forward, turned if turned[0] is not None else _turn(forward[0], forward[1], forward[2], num_src)


def _spmm_save(ctx, inputs, output) -> None:
    *given, weight, t_weight, x, mean = inputs
    # x is needed for the gradient to the weights alone, the weights for the gradient to x alone.
    kept_x = x if weight is not None and weight.requires_grad else None
    ctx.save_for_backward(*given, weight, t_weight, kept_x)
    ctx.mean, ctx.num_src, ctx.x_dim = mean, x.size(0), x.dim()


def _spmm_backward(ctx, grad):
    *both, weight, t_weight, x = ctx.saved_tensors
    forward, turned = both_ways(both[:3], both[3:], ctx.num_src)
    if ctx.mean:
        count = forward[0].diff().clamp(min=1).to(grad.dtype)
        grad = grad / count.reshape(-1, *(1,) * (grad.dim() - 1))
    grad_x = grad_weight = None
    if ctx.needs_input_grad[8]:
        if t_weight is not None:
            # Both lie by position: each is in order in its own direction.
            turned = (*turned[:2], None)
            grad_x = torch.ops.gnnkit.spmm(*turned, *forward, t_weight, weight, grad, False)
        else:
            grad_x = torch.ops.gnnkit.spmm(*turned, *forward, weight, None, grad, False)
    if weight is not None and ctx.needs_input_grad[6]:
        ends = [_flatten(value, weight.dim()) for value in (grad, x)]
        grad_weight = torch.ops.gnnkit.sddmm(*forward, *turned, *ends, weight.dim() == 2)
    return (*(None,) * 6, grad_weight, None, grad_x, None)


def _flatten(value: Tensor, kept: int) -> Tensor:
    """``value`` with all dimensions after the first ``kept`` made one, also where there are none or no element."""
    width = 1
    for size in value.shape[kept:]:
        width = width * size
    return value.reshape(*value.shape[:kept], width)


def _extremum_save(ctx, inputs, output) -> None:
    _, col, edge_id, weight, x, _ = inputs
    kept_x = x if weight is not None and weight.requires_grad else None
    ctx.save_for_backward(col, edge_id, weight, kept_x, output[1])
    ctx.num_src = x.size(0)


def _extremum_backward(ctx, grad, _):
    col, edge_id, weight, x, position = ctx.saved_tensors
    empty = position < 0
    safe = position.clamp(min=0).flatten()
    source = torch.where(empty, -1, col.index_select(0, safe).reshape(position.shape)) if col.numel() else position
    grad_x = grad_weight = None
    edge = safe if edge_id is None or col.numel() == 0 else edge_id.index_select(0, safe)
    if weight is not None and ctx.needs_input_grad[3]:
        grad_weight = _extremum_weight_gradient(weight, edge, empty, grad, pick_gather(x, source))
    if ctx.needs_input_grad[4]:
        if weight is not None and col.numel():
            grad = grad * _chosen_weight(weight, edge, position)
        grad_x = pick_scatter(grad, source, ctx.num_src)
    return None, None, None, grad_weight, grad_x, None


def _chosen_weight(weight: Tensor, edge: Tensor, position: Tensor) -> Tensor:
    """Weight of the edge chosen for each element, of the shape of ``position``."""
    if weight.dim() == 1:
        return weight.index_select(0, edge).reshape(position.shape)
    return weight.flatten().index_select(0, _flat_weight_index(weight, edge, position.shape)).reshape(position.shape)


def _flat_weight_index(weight: Tensor, edge: Tensor, shape: torch.Size) -> Tensor:
    """Index into the flattened ``[E, H]`` weights of each element of ``[num_dst, H, *]``, int64: there are ``E H``."""
    head = torch.arange(weight.size(1), device=edge.device)
    head = head.reshape(1, -1, *(1,) * (len(shape) - 2)).expand(shape).flatten()
    return edge * weight.size(1) + head


def _extremum_weight_gradient(weight: Tensor, edge: Tensor, empty: Tensor, grad: Tensor, chosen_x: Tensor) -> Tensor:
    if edge.numel() == 0 or weight.numel() == 0:
        return torch.zeros_like(weight)
    index = edge if weight.dim() == 1 else _flat_weight_index(weight, edge, empty.shape)
    value = torch.where(empty, 0, grad * chosen_x).flatten()
    ptr, perm = torch.ops.gnnkit.sort_index(index, weight.numel())
    return torch.ops.gnnkit.segment_sum(value, ptr, perm, False).reshape(weight.shape)


def _sddmm_save(ctx, inputs, output) -> None:
    *given, a_dst, b_src, _ = inputs
    ctx.save_for_backward(*given, a_dst, b_src)


def _sddmm_backward(ctx, grad):
    *both, a_dst, b_src = ctx.saved_tensors
    forward, turned = both_ways(both[:3], both[3:], b_src.size(0))
    grad_a = grad_b = None
    if ctx.needs_input_grad[6]:
        grad_a = torch.ops.gnnkit.spmm(*forward, *turned, grad, None, b_src, False)
    if ctx.needs_input_grad[7]:
        grad_b = torch.ops.gnnkit.spmm(*turned, *forward, grad, None, a_dst, False)
    return (*(None,) * 6, grad_a, grad_b, None)


_TOPOLOGY = "Tensor rowptr, Tensor col, Tensor? edge_id"
_TURNED = "Tensor? t_rowptr, Tensor? t_col, Tensor? t_edge_id"

# `t_weight` has the weights by position of the transpose, where the caller has them and wants no gradient to them.
define(
    f"spmm({_TOPOLOGY}, {_TURNED}, Tensor? weight, Tensor? t_weight, Tensor x, bool mean) -> Tensor",
    reference=reference,
    fake=_spmm_fake,
    backward=_spmm_backward,
    save=_spmm_save,
)
define(
    f"spmm_extremum({_TOPOLOGY}, Tensor? weight, Tensor x, bool largest) -> (Tensor, Tensor)",
    reference=extremum_spmm_reference,
    fake=_extremum_fake,
    backward=_extremum_backward,
    save=_extremum_save,
)
define(
    f"sddmm({_TOPOLOGY}, {_TURNED}, Tensor a_dst, Tensor b_src, bool per_head) -> Tensor",
    reference=sddmm_reference,
    fake=_sddmm_fake,
    backward=_sddmm_backward,
    save=_sddmm_save,
)
