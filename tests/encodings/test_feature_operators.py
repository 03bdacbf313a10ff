"""Operators of random features: kernels against references, threads, tracing, and calls that are wrong."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.ops._library import references
from gnnkit.ops._philox import philox_words, unit_interval
from gnnkit.ops.dropout import philox
from tests.ops.kernels import EMULATED, needs_kernels
from tests.ops.nonsense import call_with_nonsense, nonsense

runs_kernels = pytest.mark.skipif(EMULATED, reason="no kernels of a GPU for these")


def walk_arguments(
    size: int, entries: int, seed: int = 0, *, halting: float = 0.1, num_walks: int = 5, steps: int = 6
) -> tuple[Any, ...]:
    """Rows of any entries, also several that lead to one node, and rows without any."""
    random = np.random.default_rng(seed)
    row = np.sort(random.integers(0, max(size, 1), entries if size else 0))
    rowptr = np.searchsorted(row, np.arange(size + 1))
    weight = random.random(len(row)) + 0.1
    probability = weight / np.bincount(row, weight, minlength=size)[row] if len(row) else weight
    arrays = (rowptr, random.integers(0, max(size, 1), len(row)), random.standard_normal(len(row)), probability)
    tensors = [torch.from_numpy(array) for array in arrays]
    key = torch.from_numpy(random.integers(-(2**63), 2**63 - 1, size))
    node = torch.from_numpy(random.integers(0, 2**32, size))
    modulation = torch.from_numpy(random.standard_normal(steps + 1))
    return (*tensors, key, node, modulation, halting, num_walks, seed + 1)


def column_arguments(rows: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor, float]:
    """Segments of all sizes, some with columns that depend on others, or are zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    if width > 2:
        x[:, 2] = 2 * x[:, 0] - x[:, 1]
        x[: rows // 2, 1] = 0
    inner = torch.randint(rows + 1, (5,), generator=generator).sort().values
    return x, torch.cat([torch.tensor([0]), inner, torch.tensor([rows])]), 1e-10


def run(name: str, arguments: tuple[Any, ...]) -> tuple[Tensor, ...]:
    return as_tuple(getattr(torch.ops.gnnkit, name)(*arguments))


def as_tuple(found: Any) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)


CALLS = {
    "walks": ("graph_random_features", walk_arguments(30, 90)),
    "columns": ("orthonormal_columns", column_arguments(60, 7)),
}
every_call = pytest.mark.parametrize("call", CALLS)


def test_words_are_those_of_the_published_vectors():
    """Random123's known answers for philox4x32-10."""
    ones = 2**32 - 1
    known = {
        (0, (0, 0, 0, 0)): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        (2**64 - 1, (ones, ones, ones, ones)): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        (0x299F31D0A4093822, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)): (
            0xD16CFE09,
            0x94FDCCEB,
            0x5001E420,
            0x24126EA1,
        ),
    }
    for (key, counter), expected in known.items():
        words = philox_words(np.array(key, np.uint64), *counter)
        assert tuple(int(word) for word in words) == expected


def test_words_are_those_of_dropout():
    ours = philox_words(np.array(12345, np.uint64), np.arange(16), 0, 0, 0)
    theirs = philox(torch.tensor([12345]), 64).reshape(4, 16)
    assert all(np.array_equal(one, two.numpy()) for one, two in zip(ours, theirs, strict=True))


def test_numbers_of_the_unit_interval_stay_below_one():
    words = np.array([0, 2**32 - 1], np.uint64)
    assert unit_interval(words, words).tolist() == [0.0, 1 - 2.0**-53]


@needs_kernels
@runs_kernels
@pytest.mark.parametrize(("size", "entries"), [(0, 0), (1, 0), (1, 3), (5, 4), (7, 40), (130, 300), (5000, 9000)])
@pytest.mark.parametrize("halting", [0.0, 0.4])
def test_kernel_and_reference_follow_the_same_walks(size: int, entries: int, halting: float):
    # More walks than the kernel takes side by side, too.
    for steps, num_walks in ((0, 2), (1, 1), (5, 3), (4, 600 if size < 200 else 2)):
        arguments = walk_arguments(size, entries, halting=halting, steps=steps, num_walks=num_walks)
        found, expected = run("graph_random_features", arguments), references["graph_random_features"](*arguments)
        for one, two in zip(found[:2], expected[:2], strict=True):
            assert torch.equal(one, two)
        torch.testing.assert_close(found[2], expected[2], rtol=1e-12, atol=1e-12)


