"""Files of mapped arrays: layout, and what is said of files that are not what they were."""

import errno
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gnnkit.errors import DataError
from gnnkit.sample.store import _container
from gnnkit.sample.store._container import Mapped, writing

KIND = "test"


def written(path: Path) -> dict[str, Tensor]:
    """A file with arrays of several dtypes, appended and placed in turns, of which some are empty."""
    arrays = {
        "first": torch.arange(5000, dtype=torch.int64),
        "placed": torch.arange(33, dtype=torch.int32).reshape(11, 3),
        "empty": torch.empty(0, 7),
        "half": torch.randn(70, 3).bfloat16(),
        "nothing": torch.empty(0, dtype=torch.int32),
        "bytes": torch.arange(9, dtype=torch.uint8),
    }
    with writing(path, KIND, {"answer": 42}) as file:
        for name, value in arrays.items():
            if name in ("placed", "nothing"):
                file.place(name, value.dtype, list(value.shape)).copy_(value)
            else:
                assert file.append(name, iter(value.split(1000)), value.dtype, value.shape[1:]) == len(value)
    return arrays


def only_file_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_arrays_come_back(tmp_path: Path):
    arrays = written(tmp_path / "file")
    file = Mapped(tmp_path / "file", KIND)
    assert file.about == {"answer": 42}
    for name, value in arrays.items():
        assert name in file
        found = file.tensor(name)
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert torch.equal(found, value)
    assert "other" not in file
    file.verify()
    assert only_file_in(tmp_path) == ["file"]


def test_the_layout_is_what_is_documented(tmp_path: Path):
    arrays = written(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    assert content[:16] == b"gnnkit store 1\n\0"
    length = int.from_bytes(content[16:24], "little")
    text = content[56 : 56 + length]
    assert hashlib.sha256(text).digest() == content[24:56]
    header = json.loads(text)
    assert header["end"] == len(content)
    for entry in header["arrays"]:
        value = arrays[entry["name"]]
        raw = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        assert entry["start"] % 4096 == 0
        assert content[entry["start"] : entry["start"] + len(raw)] == raw
        assert entry["sha256"] == hashlib.sha256(raw).hexdigest()
    floats = next(entry for entry in header["arrays"] if entry["name"] == "first")
    assert np.array_equal(np.memmap(tmp_path / "file", np.int64, "r", floats["start"], (5000,)), np.arange(5000))


def test_writing_to_a_mapped_tensor_leaves_the_file(tmp_path: Path):
    arrays = written(tmp_path / "file")
    Mapped(tmp_path / "file", KIND).tensor("first").zero_()
    assert torch.equal(Mapped(tmp_path / "file", KIND).tensor("first"), arrays["first"])


def test_a_truncated_file_is_refused(tmp_path: Path):
    written(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    for size in (1, 15, 16, 20, 23, 24, 55, 56, 80, 4096, 16384, len(content) - 4096, len(content) - 1):
        (tmp_path / "short").write_bytes(content[:size])
        with pytest.raises(DataError, match=r"truncated|damaged|no file of gnnkit"):
            Mapped(tmp_path / "short", KIND)
    for other in (b"", content + b"\0", b"PK" + content[2:]):
        (tmp_path / "short").write_bytes(other)
        with pytest.raises(DataError):
            Mapped(tmp_path / "short", KIND)


def test_a_header_that_is_not_what_was_written_is_refused(tmp_path: Path):
    written(tmp_path / "file")
    content = bytearray((tmp_path / "file").read_bytes())
    length = int.from_bytes(content[16:24], "little")
    for place in (*range(16, 24), 24, 55, *range(56, 56 + length, 37)):
        wrong = bytearray(content)
        wrong[place] ^= 1
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(DataError, match="damaged"):
            Mapped(tmp_path / "wrong", KIND)


def test_verify_finds_any_changed_byte_of_an_array(tmp_path: Path):
    arrays = written(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    header = json.loads(content[56 : 56 + int.from_bytes(content[16:24], "little")])
    for entry in header["arrays"]:
        if arrays[entry["name"]].numel() == 0:
            continue
        wrong = bytearray(content)
        wrong[entry["start"] + 3] ^= 128
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(DataError, match=f"damaged: {entry['name']} is not what was written"):
            Mapped(tmp_path / "wrong", KIND).verify()


def test_other_kinds_and_missing_files_are_refused(tmp_path: Path):
    written(tmp_path / "file")
    with pytest.raises(DataError, match="holds a test, not a graph"):
        Mapped(tmp_path / "file", "graph")
    with pytest.raises(DataError, match="there is no file"):
        Mapped(tmp_path / "none", KIND)
    with pytest.raises(DataError, match="cannot be read"):
        Mapped(tmp_path, KIND)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["write", "reserve", "rename", "fsync"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str):
    written(tmp_path / "file")
    before = (tmp_path / "file").read_bytes()
    if step == "write":
        monkeypatch.setattr(_container, "_write", full)
    elif step == "reserve":
        monkeypatch.setattr(_container.os, "posix_fallocate", full)
    else:
        monkeypatch.setattr(_container.os, {"rename": "replace", "fsync": "fsync"}[step], full)
    with pytest.raises(DataError, match=r"could not be written \(.*No space left on device\); nothing of it is left"):
        written(tmp_path / "file")
    monkeypatch.undo()
    assert only_file_in(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == before


def test_an_error_of_the_caller_is_his(tmp_path: Path):
    def parts() -> Iterator[Tensor]:
        yield torch.zeros(3)
        raise OSError(errno.EIO, "the source of the rows")

    with pytest.raises(OSError, match="the source of the rows"), writing(tmp_path / "file", KIND, {}) as file:
        file.append("rows", parts(), torch.float32, ())
    assert only_file_in(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match="could not be written"):
        written(tmp_path / "taken" / "file")


def too_large(path: Path, way: str) -> None:
    with writing(path, KIND, {}) as file:
        if way == "append":
            file.append("rows", iter([torch.zeros(20_000)] * 9), torch.float32, ())
        else:
            file.place("rows", torch.float32, [90_000]).fill_(1)


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files that raises is of Linux")
@pytest.mark.parametrize("way", ["append", "place"])
def test_a_file_that_the_system_does_not_let_grow(tmp_path: Path, way: str):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(DataError, match=r"could not be written \(.*File too large\)"):
            too_large(tmp_path / "file", way)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert only_file_in(tmp_path) == []
