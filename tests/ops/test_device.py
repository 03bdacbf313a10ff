"""The battery on a GPU, where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gnnkit import _backend
from tests.ops.samples import DEVICE


@pytest.mark.slow
def test_operators_pass_on_the_gpu():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    if not _backend.is_active("cuda"):
        pytest.skip(f"the CUDA library is not loaded: {_backend.info()['cuda']['reason']}")
    assert DEVICE.type == "cpu", "already in the battery of a device"
    battery = Path(__file__).with_name("test_battery.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-m", "not slow"]
    # References run too, and theirs are torch's operators: deterministic ones, where fresh memory is poisoned.
    environment = os.environ | {"GNNKIT_TEST_DEVICE": "cuda", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    done = subprocess.run([*command, battery], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout
