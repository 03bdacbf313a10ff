"""The build backend: scikit-build-core, plus two decisions that pyproject.toml cannot express.

``GNNKIT_BUILD_EXT=0`` builds without a compiler and without CMake. Torch is a build requirement only where none is
installed in the target environment, since its stable headers are the same from one version to the next.
"""

import os
import shutil
from typing import Any

from scikit_build_core import build as _scikit
from torch_location import MINIMUM, find_torch

get_requires_for_build_sdist = _scikit.get_requires_for_build_sdist
build_sdist = _scikit.build_sdist


def _wants_extension() -> bool:
    choice = os.environ.get("GNNKIT_BUILD_EXT", "1")
    if choice not in ("0", "1"):
        raise SystemExit(f"GNNKIT_BUILD_EXT must be 0 or 1, got {choice!r}")
    if choice == "1" and not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        raise SystemExit(
            "No C++ compiler was found. Install g++ or clang++, or set GNNKIT_BUILD_EXT=0 to install gnnkit without "
            "native libraries: it then runs on its reference operators."
        )
    return choice == "1"


def _settings(config_settings: dict[str, Any] | None) -> dict[str, Any]:
    settings = dict(config_settings or {})
    if not _wants_extension():
        settings["wheel.cmake"] = "false"
        settings["wheel.platlib"] = "false"
    return settings


def _requires(scikit_requires: list[str]) -> list[str]:
    if not _wants_extension():
        return [name for name in scikit_requires if not name.startswith(("cmake", "ninja"))]
    if find_torch() is None:
        return [*scikit_requires, "torch>={}.{}".format(*MINIMUM)]
    return scikit_requires


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Requirements of a wheel build."""
    return _requires(_scikit.get_requires_for_build_wheel(_settings(config_settings)))


def get_requires_for_build_editable(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Requirements of an editable build."""
    return _requires(_scikit.get_requires_for_build_editable(_settings(config_settings)))


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Builds the wheel."""
    return _scikit.build_wheel(wheel_directory, _settings(config_settings), metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Builds the editable wheel."""
    return _scikit.build_editable(wheel_directory, _settings(config_settings), metadata_directory)


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    """Writes the metadata of a wheel without building it."""
    return _scikit.prepare_metadata_for_build_wheel(metadata_directory, _settings(config_settings))


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    """Writes the metadata of an editable wheel without building it."""
    return _scikit.prepare_metadata_for_build_editable(metadata_directory, _settings(config_settings))
