"""The arguments of a transform's constructor as options of a command."""

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any

from gnnkit.errors import ConfigError

_PREFIX = "option_"


def add_options(
    parser: argparse.ArgumentParser,
    transform: Callable[..., Any],
    name: str,
    *,
    leading: str | None = None,
    fixed: Collection[str] = (),
) -> None:
    """Adds an option for each argument of a transform's constructor.

    An argument whose name is an option already takes that of the method in front of it.

    Args:
        parser: What the options are added to.
        transform: The class.
        name: What the command calls it.
        leading: Another option for the first argument, if that may be given by position and is a number: ``--k`` is
            what half of the field calls the number of steps, of vectors or of hops.
        fixed: Arguments that ``name`` decides already; they are no options.

    Raises:
        ConfigError: If an argument that must be given has no form as text.
    """
    hints = typing.get_type_hints(transform.__init__)
    words = _argument_words(transform)
    taken = {flag for action in parser._actions for flag in action.option_strings}
    group = parser.add_argument_group(f"options of {name} ({getattr(transform, '__name__', transform)})")
    parameters = inspect.signature(transform).parameters
    first = next(iter(parameters.values()), None)
    for argument, parameter in parameters.items():
        if argument in fixed:
            continue
        flag = f"--{argument.replace('_', '-')}"
        flags = [f"--{name}-{argument.replace('_', '-')}" if flag in taken else flag]
        required = parameter.default is inspect.Parameter.empty
        hint = hints.get(argument, str)
        form = _form(argument, hint)
        if form is None:
            if required:
                what = getattr(transform, "__name__", transform)
                raise ConfigError(f"{what} needs {argument}, which cannot be given on the command line")
            continue
        by_position = parameter.kind is not parameter.KEYWORD_ONLY and parameter is first
        if leading is not None and by_position and int in _kinds(hint) and leading.lstrip("-") not in parameters:
            flags.append(leading)
        default = "required" if required else f"default: {_as_text(parameter.default)}"
        text = f"{words.get(argument, '')} ({default})".strip().replace("%", "%%")
        group.add_argument(
            *flags, dest=_PREFIX + argument, required=required, default=argparse.SUPPRESS, help=text, **form
        )


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given for the arguments of the constructor, by name."""
    given = vars(arguments).items()
    return {key.removeprefix(_PREFIX): value for key, value in given if key.startswith(_PREFIX)}


def _kinds(annotation: Any) -> set[Any]:
    """The types that a union holds, or the one type."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return set(typing.get_args(annotation)) if union else {annotation}


def _form(name: str, annotation: Any) -> dict[str, Any] | None:
    """How an argument of this type is given as text, as arguments of ``add_argument``."""
    if name == "edge_fill":
        return {"type": _fill, "metavar": "FILL"}
    kinds = _kinds(annotation)
    optional = type(None) in kinds
    kinds = kinds - {type(None)}
    if kinds == {bool} and not optional:
        return {"action": argparse.BooleanOptionalAction}
    literal = [
        choice for kind in kinds if typing.get_origin(kind) is typing.Literal for choice in typing.get_args(kind)
    ]
    if literal and all(isinstance(choice, str) for choice in literal):
        if optional:
            return {"choices": [*literal, None], "type": _or_none(str, True), "metavar": _choices([*literal, "none"])}
        return {"choices": literal}
    if any(typing.get_origin(kind) is dict for kind in kinds):
        return {"type": _or_none(_table, optional), "metavar": "NAME=VALUE,..."}
    several = next((kind for kind in kinds if _sequence_of(kind) is not None), None)
    single, metavar = _converter(kinds)
    if several is not None:
        item, _ = _converter(_kinds(_sequence_of(several)))
        if item is None:
            return None
        # Of numbers, or else a word: a kernel by its coefficients or by its name.
        convert, metavar = (
            (_either(_listed(item), str), "A,B,...|TEXT") if single is str else (_listed(item), "A,B,...")
        )
    elif single is None:
        return None
    else:
        convert = single
    return {"type": _or_none(convert, optional), "metavar": metavar}


def _choices(names: Sequence[str]) -> str:
    return "{" + ",".join(names) + "}"


def _sequence_of(kind: Any) -> Any:
    """The type of the items of ``Sequence[T]``, ``list[T]`` or ``tuple[T, ...]``; None for other types."""
    if typing.get_origin(kind) not in (list, tuple, Sequence):
        return None
    items = [item for item in typing.get_args(kind) if item is not Ellipsis]
    return items[0] if len(items) == 1 else None


def _converter(kinds: Collection[Any]) -> tuple[Any, str]:
    """How text becomes one of the types, and what it is called in a usage line; None where no type has a text."""
    number, name = (_number, "NUMBER") if float in kinds else (int, "INTEGER") if int in kinds else (None, "")
    if str not in kinds:
        return number, name
    return (str, "TEXT") if number is None else (_either(number, str), f"{name}|TEXT")


def _either(first: Callable[[str], Any], second: Callable[[str], Any]) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        try:
            return first(text)
        except ValueError:
            return second(text)

    converted.__name__ = f"{first.__name__.lstrip('_')} or {second.__name__}"
    return converted


def _listed(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        return tuple(convert(item.strip()) for item in text.split(","))

    converted.__name__ = f"list of {convert.__name__.lstrip('_')}s"
    return converted


def _or_none(convert: Callable[[str], Any], optional: bool) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        return None if optional and text.lower() == "none" else convert(text)

    # argparse names it in its message.
    converted.__name__ = convert.__name__.lstrip("_")
    return converted


def _number(text: str) -> float:
    """An int where there is neither point nor exponent: counts are ints, fractions floats."""
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def _table(text: str) -> dict[str, Any]:
    """``alpha=0.5,exact=true,name=some``: numbers, true, false and none, or else text."""
    words = {"true": True, "false": False, "none": None}
    found = {}
    for part in text.split(","):
        key, sign, value = (piece.strip() for piece in part.partition("="))
        if not (key and sign and value):
            raise ValueError(f"expected NAME=VALUE, got {part!r}")
        found[key] = words[value.lower()] if value.lower() in words else _either(_number, str)(value)
    return found


_table.__name__ = "list of NAME=VALUE"


def _fill(text: str) -> Any:
    """A number, ``mean``, or several of these by attribute: ``edge_attr=mean,edge_weight=1``."""
    if "=" in text:
        parts = [part.partition("=") for part in text.split(",")]
        return {key.strip(): _fill(value.strip()) for key, _, value in parts}
    return text if text == "mean" else _number(text)


_fill.__name__ = "fill (a number, 'mean', or NAME=FILL,...)"


def _as_text(value: Any) -> str:
    """A default, as it would be given."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _argument_words(transform: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says about each argument, its first sentence."""
    text = inspect.getdoc(transform) or ""
    block = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    entries = re.findall(r"^    (\w+): ((?:.*\n?)(?:      .*\n?)*)", block.group(1), re.MULTILINE) if block else []
    plain = {name: re.sub(r"\s+", " ", re.sub(r":\w+:`~?([^`]*)`|``", r"\1", words)).strip() for name, words in entries}
    return {name: re.split(r"(?<=[.;])\s", words)[0].rstrip(".;") for name, words in plain.items()}
