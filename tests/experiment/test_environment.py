import platform
import resource
import subprocess
from pathlib import Path

import pytest
import torch

from gnnkit import __version__
from gnnkit.experiment import environment


def test_versions_name_what_matters():
    versions = environment.versions()
    assert versions["torch"] == torch.__version__
    assert versions["gnnkit"] == __version__
    assert versions["numpy"]
    assert environment.package_version("no-such-package-at-all") is None


def test_machine_and_memory():
    machine = environment.machine()
    assert machine["cpu"]
    assert machine["cores"] >= 1
    peak = environment.peak_memory()
    assert peak is None or peak > 2**20


def test_peak_memory_can_be_counted_from_now_on():
    mebibyte = 2**20
    # Memory that is freed again, and large enough for the allocator to give back.
    assert torch.ones(64 * mebibyte, dtype=torch.int32).sum() == 64 * mebibyte
    before = environment.peak_memory()
    if not environment.restart_peak_memory():
        assert environment.peak_memory() == before
        return
    now = environment.peak_memory()
    assert before is not None
    assert now is not None
    assert mebibyte < now < before - 100 * mebibyte


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_given_back():
    # Small enough to come from the heap; the last one keeps the others from going back by themselves.
    blocks = [torch.ones(2**13) for _ in range(4000)]
    last = blocks.pop()
    full = resident()
    blocks.clear()
    environment.release_memory()
    assert resident() < full - 100 * 2**20
    assert last.sum() == 2**13


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_backend_says_why_and_no_folders():
    for state in environment.backend().values():
        assert state["path"] is None or "/" not in state["path"]
        assert state["loaded"] or state["reason"]


def test_git_state(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert environment.git_state(tmp_path) is None
    git("init")
    assert environment.git_state(tmp_path) is None
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    state = environment.git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "file").write_text("2")
    changed = environment.git_state(tmp_path)
    assert changed is not None
    assert changed["dirty"] is True


def test_source_checksum_is_of_this_package():
    assert len(environment.source_checksum()) == 64
    assert environment.source_checksum() == environment.source_checksum()
