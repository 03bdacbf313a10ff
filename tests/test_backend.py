import os
import shutil
import subprocess
import sys

import pytest

import gnnkit

CODE = "import logging; logging.basicConfig(level=logging.INFO); import gnnkit; print(gnnkit.backend_info()['cpu'])"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_states_say_why():
    for name, state in gnnkit.backend_info().items():
        assert name in ("cpu", "cuda")
        assert set(state) == {"loaded", "path", "reason"}
        assert state["reason"]


def test_switching_off_runs_the_reference_and_says_so():
    done = run(CODE, GNNKIT_DISABLE_EXT="1")
    assert "'loaded': False" in done.stdout
    assert done.stderr.count("the reference operators run") == 1
    code = "import torch, gnnkit; print(gnnkit.ops.segment_reduce(torch.ones(3), torch.tensor([0, 1, 3]), 'sum'))"
    assert run(code, GNNKIT_DISABLE_EXT="1").stdout.strip() == "tensor([1., 2.])"


def test_requiring_a_missing_library_is_an_error():
    done = run(CODE, GNNKIT_DISABLE_EXT="1", GNNKIT_REQUIRE_EXT="1")
    assert done.returncode != 0
    assert "BackendError" in done.stderr
    assert "GNNKIT_REQUIRE_EXT" in done.stderr


# As where torch has CUDA and sees a GPU, which the tests cannot presume, and is of a version that no library is for.
LOAD_WITH_CUDA = """
import logging, sys, torch
from pathlib import Path
from gnnkit import _backend
logging.basicConfig(level=logging.INFO)
torch.version.cuda, torch.cuda.is_available = "99.0", lambda: True
_backend._FOLDERS = (*_backend._FOLDERS, Path(sys.argv[1]))
_backend.load()
print(_backend.info()["cuda"])
"""


def load_with_cuda(folder, **environment):
    command = [sys.executable, "-c", LOAD_WITH_CUDA, str(folder)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_cuda_library_is_only_taken_for_torchs_version_of_cuda(tmp_path):
    (tmp_path / "libgnnkit_cuda98.so").touch()
    done = load_with_cuda(tmp_path)
    assert "'loaded': False" in done.stdout
    assert "libgnnkit_cuda99.so is not part of this installation: there is" in done.stdout
    assert "libgnnkit_cuda98.so" in done.stdout
    assert done.stderr.count("CUDA library not loaded") == 1
    # The file of the right name is taken, and then found to be no library.
    (tmp_path / "libgnnkit_cuda99.so").touch()
    assert "it failed to load" in load_with_cuda(tmp_path).stdout


def test_requiring_a_missing_cuda_library_is_an_error(tmp_path):
    if not gnnkit.backend_info()["cpu"]["loaded"]:
        pytest.skip("needs the CPU library: without it, that is the one found missing")
    done = load_with_cuda(tmp_path, GNNKIT_REQUIRE_EXT="1")
    assert done.returncode != 0
    assert "the CUDA library is not active" in done.stderr


@pytest.mark.parametrize("variable", ["GNNKIT_CPU_LIBRARY", "GNNKIT_CUDA_LIBRARY"])
def test_library_that_is_named_must_load(variable, tmp_path):
    done = run("import gnnkit", **{variable: str(tmp_path / "nothing.so")})
    assert done.returncode != 0
    assert f"{variable}=" in done.stderr


def test_library_uses_only_the_stable_abi():
    """No symbol of at:: or c10:: may be asked of torch: those change from one release to the next."""
    path = gnnkit.backend_info()["cpu"]["path"]
    if path is None or shutil.which("nm") is None:
        pytest.skip("needs the CPU library and nm")
    symbols = subprocess.run(["nm", "-D", "--undefined-only", path], capture_output=True, text=True, check=True).stdout
    asked = [line.split()[-1] for line in symbols.splitlines()]
    assert any(name.startswith("aoti_torch") or name.startswith("torch_") for name in asked)
    assert [name for name in asked if name.startswith(("_ZN2at", "_ZNK2at", "_ZN3c10", "_ZNK3c10", "_ZN5torch"))] == []
