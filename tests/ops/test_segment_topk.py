"""The largest scores of each segment: sorted lists as an oracle, ties and NaN, threads, tracing, and calls that err."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, DtypeError, GnnkitError, IndexRangeError, ShapeError
from gnnkit.ops._library import references
from tests.ops.kernels import needs_checking_kernels, needs_kernels

DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def boundaries(sizes: list[int], dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0).to(dtype)


def expected(score: Tensor, ptr: Tensor, counts: list[int]) -> list[list[int]]:
    """Positions kept of each segment, by sorting pairs of Python."""
    kept = []
    for segment, count in enumerate(counts):
        members = range(int(ptr[segment]), int(ptr[segment + 1]))
        numbers = [p for p in members if not math.isnan(score[p].item())]
        nans = [p for p in members if math.isnan(score[p].item())]
        kept.append(sorted((nans + sorted(numbers, key=lambda p: (-score[p].item(), p)))[:count]))
    return kept


def by_segment(found: tuple[Tensor, Tensor]) -> list[list[int]]:
    kept, position = found
    return [part.tolist() for part in position.split(kept.diff().tolist())]


VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, math.inf, -math.inf, math.nan, 1e-40, -3.5])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.lists(VALUES, max_size=9), max_size=6), st.integers(0, 10), st.sampled_from(DTYPES))
def test_equals_sorted_lists(segments: list[list[float]], k: int, dtype: torch.dtype):
    score = torch.tensor([value for segment in segments for value in segment], dtype=dtype)
    ptr = boundaries([len(segment) for segment in segments])
    found = ops.segment_topk(score, ptr, k=k)
    assert by_segment(found) == expected(score, ptr, [min(k, len(segment)) for segment in segments])


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_segments_equal_a_sort(dtype: torch.dtype, index_dtype: torch.dtype):
    sizes = [0, 3000, 1, 257, 0, 9000]
    ptr = boundaries(sizes, index_dtype)
    score = torch.randn(sum(sizes)).to(dtype)  # in bfloat16, ties are many
    counts = [math.ceil(0.25 * size) for size in sizes]
    found = ops.segment_topk(score, ptr, ratio=0.25)
    assert by_segment(found) == expected(score, ptr, counts)
    assert found[0].dtype == found[1].dtype == index_dtype


def test_ties_go_to_the_lowest_positions():
    score = torch.tensor([1.0, 2.0, 1.0, 1.0, 0.0, -0.0, 0.0])
    found = ops.segment_topk(score, torch.tensor([0, 4, 7]), k=2)
    assert by_segment(found) == [[0, 1], [4, 5]]


def test_nan_is_larger_than_infinity():
    score = torch.tensor([math.inf, 1.0, math.nan, -math.nan, math.inf])
    assert by_segment(ops.segment_topk(score, torch.tensor([0, 5]), k=3)) == [[0, 2, 3]]


@pytest.mark.parametrize(
    ("ratio", "sizes", "counts"),
    [
        (0.0, [0, 1, 5], [0, 0, 0]),
        (1.0, [0, 1, 5], [0, 1, 5]),
        (0.5, [0, 1, 4, 5], [0, 1, 2, 3]),
        (1e-9, [0, 1, 7], [0, 1, 1]),
        # Products that float64 rounds up past a whole number.
        (0.55, [100, 20], [55, 11]),
        (0.07, [100, 101], [7, 8]),
        (0.15, [20, 40, 41], [3, 6, 7]),
    ],
)
def test_ratios(ratio: float, sizes: list[int], counts: list[int]):
    kept, position = ops.segment_topk(torch.randn(sum(sizes)), boundaries(sizes), ratio=ratio)
    assert kept.diff().tolist() == counts
    assert position.numel() == sum(counts)


def test_every_ratio_of_hundredths_is_exact():
    sizes = list(range(1, 400))
    score, ptr = torch.randn(sum(sizes)), boundaries(sizes)
    for percent in range(101):
        kept, _ = ops.segment_topk(score, ptr, ratio=percent / 100)
        assert kept.diff().tolist() == [-(-percent * size // 100) for size in sizes]


def test_nothing_at_all():
    for ptr in (torch.tensor([0]), torch.tensor([0, 0, 0])):
        kept, position = ops.segment_topk(torch.empty(0), ptr, ratio=0.5)
        assert kept.tolist() == ptr.tolist()
        assert position.shape == (0,)


def test_segments_do_not_see_each_other():
    sizes = [13, 1, 40, 8]
    score, ptr = torch.randn(sum(sizes)), boundaries(sizes)
    together = by_segment(ops.segment_topk(score, ptr, ratio=0.3))
    for segment, part in enumerate(score.split(sizes)):
        alone = ops.segment_topk(part, torch.tensor([0, part.numel()]), ratio=0.3)[1]
        assert (alone + ptr[segment]).tolist() == together[segment]


def test_a_graph_through_it_carries_no_gradient():
    kept, position = ops.segment_topk(torch.randn(5, requires_grad=True), torch.tensor([0, 5]), k=2)
    assert not kept.requires_grad
    assert not position.requires_grad


def call(seed: int = 0, count: int = 4000) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cuts = torch.randint(0, count + 1, (60,), generator=generator).sort().values
    ptr = torch.cat([torch.tensor([0]), cuts, torch.tensor([count])])
    score = torch.randn(count, generator=generator).mul(20).round()  # ties
    wanted = (ptr.diff() * torch.rand(61, generator=generator)).round().long()
    return score, ptr, wanted


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(4))
def test_kernel_equals_reference(seed: int, dtype: torch.dtype):
    score, *rest = call(seed)
    for actual, wanted in zip(
        torch.ops.gnnkit.segment_topk(score.to(dtype), *rest),
        references["segment_topk"](score.to(dtype), *rest),
        strict=True,
    ):
        assert actual.dtype == wanted.dtype
        assert torch.equal(actual, wanted)


def test_the_same_bits_for_any_number_of_threads():
    before, results, arguments = torch.get_num_threads(), [], call(1, 200_000)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(torch.ops.gnnkit.segment_topk(*arguments))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for found in results for pair in zip(found, results[0], strict=True))


def test_is_traceable():
    torch.library.opcheck(torch.ops.gnnkit.segment_topk.default, call())

    def best(score: Tensor, ptr: Tensor) -> Tensor:
        return score[ops.segment_topk(score, ptr, ratio=0.5)[1]].sum()

    compiled = torch.compile(best, backend="aot_eager", fullgraph=True, dynamic=True)
    for seed in (0, 2):
        score, ptr, _ = call(seed)
        assert compiled(score, ptr) == best(score, ptr)


def test_reads_nothing_it_did_not_write(nan_filled_memory: None):
    arguments = call(3)
    found, wanted = torch.ops.gnnkit.segment_topk(*arguments), references["segment_topk"](*arguments)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_what_is_not_contiguous_is_read_right():
    score, ptr, _ = call()
    strided = torch.stack([score, -score], 1)[:, 0]
    assert torch.equal(ops.segment_topk(strided, ptr, k=3)[1], ops.segment_topk(score, ptr, k=3)[1])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ConfigError, "either ratio or k"),
        ({"ratio": 0.5, "k": 2}, ConfigError, "either ratio or k"),
        ({"ratio": 1.5}, ConfigError, r"ratio must lie in \[0, 1\]"),
        ({"ratio": -0.1}, ConfigError, r"ratio must lie in \[0, 1\]"),
        ({"ratio": math.nan}, ConfigError, r"ratio must lie in \[0, 1\]"),
        ({"ratio": "half"}, ConfigError, "ratio must be a real number"),
        ({"k": -1}, ShapeError, "k must not be negative"),
        ({"k": 1.5}, ShapeError, "k must be an integer"),
        ({"score": torch.zeros(5, 1), "k": 1}, ShapeError, "one number per row"),
        ({"score": torch.zeros(5, dtype=torch.int64), "k": 1}, DtypeError, "float32, float64 or bfloat16"),
        ({"ptr": torch.tensor([0, 4]), "k": 1}, IndexRangeError, "end at the number of rows"),
        ({"ptr": torch.tensor([0, 3, 2, 5]), "k": 1}, IndexRangeError, "must not decrease"),
        ({"ptr": torch.tensor([], dtype=torch.int64), "k": 1}, ShapeError, "at least one boundary"),
    ],
)
def test_bad_input(arguments: dict[str, Any], error: type[GnnkitError], message: str):
    with pytest.raises(error, match=message):
        ops.segment_topk(**({"score": torch.zeros(5), "ptr": torch.tensor([0, 2, 5])} | arguments))


@needs_checking_kernels
def test_kernel_refuses_what_lies_out_of_range():
    operator, score = torch.ops.gnnkit.segment_topk, torch.zeros(3)
    for ptr, count in (([0, 4], [1]), ([0, 2, 1, 3], [0, 0, 0]), ([1, 3], [1]), ([0, 3], [4]), ([0, 3], [-1])):
        with pytest.raises(RuntimeError, match=r"boundaries must|at most all"):
            operator(score, torch.tensor(ptr), torch.tensor(count))
    for ptr, count in (([0, 3], [1, 1]), ([], [])):
        with pytest.raises(RuntimeError, match=r"boundaries, count"):
            operator(score, torch.tensor(ptr, dtype=torch.int64), torch.tensor(count, dtype=torch.int64))
