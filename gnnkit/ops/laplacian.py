"""Laplacian systems by conjugate gradients, the second eigenvector of a graph, and sketches of resistances."""

import torch
from torch import Tensor

from gnnkit.ops._library import define

_DELAY, _ROUNDS, _SLACK, _FLOOR = 4, 6, 4.0, 1e-4
_SINGLE_STEPS = 96
_DENSE = 1024


def solve_reference(
    rowptr: Tensor, col: Tensor, weight: Tensor, rhs: Tensor, tolerance: float, limit: int, single: bool
) -> tuple[Tensor, Tensor]:
    """Solves ``L x = rhs`` for a block ``[N, K]`` whose columns sum to 0 over each component.

    Preconditioned by the diagonal. It ends where the last few steps have lowered the energy norm of every column by no
    more than ``tolerance`` times that of the solution, which is what Hestenes and Stiefel's estimate says was left; the
    last step alone tells, where each of the last ones took less than a quarter of the one before.
    Where rounding keeps the true residual above the one of the recurrence, it starts again from there.

    Args:
        rowptr: Boundaries of the nodes, int64 ``[N + 1]``.
        col: Neighbours, int64 ``[E]``.
        weight: Positive weights, float64 ``[E]``.
        rhs: Right-hand sides, float64 ``[N, K]``.
        tolerance: Largest relative error in the energy norm.
        limit: Largest number of steps.
        single: Iterate in float32; residuals and solutions are summed in float64 all the same. Systems that take more
            than 96 steps are given up, since rounding would leave errors that residuals do not show.

    Returns:
        The solution up to a constant per component and column, float64 ``[N, K]``; and the steps per column, int64
        ``[K]``, -1 where the tolerance was not reached.
    """
    from scipy.sparse import csr_array

    nodes = rowptr.numel() - 1
    matrix = csr_array((weight.numpy(), col.numpy(), rowptr.numpy()), shape=(nodes, nodes))
    diagonal = torch.from_numpy(matrix.sum(axis=1)).reshape(-1, 1)
    dtype = torch.float32 if single else torch.float64

    def product(x: Tensor, dtype: torch.dtype) -> Tensor:
        return diagonal.to(dtype) * x - torch.from_numpy(matrix.astype(x.numpy().dtype, copy=False) @ x.numpy())

    def squares(residual: Tensor) -> Tensor:
        value = residual.double()
        return torch.where(diagonal > 0, value**2 / diagonal, torch.where(value == 0, 0.0, torch.inf)).sum(0)

    inverse = torch.where(diagonal > 0, 1 / diagonal, 0.0).to(dtype)
    out = torch.zeros_like(rhs)
    steps = torch.full((rhs.size(1),), -1, dtype=torch.int64)
    before, target, taken = squares(rhs), None, 0
    rounding = 256 * torch.finfo(dtype).eps ** 2
    floor = _FLOOR * tolerance**2 * before
    if not bool(before.isfinite().all()):
        return out, steps
    limit = min(limit, _SINGLE_STEPS) if single else limit
    for _ in range(_ROUNDS):
        r = (rhs - product(out, torch.float64)).to(dtype)
        x, p = torch.zeros_like(r), inverse * r
        rho = start = squares(r)
        gains, history, energy = [], [], torch.zeros_like(rho)
        done, reached = torch.zeros_like(rho, dtype=torch.bool), torch.zeros_like(rho)
        allowed = target if target is not None else torch.zeros_like(rho)
        while True:
            ended = (rho <= rounding * start) & ~done
            if bool(ended.any()):
                reached = torch.where(ended, 0.0, reached)
                allowed = torch.where(ended & (target is None), tolerance**2 * energy, allowed)
                done |= ended
            if bool(done.all()):
                break
            taken += 1
            if taken > limit:
                return out, steps
            q = product(p, dtype)
            curvature = (p * q).double().sum(0)
            if bool((~done & ~((curvature > 0) & rho.isfinite())).any()):
                return out, steps
            alpha = torch.where(done, 0.0, rho / curvature)
            gains.append(alpha * rho)
            history.append(rho)
            energy = energy + gains[-1]
            x += alpha.to(dtype) * p
            r -= alpha.to(dtype) * q
            following = squares(r)
            if len(gains) >= _DELAY:
                bound = tolerance**2 * energy if target is None else target
                first, middle, last = gains[-3:]
                fast = (4 * last <= middle) & (4 * middle <= first)
                left = torch.where(fast, last, torch.stack(gains[-_DELAY:]).sum(0))
                small = ~done & (left <= bound)
                reached = torch.where(small, history[-_DELAY], reached)
                allowed = torch.where(small, bound, allowed)
                done |= small
            p = inverse * r + torch.where(rho > 0, following / rho, 0.0).to(dtype) * p
            rho = following
        target = allowed
        out = out + x.double()
        after = squares(rhs - product(out, torch.float64))
        missed = after > torch.maximum(_SLACK * reached, floor)
        if not bool(missed.any()):
            return out, steps.fill_(taken)
        if not bool((after < before / _SLACK)[missed].all()):
            return out, steps
        before = after
    return out, steps


