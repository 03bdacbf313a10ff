"""Transforms of whole datasets, kept on disk."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import Compose

from gnnkit._files import flat_bytes
from gnnkit._version import __version__
from gnnkit.data import storage
from gnnkit.data.files import cache_root, exclusive, logger
from gnnkit.data.packed import GraphDataset
from gnnkit.data.packing import pack
from gnnkit.errors import ConfigError, DataError
from gnnkit.transforms import Transform as GraphTransform
from gnnkit.transforms.apply import transform_graphs

Transform = Callable[[Any], Any]

_CHUNK = 32


def transformed(
    dataset: GraphDataset, transform: Transform | Sequence[Transform], *, progress: bool = True, cache: bool = True
) -> GraphDataset:
    """Applies a PyG transform to every graph of a dataset, once.

    The result is kept in ``cache_root()/transformed`` under a hash of the dataset's content, the transform (class, its
    source, ``repr``, and the settings of one of gnnkit's, all attributes of another, recursively), and the versions of
    gnnkit, PyG and torch. A transform with an attribute that cannot be hashed (a lambda, an open file) works, but its
    result is not kept; a line in the log says so. A random transform gives one fixed result per key, as a PyG
    ``pre_transform`` does: give it a seed.

    Args:
        dataset: What to transform; it is not changed.
        transform: ``Data -> Data``, or a list of them, applied in order.
        progress: Show a progress bar.
        cache: Look on disk first, and keep the result there.

    Raises:
        ConfigError: If ``transform`` is not callable.
        DataError: If a transform returns something else than one graph, or graphs that cannot be packed together.
    """
    steps = list(transform) if isinstance(transform, Sequence) else [transform]
    for step in steps:
        if not callable(step):
            raise ConfigError(f"a transform must be callable (Data -> Data), got {step!r}")
    if not steps:
        return dataset
    key = transform_key(steps) if cache else None
    if key is None:
        if cache:
            logger.info("the result of %r is not kept: it holds something that cannot be hashed", steps)
        return _apply(dataset, steps, progress)
    folder = transformed_folder(dataset, key)
    if not storage.exists(folder):
        with exclusive(folder.with_suffix(".lock")):
            if not storage.exists(folder):
                result = _apply(dataset, steps, progress)
                storage.keep(result, folder)
                return result
    try:
        return _as_if_new(storage.read(folder), dataset)
    except DataError as error:
        logger.warning("applying the transform again, because its cached result cannot be used: %s", error)
    result = _apply(dataset, steps, progress)
    with exclusive(folder.with_suffix(".lock")):
        storage.keep(result, folder)
    return result


def _as_if_new(cached: GraphDataset, dataset: GraphDataset) -> GraphDataset:
    # The content is keyed, the description is not: notes and options are those of the dataset at hand.
    result = cached._replaced(lambda values: values.to(dataset.device), dataset.info)
    result.__dict__["content_hash"] = cached.content_hash
    return result


def transformed_folder(dataset: GraphDataset, key: str) -> Path:
    """Where the result of the transform with this key is kept."""
    versions = f"{__version__} {metadata.version('torch-geometric')} {torch.__version__} {storage.FORMAT}"
    digest = hashlib.sha256(f"{dataset.content_hash} {key} {versions}".encode()).hexdigest()
    return cache_root() / "transformed" / f"{dataset.name}-{digest[:24]}"


def _apply(dataset: GraphDataset, steps: Sequence[Transform], progress: bool) -> GraphDataset:
    from tqdm import tqdm

    graphs: list[Data] = []
    whole = Compose(list(steps))
    name = " + ".join(type(step).__name__ for step in steps)
    with tqdm(total=len(dataset), desc=f"{dataset.name}: {name}", unit="graph", disable=not progress) as bar:
        for first in range(0, len(dataset), _CHUNK):
            chunk = [dataset[number] for number in range(first, min(first + _CHUNK, len(dataset)))]
            graphs += transform_graphs(whole, chunk, first=first)
            bar.update(len(chunk))
    if not graphs:
        return dataset
    kinds = {column.key: column.rows for column in dataset.columns}
    return pack(graphs, dataset.info, dataset.split, kinds=kinds)


def transform_key(transform: Any) -> str | None:
    """Hash of a transform with everything that it holds, or None if part of it cannot be hashed.

    PyG's own ``repr`` leaves out most parameters, so that the attributes themselves are hashed.
    """
    digest = hashlib.sha256()
    try:
        _feed(digest.update, transform, 0)
    except _NotHashable:
        return None
    return digest.hexdigest()


class _NotHashable(Exception):
    pass


def _feed(update: Callable[[bytes], None], value: Any, depth: int) -> None:
    if depth > 12:
        raise _NotHashable
    update(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
        update(repr(value).encode())
    elif isinstance(value, Tensor):
        _feed(update, flat_bytes(value).numpy(), depth)
        update(f"{value.dtype} {tuple(value.shape)}".encode())
    elif isinstance(value, np.ndarray) and value.dtype != object:
        update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
    elif isinstance(value, np.generic):
        update(repr(value).encode())
    elif isinstance(value, torch.Generator):
        _feed(update, value.get_state(), depth + 1)
    elif isinstance(value, Mapping):
        _feed(update, list(value.items()), depth + 1)
    elif isinstance(value, list | tuple):
        update(str(len(value)).encode())
        for item in value:
            _feed(update, item, depth + 1)
    elif isinstance(value, set | frozenset):
        _feed(update, sorted(map(repr, value)), depth + 1)
    elif isinstance(value, type | FunctionType):
        _feed_definition(update, value)
    elif hasattr(value, "__dict__"):
        _feed_definition(update, type(value))
        text = repr(value)
        # The default repr is an address, which differs in every process.
        update(b"" if " at 0x" in text else text.encode())
        held = value.settings() if isinstance(value, GraphTransform) else vars(value)
        _feed(update, dict(sorted(held.items())), depth + 1)
    else:
        raise _NotHashable


def _feed_definition(update: Callable[[bytes], None], value: Any) -> None:
    if "<lambda>" in value.__qualname__ or "<locals>" in value.__qualname__:
        # It may close over anything.
        raise _NotHashable
    update(f"{value.__module__}.{value.__qualname__}".encode())
    try:
        update(inspect.getsource(value).encode())
    except (OSError, TypeError):
        # No source: a builtin, or a class of an interactive session.
        update(b"no source")
