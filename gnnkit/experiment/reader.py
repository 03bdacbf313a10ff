"""Reads plain tables (TOML, JSON) into typed frozen dataclasses, and writes them back.

Nothing here knows about experiments. A dataclass is its own schema: the field names are the valid keys, the annotations
the valid types, the defaults what an absent key means, and ``__post_init__`` holds the invariants. A dataclass whose
table is not shaped like its fields defines ``from_table(cls, table, section)`` and ``to_table(self)``.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from gnnkit._construct import unknown_key
from gnnkit.errors import ConfigError

T = TypeVar("T")

_PLAIN = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def read_table(cls: type[T], table: Mapping[str, Any], section: str = "") -> T:
    """Reads a table into a dataclass.

    Args:
        cls: A dataclass type.
        table: Keys and values as TOML or JSON give them.
        section: Dotted name of the table, for messages.

    Returns:
        An instance of ``cls``; absent keys take their defaults.

    Raises:
        ConfigError: On an unknown key (naming the nearest valid one), a missing key, a value of another type than the
            field's, or an invariant of the dataclass that does not hold.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"{_where(section)}: expected a table, got {_describe(table)}")
    custom = getattr(cls, "from_table", None)
    if custom is not None:
        return custom(table, section)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls)) if field.init}
    for key in table:
        if key not in fields:
            raise unknown_key(key, fields, section)
    hints = typing.get_type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], _join(section, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f'{_where(section)} needs a key "{name}" ({_expected(hints[name])})')
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{_where(section)}: {error}") from None


def write_table(config: Any) -> dict[str, Any]:
    """Turns a dataclass into plain tables, from which ``read_table`` makes an equal one.

    A key whose value is ``None`` is left out: TOML has no null, and ``None`` is always the default.
    """
    custom = getattr(config, "to_table", None)
    if custom is not None:
        return custom()
    values = {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config) if field.init}
    return {name: value for name, value in values.items() if value is not None}


def _convert(hint: Any, value: Any, section: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_optional(arguments, value, section)
    if origin is typing.Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            raise _wrong_type(hint, value, section)
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, hint, section)
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise _wrong_type(hint, value, section)
        return dict(value)
    if dataclasses.is_dataclass(hint):
        return read_table(typing.cast(type, hint), value, section)
    return _convert_plain(hint, value, section)


def _convert_plain(hint: Any, value: Any, section: str) -> Any:
    # bool is an int in Python, never in a config; an integer is a fine value for a float.
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint not in _PLAIN:
        raise TypeError(f"{section}: the reader does not know the annotation {hint!r}")
    if type(value) is not hint:
        raise _wrong_type(hint, value, section)
    return value


def _convert_optional(arguments: tuple[Any, ...], value: Any, section: str) -> Any:
    if value is None and types.NoneType in arguments:
        return None
    choices = [argument for argument in arguments if argument is not types.NoneType]
    if len(choices) > 1 and all(dataclasses.is_dataclass(choice) for choice in choices):
        return _convert(_of_kind(choices, value, section), value, section)
    for choice in choices[:-1]:
        try:
            return _convert(choice, value, section)
        except ConfigError:
            continue
    return _convert(choices[-1], value, section)


def _of_kind(choices: list[Any], table: Any, section: str) -> Any:
    """Of several dataclasses, the one whose key ``kind`` may have the value given; for none given, one without it."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{_where(section)}: expected a table, got {_describe(table)}")
    kinds = {kind: choice for choice in choices for kind in typing.get_args(typing.get_type_hints(choice).get("kind"))}
    if "kind" in table:
        kind = table["kind"]
        if not isinstance(kind, str) or kind not in kinds:
            raise unknown_key(str(kind), kinds, section, "kind")
        return kinds[kind]
    return next(choice for choice in choices if choice not in kinds.values())


def _convert_tuple(arguments: tuple[Any, ...], value: Any, hint: Any, section: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong_type(hint, value, section)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_convert(arguments[0], item, f"{section}[{i}]") for i, item in enumerate(value))
    if len(value) != len(arguments):
        raise ConfigError(f"{_where(section)}: expected {len(arguments)} values, got {len(value)}")
    items = zip(arguments, value, strict=True)
    return tuple(_convert(argument, item, f"{section}[{i}]") for i, (argument, item) in enumerate(items))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return write_table(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _wrong_type(hint: Any, value: Any, section: str) -> ConfigError:
    return ConfigError(f"{_where(section)}: expected {_expected(hint)}, got {_describe(value)}")


def _expected(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_expected(argument) for argument in arguments if argument is not types.NoneType)
    if origin is tuple:
        return f"a list of {_expected(arguments[0]).removeprefix('a ').removeprefix('an ')}s"
    return "a table"


def _describe(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def _join(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _where(section: str) -> str:
    return f"[{section}]" if section else "the configuration"
