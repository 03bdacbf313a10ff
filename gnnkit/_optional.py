"""Packages that only parts of gnnkit need."""

import importlib
from typing import Any

from gnnkit.errors import BackendError


def require(module: str, package: str, purpose: str, extra: str) -> Any:
    """Imports a module of an optional package.

    Args:
        module: Its full name.
        package: What the package is called.
        purpose: What needs it, for the message.
        extra: The extra of gnnkit that installs it.

    Raises:
        BackendError: If the package is not installed, or cannot be imported, which are told apart.
    """
    try:
        # The package first: a module of it that was imported before it went away is of no use.
        importlib.import_module(module.partition(".")[0])
        return importlib.import_module(module)
    except Exception as error:  # what a package built against another one raises is anybody's guess
        if is_absent(error, module):
            raise BackendError(f"{purpose} needs {package}: pip install 'gnnkit[{extra}]'") from error
        raise BackendError(
            f"{purpose} needs {package}, which is installed but cannot be imported "
            f"({type(error).__name__}: {error}); install it again: pip install --force-reinstall 'gnnkit[{extra}]'"
        ) from error


def is_absent(error: Exception, module: str) -> bool:
    """Whether importing ``module`` failed since its package is not there, and not since something within it is."""
    return isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
