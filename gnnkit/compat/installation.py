"""Makes ``import torch_scatter`` find :mod:`gnnkit.compat.torch_scatter`."""

import importlib
import sys
from types import ModuleType

from gnnkit.errors import BackendError

_PACKAGE = "gnnkit.compat.torch_scatter"
# Module names of torch_scatter, and the module here that stands for each.
_ALIASES = {
    "torch_scatter": _PACKAGE,
    "torch_scatter.scatter": f"{_PACKAGE}.scatter",
    "torch_scatter.segment_coo": f"{_PACKAGE}.segment_coo",
    "torch_scatter.segment_csr": f"{_PACKAGE}.segment_csr",
    "torch_scatter.utils": f"{_PACKAGE}.utils",
    "torch_scatter.composite": f"{_PACKAGE}.composite",
    "torch_scatter.composite.softmax": f"{_PACKAGE}.composite",
    "torch_scatter.composite.logsumexp": f"{_PACKAGE}.composite",
    "torch_scatter.composite.std": f"{_PACKAGE}.composite",
}
# What force=True has replaced.
_replaced: dict[str, ModuleType] = {}


def install(*, force: bool = False) -> None:
    """Makes ``import torch_scatter`` find gnnkit's functions, in this process.

    Call it before anything imports ``torch_scatter``; before PyTorch Geometric too, which looks for it only once.
    A ``torch_scatter`` that is installed but not yet imported is passed over. Calling it twice does no harm. A process
    that is started afresh (a data loader's worker with the ``spawn`` method) has to call it as well.

    Args:
        force: Whether to replace a ``torch_scatter`` that is imported already. Names that others took from it stay.

    Raises:
        BackendError: If another ``torch_scatter`` is imported already, and ``force`` is False.
    """
    module = importlib.import_module(_PACKAGE)
    present = sys.modules.get("torch_scatter")
    if present is module:
        return
    others = {name: found for name, found in sys.modules.items() if _is_torch_scatter(name)}
    if others and not force:
        raise BackendError(
            f"torch_scatter is imported already, from {getattr(present, '__file__', 'an unknown place')}; call "
            "gnnkit.compat.install() before that import, or install(force=True) to replace it"
        )
    _replaced.update(others)
    for name in others:
        del sys.modules[name]
    for name, target in _ALIASES.items():
        sys.modules[name] = importlib.import_module(target)


def uninstall() -> None:
    """Undoes :func:`install`, and puts back what it replaced; modules that hold gnnkit's functions keep them."""
    if sys.modules.get("torch_scatter") is not sys.modules.get(_PACKAGE) or _PACKAGE not in sys.modules:
        return
    for name in [name for name in sys.modules if _is_torch_scatter(name)]:
        del sys.modules[name]
    sys.modules.update(_replaced)
    _replaced.clear()


def _is_torch_scatter(name: str) -> bool:
    return name == "torch_scatter" or name.startswith("torch_scatter.")
