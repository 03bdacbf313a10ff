"""gnnkit: a message-passing toolkit for PyTorch.

``import gnnkit`` loads the graph and the operators; every other part loads when it is first touched.
"""

import importlib
from typing import TYPE_CHECKING, Any

from gnnkit import errors, ops
from gnnkit._backend import info as backend_info
from gnnkit._version import __version__
from gnnkit.graph import Graph

if TYPE_CHECKING:
    from gnnkit import (
        compat,
        data,
        encodings,
        experiment,
        geometry,
        hypergraph,
        nn,
        rewire,
        sample,
        sequence,
        transforms,
    )

_LAZY = (
    "compat",
    "data",
    "encodings",
    "experiment",
    "geometry",
    "hypergraph",
    "nn",
    "rewire",
    "sample",
    "sequence",
    "transforms",
)

__all__ = [
    "Graph",
    "__version__",
    "backend_info",
    "compat",
    "data",
    "encodings",
    "errors",
    "experiment",
    "geometry",
    "hypergraph",
    "nn",
    "ops",
    "rewire",
    "sample",
    "sequence",
    "transforms",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"gnnkit.{name}")
    raise AttributeError(f"module 'gnnkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
