"""The operator behind feature stores: kernel against reference and plain indexing, counts of pages, and bad calls."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.errors import GnnkitError
from gnnkit.ops._library import references
from tests.ops.kernels import needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense
from tests.ops.raw_calls import agree, check_threads, runs_kernels

gather_rows = torch.ops.gnnkit.gather_rows
REFUSED = (RuntimeError, GnnkitError, IndexError)

# Rows, bytes of a row, rows of the cache, rows asked for.
SIZES = {
    "small": (40, 12, 5, 100),
    "no-cache": (700, 64, 0, 900),
    "straddling": (500, 400, 20, 3000),
    "long": (30, 9000, 3, 50),
    "pages": (64, 4096, 1, 64),
    "many": (20_000, 32, 1000, 60_000),
    "none-asked": (40, 12, 5, 0),
    "no-rows": (0, 12, 5, 30),
    "nothing": (0, 12, 0, 0),
    "no-bytes": (9, 0, 2, 20),
}
every_size = pytest.mark.parametrize("size", SIZES)
every_way = pytest.mark.parametrize("ahead", [False, True])


def case(size: str, dtype: torch.dtype | None = torch.int32) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    rows, width, cached, asked = SIZES[size]
    rng = np.random.default_rng(len(size))
    make = lambda count: torch.from_numpy(rng.integers(0, 256, (count, width), dtype=np.uint8))  # noqa: E731
    place = torch.from_numpy(rng.permutation(np.arange(-cached, rows)))
    if dtype is None:
        return make(rows), make(cached), None, place[torch.from_numpy(rng.integers(0, max(len(place), 1), asked))]
    index = torch.from_numpy(rng.integers(0, max(len(place), 1), asked))
    return make(rows), make(cached), place.to(dtype), index


def by_hand(rows: Tensor, cache: Tensor, place: Tensor | None, index: Tensor) -> tuple[list[list[int]], int, int]:
    out, hits, pages = [], 0, set()
    for number in index.tolist():
        at = number if place is None else int(place[number])
        hits += at < 0
        out.append((cache[-1 - at] if at < 0 else rows[at]).tolist())
        if at >= 0:
            pages |= {byte // 4096 for byte in range(at * rows.size(1), (at + 1) * rows.size(1))}
    return out, hits, len(pages)


@every_way
@every_size
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, None])
def test_kernel_equals_reference(size: str, dtype: torch.dtype | None, ahead: bool):
    arguments = case(size, dtype)
    assert agree(gather_rows(*arguments, ahead), references["gather_rows"](*arguments, ahead))


@every_way
@pytest.mark.parametrize("size", ["small", "no-cache", "straddling", "long", "pages", "no-rows", "no-bytes"])
def test_rows_hits_and_pages_by_hand(size: str, ahead: bool):
    arguments = case(size)
    rows, counts = gather_rows(*arguments, ahead)
    wanted, hits, pages = by_hand(*arguments)
    assert rows.tolist() == wanted
    assert counts.tolist() == [hits, pages]


@every_size
def test_the_same_for_any_number_of_threads(size: str):
    arguments = case(size)
    check_threads(lambda: gather_rows(*arguments, True))


def test_reads_nothing_it_did_not_write(nan_filled_memory: None):
    for size in SIZES:
        assert agree(gather_rows(*case(size), True), references["gather_rows"](*case(size), True))


def test_is_traceable():
    for size in ("small", "no-cache"):
        torch.library.opcheck(gather_rows.default, (*case(size), True))
    torch.library.opcheck(gather_rows.default, (*case("small", None), False))


@every_way
def test_numbers_out_of_range_are_refused(ahead: bool):
    rows, cache, place, _ = case("small")
    assert place is not None
    for number in (-1, 45, 2**62, -(2**62)):
        with pytest.raises(REFUSED, match="outside of its range"):
            gather_rows(rows, cache, place, torch.tensor([0, number]), ahead)
    for at in (40, -6):
        with pytest.raises(REFUSED, match="outside of its range"):
            gather_rows(rows, cache, None, torch.tensor([0, at]), ahead)
        wrong = place.clone()
        wrong[3] = at
        with pytest.raises(REFUSED, match="outside of its range"):
            gather_rows(rows, cache, wrong, torch.tensor([3]), ahead)
    with pytest.raises(REFUSED, match="outside of its range"):
        gather_rows(rows, None, None, torch.tensor([-1]), ahead)


@needs_kernels
@runs_kernels
def test_a_file_is_not_copied_to_memory_to_make_it_contiguous():
    rows, cache, place, index = case("small")
    with pytest.raises(RuntimeError, match="must be contiguous"):
        gather_rows(rows.t().contiguous().t(), cache, place, index, True)


@nonsense
def test_nonsense(data: st.DataObject):
    size = data.draw(st.sampled_from(["small", "long", "no-rows", "no-bytes"]))
    dtype = data.draw(st.sampled_from([torch.int32, torch.int64, None]))
    call_with_nonsense(data, "gather_rows", (*case(size, dtype), True))
