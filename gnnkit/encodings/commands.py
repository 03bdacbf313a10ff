"""What ``gnnkit encode`` does; printing is the command line's business."""

import argparse
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gnnkit._files import write_atomic
from gnnkit.encodings._files import TABLES, new_attributes, safetensors_bytes, table_bytes
from gnnkit.transforms.commands import check_holds_all, check_new, results_of, transform_class, writing
from gnnkit.transforms.graph_files import NAMES, GraphFile, check_suffix, node_names, read_graphs, write_graphs
from gnnkit.transforms.options import add_options, given_options

SUFFIXES = (".pt", ".npz", ".safetensors", *TABLES)
_PACKAGE = "gnnkit.encodings"


@dataclass(frozen=True)
class Summary:
    """What was encoded.

    Attributes:
        encoding: The encoding, in words.
        graphs: Number of graphs.
        nodes: Number of their nodes.
        attributes: What each new attribute is, in words, by name.
        output: Where the result is.
    """

    encoding: str
    graphs: int
    nodes: int
    attributes: dict[str, str]
    output: Path

    def __str__(self) -> str:
        graphs = "" if self.graphs == 1 else f"{self.graphs} graphs, "
        attributes = ", ".join(f"{name} {what}" for name, what in self.attributes.items())
        return f"{self.encoding}: {graphs}{self.nodes} nodes, {attributes}. Written: {self.output}"


def add_encoding_options(
    parser: argparse.ArgumentParser, class_name: str, encoding: str, fixed: Mapping[str, Any]
) -> None:
    """Adds an option for each argument of an encoding's constructor; ``--k`` is another name of the leading one.

    Raises:
        ConfigError: If there is no such encoding, or an argument that must be given has no form as text.
    """
    add_options(parser, transform_class(_PACKAGE, class_name), encoding, leading="--k", fixed=fixed)


def encode_file(arguments: argparse.Namespace, class_name: str, fixed: Mapping[str, Any], *, quiet: bool) -> Summary:
    """Reads, encodes, and writes the graph or graphs of a file.

    Args:
        arguments: Those of the command, with the options of the encoding.
        class_name: The class in ``gnnkit.encodings``.
        fixed: Arguments of its constructor that are no options.
        quiet: Whether to show no bar.

    Raises:
        ConfigError: If a setting is not valid.
        DataError: If a file cannot be read, exists already, or cannot be written; if a table is asked for what is no
            attribute of nodes.
        BackendError: If a package that a format needs is missing.
    """
    output: Path = arguments.output
    check_suffix(output, SUFFIXES)
    check_new(output, force=arguments.force)
    transform = transform_class(_PACKAGE, class_name)(**fixed, **given_options(arguments))
    source = read_graphs(
        arguments.input,
        num_nodes=arguments.num_nodes,
        undirected=arguments.undirected,
        directed=arguments.directed,
    )
    check_holds_all(source, arguments.input, output)
    results = results_of(source, transform, arguments, quiet=quiet)
    found = _described(source.graphs, results, getattr(transform, "attr_name", None))
    with writing(output):
        _write(output, results, source, list(found), repr(transform))
    nodes = sum(int(data.num_nodes) for data in results)
    return Summary(repr(transform), len(results), nodes, found, output)


def _write(output: Path, results: list[Any], source: GraphFile, attributes: list[str], encoding: str) -> None:
    suffix = output.suffix.lower()
    if suffix in TABLES:
        names = node_names(results[0], source)
        content = table_bytes(results[0], attributes, names, delimiter=TABLES[suffix], encoding=encoding)
        write_atomic(output, content)
    elif suffix == ".safetensors":
        write_atomic(output, safetensors_bytes(results[0], source.names, encoding))
    else:
        if source.names is not None and suffix == ".pt":
            # Otherwise nobody could tell which row is whose.
            results[0][NAMES] = source.names
        # Attributes of edges have a row for each direction, whatever the file had.
        write_graphs(output, results, dataclasses.replace(source, once=False, sparse=False))


def _described(graphs: list[Any], results: list[Any], attr_name: Any) -> dict[str, str]:
    """Each new attribute with its shape, ``*`` where that differs between graphs, and dtype."""
    shapes: dict[str, set[tuple[int, ...]]] = {}
    kinds: dict[str, str] = {}
    for data, result in zip(graphs, results, strict=True):
        for name in new_attributes(data, result, attr_name):
            value = result[name]
            tensor = isinstance(value, Tensor)
            shapes.setdefault(name, set()).add(tuple(value.shape) if tensor else ())
            kinds[name] = str(value.dtype).removeprefix("torch.") if tensor else type(value).__name__
    return {name: f"{_common(found)} {kinds[name]}" for name, found in shapes.items()}


def _common(shapes: set[tuple[int, ...]]) -> str:
    if len({len(shape) for shape in shapes}) > 1:
        return "[...]"
    sizes = [set(column) for column in zip(*shapes, strict=True)]
    return "[" + ", ".join(str(*size) if len(size) == 1 else "*" for size in sizes) + "]"
