"""Chebyshev polynomials of a sparse symmetric matrix, for spectral filters and diagonals of matrix functions."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.ops._library import define


def filter_reference(
    rowptr: Tensor, col: Tensor, weight: Tensor, block: Tensor, null: Tensor, degree: int, every: int
) -> Tensor:
    """``T_degree(M) block``, on the complement of a known eigenvector of ``M``.

    Outside of [-1, 1] the polynomials grow fast: what rounding leaves along the eigenvector is taken out again after
    ``every`` steps.

    Args:
        rowptr: Boundaries of the rows, int64 ``[N + 1]``.
        col: Columns, int64 ``[E]``.
        weight: Values of the symmetric matrix ``M``, float64 ``[E]``.
        block: Float64 ``[N, B]``.
        null: An eigenvector of length 1, float64 ``[N]``; or zeros.
        degree: At least 1.
        every: At least 1.

    Returns:
        Float64 ``[N, B]``.
    """
    if degree < 1 or every < 1:
        raise RuntimeError("degree and every must be at least 1")
    matrix = _scipy(rowptr, col, weight)

    def product(x: Tensor) -> Tensor:
        return torch.from_numpy(matrix @ x.numpy())

    def projected(x: Tensor) -> Tensor:
        return x - null[:, None] * (null @ x)

    before = projected(block)
    now = product(before)
    for k in range(1, degree):
        before, now = now, 2 * product(now) - before
        if k % every == 0:
            before, now = projected(before), projected(now)
    return projected(now)


def diagonal_reference(rowptr: Tensor, col: Tensor, weight: Tensor, coefficient: Tensor) -> Tensor:
    r"""Diagonals of the matrices :math:`\sum_k c_{tk} T_k(M)`.

    Args:
        rowptr: Boundaries of the rows, int64 ``[N + 1]``.
        col: Columns, int64 ``[E]``.
        weight: Values of the symmetric matrix ``M``, float64 ``[E]``.
        coefficient: Float64 ``[T, K + 1]``.

    Returns:
        Float64 ``[N, T]``.
    """
    if coefficient.dim() != 2 or coefficient.size(1) < 1:
        raise RuntimeError("coefficient must be float64 [T, K + 1]")
    nodes = rowptr.numel() - 1
    matrix = torch.from_numpy(_scipy(rowptr, col, weight).toarray())
    before = torch.eye(nodes, dtype=torch.float64)
    diagonals, now = [before.diagonal()], matrix
    for _ in range(1, coefficient.size(1)):
        diagonals.append(now.diagonal())
        before, now = now, 2 * (matrix @ now) - before
    return torch.stack(diagonals, 1) @ coefficient.T


def _scipy(rowptr: Tensor, col: Tensor, weight: Tensor) -> Any:
    from scipy.sparse import csr_array

    nodes = rowptr.numel() - 1
    return csr_array((weight.numpy(), col.numpy(), rowptr.numpy()), shape=(nodes, nodes))


define(
    "chebyshev_filter(Tensor rowptr, Tensor col, Tensor weight, Tensor block, Tensor null, int degree, int every) -> "
    "Tensor",
    reference=filter_reference,
    fake=lambda rowptr, col, weight, block, null, degree, every: torch.empty_like(
        block, memory_format=torch.contiguous_format
    ),
)
define(
    "chebyshev_diagonal(Tensor rowptr, Tensor col, Tensor weight, Tensor coefficient) -> Tensor",
    reference=diagonal_reference,
    fake=lambda rowptr, col, weight, coefficient: weight.new_empty(rowptr.numel() - 1, coefficient.size(0)),
)