def _solve_fake(
    rowptr: Tensor, col: Tensor, weight: Tensor, rhs: Tensor, tolerance: float, limit: int, single: bool
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(rhs), rowptr.new_empty(rhs.size(1))


def fixed_numbers(count: int) -> Tensor:
    r""":math:`g_i = \mathrm{frac}((i + 1) \varphi) - 1/2` with the golden ratio, float64: no two are alike."""
    multiple = torch.arange(1, count + 1, dtype=torch.float64) * 0.6180339887498949
    return multiple - multiple.floor() - 0.5


def eigenpair_reference(rowptr: Tensor, col: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    r"""Second smallest eigenvalue of ``I - D^-1/2 A D^-1/2`` of a connected graph, and an eigenvector of length 1.

    Of a repeated eigenvalue, it is the projection onto the eigenspace of the vector
    :math:`g_i = \mathrm{frac}((i + 1) \varphi) - 1/2` with the golden ratio :math:`\varphi = 0.618\ldots`.
    """
    import numpy as np
    from scipy.sparse import csr_array, diags_array, eye_array
    from scipy.sparse.linalg import eigsh

    nodes = rowptr.numel() - 1
    matrix = csr_array((weight.numpy(), col.numpy(), rowptr.numpy()), shape=(nodes, nodes))
    scale = diags_array(1 / np.sqrt(matrix.sum(axis=1)))
    laplacian = eye_array(nodes) - scale @ matrix @ scale
    start = fixed_numbers(nodes).numpy()
    if nodes <= _DENSE:
        values, vectors = np.linalg.eigh(laplacian.toarray())
    else:
        values, vectors = eigsh(laplacian.tocsc(), k=min(12, nodes - 1), sigma=-1e-3, v0=start)
        order = np.argsort(values)
        values, vectors = values[order], vectors[:, order]
    same = np.abs(values - values[1]) <= 1e-9 * values[1]
    same[0] = False
    vector = vectors[:, same] @ (vectors[:, same].T @ start)
    return torch.tensor(float(values[1]), dtype=torch.float64), torch.from_numpy(vector / np.linalg.norm(vector))


def sketch_sums_reference(rowptr: Tensor, col: Tensor, edge: Tensor, root: Tensor, word: Tensor, width: int) -> Tensor:
    """Per node and column, the sum over its edges of ``root`` with the sign in one bit of the edge's word.

    The sign is turned at the larger end of an edge. Float64 ``[N, width]``.
    """
    row = torch.arange(rowptr.numel() - 1).repeat_interleave(rowptr.diff())
    value = torch.where(row < col, 1.0, -1.0).double() * root[edge]
    out = root.new_zeros(rowptr.numel() - 1, width)
    for column in range(width):
        sign = ((word >> column) & 1) * 2 - 1
        out[:, column].index_add_(0, row, value * sign[edge])
    return out


define(
    "laplacian_solve(Tensor rowptr, Tensor col, Tensor weight, Tensor rhs, float tolerance, int limit, bool single) -> "
    "(Tensor, Tensor)",
    reference=solve_reference,
    fake=_solve_fake,
)
define(
    "second_eigenpair(Tensor rowptr, Tensor col, Tensor weight) -> (Tensor, Tensor)",
    reference=eigenpair_reference,
    fake=lambda rowptr, col, weight: (weight.new_empty(()), weight.new_empty(rowptr.numel() - 1)),
)
define(
    "sketch_sums(Tensor rowptr, Tensor col, Tensor edge, Tensor root, Tensor word, int width) -> Tensor",
    reference=sketch_sums_reference,
    fake=lambda rowptr, col, edge, root, word, width: root.new_empty(rowptr.numel() - 1, width),
)
define(
    "squared_distances(Tensor z, Tensor pairs) -> Tensor",
    reference=lambda z, pairs: (z[pairs[0]] - z[pairs[1]]).square().sum(1),
    fake=lambda z, pairs: z.new_empty(pairs.size(1)),
)
