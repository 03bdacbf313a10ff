"""The smallest eigenpairs of Laplacians: dense, or by filtered subspace iteration."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import splu

from gnnkit.encodings._basis import fixed_basis, same_eigenvalue
from gnnkit.encodings._laplacian import Components, UndirectedGraph, components, laplacians
from gnnkit.errors import DataError

DENSE_SIZE = 256
LARGEST_DENSE = 8192
_ACCURACY, _ROUNDING = 2e-8, 2e-14
# A filter lengthens no column by more than e to this power, so that rounding in long ones does not hide short ones.
_LOG_GROWTH = 15.0
_FIRST_DEGREE = 20
_LARGEST_DEGREE = 1500
_SWEEPS = 200

_Filter = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


class Eigenpairs(NamedTuple):
    """Of ``G`` components of ``n`` nodes each: eigenpairs without that of the eigenvalue 0."""

    part: Components
    values: np.ndarray
    """Ascending, ``[G, c]``; those of the Laplacian itself."""
    vectors: np.ndarray
    """Of length 1, ``[G, n, c]``, in the basis of :func:`fixed_basis`."""
    scale: np.ndarray
    """Half of a bound of the eigenvalues, ``[G]``."""


def eigenpairs(graph: UndirectedGraph, count: int | None, *, normalized: bool, transform: str) -> Iterator[Eigenpairs]:
    """The ``count`` smallest non-trivial eigenpairs of every component of at least two nodes; None: all.

    Raises:
        DataError: If a large component has an eigenvalue so often that it would take a dense solver.
    """
    for part in components(graph, DENSE_SIZE):
        size = part.nodes.shape[1]
        if size == 1:
            continue
        wanted = size - 1 if count is None else min(count, size - 1)
        matrix, null, scale = laplacians(part, normalized=normalized)
        if isinstance(matrix, np.ndarray):
            values, vectors = dense_eigenpairs(matrix, null)
        else:
            values, vectors = sparse_eigenpairs(matrix, null[0], wanted, transform=transform)
            values, vectors = values[None], vectors[None]
        vectors = fixed_basis(values, vectors, wanted)
        yield Eigenpairs(part, values[:, :wanted] * scale[:, None], vectors, scale)


def dense_eigenpairs(matrix: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All eigenpairs but that of ``null``, ``[G, n - 1]`` and ``[G, n, n - 1]``, of matrices of norm 2 at most."""
    # Moved beyond all others, the known eigenvector takes part in no eigenspace.
    values, vectors = np.linalg.eigh(matrix + 3 * null[:, :, None] * null[:, None, :])
    return np.maximum(values[:, :-1], 0), vectors[:, :, :-1]


