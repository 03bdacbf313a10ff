"""Which peers are installed here; one that is not is said to be absent, never replaced."""

import importlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import gnnkit

# Import name, and the name under which its version is recorded.
PACKAGES = {
    "torch": "torch",
    "torch_geometric": "torch-geometric",
    "scipy": "scipy",
    "torch_scatter": "torch-scatter",
    "torch_sparse": "torch-sparse",
    "pyg_lib": "pyg-lib",
    "dgl": "dgl",
}


@dataclass(frozen=True)
class FoundPeer:
    """A peer package: its version, or why there is none."""

    version: str | None
    absent: str | None = None


def find(name: str) -> FoundPeer:
    """Imports a package and makes sure that it is the real one."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        reason = "not installed" if error.name == name else f"it needs {error.name}"
        return FoundPeer(None, reason)
    except Exception as error:  # what a library built for another torch raises is anybody's guess
        return FoundPeer(None, f"its import fails: {type(error).__name__}: {str(error).splitlines()[0][:120]}")
    if _is_ours(module):
        return FoundPeer(None, "gnnkit.compat stands in its place")
    return FoundPeer(_version(name, module))


def find_all() -> dict[str, FoundPeer]:
    """All peers, present or absent."""
    return {name: find(name) for name in PACKAGES}


def _is_ours(module: ModuleType) -> bool:
    """Whether a module is part of gnnkit, under whatever name it is found."""
    if module.__name__.partition(".")[0] == "gnnkit":
        return True
    own = Path(gnnkit.__file__).resolve().parent
    return module.__file__ is not None and own in Path(module.__file__).resolve().parents


def _version(name: str, module: ModuleType) -> str:
    try:
        return importlib.metadata.version(PACKAGES[name])
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(module, "__version__", "unknown"))
