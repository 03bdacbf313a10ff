"""One transform over many graphs, on many processors, kept on disk."""

import logging
import os
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Batch, Data
from torch_geometric.data.data import BaseData
from torch_geometric.transforms import Compose

from gnnkit.errors import ConfigError, DataError, GnnkitError
from gnnkit.transforms import _cache
from gnnkit.transforms.parcel import Parcel

_CHUNK = 32

logger = logging.getLogger("gnnkit.transforms")


def apply(
    dataset: Iterable[Any],
    transform: Callable[[Any], Any],
    *,
    num_workers: int | None = None,
    cache: str | Path | None = None,
    progress: bool | None = None,
) -> list[Data]:
    """Applies a transform to every graph of a dataset.

    The work is done by joblib in chunks of 32 graphs, so that the same call runs on a cluster::

        with joblib.parallel_config(backend="ray", n_jobs=64):  # or "dask"
            graphs = gnnkit.rewire.apply(dataset, gnnkit.rewire.FoSR(num_edges=20))

    Args:
        dataset: Single graphs: a list, a dataset of gnnkit or PyTorch Geometric, or any iterable of ``Data``.
        transform: ``Data -> Data``, such as those of this package; of PyTorch Geometric's, those that work on a copy,
            as they all do.
        num_workers: Processes on this machine; -1: one per processor. None: as ``joblib.parallel_config`` says, else 1.
            Every worker runs torch on one thread.
        cache: Folder of results, made if missing. A chunk is looked up under the SHA-256 of its graphs (all attributes
            with names, dtypes and shapes), the class and settings of the transform, and the versions of gnnkit, torch
            and PyTorch Geometric. It is written as soon as it is done, so that a run that was interrupted goes on
            where it was. A file that is damaged is computed again, and the log says so; so is one that cannot be
            written. Files are safetensors with JSON, never a pickle. None: nothing is kept.
        progress: Whether to show a bar. None: on a terminal.

    Returns:
        The results, in the order of the graphs. Attributes that the transform left alone may share memory with them.

    Raises:
        ConfigError: If ``transform`` is not callable, or ``num_workers`` is 0; with a cache, if the transform holds
            something that cannot be part of a key, such as a function.
        DataError: If an entry of the dataset is not a single graph, or the transform returns something else; with a
            cache, if an attribute can be neither hashed nor stored. What a transform raises itself is passed on; for
            an error of gnnkit, the message names the graph.

    Determinism: the same results for any number of workers, with and without a cache, if the transform depends on its
    settings and the graph alone. Every rewiring here does: it starts from its own seed for every graph.
    Complexity: that of the transform, per graph; memory for the results, and for the chunks at work.
    """
    if isinstance(dataset, BaseData):
        raise DataError(
            f"expected several graphs, got one {type(dataset).__name__}; apply the transform to it directly"
        )
    if not callable(transform):
        raise ConfigError(f"a transform must be callable (Data -> Data), got {transform!r}")
    if num_workers == 0:
        raise ConfigError("num_workers must be 1 or more, -1 for one per processor, or None, got 0")
    task = _Task(transform, None if cache is None else Path(cache))
    results: list[Data] = []
    for done, complaint in _in_parallel(task, dataset, num_workers, progress):
        if complaint is not None:
            logger.warning("%s", complaint)
        results += done
    return results


