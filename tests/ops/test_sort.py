"""Sorting by an index of more values than a cache has counters for: they are dealt out to ranges first."""

import numpy as np
import pytest
import torch

from gnnkit import ops
from tests.ops.kernels import needs_checking_kernels

SIZES = [2**18, 2**18 + 1, 300_000, 2**22 + 5]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("dim_size", SIZES)
@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_many_values_are_sorted_stably(dim_size: int, dtype: torch.dtype, spread: float, two_threads: None):
    rng = np.random.default_rng(dim_size)
    values = rng.integers(0, max(int(dim_size * spread), 1), dim_size + 1000)
    values[-1] = dim_size - 1
    ptr, perm = ops.sort_index(torch.from_numpy(values).to(dtype), dim_size)
    assert ptr.dtype == perm.dtype == dtype
    np.testing.assert_array_equal(perm.numpy(), np.argsort(values, kind="stable"))
    np.testing.assert_array_equal(ptr.numpy(), np.concatenate([[0], np.bincount(values, minlength=dim_size).cumsum()]))
    torch.set_num_threads(1)
    again = ops.sort_index(torch.from_numpy(values).to(dtype), dim_size)
    assert torch.equal(again[0], ptr)
    assert torch.equal(again[1], perm)


@needs_checking_kernels
@pytest.mark.parametrize("wrong", [-1, 300_001, 2**40])
def test_a_value_out_of_range_is_refused(wrong: int):
    values = torch.randint(300_000, (400_000,))
    values[123_456] = wrong
    with pytest.raises(RuntimeError):
        torch.ops.gnnkit.sort_index(values, 300_001)
