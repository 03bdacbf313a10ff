"""Fixtures of all tests: no network, a fixed seed, and a switch that fills fresh memory with NaN."""

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket
import torch

import gnnkit


def pytest_sessionstart() -> None:
    """Shares the processors between workers; ends a run that was to test one library but got another."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        # One process per processor: tests of several threads set their number themselves.
        torch.set_num_threads(1)
    wanted = os.environ.get("GNNKIT_CPU_LIBRARY")
    loaded = gnnkit.backend_info()["cpu"]["path"]
    if wanted and loaded != str(Path(wanted)):
        pytest.exit(f"GNNKIT_CPU_LIBRARY names {wanted}, but {loaded} is loaded", returncode=3)


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def nan_filled_memory() -> Iterator[None]:
    """Fills every freshly allocated tensor with NaN (integers: the largest), in C++ as in Python."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(64).isnan().all(), "the poison must work for the test to mean anything"
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def raw_data() -> Path:
    """The folder of raw benchmark files that GNNKIT_DATA names; skips where there is none."""
    root = os.environ.get("GNNKIT_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("GNNKIT_DATA names no folder of raw benchmark files")
    return Path(root)


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """``gnnkit.cli.main`` sets up logging for a process of its own."""
    root, own = logging.getLogger(), logging.getLogger("gnnkit")
    handlers, level, own_level = root.handlers[:], root.level, own.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Nothing but the last reference to an object frees it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
