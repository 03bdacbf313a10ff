"""Sparse times sparse on a given pattern: triangles, common neighbours, paths between given pairs."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_graphs, check_same_device, check_same_dtype
from gnnkit.ops._library import define
from gnnkit.ops.segment import from_positions, in_positions, segment_of_row
from gnnkit.ops.spgemm import FACTORS, by_position, check_factors, factor_gradients, one_weight, terms
from gnnkit.ops.spmm import topology

if TYPE_CHECKING:
    from gnnkit.graph import Graph


def masked_spgemm(
    mask: "Graph", a: "Graph", b: "Graph", a_weight: Tensor | None = None, b_weight: Tensor | None = None
) -> Tensor:
    r"""Entries of a product of sparse matrices at the edges of a graph.

    .. math:: c_e = (A B)_{ij} = \sum_{k \in A_i} A_{ik} B_{kj}

    for the edge :math:`e` from ``j`` to ``i``.

    With one undirected graph as ``mask``, ``a`` and ``b``, and no weights, :math:`c_e` counts the common neighbours of
    the ends of an edge; the sum of :math:`c_e` over the in-edges of a node is twice its number of triangles.

    Args:
        mask: Where the product is wanted, ``[a.num_dst, b.num_src]`` as a matrix.
        a: Left factor ``[num_dst, num_src]``; multi-edges add up, as in :func:`spgemm`.
        b: Right factor, with ``b.num_dst == a.num_src``.
        a_weight: Values of the edges of ``a`` in the caller's order, ``[E]``. None: all ones.
        b_weight: Values of the edges of ``b``, of the same dtype. None: all ones.

    Returns:
        One number per edge of ``mask`` in the caller's order, ``[mask.num_edges]``; 0 where the product has no entry.
        Each of several equal edges gets the value. In torch's default dtype where no weight is given. Differentiable to
        any order in both weights.

    Raises:
        ShapeError: If shapes, dtypes or devices do not fit together.
        RuntimeError: On a GPU, if a factor has 2^31 columns or more.

    Determinism: bitwise, for any number of threads.
    Complexity: ``O(P + E)`` time for the ``P`` terms of the whole product; per thread one number per column.
    """
    check_graphs(mask=mask)
    check_factors(a, b, a_weight, b_weight)
    if (mask.num_dst, mask.num_src) != (a.num_dst, b.num_src):
        raise ShapeError(
            f"mask must have a.num_dst = {a.num_dst} destinations and b.num_src = {b.num_src} sources, "
            f"got {mask.num_dst} and {mask.num_src}"
        )
    check_same_dtype(mask=mask.col, a=a.col)
    check_same_device(mask=mask.col, a=a.col)
    a_weight = one_weight(a, a_weight, b_weight)
    factors = (*topology(a), a_weight, *topology(b), b_weight)
    return torch.ops.gnnkit.masked_spgemm(*factors, *topology(mask), b.num_src)


def reference(
    a_rowptr,
    a_col,
    a_edge_id,
    a_weight,
    b_rowptr,
    b_col,
    b_edge_id,
    b_weight,
    mask_rowptr,
    mask_col,
    mask_edge_id,
    num_cols: int,
) -> Tensor:
    """The product as a dense matrix, read at the edges of the mask."""
    a_values = by_position(a_weight, a_edge_id, b_weight, a_col.size(0))
    b_values = by_position(b_weight, b_edge_id, a_weight, b_col.size(0))
    row, a_position, b_position = terms(a_rowptr, a_col, b_rowptr)
    # Numbered by what occurs in the mask and in b, so that the matrix stays small where few columns are taken.
    columns, numbers = torch.unique(torch.cat([mask_col, b_col]), return_inverse=True)
    at_mask = segment_of_row(mask_rowptr, mask_col.size(0)) * columns.size(0) + numbers[: mask_col.size(0)]
    at_term = row * columns.size(0) + numbers[mask_col.size(0) :].index_select(0, b_position)
    term = a_values.index_select(0, a_position) * b_values.index_select(0, b_position)
    dense = term.new_zeros((a_rowptr.size(0) - 1) * columns.size(0)).index_add(0, at_term, term)
    given = b_weight if a_weight is None else a_weight
    return from_positions(dense.index_select(0, at_mask).to(given.dtype), mask_edge_id)


def _fake(
    a_rowptr,
    a_col,
    a_edge_id,
    a_weight,
    b_rowptr,
    b_col,
    b_edge_id,
    b_weight,
    mask_rowptr,
    mask_col,
    mask_edge_id,
    num_cols,
) -> Tensor:
    return (b_weight if a_weight is None else a_weight).new_empty(mask_col.size(0))


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:11])
    ctx.num_cols = inputs[11]


def _backward(ctx, grad):
    *factors, rowptr, col, edge_id = ctx.saved_tensors
    return (*factor_gradients(ctx, *factors, rowptr, col, in_positions(grad, edge_id), ctx.num_cols), *(None,) * 4)


define(
    f"masked_spgemm({FACTORS}, Tensor mask_rowptr, Tensor mask_col, Tensor? mask_edge_id, SymInt num_cols) -> Tensor",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
