import gzip
from pathlib import Path

import numpy as np
import pytest

from gnnkit.data.tables import read_columns, read_integers, read_numbers, read_text
from gnnkit.errors import DataError


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_integers(tmp_path: Path) -> None:
    table = read_integers(write(tmp_path / "t.csv.gz", "1,2\n-3,4\n"), 2)
    assert table.dtype == np.int64
    assert table.tolist() == [[1, 2], [-3, 4]]
    assert read_integers(write(tmp_path / "t.csv.gz", "7\n"), 1).tolist() == [[7]]
    assert read_integers(write(tmp_path / "t.csv.gz", "1,2,3"), 3).tolist() == [[1, 2, 3]]
    assert read_integers(write(tmp_path / "t.csv.gz", ""), 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3\n", r"line 2: expected 2 column\(s\), got 1"),
        ("1,2\n3,4,5\n", "line 2: .* got 3"),
        ("1,2\n\n3,4\n", "line 2"),
        ("1,2\n3,x\n", "line 2: expected an integer, got 'x'"),
        ("1,2\n3,\n", "line 2: expected an integer, got ''"),
        ("1,2\n3,4.5\n", "line 2: expected an integer, got '4.5'"),
        ("1\n2\n", "line 1: .* got 1"),
    ],
)
def test_bad_integers_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_integers(write(tmp_path / "t.csv.gz", text), 2)


def test_numbers_with_missing_ones(tmp_path: Path) -> None:
    table = read_numbers(write(tmp_path / "t.csv.gz", "1.5,0\n,nan\n-2e3, \n"))
    assert np.array_equal(table, [[1.5, 0], [np.nan, np.nan], [-2000, np.nan]], equal_nan=True)
    with pytest.raises(DataError, match=r"line 2: .*'x'"):
        read_numbers(write(tmp_path / "t.csv.gz", "1\nx\n"))
    with pytest.raises(DataError, match="line 2: expected 1"):
        read_numbers(write(tmp_path / "t.csv.gz", "1\n1,2\n"))


def test_named_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv.gz", 'id,smiles,labels\n0,CC,"[1, 0]"\n1,"C,C","[0, 0]"\n')
    assert read_columns(path, ["labels", "smiles"]) == {"labels": ["[1, 0]", "[0, 0]"], "smiles": ["CC", "C,C"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,smile\n0,CC\n", r"no column 'smiles' \(did you mean 'smile'\?\); its columns are id, smile"),
        ("id,smiles\n0,CC\n1\n", r"row 1 \(line 3\): expected 2 cells, got 1"),
        ('id,smiles\n0,"CC\n', "not valid CSV"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_columns(write(tmp_path / "t.csv.gz", text), ["smiles"])


def test_every_truncation_of_a_gzip_file_is_noticed(tmp_path: Path) -> None:
    content = gzip.compress(b"1,2\n" * 100)
    path = tmp_path / "t.csv.gz"
    for length in range(1, len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"truncated|not a valid gzip"):
            read_integers(path, 2)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(b"1,2\n")
    with pytest.raises(DataError, match="not a valid gzip file"):
        read_text(path)
    content = bytearray(gzip.compress(b"1,2\n" * 100))
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a valid gzip file"):
        read_text(path)
    with pytest.raises(DataError, match="cannot read"):
        read_text(tmp_path / "missing.csv.gz")
    path.write_bytes(gzip.compress(b"a\nb\n\xff"))
    with pytest.raises(DataError, match="line 3: not UTF-8"):
        read_text(path)
