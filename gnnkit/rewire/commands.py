"""What ``gnnkit rewire`` does; printing is the command line's business."""

import argparse
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnkit._files import write_atomic
from gnnkit.errors import DataError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.transforms.commands import check_holds_all, check_new, results_of, transform_class, writing
from gnnkit.transforms.graph_files import check_suffix, read_graphs, write_graphs
from gnnkit.transforms.options import add_options, given_options

_PACKAGE = "gnnkit.rewire"
_PICTURES = (".png", ".pdf", ".svg")
_DPI = 150


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


def add_method_options(parser: argparse.ArgumentParser, class_name: str, method: str) -> None:
    """Adds an option for each argument of a transform's constructor.

    Raises:
        ConfigError: If there is no such transform, or an argument that must be given has no form as text.
    """
    add_options(parser, transform_class(_PACKAGE, class_name), method)


def rewire_file(arguments: argparse.Namespace, class_name: str, *, quiet: bool) -> Summary:
    """Reads, rewires, and writes the graph or graphs of a file, and a picture if one is asked for.

    Raises:
        ConfigError: If a setting is not valid.
        DataError: If a file cannot be read, exists already, or cannot be written.
        BackendError: If a package that a format or picture needs is missing.
    """
    source_path, output, picture = arguments.input, arguments.output, arguments.plot
    check_suffix(output)
    if picture is not None and picture.suffix.lower() not in _PICTURES:
        raise DataError(f"{picture}: the suffix of a picture must be one of {', '.join(_PICTURES)}")
    check_new(output, picture, force=arguments.force)
    transform = transform_class(_PACKAGE, class_name)(**given_options(arguments))
    source = read_graphs(source_path, num_nodes=arguments.num_nodes, undirected=arguments.undirected)
    check_holds_all(source, source_path, output)
    if source.kind != "one" and picture is not None:
        raise DataError(f"--plot draws one graph, {source_path} holds {len(source.graphs)}")
    results = results_of(source, transform, arguments, quiet=quiet)
    with writing(output):
        if picture is not None:
            write_atomic(picture, _picture(source.graphs[0], results[0], picture.suffix.lower()[1:]))
        write_graphs(output, results, source)
    return _summary(repr(transform), source.graphs, results, output)


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