class _Task:
    """What a worker does with a chunk of graphs."""

    def __init__(self, transform: Callable[[Any], Any], folder: Path | None) -> None:
        self._transform = transform
        self._folder = folder
        self._description = None if folder is None else _cache.transform_description(transform)
        self._home = _process()

    def __call__(self, first: int, parcel: Parcel) -> tuple[Parcel, str | None]:
        """Results of the graphs, the first of which has number ``first``; and what should be said about them."""
        graphs = parcel.graphs
        if _process() != self._home:
            torch.set_num_threads(1)
        if self._folder is None or self._description is None:
            return Parcel(transform_graphs(self._transform, graphs, first=first), graphs), None
        path = self._folder / f"{_cache.key_of(graphs, self._description)}.safetensors"
        complaint = None
        try:
            return Parcel(_cache.read(path, graphs), graphs), None
        except FileNotFoundError:
            pass
        except DataError as error:
            complaint = f"graphs {first} to {first + len(graphs) - 1} are computed again: {error}"
        before = _cache.versions(graphs)
        results = transform_graphs(self._transform, graphs, first=first)
        try:
            _cache.write(path, graphs, results, before)
        except OSError as error:
            complaint = f"results are not cached: cannot write {path} ({error.strerror or error})"
        return Parcel(results, graphs), complaint


def transform_graphs(transform: Callable[[Any], Any], graphs: Sequence[Any], *, first: int = 0) -> list[Data]:
    """The transform of each of a few graphs, here and now; those that offer it take them all at once.

    Args:
        transform: ``Data -> Data``. Where it has a method ``forward_many`` (``list[Data] -> list[Data]``, the same
            results), that is called.
        graphs: Single graphs.
        first: Number of the first, for messages.

    Raises:
        DataError: If the transform returns something else than one graph. What it raises itself is passed on; for an
            error of gnnkit, the message names the graph.
    """
    if isinstance(transform, Compose) and type(transform) is Compose:
        for step in transform.transforms:
            graphs = transform_graphs(step, graphs, first=first)
        return list(graphs)
    many = getattr(transform, "forward_many", None)
    if many is not None:
        try:
            return many(graphs)
        except GnnkitError:
            # One by one tells which graph it is.
            pass
    results = []
    for number, data in enumerate(graphs, first):
        try:
            result = transform(data)
        except GnnkitError as error:
            raise type(error)(f"graph {number}: {error}") from error
        if not isinstance(result, Data) or isinstance(result, Batch):
            raise DataError(
                f"{type(transform).__name__} returned {type(result).__name__} for graph {number}, expected one Data"
            )
        results.append(result)
    return results


def _process() -> tuple[str, int]:
    return platform.node(), os.getpid()


def _in_parallel(
    task: _Task, dataset: Iterable[Any], num_workers: int | None, progress: bool | None
) -> Iterator[tuple[list[Any], str | None]]:
    from joblib import Parallel, delayed
    from tqdm import tqdm

    total = len(dataset) if hasattr(dataset, "__len__") else None  # type: ignore[arg-type]
    try:
        parallel = Parallel(n_jobs=num_workers, return_as="generator")
    except ValueError:
        # Not every back end can hand over results one by one.
        parallel = Parallel(n_jobs=num_workers)
    sent: deque[list[Any]] = deque()
    chunks: Any = parallel(delayed(task)(first, Parcel(graphs)) for first, graphs in _chunks(dataset, sent))
    disable = None if progress is None else not progress
    with tqdm(total=total, desc=type(task._transform).__name__, unit="graph", disable=disable) as bar:
        for done, complaint in chunks:
            bar.update(len(done.graphs))
            yield done.with_given(sent.popleft()), complaint


def _chunks(dataset: Iterable[Any], sent: deque[list[Any]]) -> Iterator[tuple[int, list[Any]]]:
    """The number of the first graph of each chunk, and the chunk, which is added to ``sent`` as well."""
    chunk: list[Any] = []
    number = 0
    for data in dataset:
        if not isinstance(data, Data) or isinstance(data, Batch):
            hint = "; take it apart with to_data_list()" if isinstance(data, Batch) else ""
            raise DataError(f"entry {number} of the dataset is a {type(data).__name__}, expected one Data{hint}")
        chunk.append(data)
        number += 1
        if len(chunk) == _CHUNK:
            sent.append(chunk)
            yield number - len(chunk), chunk
            chunk = []
    if chunk:
        sent.append(chunk)
        yield number - len(chunk), chunk
