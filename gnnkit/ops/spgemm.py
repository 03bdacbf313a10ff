"""Sparse times sparse: the product of two matrices in CSR, and its gradient on their patterns."""

import warnings
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import (
    check_flag,
    check_float,
    check_graphs,
    check_has_values,
    check_same_device,
    check_same_dtype,
    describe,
)
from gnnkit.ops._library import define
from gnnkit.ops.edges import check_rows
from gnnkit.ops.segment import from_positions, in_positions, segment_of_row, wide_dtype
from gnnkit.ops.spmm import topology

if TYPE_CHECKING:
    from gnnkit.graph import Graph


@overload
def spgemm(
    a: "Graph", b: "Graph", a_weight: Tensor | None = None, b_weight: Tensor | None = None, *, sort: bool = False
) -> tuple["Graph", Tensor]: ...


@overload
def spgemm(a: Tensor, b: Tensor) -> Tensor: ...


def spgemm(
    a: Any, b: Any, a_weight: Tensor | None = None, b_weight: Tensor | None = None, *, sort: bool = False
) -> Any:
    r"""Product of two sparse matrices.

    .. math:: C = A B, \qquad C_{ij} = \sum_{k \in A_i} A_{ik} B_{kj}

    A graph is a matrix ``[num_dst, num_src]``: the edges from ``j`` to ``i`` are its entries in row ``i`` and column
    ``j``, and multi-edges add up. The pattern of :math:`C` is that of the product: an entry whose terms cancel, or
    whose weights are zero, is kept with the value 0.

    Args:
        a: Left factor: a graph, or a sparse CSR (or coalesced COO) tensor ``[I, K]``.
        b: Right factor of the same kind, with ``b.num_dst == a.num_src``, or ``[K, J]``.
        a_weight: Values of the edges of ``a`` in the caller's order, ``[E]``. None: all ones. Graphs only.
        b_weight: Values of the edges of ``b``, of the same dtype. None: all ones. Graphs only.
        sort: Whether columns ascend within a row. False: they stand in the order in which the product meets them,
            going through the entries of a row of ``a``, and for each through those of the row of ``b``. Those of a
            sparse tensor always ascend, as torch wants it.

    Returns:
        For graphs, the graph of :math:`C` with one edge per entry, and its values ``[nnz(C)]`` in the same order; where
        no weight is given they are counts in torch's default dtype. For tensors, a sparse CSR tensor ``[I, J]``.
        Differentiable to any order in the values of both factors: the gradient lives on their patterns,
        :math:`\partial A_{ik} = \sum_{j \in B_k} G_{ij} B_{kj}` and
        :math:`\partial B_{kj} = \sum_{i : k \in A_i} A_{ik} G_{ij}`, and no other product is ever formed.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together.
        ConfigError: If ``sort`` is no bool.
        RuntimeError: If the product has more entries than its index dtype can count; int64 indices can. On a GPU, if
            a factor has 2^31 columns or more.

    Determinism: bitwise, for any number of threads: one thread adds the terms of a row, in order. The gradient to
    ``b`` adds partial sums over blocks of rows that depend on the operands alone.
    Complexity: ``O(P)`` time for the ``P`` terms of all sums, twice forward (counting, then adding), with sorting a
    little more; per thread a table for the columns of a row, at most one number per column. Gustavson 1978.
    """
    if all(isinstance(matrix, Tensor) for matrix in (a, b)):
        if a_weight is not None or b_weight is not None:
            raise ShapeError("sparse tensors hold their values: weights are given with graphs only")
        return _spgemm_tensors(a, b)
    check_factors(a, b, a_weight, b_weight)
    check_has_values(a=a.col)
    check_flag("sort", sort)
    a_weight = one_weight(a, a_weight, b_weight)
    values, rowptr, col = torch.ops.gnnkit.spgemm(*topology(a), a_weight, *topology(b), b_weight, b.num_src, sort)
    return _graph(rowptr, col, b.num_src), values


def check_factors(a: "Graph", b: "Graph", a_weight: Tensor | None, b_weight: Tensor | None) -> None:
    """Raises where ``a`` and ``b`` are not graphs with a product, or the weights do not fit them."""
    check_graphs(a=a, b=b)
    if a.num_src != b.num_dst:
        raise ShapeError(
            f"the sources of a must be the destinations of b, got a.num_src = {a.num_src} and b.num_dst = {b.num_dst}"
        )
    check_same_dtype(a=a.col, b=b.col)
    for name, graph, weight in (("a_weight", a, a_weight), ("b_weight", b, b_weight)):
        if weight is not None:
            check_float(name, weight)
            check_rows(name, weight, graph.num_edges, "num_edges")
            if weight.dim() != 1:
                raise ShapeError(f"{name} must be one number per edge, [E], got {describe(weight)}")
    check_same_device(a=a.col, b=b.col, a_weight=a_weight, b_weight=b_weight)
    check_same_dtype(a_weight=a_weight, b_weight=b_weight)


