"""Grouped products: closed forms, a loop in NumPy, long segments, thread counts, what kernels refuse."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gnnkit import ops
from tests.ops.kernels import EMULATED, needs_kernels
from tests.tolerances import assert_close


def boundaries(*sizes: int, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.tensor([0, *np.cumsum(sizes)], dtype=dtype)


def by_loop(x: np.ndarray, sizes: tuple[int, ...], weight: np.ndarray) -> np.ndarray:
    pieces = np.split(x, np.cumsum(sizes)[:-1])
    return np.concatenate([piece @ matrix for piece, matrix in zip(pieces, weight, strict=True)])


SIZES = [(0,), (1,), (7,), (0, 5, 0, 0, 2), (1,) * 40, (193, 0, 1, 384), (5000, 3, 2049, 2048)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("depth", "columns"), [(1, 1), (5, 3), (64, 64), (33, 65), (300, 17), (4, 300)])
def test_equals_a_loop_in_numpy(sizes: tuple[int, ...], depth: int, columns: int):
    x = torch.randn(sum(sizes), depth, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(len(sizes), depth, columns, dtype=torch.float64, requires_grad=True)
    out = ops.segment_matmul(x, boundaries(*sizes, dtype=torch.int32), weight)
    assert_close(out, torch.from_numpy(by_loop(x.detach().numpy(), sizes, weight.detach().numpy())))
    upstream = torch.randn_like(out)
    grad_x, grad_weight = torch.autograd.grad(out, (x, weight), upstream)
    transposed = weight.detach().numpy().swapaxes(1, 2)
    assert_close(grad_x, torch.from_numpy(by_loop(upstream.numpy(), sizes, transposed)))
    pieces = [np.split(value.detach().numpy(), np.cumsum(sizes)[:-1]) for value in (x, upstream)]
    expected = np.stack([left.T @ right for left, right in zip(*pieces, strict=True)])
    assert_close(grad_weight, torch.from_numpy(expected))
    assert not grad_weight[[size == 0 for size in sizes]].any()


def test_one_segment_is_a_matrix_product():
    x, weight = torch.randn(100, 20, dtype=torch.float64), torch.randn(20, 30, dtype=torch.float64)
    assert_close(ops.segment_matmul(x, boundaries(100), weight[None]), x @ weight)


def test_identities_copy_and_multiples_scale_exactly():
    x = torch.randn(9, 37)
    scale = torch.tensor([1.0, 2.0, -4.0])
    weight = torch.eye(37) * scale[:, None, None]
    expected = x * scale.repeat_interleave(torch.tensor([4, 0, 5]))[:, None]
    assert torch.equal(ops.segment_matmul(x, boundaries(4, 0, 5), weight), expected)


@pytest.mark.parametrize("shape", [(0, 3, 4), (5, 0, 4), (5, 3, 0)])
def test_empty_dimensions(shape: tuple[int, int, int]):
    rows, depth, columns = shape
    x, weight = torch.randn(rows, depth, requires_grad=True), torch.randn(2, depth, columns, requires_grad=True)
    out = ops.segment_matmul(x, boundaries(rows, 0), weight)
    assert torch.equal(out, torch.zeros(rows, columns))
    for grad, value in zip(torch.autograd.grad(out.sum(), (x, weight)), (x, weight), strict=True):
        assert torch.equal(grad, torch.zeros_like(value))
    assert ops.segment_matmul(torch.zeros(0, depth), boundaries(), weight[:0]).shape == (0, columns)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_strides_of_the_weights(dtype: torch.dtype):
    x, ptr = torch.randn(40, 6).to(dtype), boundaries(1, 30, 0, 9)
    stored = torch.randn(8, 4, 10).to(dtype)
    views = [stored.permute(1, 0, 2)[:, :6], stored[::2, :, :6].transpose(1, 2), stored[:1, :1, :6].expand(4, 3, 6).mT]
    for weight in views:
        assert not weight.is_contiguous()
        assert_close(ops.segment_matmul(x, ptr, weight), ops.segment_matmul(x, ptr, weight.contiguous()))


def test_bfloat16_is_accumulated_in_float32():
    ones = torch.ones(5000, 1, dtype=torch.bfloat16)
    assert ops.segment_matmul(ones.t(), boundaries(1), ones[None]).item() == torch.tensor(5000.0).bfloat16().item()
    weight = torch.zeros(1, 1, 1, dtype=torch.bfloat16, requires_grad=True)
    out = ops.segment_matmul(ones, boundaries(5000), weight)
    assert torch.autograd.grad(out.sum(), weight)[0].item() == torch.tensor(5000.0).bfloat16().item()


@pytest.mark.parametrize(("rows", "depth", "columns"), [(3000, 64, 64), (50_000, 33, 65), (17, 1000, 700)])
@pytest.mark.parametrize("segments", [1, 7, 200])
def test_same_bits_at_realistic_sizes(rows: int, depth: int, columns: int, segments: int):
    cut = torch.randint(rows, (segments - 1,)).sort().values
    ptr = torch.cat([torch.tensor([0]), cut, torch.tensor([rows])])
    if depth == 1000:
        segments = min(segments, 7)
        ptr = torch.cat([ptr[:segments], torch.tensor([rows])])
    x, weight = torch.randn(rows, depth, requires_grad=True), torch.randn(segments, depth, columns, requires_grad=True)
    upstream = torch.randn(rows, columns)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            out = ops.segment_matmul(x, ptr, weight)
            results.append((out.detach(), *torch.autograd.grad(out, (x, weight), upstream)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert torch.equal(first, second)


@needs_kernels
def test_a_row_is_the_same_bits_in_any_company():
    # The reference multiplies whole segments.
    x, weight = torch.randn(1000, 45), torch.randn(1, 45, 70)
    whole = ops.segment_matmul(x, boundaries(1000), weight)
    for begin, end in [(0, 1), (1, 8), (500, 541), (999, 1000)]:
        alone = ops.segment_matmul(x[begin:end], boundaries(end - begin), weight)
        assert torch.equal(alone, whole[begin:end])


def test_infinities_and_nan_stay_in_their_row():
    x = torch.ones(20, 3)
    x[4, 1], x[9, 2] = torch.nan, torch.inf
    out = ops.segment_matmul(x, boundaries(12, 8), torch.ones(2, 3, 5))
    assert out[4].isnan().all()
    assert out[9].isinf().all()
    assert torch.equal(out[[row for row in range(20) if row not in (4, 9)]], torch.full((18, 5), 3.0))


@needs_kernels
@pytest.mark.parametrize("ptr", [(0, 99), (0, -5, 4), (3, 4), (0, 5, 4)], ids=str)
def test_kernels_refuse_boundaries_that_leave_the_rows(ptr: tuple[int, ...]):
    x, weight, bounds = torch.ones(4, 2), torch.ones(len(ptr) - 1, 2, 3), torch.tensor(ptr)
    words = r"check_segments_kernel.*a device check failed: .*ptr\[" if EMULATED else "segment boundaries"
    with pytest.raises(RuntimeError, match=words):
        torch.ops.gnnkit.segment_matmul(x, bounds, weight)
    with pytest.raises(RuntimeError, match=words):
        torch.ops.gnnkit.segment_outer(x, x, bounds)


@needs_kernels
def test_kernels_refuse_shapes_and_dtypes_that_do_not_fit():
    x, ptr, weight = torch.ones(4, 2), boundaries(4), torch.ones(1, 2, 3)
    for bad in [(x, ptr, weight[:, :1]), (x, ptr, weight[0]), (x, ptr, weight.double()), (x, ptr[:1], weight)]:
        with pytest.raises(RuntimeError):
            torch.ops.gnnkit.segment_matmul(*bad)
    for bad in [(x, x[:3], ptr), (x, x.double(), ptr), (x, x[0], ptr), (x, x, ptr[:0])]:
        with pytest.raises(RuntimeError):
            torch.ops.gnnkit.segment_outer(*bad)
