"""What a record says about where it was made, and the memory of the process."""

import ctypes
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from gnnkit._version import __version__

_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch-geometric", "safetensors", "rdkit", "ogb")


def versions() -> dict[str, str | None]:
    """Versions of Python, torch, gnnkit and what they stand on; ``None`` for a package that is not installed."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "gnnkit": __version__,
        **{name: package_version(name) for name in _PACKAGES},
    }


def package_version(name: str) -> str | None:
    """The version of an installed package, or ``None``."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Processor, cores, threads that torch uses, operating system, and the GPU where there is one."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def backend() -> dict[str, Any]:
    """Which of gnnkit's native libraries are loaded; file names without their folders, which say nothing to others."""
    from gnnkit import _backend

    states = _backend.info()
    return {
        name: {**state, "path": Path(state["path"]).name if state["path"] else None} for name, state in states.items()
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository around ``folder`` and whether tracked files differ from it; ``None`` outside of one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(status)}


@lru_cache(maxsize=1)
def source_checksum() -> str:
    """SHA-256 over the Python files of the gnnkit that is running: the commit says what should run, this what did."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def provenance(folder: Path) -> dict[str, Any]:
    """What code is running; to be asked at the start of a run, before anybody edits it."""
    return {"git": git_state(folder), "gnnkit_source_sha256": source_checksum()}


def peak_memory() -> int | None:
    """Largest resident memory of this process, in bytes, so far or since :func:`restart_peak_memory`.

    ``None`` where the system does not say.
    """
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def restart_peak_memory() -> bool:
    """Makes :func:`peak_memory` count from what is resident now; whether the system can (Linux does)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def release_memory() -> bool:
    """Gives the system back what has been freed; whether the C library can (glibc does).

    Older versions of glibc hardly use aligned blocks of some megabytes again, as tensors are, when small ones lie
    between them (its bug 14581): after many steps of training a process may be several times as large as what it holds.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return False
    return True


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        models = []
    return models[0] if models else platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