def one_weight(a: "Graph", a_weight: Tensor | None, b_weight: Tensor | None) -> Tensor | None:
    """``a_weight``, made of ones where neither factor is weighted: the operators take their dtype from a weight."""
    if a_weight is not None or b_weight is not None:
        return a_weight
    return torch.ones(a.num_edges, dtype=torch.get_default_dtype(), device=a.device)


def _graph(rowptr: Tensor, col: Tensor, num_src: int) -> "Graph":
    from gnnkit.graph import _trusted

    return _trusted(rowptr, col, None, num_src)


def _spgemm_tensors(a: Tensor, b: Tensor) -> Tensor:
    (left, a_values), (right, b_values) = _matrix("a", a), _matrix("b", b)
    product, values = spgemm(left, right, a_values, b_values, sort=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            product.rowptr, product.col, values, (product.num_dst, product.num_src), check_invariants=False
        )


def _matrix(name: str, tensor: Tensor) -> tuple["Graph", Tensor]:
    """The checked topology and the values of a sparse tensor."""
    from gnnkit.graph import Graph

    by_entry = tensor.layout == torch.sparse_coo and tensor.is_coalesced()
    if not by_entry and tensor.layout != torch.sparse_csr:
        raise ShapeError(
            f"{name} must be a sparse CSR or a coalesced COO tensor, got {tensor.layout}; "
            f"convert it with {name}.coalesce() or {name}.to_sparse_csr()"
        )
    if tensor.dim() != 2 or tensor.dense_dim() != 0:
        raise ShapeError(f"{name} must be a sparse matrix with one number per entry, got {describe(tensor)}")
    if by_entry:
        row, col = tensor.indices()
        rowptr, _ = torch.ops.gnnkit.sort_index(row, tensor.size(0))
    else:
        rowptr, col = tensor.crow_indices(), tensor.col_indices()
    return Graph(rowptr, col, None, tensor.size(1)), tensor.values()


