import numpy as np
import pytest
import torch

from gnnkit.data.rows import ids_of, rows_of
from gnnkit.errors import DtypeError, IndexRangeError, ShapeError


@pytest.mark.parametrize(
    "ids",
    [
        [4, 0, -1],
        (4, 0, 4),
        torch.tensor([4, 0, 4], dtype=torch.int32),
        np.array([4, 0, -1]),
        [np.int64(4), np.int64(0), np.int64(4)],
    ],
)
def test_numbers_in_any_container(ids) -> None:
    assert ids_of(ids, 5).tolist() == [4, 0, 4]
    assert ids_of(ids, 5).dtype == torch.int64


@pytest.mark.parametrize("chosen", [slice(None), slice(1, 3), slice(None, None, -2), slice(-2, None), slice(9, 20)])
def test_slices_are_pythons(chosen: slice) -> None:
    assert ids_of(chosen, 5).tolist() == list(range(5))[chosen]


def test_boolean_masks_and_ranges() -> None:
    assert ids_of(torch.tensor([True, False, True]), 3).tolist() == [0, 2]
    assert ids_of([False, True, True], 3).tolist() == [1, 2]
    assert ids_of(range(1, 3), 3).tolist() == [1, 2]
    assert ids_of([], 3).tolist() == []


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 5], IndexRangeError, r"graph number 5 \(ids\[1\]\) is out of range for 5 graphs"),
        ([-6], IndexRangeError, "-6"),
        ([0.5], DtypeError, "float64"),
        (["a"], DtypeError, "str|ids must be integers"),
        (torch.tensor([True]), ShapeError, "one entry per graph"),
        (torch.zeros(2, 2, dtype=torch.int64), ShapeError, r"\(2, 2\)"),
    ],
)
def test_bad_ids(ids, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ids_of(ids, 5)


def test_rows_of_segments_with_empty_and_repeated_ones() -> None:
    ptr = torch.tensor([0, 2, 2, 5])
    rows, out = rows_of(ptr, torch.tensor([2, 1, 0, 2]), torch.device("cpu"))
    assert rows.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
    assert out.tolist() == [0, 3, 3, 5, 8]
