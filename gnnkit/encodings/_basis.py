"""One basis for every eigenspace, whatever basis of it a solver has found."""

import numpy as np

_RELATIVE, _ABSOLUTE = 1e-9, 1e-13
_TIE = 1e-6


def same_eigenvalue(lower: np.ndarray, upper: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """Whether two numbers stand for one eigenvalue of a matrix whose norm is about ``scale``.

    They do where they differ by at most 1e-9 of their size and 1e-13 of the scale.
    """
    return upper - lower <= _RELATIVE * np.abs(upper) + _ABSOLUTE * scale


def fixed_basis(values: np.ndarray, vectors: np.ndarray, count: int) -> np.ndarray:
    r"""Replaces the basis of every eigenspace by one that depends on the space and the order of the nodes alone.

    The first vector is the projection onto the space of the unit vector of that node whose projection is longest; the
    second is the longest projection onto what is orthogonal to the first, and so on. Each is positive at its node,
    where it has its largest entry, and those that follow are 0 there. Of projections of the same length (a relative
    1e-6) the lowest node's is taken. This is a Cholesky factorisation with pivots of the projector :math:`V V^\top`,
    computed by reflections of the rows of :math:`V`, which loses no orthogonality.

    Args:
        values: Eigenvalues of ``G`` matrices, ascending, each with all of its copies, ``[G, c]``; the norms of the
            matrices are about 1.
        vectors: Orthonormal, ``[G, n, c]``.
        count: How many vectors are wanted. Of an eigenspace that goes further, the first ones are kept.

    Returns:
        ``[G, n, min(count, c)]``.
    """
    count = min(count, values.shape[1])
    simple = vectors[:, :, :count]
    out = simple * sign_of_largest(simple)[:, None, :]
    copies = same_eigenvalue(values[:, :-1], values[:, 1:])
    if copies[:, :count].any():
        opens = np.ones(values.shape, dtype=bool)
        opens[:, 1:] = ~copies
        graph, begin = np.nonzero(opens)
        dimension = np.diff(np.append(graph * values.shape[1] + begin, values.size))
        repeated = (begin < count) & (dimension > 1)
        graph, begin, dimension = graph[repeated], begin[repeated], dimension[repeated]
        for size in np.unique(dimension).tolist():
            chosen = dimension == size
            spaces, first = graph[chosen], begin[chosen]
            columns = first[:, None] + np.arange(size)
            found = _echelon(vectors[spaces[:, None], :, columns], min(size, count - int(first.min())))
            space, place = np.nonzero(columns[:, : found.shape[1]] < count)
            out[spaces[space], :, columns[space, place]] = found[space, place]
    return out


def sign_of_largest(vectors: np.ndarray) -> np.ndarray:
    """The sign of the entry largest in magnitude, or of the first of equals, ``[G, n, c] -> [G, c]``."""
    magnitude = np.abs(vectors)
    first = (magnitude >= magnitude.max(axis=1, keepdims=True) * (1 - _TIE)).argmax(axis=1)
    return np.where(np.take_along_axis(vectors, first[:, None], axis=1)[:, 0] < 0, -1.0, 1.0)


def _echelon(rest: np.ndarray, count: int) -> np.ndarray:
    """The first vectors of the bases of ``S`` spaces of one dimension, ``[S, d, n] -> [S, count, n]``."""
    spaces = np.arange(len(rest))
    for step in range(count):
        tail = rest[:, step:]
        length = np.einsum("sdn,sdn->sn", tail, tail)
        longest = length.max(axis=1, keepdims=True)
        pivot = (length >= longest * (1 - 2 * _TIE)).argmax(axis=1)
        normal = tail[spaces, :, pivot].copy()
        # A reflection that turns the pivot's row to the first axis, and then the axis so that it is positive there.
        away = np.where(normal[:, 0] < 0, -1.0, 1.0)
        normal[:, 0] += away * np.sqrt(length[spaces, pivot])
        along = np.einsum("sd,sdn->sn", normal, tail) * (2 / np.square(normal).sum(axis=1))[:, None]
        tail -= normal[:, :, None] * along[:, None, :]
        tail[:, 0] *= -away[:, None]
    return rest[:, :count]