@needs_kernels
@runs_kernels
@pytest.mark.parametrize(("rows", "width"), [(0, 3), (4, 0), (1, 1), (3, 8), (60, 7), (300, 20)])
def test_kernel_and_reference_find_the_same_columns(rows: int, width: int):
    arguments = column_arguments(rows, width)
    found, expected = run("orthonormal_columns", arguments)[0], references["orthonormal_columns"](*arguments)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(found == 0, expected == 0), "the same columns are zero"


@pytest.mark.parametrize("condition", [1.0, 1e6, 1e9])
def test_columns_are_orthonormal_and_span_what_was_given(condition: float):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    x = x @ torch.diag(torch.logspace(0, -1, 6, base=condition, dtype=torch.float64)) + x[:, :1]
    q = torch.ops.gnnkit.orthonormal_columns(x, torch.tensor([0, 50]), 1e-12)
    torch.testing.assert_close(q.T @ q, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-13)
    triangle = q.T @ x
    assert bool((triangle.diagonal() > 0).all())
    torch.testing.assert_close(q @ triangle.triu(), x, rtol=0, atol=1e-12)


def test_segments_do_not_see_each_other():
    x, ptr, tolerance = column_arguments(41, 5)
    whole = torch.ops.gnnkit.orthonormal_columns(x, ptr, tolerance)
    for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        alone = torch.ops.gnnkit.orthonormal_columns(x[begin:end], torch.tensor([0, end - begin]), tolerance)
        assert torch.equal(whole[begin:end], alone)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("graph_random_features", walk_arguments(3000, 9000, num_walks=10)),
        ("orthonormal_columns", column_arguments(6000, 9)),
    ],
)
def test_the_same_bits_for_any_number_of_threads(name: str, arguments: tuple[Any, ...]):
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(name, arguments))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(result, results[0], strict=True))


@every_call
def test_is_traceable(call: str):
    name, arguments = CALLS[call]
    operator = getattr(torch.ops.gnnkit, name)
    torch.compiler.reset()  # all operators come through one line of code
    torch.library.opcheck(operator.default, arguments)
    compiled = torch.compile(
        lambda *given: as_tuple(operator(*given))[-1].sum(), backend="aot_eager", fullgraph=True, dynamic=True
    )
    torch.testing.assert_close(compiled(*arguments), run(name, arguments)[-1].sum())


@every_call
def test_reads_nothing_it_did_not_write(call: str, nan_filled_memory: None):
    name, arguments = CALLS[call]
    for found, expected in zip(run(name, arguments), as_tuple(references[name](*arguments)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@runs_kernels
@every_call
@nonsense
def test_raw_operators_survive_nonsense(call: str, data: st.DataObject):
    name, arguments = CALLS[call]
    # The number of walks says how long it goes on.
    call_with_nonsense(data, name, arguments, capped={8})


@needs_kernels
@runs_kernels
def test_raw_operators_check_what_they_index_by():
    rowptr, col, factor, probability, key, node, modulation, *rest = walk_arguments(6, 12)
    for wrong in (
        (rowptr, col + 6, factor, probability, key, node, modulation, *rest),
        (rowptr + 1, col, factor, probability, key, node, modulation, *rest),
        (rowptr, col, factor[1:], probability, key, node, modulation, *rest),
        (rowptr, col, factor, probability, key[1:], node, modulation, *rest),
        (rowptr, col, factor, probability, key, node - 2**32, modulation, *rest),
        (rowptr, col, factor, probability, key, node, modulation[:0], *rest),
        (rowptr, col, factor, probability, key, node, modulation, 0.1, 0, 1),
        (rowptr, col, factor, probability, key, node, modulation, 0.1, 2, -1),
        (rowptr.int(), col.int(), factor, probability, key, node, modulation, *rest),
    ):
        with pytest.raises(RuntimeError):
            torch.ops.gnnkit.graph_random_features(*wrong)
    for ptr in (torch.tensor([0, 61]), torch.tensor([0, 50, 40, 60]), torch.tensor([1, 60])):
        with pytest.raises(RuntimeError, match="boundaries"):
            torch.ops.gnnkit.orthonormal_columns(column_arguments(60, 3)[0], ptr, 0.0)
