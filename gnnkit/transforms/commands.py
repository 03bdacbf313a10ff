"""What ``gnnkit rewire`` and ``gnnkit encode`` do alike."""

import argparse
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gnnkit.errors import ConfigError, DataError
from gnnkit.transforms.apply import apply
from gnnkit.transforms.graph_files import GraphFile


def transform_class(package: str, name: str) -> Callable[..., Any]:
    """The class ``name`` of a package of gnnkit.

    Raises:
        ConfigError: If this version has none.
    """
    found = getattr(importlib.import_module(package), name, None)
    if found is None:
        raise ConfigError(f"this version of gnnkit has no {package}.{name}")
    return found


def check_new(*paths: Path | None, force: bool) -> None:
    """Raises DataError where a file is there already and may not be written over."""
    for path in paths:
        if path is not None and path.exists() and not force:
            raise DataError(f"{path} exists already; --force writes over it")


def check_holds_all(source: GraphFile, path: Path, output: Path) -> None:
    """Raises DataError where ``output`` holds one graph, and there are several."""
    if source.kind != "one" and output.suffix.lower() != ".pt":
        raise DataError(f"{path} holds several graphs, which only a .pt file does, got {output}")


def results_of(source: GraphFile, transform: Any, arguments: argparse.Namespace, *, quiet: bool) -> list[Any]:
    """The transform of all graphs of a file, with the processes, the cache and the bar that were asked for."""
    progress = None if not quiet and source.kind != "one" else False
    return apply(source.graphs, transform, num_workers=arguments.num_workers, cache=arguments.cache, progress=progress)


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Turns an error of the system into a DataError that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {error.filename or output}: {error.strerror or error}") from error