def sparse_eigenpairs(
    matrix: scipy.sparse.csr_array, null: np.ndarray, count: int, *, transform: str
) -> tuple[np.ndarray, np.ndarray]:
    """The smallest eigenpairs but that of ``null``: at least ``count``, and all of the last eigenvalue.

    Subspace iteration: a block of columns converges to as many eigenvectors, repeated eigenvalues among them, since a
    random block has a part of every eigenvector. A Chebyshev polynomial of the matrix speeds it up, or, where this
    would take too high a degree, one of the inverse, which is factorised.

    Args:
        matrix: Positive semidefinite of norm 2 at most, ``[n, n]``.
        null: Its only eigenvector of the eigenvalue 0, of length 1.
        count: Number of eigenpairs.
        transform: Who asks, for messages.

    Returns:
        ``[c]`` and ``[n, c]``, accurate to about 1e-8 in the directions of the vectors.

    Raises:
        DataError: If more than a quarter of a large spectrum would be needed.
    """
    size = len(null)
    width = 8 * math.ceil((count + max(8, count // 2)) / 8)
    block = np.empty((size, 0))
    solve = _FilteredIteration(matrix, null)
    while 4 * width <= size and size * width <= 2**27:
        fresh = np.random.default_rng(width).standard_normal((size, width - block.shape[1]))
        block, values, found = solve(np.concatenate([block, fresh], axis=1), count)
        if found:
            return np.maximum(values[:found], 0), block[:, :found]
        width *= 2
    if size > LARGEST_DENSE:
        raise DataError(
            f"{transform}: of a component of {size} nodes, the {count} smallest eigenvalues and their copies are more "
            f"than {width // 2}, too many to be found; ask for fewer with k"
        )
    values, vectors = dense_eigenpairs(matrix.toarray()[None], null[None])
    return values[0], vectors[0]


class _FilteredIteration:
    """Subspace iteration for one matrix; remembers whether the inverse is needed."""

    def __init__(self, matrix: scipy.sparse.csr_array, null: np.ndarray) -> None:
        self.matrix = matrix
        self.null = null
        self.inverse: _InverseFilter | None = None

    def __call__(self, block: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Ritz vectors and values of a block of more than ``count`` columns, and how many of them are answers.

        These are complete: no other eigenvalue is as small, or equal to the last. None are, where the block is too
        narrow to tell.
        """
        used = 0
        block = block - self.null[:, None] * (self.null @ block)
        for _ in range(_SWEEPS):
            block, values, residual = self._ritz(block)
            found = _converged(values, residual, count)
            if found is not None:
                return block, values, found
            ahead = residual[:count] / np.maximum(_ACCURACY * (values[-1] - values[:count]), _ROUNDING)
            rate = _growth(values[-1], 2.0, values[count - 1])
            needed = math.log(ahead.max() * 2) / rate if rate > 0 else math.inf
            settled = residual[count - 1] < 0.1 * values[-1]
            if self.inverse is None and (used > _LARGEST_DEGREE or (settled and needed > _LARGEST_DEGREE)):
                self.inverse = _InverseFilter(self.matrix, self.null)
            if self.inverse is not None:
                block = self.inverse(block, values, residual)
            else:
                degree = _filter_degree(values, residual, needed)
                block = self._direct(block, values[-1], degree)
                used += degree
        raise DataError(
            f"the smallest eigenvalues of a component of {len(self.null)} nodes were not found: its weights differ too "
            "much; use weights that differ less"
        )

    def _ritz(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the space of the columns, the best approximations of eigenvectors, their values and residuals."""
        turn = _orthonormalizer(block)
        if turn is None:
            block, _ = np.linalg.qr(block)
            turn = np.eye(block.shape[1])
        image = self.matrix @ block
        projected = turn.T @ (block.T @ image) @ turn
        values, vectors = np.linalg.eigh((projected + projected.T) / 2)
        turn = turn @ vectors
        block, image = block @ turn, image @ turn
        image -= block * values
        return block, values, np.sqrt(np.einsum("nb,nb->b", image, image))

    def _direct(self, block: np.ndarray, edge: float, degree: int) -> np.ndarray:
        """A polynomial of the matrix that is small on [edge, 2]."""
        center, radius = (2 + edge) / 2, (2 - edge) / 2
        row = np.repeat(np.arange(len(self.null)), np.diff(self.matrix.indptr))
        weight = (center * (row == self.matrix.indices) - self.matrix.data) / radius
        index = (torch.from_numpy(part.astype(np.int64)) for part in (self.matrix.indptr, self.matrix.indices))
        every = max(1, int(_LOG_GROWTH / _growth(edge, 2.0, 0.0)))
        columns = (torch.from_numpy(part) for part in (weight, np.ascontiguousarray(block), self.null))
        return torch.ops.gnnkit.chebyshev_filter(*index, *columns, degree, every).numpy()


def _orthonormalizer(block: np.ndarray) -> np.ndarray | None:
    """A matrix that makes the columns orthonormal, from the right; None where they are too close to dependent."""
    overlap = block.T @ block
    length = np.sqrt(overlap.diagonal())
    if not length.all():
        return None
    size, turn = np.linalg.eigh(overlap / length / length[:, None])
    return None if size[0] < 1e-6 else turn / length[:, None] / np.sqrt(size)


def _filter_degree(values: np.ndarray, residual: np.ndarray, needed: float) -> int:
    """The degree of the next polynomial: no more than is needed, and than rounding allows."""
    edge = values[-1]
    highest = _growth(edge, 2.0, max(values[0] - residual[0], 0.0))
    trusted = _LARGEST_DEGREE if residual[0] < 0.1 * edge else _FIRST_DEGREE
    return max(2, int(min(needed + 1, trusted, _LOG_GROWTH / highest)))


class _InverseFilter:
    """Chebyshev polynomials of the pseudo-inverse."""

    def __init__(self, matrix: scipy.sparse.csr_array, null: np.ndarray) -> None:
        self.null = null
        # One node is left out. Which one matters little: the solution is moved back onto the complement of the null
        # vector.
        self.kept = np.arange(len(null)) != int(null.argmax())
        inner = scipy.sparse.csc_array(matrix[self.kept][:, self.kept])
        self.factors = splu(inner, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def __call__(self, block: np.ndarray, values: np.ndarray, residual: np.ndarray) -> np.ndarray:
        edge = 1 / values[-1]
        highest = 1 / max(values[0] - residual[0], values[0] * 0.1)
        degree = max(1, min(4, int(_LOG_GROWTH / _growth(-edge, 0.0, -highest))))
        before, now = block, self._product(block) * (2 / edge) - block
        for _ in range(1, degree):
            before, now = now, 2 * (self._product(now) * (2 / edge) - now) - before
        return now

    def _product(self, block: np.ndarray) -> np.ndarray:
        out = np.zeros_like(block)
        out[self.kept] = self.factors.solve(np.ascontiguousarray(block[self.kept]))
        return out - self.null[:, None] * (self.null @ out)


def _growth(low: float, high: float, value: float) -> float:
    """Logarithm of the growth per degree of Chebyshev polynomials of [low, high], at a value below."""
    return math.acosh(max(1.0, (low + high - 2 * value) / (high - low)))


def _converged(values: np.ndarray, residual: np.ndarray, count: int) -> int | None:
    """How many of the leading eigenpairs are accurate and complete; 0: all are copies; None: go on."""
    accurate = residual <= np.maximum(_ACCURACY * (values[-1] - values), _ROUNDING)
    if not accurate[:count].all():
        return None
    for end in range(count, len(values)):
        lowest = values[end] - (0.0 if accurate[end] else residual[end])
        if not same_eigenvalue(values[end - 1], lowest):
            return end
        if not accurate[end]:
            return None
    return 0
