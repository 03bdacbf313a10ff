"""Loading of the native libraries, and what became of it."""

import logging
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gnnkit.errors import BackendError

logger = logging.getLogger("gnnkit")

# Beside this file in an ordinary installation; an editable one keeps the sources here and the libraries there.
_FOLDERS = (Path(__file__).parent / "lib", Path(sysconfig.get_path("platlib")) / "gnnkit" / "lib")
_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_PREFIX = "" if sys.platform == "win32" else "lib"


@dataclass(frozen=True)
class LibraryState:
    """Whether one native library is active, from where, and if not, why not."""

    loaded: bool
    path: str | None
    reason: str


_states: dict[str, LibraryState] = {}


def load() -> None:
    """Loads the libraries that fit this machine; called once, when ``gnnkit.ops`` is imported.

    ``GNNKIT_CPU_LIBRARY`` and ``GNNKIT_CUDA_LIBRARY`` name files to load instead of the installed libraries: how the
    tests run a build with sanitizers, the CUDA kernels under emulation, or what ``make cuda`` has built.

    Raises:
        BackendError: If ``GNNKIT_REQUIRE_EXT=1`` and the CPU library is not active, or the CUDA library where torch can
            use a GPU; or if a library that was named cannot be loaded.
    """
    _states["cpu"] = _load_named("GNNKIT_CPU_LIBRARY") or _load_installed(
        "gnnkit_cpu", "it was made with GNNKIT_BUILD_EXT=0"
    )
    _states["cuda"] = _load_named("GNNKIT_CUDA_LIBRARY") or _load_cuda(torch.version.cuda)
    if not _states["cpu"].loaded:
        _fall_back("CPU", _states["cpu"], "Install gnnkit with a C++ compiler present")
    # Asked last: looking for a GPU takes longer than loading a library.
    if not _states["cuda"].loaded and torch.version.cuda is not None and torch.cuda.is_available():
        _fall_back("CUDA", _states["cuda"], "Install gnnkit with the nvcc of torch's CUDA version present")


def _fall_back(device: str, state: LibraryState, remedy: str) -> None:
    logger.info("%s library not loaded (%s): the reference operators run", device, state.reason)
    if os.environ.get("GNNKIT_REQUIRE_EXT") == "1":
        raise BackendError(
            f"GNNKIT_REQUIRE_EXT=1, but the {device} library is not active: {state.reason}. "
            f"{remedy}, or unset GNNKIT_REQUIRE_EXT to run the reference operators"
        )


def _load_named(variable: str) -> LibraryState | None:
    """The library that an environment variable names, or None where it names none."""
    path = os.environ.get(variable)
    if not path:
        return None
    state = _load_file(Path(path))
    if not state.loaded:
        raise BackendError(f"{variable}={path} cannot be used: {state.reason}")
    return state


def _load_cuda(version: str | None) -> LibraryState:
    """The CUDA library made for the major version of CUDA that torch has."""
    if version is None:
        return LibraryState(False, None, "this torch is built without CUDA")
    name = "gnnkit_cuda"
    major = version.partition(".")[0]
    others = sorted(path.name for folder in _FOLDERS for path in folder.glob(f"{_PREFIX}{name}*{_SUFFIX}"))
    absent_reason = (
        f"there is {', '.join(others)}" if others else "it was made without nvcc, or for a torch without CUDA"
    )
    return _load_installed(f"{name}{major}", absent_reason)


def _load_installed(name: str, absent_reason: str) -> LibraryState:
    file_name = f"{_PREFIX}{name}{_SUFFIX}"
    path = next((folder / file_name for folder in _FOLDERS if (folder / file_name).exists()), None)
    if os.environ.get("GNNKIT_DISABLE_EXT") == "1":
        return LibraryState(False, None, "GNNKIT_DISABLE_EXT=1")
    if path is None:
        return LibraryState(False, None, f"{file_name} is not part of this installation: {absent_reason}")
    return _load_file(path)


def _load_file(path: Path) -> LibraryState:
    try:
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError) as error:
        return LibraryState(False, str(path), f"it failed to load: {error}")
    return LibraryState(True, str(path), "loaded")


def info() -> dict[str, Any]:
    """State of each native library: ``{"cpu": {"loaded", "path", "reason"}, "cuda": {...}}``."""
    return {name: vars(state) | {} for name, state in _states.items()}


def is_active(name: str = "cpu") -> bool:
    """Whether the native library for a device type is loaded."""
    return name in _states and _states[name].loaded
