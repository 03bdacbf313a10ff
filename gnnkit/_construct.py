"""Objects from the options that a configuration names, and the error for a name that does not exist."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from gnnkit.errors import ConfigError

T = TypeVar("T")


def construct(cls: Callable[..., T], *arguments: Any, options: Mapping[str, Any], section: str) -> T:
    """Calls a class with positional arguments and the options of a table.

    Args:
        cls: The class.
        *arguments: What it gets besides the options, by position.
        options: Keyword arguments, as a configuration gives them.
        section: Name of the table, for messages.

    Raises:
        ConfigError: If the class has no such option, lacks one that it needs, or refuses a value.
    """
    parameters = dict(list(inspect.signature(cls).parameters.items())[len(arguments) :])
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {key: parameter for key, parameter in parameters.items() if parameter.kind not in variadic}
    for key in options:
        if key not in named and not open_ended:
            raise unknown_key(key, named, section)
    for key, parameter in named.items():
        if parameter.default is parameter.empty and key not in options:
            raise ConfigError(f'[{section}] needs a key "{key}"')
    try:
        return cls(*arguments, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"[{section}]: {error}") from None


def unknown_key(key: str, valid: Iterable[str], section: str, noun: str = "key") -> ConfigError:
    """The error for a key that does not exist, with the nearest valid one."""
    names = sorted(valid)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f'; did you mean "{near[0]}"?' if near else "."
    choices = ", ".join(names) if names else "none"
    where = f"[{section}]" if section else "the configuration"
    return ConfigError(f'{where}: unknown {noun} "{key}"{hint} Valid: {choices}')
