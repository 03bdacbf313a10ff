"""The CUDA kernels, run on this machine's processor: the operators' tests on them, and the emulation's own alarms."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("GNNKIT_EMULATION_BUILD", Path(__file__).parents[1] / "build" / "emulation"))
LIBRARY, FAULTS = BUILD / "libgnnkit_emulated.so", BUILD / "emulation_faults"

needs_emulation = pytest.mark.skipif(
    not (LIBRARY.exists() and FAULTS.exists()), reason=f"the emulation is not built in {BUILD}: run `make emulation`"
)


# Threads of a block run in ascending order for seed 0. Other seeds permute them, and run one warp as far as it gets
# before the next one, or all of them in step. Left out is what runs the same kernels once more: traced calls, finite
# differences (the kernels of gradients are compared with references, which pass them), other numbers of host threads;
# `python -m tests.sanitize.run build/emulation/libgnnkit_emulated.so tests/ops` runs all.
@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "chosen", "at_least"),
    [
        (0, "not test_compiles and not test_opcheck and not test_gradients and not any_number_of_threads", 6500),
        (1, "test_kernels_equal or test_same_bits_twice or test_reads_nothing", 600),
    ],
)
def test_operators_pass_on_emulated_kernels(seed, chosen, at_least):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-m", "not slow"]
    command += ["tests/ops", "-k", chosen]
    environment = os.environ | {"GNNKIT_CPU_LIBRARY": str(LIBRARY), "GNNKIT_EMULATION_SEED": str(seed)}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= at_least


def outcome(fault: str, seed: int = 0) -> list[str]:
    environment = os.environ | {"GNNKIT_EMULATION_SEED": str(seed)}
    done = subprocess.run([FAULTS, fault], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()


# Two blocks that add 0 + 1 + ... + 127 each.
SUM = "16256"


@needs_emulation
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("half-at-the-barrier", "128 threads wait for one another for ever.* at __syncthreads;.* in a warp operation"),
        ("exited-lanes", "mask names lanes that have exited"),
        ("foreign-mask", "mask does not name its own lane"),
        ("outside-of-mask", "a shuffle that reads lane 20, which its mask does not name"),
        ("two-masks", "masks or kinds differ"),
        ("two-operations", "masks or kinds differ"),
        ("failed-check", r"block \(1, 0, 0\), thread \(\d+, 0, 0\): a device check failed: threadIdx.x < 70"),
        ("too-much-memory", "more shared memory than a block may have"),
        ("odd-block", "a multiple of 32 threads"),
        ("empty-grid", "the grid is empty"),
        ("tall-grid", "larger than a device takes"),
    ],
)
def test_fault_is_an_error_and_the_next_launch_is_sound(fault, words, seed):
    message, next_launch = outcome(fault, seed)
    assert message.startswith("kernel faulty, block (")
    assert re.search(words, message)
    assert next_launch == SUM


@needs_emulation
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_missing_synchronisation_shows_in_the_result(seed):
    assert outcome("none", seed) == [SUM]
    assert outcome("barrier", seed) == outcome("warp-barrier", seed) == ["256"]
    for fault in ("missing-barrier", "missing-warp-barrier"):
        assert outcome(fault, seed) != ["256"]
    assert outcome("unwritten-memory", seed)[0].lstrip("-") == "nan"


@needs_emulation
def test_atomic_operations_let_other_threads_in():
    """Between a read and a write that an atomic operation stands between, as two threads of a device may."""
    assert outcome("lost-update", 0) == ["256"]
    assert int(outcome("lost-update", 1)[0]) < 256
