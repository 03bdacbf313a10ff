"""What ``gnnkit rewire`` does; printing is the command line's business."""

import argparse
import inspect
import io
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnkit._files import write_atomic
from gnnkit.errors import ConfigError, DataError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.rewire._graph_files import check_suffix, read_graphs, write_graphs

_PICTURES = (".png", ".pdf", ".svg")
_DPI = 150
_PREFIX = "option_"


@dataclass(frozen=True)
class Summary:
    """What a rewiring has done.

    Attributes:
        transform: The transform, in words.
        graphs: Number of graphs.
        before: Number of undirected edges before.
        after: Number of undirected edges after.
        added: Number of edges that were not there before.
        removed: Number of edges that are no longer there.
        output: Where the result is.
    """

    transform: str
    graphs: int
    before: int
    after: int
    added: int
    removed: int
    output: Path

    def __str__(self) -> str:
        graphs = "" if self.graphs == 1 else f"{self.graphs} graphs, "
        return (
            f"{self.transform}: {graphs}{self.before} -> {self.after} edges "
            f"({self.added} added, {self.removed} removed). Written: {self.output}"
        )


def add_options(parser: argparse.ArgumentParser, class_name: str, method: str) -> None:
    """Adds an option for each argument of a transform's constructor.

    An argument whose name is an option already takes that of the method in front of it.

    Raises:
        ConfigError: If there is no such transform, or an argument that must be given has no form as text.
    """
    transform = _transform_class(class_name)
    hints = typing.get_type_hints(transform.__init__)
    words = _argument_words(transform)
    taken = {name for action in parser._actions for name in action.option_strings}
    group = parser.add_argument_group(f"options of {method} ({class_name})")
    for name, parameter in inspect.signature(transform).parameters.items():
        flag = f"--{name.replace('_', '-')}"
        flag = f"--{method}-{name.replace('_', '-')}" if flag in taken else flag
        required = parameter.default is inspect.Parameter.empty
        form = _form(name, hints.get(name, str))
        if form is None:
            if required:
                raise ConfigError(f"{class_name} needs {name}, which cannot be given on the command line")
            continue
        default = "required" if required else f"default: {parameter.default}"
        text = f"{words.get(name, '')} ({default})".strip().replace("%", "%%")
        group.add_argument(flag, dest=_PREFIX + name, required=required, default=argparse.SUPPRESS, help=text, **form)


def rewire_file(arguments: argparse.Namespace, class_name: str, *, quiet: bool) -> Summary:
    """Reads, rewires, and writes the graph or graphs of a file, and a picture if one is asked for.

    Raises:
        ConfigError: If a setting is not valid.
        DataError: If a file cannot be read, exists already, or cannot be written.
        BackendError: If a package that a format or picture needs is missing.
    """
    from gnnkit.rewire.apply import apply

    source_path, output, picture = arguments.input, arguments.output, arguments.plot
    check_suffix(output)
    if picture is not None and picture.suffix.lower() not in _PICTURES:
        raise DataError(f"{picture}: the suffix of a picture must be one of {', '.join(_PICTURES)}")
    for path in (output, picture):
        if path is not None and path.exists() and not arguments.force:
            raise DataError(f"{path} exists already; --force writes over it")
    given = {key.removeprefix(_PREFIX): value for key, value in vars(arguments).items() if key.startswith(_PREFIX)}
    transform = _transform_class(class_name)(**given)
    source = read_graphs(source_path, num_nodes=arguments.num_nodes, undirected=arguments.undirected)
    if source.kind != "one" and output.suffix.lower() != ".pt":
        raise DataError(f"{source_path} holds several graphs, which only a .pt file does, got {output}")
    if source.kind != "one" and picture is not None:
        raise DataError(f"--plot draws one graph, {source_path} holds {len(source.graphs)}")
    progress = None if not quiet and source.kind != "one" else False
    results = apply(
        source.graphs, transform, num_workers=arguments.num_workers, cache=arguments.cache, progress=progress
    )
    try:
        if picture is not None:
            write_atomic(picture, _picture(source.graphs[0], results[0], picture.suffix.lower()[1:]))
        write_graphs(output, results, source)
    except OSError as error:
        raise DataError(f"cannot write {error.filename or output}: {error.strerror or error}") from error
    return _summary(repr(transform), source.graphs, results, output)


