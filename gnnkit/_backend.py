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

    ``GNNKIT_CPU_LIBRARY`` names a file to load as the CPU library instead of the installed one: how the tests run a
    build with sanitizers, or the CUDA kernels under emulation.

    Raises:
        BackendError: If ``GNNKIT_REQUIRE_EXT=1`` and the CPU library is not active, or ``GNNKIT_CPU_LIBRARY`` cannot
            be loaded.
    """
    override = os.environ.get("GNNKIT_CPU_LIBRARY")
    if override:
        _states["cpu"] = _load_file(Path(override))
        if not _states["cpu"].loaded:
            raise BackendError(f"GNNKIT_CPU_LIBRARY={override} cannot be used: {_states['cpu'].reason}")
    else:
        _states["cpu"] = _load_library(
            "gnnkit_cpu", wanted=True, unwanted_reason="", absent_reason="it was made with GNNKIT_BUILD_EXT=0"
        )
    _states["cuda"] = _load_library(
        "gnnkit_cuda",
        wanted=torch.version.cuda is not None,
        unwanted_reason="this torch is built without CUDA",
        absent_reason="this version has no CUDA kernels, and tensors on a GPU take the reference operators",
    )
    if not _states["cpu"].loaded:
        logger.info("CPU library not loaded (%s): the reference operators run", _states["cpu"].reason)
        if os.environ.get("GNNKIT_REQUIRE_EXT") == "1":
            raise BackendError(
                f"GNNKIT_REQUIRE_EXT=1, but the CPU library is not active: {_states['cpu'].reason}. "
                "Install gnnkit with a C++ compiler present, or unset GNNKIT_REQUIRE_EXT to run the reference operators"
            )


def _load_library(name: str, *, wanted: bool, unwanted_reason: str, absent_reason: str) -> LibraryState:
    file_name = f"{_PREFIX}{name}{_SUFFIX}"
    path = next((folder / file_name for folder in _FOLDERS if (folder / file_name).exists()), None)
    if not wanted:
        return LibraryState(False, None, unwanted_reason)
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