def terms(a_rowptr: Tensor, a_col: Tensor, b_rowptr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, position in ``a`` and position in ``b`` of every term of the product, in the order of addition."""
    count = b_rowptr.diff().long().index_select(0, a_col)
    row = segment_of_row(a_rowptr, a_col.size(0)).repeat_interleave(count)
    a_position = torch.arange(a_col.size(0), device=a_col.device).repeat_interleave(count)
    first = b_rowptr.long().index_select(0, a_col) - (count.cumsum(0) - count)
    b_position = torch.arange(row.size(0), device=a_col.device) + first.index_select(0, a_position)
    return row, a_position, b_position


def by_position(weight: Tensor | None, edge_id: Tensor | None, like: Tensor | None, count: int) -> Tensor:
    """Weights in CSR order and in the dtype of accumulation; ones for None, of the dtype of ``like``."""
    if weight is None:
        if like is None:
            raise ShapeError("one of the two weights must be given: the result takes its dtype")
        return torch.ones(count, dtype=wide_dtype(like.dtype), device=like.device)
    return in_positions(weight, edge_id).to(wide_dtype(weight.dtype))


def reference(a_rowptr, a_col, a_edge_id, a_weight, b_rowptr, b_col, b_edge_id, b_weight, num_cols: int, sort: bool):
    """All terms, grouped by a stable sort."""
    a_values = by_position(a_weight, a_edge_id, b_weight, a_col.size(0))
    b_values = by_position(b_weight, b_edge_id, a_weight, b_col.size(0))
    row, a_position, b_position = terms(a_rowptr, a_col, b_rowptr)
    col = b_col.index_select(0, b_position)
    order = torch.argsort(col, stable=True)
    order = order.index_select(0, torch.argsort(row.index_select(0, order), stable=True))
    sorted_row, sorted_col = row.index_select(0, order), col.index_select(0, order)
    starts = torch.ones_like(order, dtype=torch.bool)
    starts[1:] = (sorted_row[1:] != sorted_row[:-1]) | (sorted_col[1:] != sorted_col[:-1])
    group = torch.empty_like(order).index_copy(0, order, starts.cumsum(0) - 1)
    first = order[starts]
    if not sort:
        # The earliest term of a group is its first in the stable order, and rows stand in ascending order already.
        turn = torch.argsort(first)
        group = torch.empty_like(turn).index_copy(0, turn, torch.arange(len(turn), device=turn.device))[group]
        first = first.index_select(0, turn)
    value = a_values.index_select(0, a_position) * b_values.index_select(0, b_position)
    value = value.new_zeros(first.size(0)).index_add(0, group, value)
    rowptr = torch.zeros_like(a_rowptr)
    rowptr[1:] = torch.bincount(row.index_select(0, first), minlength=a_rowptr.size(0) - 1).cumsum(0)
    given = b_weight if a_weight is None else a_weight
    return value.to(given.dtype), rowptr, col.index_select(0, first)


def backward_reference(
    a_rowptr, a_col, a_edge_id, a_weight, b_rowptr, b_col, b_edge_id, b_weight, rowptr, col, grad, num_cols, to_a, to_b
) -> tuple[Tensor, Tensor]:
    """The gradient as a dense matrix, read at every term."""
    a_values = by_position(a_weight, a_edge_id, grad, a_col.size(0))
    b_values = by_position(b_weight, b_edge_id, grad, b_col.size(0))
    row, a_position, b_position = terms(a_rowptr, a_col, b_rowptr)
    # Numbered by what occurs in the gradient and in b, so that the matrix stays small where few columns are taken.
    columns, numbers = torch.unique(torch.cat([col, b_col]), return_inverse=True)
    dense = a_values.new_zeros((rowptr.size(0) - 1) * columns.size(0))
    dense = dense.index_add(
        0, segment_of_row(rowptr, col.size(0)) * columns.size(0) + numbers[: col.size(0)], grad.to(dense.dtype)
    )
    term = dense[row * columns.size(0) + numbers[col.size(0) :].index_select(0, b_position)]
    grad_a, grad_b = grad.new_empty(0), grad.new_empty(0)
    if to_a:
        summed = torch.zeros_like(a_values).index_add(0, a_position, term * b_values.index_select(0, b_position))
        grad_a = from_positions(summed, a_edge_id).to(grad.dtype)
    if to_b:
        summed = torch.zeros_like(b_values).index_add(0, b_position, term * a_values.index_select(0, a_position))
        grad_b = from_positions(summed, b_edge_id).to(grad.dtype)
    return grad_a, grad_b


def _fake(a_rowptr, a_col, a_edge_id, a_weight, b_rowptr, b_col, b_edge_id, b_weight, num_cols, sort):
    entries = torch.library.get_ctx().new_dynamic_size()
    weight = b_weight if a_weight is None else a_weight
    return weight.new_empty(entries), torch.empty_like(a_rowptr), b_col.new_empty(entries)


def _backward_fake(
    a_rowptr, a_col, a_edge_id, a_weight, b_rowptr, b_col, b_edge_id, b_weight, rowptr, col, grad, num_cols, to_a, to_b
):
    return grad.new_empty(a_col.size(0) if to_a else 0), grad.new_empty(b_col.size(0) if to_b else 0)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:8], *output[1:])
    ctx.num_cols = inputs[8]


def _backward(ctx, grad, _, __):
    return (*factor_gradients(ctx, *ctx.saved_tensors, grad, ctx.num_cols), None, None)


def factor_gradients(ctx, *operands) -> tuple[Tensor | None, ...]:
    """Gradients to the eight tensors of the factors, given those, and topology, gradient and width of the product."""
    to_a, to_b = ctx.needs_input_grad[3], ctx.needs_input_grad[7]
    grad_a, grad_b = torch.ops.gnnkit.spgemm_backward(*operands, to_a, to_b)
    return (*(None,) * 3, grad_a if to_a else None, *(None,) * 3, grad_b if to_b else None)


def _backward_save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:11])
    ctx.num_cols, ctx.to_a, ctx.to_b = inputs[11:]


def _backward_backward(ctx, along_a, along_b):
    """The gradient is bilinear: with U and V beside A and B, it is that of ``<G, U B + A V>``."""
    *a, a_weight, b_rowptr, b_col, b_edge_id, b_weight, rowptr, col, grad = ctx.saved_tensors
    b = (b_rowptr, b_col, b_edge_id)
    along_a = along_a if ctx.to_a else torch.zeros_like(a[1], dtype=grad.dtype)
    along_b = along_b if ctx.to_b else torch.zeros_like(b_col, dtype=grad.dtype)
    to_a, to_b = ctx.needs_input_grad[3] and ctx.to_b, ctx.needs_input_grad[7] and ctx.to_a
    grad_a = grad_b = grad_grad = None
    if to_a or to_b:
        product = (rowptr, col, grad, ctx.num_cols, to_a, to_b)
        found = torch.ops.gnnkit.spgemm_backward(*a, along_a, *b, along_b, *product)
        grad_a, grad_b = found[0] if to_a else None, found[1] if to_b else None
    if ctx.needs_input_grad[10]:
        mask = (rowptr, col, None, ctx.num_cols)
        grad_grad = torch.zeros_like(grad)
        if ctx.to_a:
            grad_grad = grad_grad + torch.ops.gnnkit.masked_spgemm(*a, along_a, *b, b_weight, *mask)
        if ctx.to_b:
            grad_grad = grad_grad + torch.ops.gnnkit.masked_spgemm(*a, a_weight, *b, along_b, *mask)
    return (*(None,) * 3, grad_a, *(None,) * 3, grad_b, None, None, grad_grad, None, None, None)


FACTORS = (
    "Tensor a_rowptr, Tensor a_col, Tensor? a_edge_id, Tensor? a_weight, "
    "Tensor b_rowptr, Tensor b_col, Tensor? b_edge_id, Tensor? b_weight"
)

define(
    f"spgemm({FACTORS}, SymInt num_cols, bool sort) -> (Tensor, Tensor, Tensor)",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
define(
    f"spgemm_backward({FACTORS}, Tensor rowptr, Tensor col, Tensor grad, SymInt num_cols, bool to_a, bool to_b) "
    "-> (Tensor, Tensor)",
    reference=backward_reference,
    fake=_backward_fake,
    backward=_backward_backward,
    save=_backward_save,
)