def _transform_class(name: str) -> Callable[..., Any]:
    import gnnkit.rewire

    found = getattr(gnnkit.rewire, name, None)
    if found is None:
        raise ConfigError(f"this version of gnnkit has no gnnkit.rewire.{name}")
    return found


def _form(name: str, annotation: Any) -> dict[str, Any] | None:
    """How an argument of this type is given as text, as arguments of ``add_argument``."""
    if name == "edge_fill":
        return {"type": _fill, "metavar": "FILL"}
    kinds = set(typing.get_args(annotation)) if isinstance(annotation, types.UnionType) else {annotation}
    optional = type(None) in kinds
    kinds -= {type(None)}
    if kinds == {bool} and not optional:
        return {"action": argparse.BooleanOptionalAction}
    literal = [
        choice for kind in kinds if typing.get_origin(kind) is typing.Literal for choice in typing.get_args(kind)
    ]
    if literal and all(isinstance(choice, str) for choice in literal):
        return {"choices": literal}
    if float in kinds:
        return {"type": _or_none(_number, optional), "metavar": "NUMBER"}
    if int in kinds:
        return {"type": _or_none(int, optional), "metavar": "INTEGER"}
    if str in kinds:
        return {"type": _or_none(str, optional), "metavar": "TEXT"}
    return None


def _or_none(convert: Callable[[str], Any], optional: bool) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        return None if optional and text.lower() == "none" else convert(text)

    # argparse names it in its message.
    converted.__name__ = convert.__name__.lstrip("_")
    return converted


def _number(text: str) -> float:
    """An int where there is neither point nor exponent: counts are ints, fractions floats."""
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def _fill(text: str) -> Any:
    """A number, ``mean``, or several of these by attribute: ``edge_attr=mean,edge_weight=1``."""
    if "=" in text:
        parts = [part.partition("=") for part in text.split(",")]
        return {key.strip(): _fill(value.strip()) for key, _, value in parts}
    return text if text == "mean" else _number(text)


_fill.__name__ = "fill (a number, 'mean', or NAME=FILL,...)"


def _argument_words(transform: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says about each argument, its first sentence."""
    text = inspect.getdoc(transform) or ""
    block = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    entries = re.findall(r"^    (\w+): ((?:.*\n?)(?:      .*\n?)*)", block.group(1), re.MULTILINE) if block else []
    plain = {name: re.sub(r"\s+", " ", re.sub(r":\w+:`~?([^`]*)`|``", r"\1", words)).strip() for name, words in entries}
    return {name: re.split(r"(?<=[.;])\s", words)[0].rstrip(".;") for name, words in plain.items()}


def _picture(before: Any, after: Any, suffix: str) -> bytes:
    from gnnkit.geometry import plot

    out = io.BytesIO()
    # A small graph gets the numbers beside it; for a large one they would take minutes.
    kind = "all" if max(int(before.num_nodes), int(after.num_nodes)) <= 2000 else "graph"
    plot(before, after=after, kind=kind).savefig(out, format=suffix, dpi=_DPI)
    return out.getvalue()


def _summary(transform: str, graphs: list[Any], results: list[Any], output: Path) -> Summary:
    before = after = added = removed = 0
    for data, result in zip(graphs, results, strict=True):
        size = max(int(data.num_nodes), int(result.num_nodes))
        old, new = (
            SimpleGraph.from_edge_index(each.edge_index, size, allow_self_loops=True) for each in (data, result)
        )
        before += old.num_edges
        after += new.num_edges
        added += int((old.find(new.ends) < 0).sum())
        removed += int((new.find(old.ends) < 0).sum())
    return Summary(transform, len(graphs), before, after, added, removed, output)
