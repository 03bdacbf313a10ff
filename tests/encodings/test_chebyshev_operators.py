"""Chebyshev polynomials of sparse matrices: kernels against references and dense algebra, threads, wrong calls."""

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.ops._library import references
from tests.ops.kernels import needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense


def symmetric(size: int, seed: int = 0) -> tuple[tuple[Tensor, Tensor, Tensor], np.ndarray]:
    """A random matrix with eigenvalues in [-1, 1], as rows and dense."""
    rng = np.random.default_rng(seed)
    part = scipy.sparse.random_array((size, size), density=min(1.0, 4 / max(size, 1)), rng=rng)
    matrix = scipy.sparse.csr_array(part + part.T)
    bound = float(abs(matrix).sum(axis=1).max(initial=1.0)) if size else 1.0
    matrix = scipy.sparse.csr_array(matrix / max(bound, 1e-9))
    matrix.sort_indices()
    index = (torch.from_numpy(array.astype(np.int64)) for array in (matrix.indptr, matrix.indices))
    return (*index, torch.from_numpy(matrix.data)), matrix.toarray()  # type: ignore[return-value]


def polynomial(matrix: np.ndarray, degree: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.cos(degree * np.arccos(values.clip(-1, 1)))) @ vectors.T


@pytest.mark.parametrize("degree", [1, 2, 3, 10, 41])
@pytest.mark.parametrize("size", [1, 5, 70])
def test_a_filter_is_the_polynomial_of_the_matrix(size: int, degree: int):
    rows, matrix = symmetric(size)
    block = torch.randn(size, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.ops.gnnkit.chebyshev_filter(*rows, block, torch.zeros(size, dtype=torch.float64), degree, 5)
    np.testing.assert_allclose(found.numpy(), polynomial(matrix, degree) @ block.numpy(), atol=1e-11)


@pytest.mark.parametrize("size", [0, 1, 5, 70])
def test_diagonals_are_those_of_the_series(size: int):
    rows, matrix = symmetric(size)
    coefficient = torch.randn(3, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = torch.ops.gnnkit.chebyshev_diagonal(*rows, coefficient)
    terms = np.stack([np.diag(polynomial(matrix, degree)) for degree in range(14)], axis=1)
    np.testing.assert_allclose(found.numpy(), terms @ coefficient.numpy().T, atol=1e-11)


def arguments(size: int, width: int, degree: int) -> dict[str, tuple]:
    rows, _ = symmetric(size)
    generator = torch.Generator().manual_seed(3)
    block = torch.randn(size, width, dtype=torch.float64, generator=generator)
    coefficient = torch.randn(2, degree + 1, dtype=torch.float64, generator=generator)
    null = torch.full((size,), max(size, 1) ** -0.5, dtype=torch.float64)
    return {
        "chebyshev_filter": (*rows, block, null, degree, 3),
        "chebyshev_diagonal": (*rows, coefficient),
    }


NAMES = ["chebyshev_filter", "chebyshev_diagonal"]


@needs_kernels
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "width"), [(0, 2), (1, 1), (40, 8), (300, 33)])
def test_kernel_equals_reference(name: str, size: int, width: int):
    given = arguments(size, width, 9)[name]
    found, expected = getattr(torch.ops.gnnkit, name)(*given), references[name](*given)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@needs_kernels
@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_for_any_number_of_threads(name: str):
    given, before, results = arguments(300, 33, 9)[name], torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(getattr(torch.ops.gnnkit, name)(*given))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("name", NAMES)
def test_is_traceable(name: str):
    torch.library.opcheck(getattr(torch.ops.gnnkit, name), arguments(20, 3, 4)[name])


@needs_kernels
@pytest.mark.parametrize("name", NAMES)
@nonsense
def test_nonsense_does_no_harm(name: str, data: st.DataObject):
    capped = (5, 6) if name == "chebyshev_filter" else ()
    call_with_nonsense(data, name, arguments(12, 3, 4)[name], capped=capped)
