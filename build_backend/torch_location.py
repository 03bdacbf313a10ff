"""Prints the folder of an installed torch whose headers can be built against; exits with 1 where there is none.

A build in isolation does not see the environment it installs into, but that is where torch usually lies already, and
its headers are all that is needed: so the environment's site-packages are searched too, and no second torch of several
gigabytes has to be downloaded.
"""

import importlib.util
import sys
import sysconfig
from pathlib import Path

MINIMUM = (2, 11)


def find_torch() -> Path | None:
    """The folder of a torch of at least the minimum version, from the build environment or the target one."""
    folders = []
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.submodule_search_locations:
        folders += [Path(location) for location in spec.submodule_search_locations]
    for scheme in ("platlib", "purelib"):
        folders.append(Path(sysconfig.get_paths()[scheme]) / "torch")
    return next((folder for folder in folders if _fits(folder)), None)


def _fits(folder: Path) -> bool:
    if not (folder / "include/torch/csrc/stable/ops.h").exists():
        return False
    header = (folder / "include/torch/headeronly/version.h").read_text()
    numbers = dict(line.split()[1:3] for line in header.splitlines() if line.startswith("#define TORCH_VERSION_M"))
    found = (int(numbers.get("TORCH_VERSION_MAJOR", 0)), int(numbers.get("TORCH_VERSION_MINOR", 0)))
    return found >= MINIMUM


if __name__ == "__main__":
    torch_folder = find_torch()
    if torch_folder is None:
        sys.exit(1)
    print(torch_folder)
