import hashlib
import multiprocessing
import os
from pathlib import Path

import pytest

from gnnkit._files import atomic_writer, write_atomic
from gnnkit.data.files import cache_root, check_file, data_root, exclusive, is_writable, sha256_of
from gnnkit.errors import DataError


def test_roots_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert data_root() == tmp_path / "root"
    assert cache_root() == tmp_path / "cache"
    monkeypatch.setenv("GNNKIT_DATA", "")
    monkeypatch.delenv("GNNKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data_root() == tmp_path / "xdg" / "gnnkit" / "data"
    assert cache_root() == tmp_path / "xdg" / "gnnkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / ".cache" / "gnnkit"
    monkeypatch.setenv("GNNKIT_DATA", "~/mine")
    assert data_root() == tmp_path / "home" / "mine"


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1000)
    assert sha256_of(path) == hashlib.sha256(b"abc" * 1000).hexdigest()
    with pytest.raises(DataError, match="cannot read"):
        sha256_of(tmp_path / "missing")


def test_a_wrong_file_is_named_with_both_checksums(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"actual")
    actual, expected = hashlib.sha256(b"actual").hexdigest(), hashlib.sha256(b"expected").hexdigest()
    check_file(path, size=6, sha256=actual)
    with pytest.raises(DataError) as caught:
        check_file(path, size=8, sha256=expected)
    assert all(part in str(caught.value) for part in (actual, expected, str(path), "truncated", "6 bytes", "8 bytes"))
    with pytest.raises(DataError, match="another version"):
        check_file(path, size=6, sha256=expected)
    with pytest.raises(DataError, match="does not exist"):
        check_file(tmp_path / "missing", size=6, sha256=expected)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_atomic(path, b"old")
    with pytest.raises(KeyboardInterrupt):
        _interrupted_write(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def _interrupted_write(path: Path) -> None:
    with atomic_writer(path) as file:
        file.write(b"half of the new")
        file.flush()
        raise KeyboardInterrupt


def test_nothing_appears_under_the_name_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_writer(path) as file:
        file.write(b"x" * 100_000)
        file.flush()
        assert not path.exists()
    assert path.stat().st_size == 100_000


def _killed_while_writing(path: Path) -> None:
    with atomic_writer(path) as file:
        file.write(b"half")
        file.flush()
        os._exit(9)


def test_a_killed_writer_leaves_no_file_under_the_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    process = multiprocessing.get_context("spawn").Process(target=_killed_while_writing, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert not path.exists()


def test_is_writable(tmp_path: Path) -> None:
    assert is_writable(tmp_path / "not" / "yet" / "there")
    (tmp_path / "file").touch()
    assert not is_writable(tmp_path / "file" / "below")


def test_the_lock_keeps_others_out(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "folder" / "lock"
    with exclusive(path), path.open("a") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_no_lock_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with exclusive(tmp_path / "file" / "lock"):
        pass
