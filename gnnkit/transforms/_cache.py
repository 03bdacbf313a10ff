"""Results of a transform on disk: safetensors, with JSON in the header for what is no tensor.

A file holds the results of a few graphs, under a key that names everything they depend on: all attributes of the graphs
with names, dtypes, shapes and bytes, the class and settings of the transform, and the versions. What a transform left
as it was is not stored, but taken from the graph at hand, which has it with the same content. Files are written
atomically and have a checksum of all that they hold, so one that was cut or changed is always noticed.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_geometric
from torch import Tensor
from torch_geometric.transforms import BaseTransform

from gnnkit._files import bytes_of, write_atomic
from gnnkit._version import __version__
from gnnkit.errors import ConfigError, DataError
from gnnkit.graph import Graph
from gnnkit.transforms.parcel import version

_FORMAT = 1
_MAX_DEPTH = 12
_OURS = ("gnnkit", "torch_geometric")
Update = Callable[[Any], None]


def transform_description(transform: Any) -> str:
    """Class and settings of a transform, in words that are the same in every process.

    Raises:
        ConfigError: If it holds something that has none, such as a function or a random generator.
    """
    return json.dumps(_described(transform, 0), sort_keys=True)


def _described(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, Tensor):
        digest = hashlib.sha256()
        _feed(digest.update, value)
        return {"tensor": digest.hexdigest()}
    if isinstance(value, (list, tuple)) and depth < _MAX_DEPTH:
        return {type(value).__name__: [_described(item, depth + 1) for item in value]}
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        return {"dict": [[_described(key, depth + 1), _described(item, depth + 1)] for key, item in value.items()]}
    if isinstance(value, BaseTransform) and depth < _MAX_DEPTH:
        settings = getattr(value, "settings", None)
        held: dict[str, Any] = settings() if settings is not None else vars(value)
        if settings is not None and held.get("seed", 0) is None:
            raise ConfigError(
                f"a result of {type(value).__name__}(seed=None) is not cached: it is another one each time, and a "
                "cache would keep the first; give it a seed, or use cache=None"
            )
        described = {str(key): _described(item, depth + 1) for key, item in held.items()}
        return {"class": _class_name(type(value)), "settings": described}
    raise ConfigError(
        f"the result is not cached: the transform holds a {type(value).__module__}.{type(value).__qualname__}, and "
        "what that does cannot be told from its content; use cache=None, or a transform with plain settings"
    )


def _class_name(kind: type) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.split(".")[0] in _OURS:
        return name
    # Versions say nothing about code of one's own, which is still being changed.
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        source = ""
    if not source or "<locals>" in name:
        raise ConfigError(
            f"a result of {name} is not cached, since its source cannot be read, or uses variables around it; "
            "put the class into a module, or use cache=None"
        )
    return f"{name} {hashlib.sha256(source.encode()).hexdigest()}"


def key_of(graphs: Sequence[Any], description: str) -> str:
    """SHA-256 of everything that the results depend on.

    Raises:
        DataError: If an attribute is of a type whose content cannot be hashed.
    """
    digest = hashlib.sha256()
    versions = [_FORMAT, __version__, torch.__version__, torch_geometric.__version__]
    digest.update(json.dumps([versions, description, len(graphs)]).encode())
    for data in graphs:
        digest.update(f"{type(data).__module__}.{type(data).__qualname__} {len(data.keys())}\n".encode())
        # PyTorch Geometric lists keys in an order that differs from process to process.
        for key in sorted(data.keys()):
            digest.update(json.dumps(key).encode())
            try:
                _feed(digest.update, data[key])
            except TypeError as error:
                raise DataError(
                    f"the result is not cached: attribute {key!r} is a {error}, whose content cannot be hashed; remove "
                    "it, or use cache=None"
                ) from None
    return digest.hexdigest()


def _feed(update: Update, value: Any) -> None:
    if isinstance(value, Tensor) and value.layout is torch.strided:
        update(f"tensor {value.dtype} {tuple(value.shape)}\n".encode())
        update(bytes_of(value))
    elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        update(f"array {value.dtype} {value.shape}\n".encode() + value.tobytes())
    elif isinstance(value, Graph):
        for part in (value.rowptr, value.col, value.edge_id, value.num_src):
            _feed(update, part)
    elif isinstance(value, (list, tuple)):
        update(f"{type(value).__name__} {len(value)}\n".encode())
        for item in value:
            _feed(update, item)
    elif isinstance(value, dict):
        update(f"dict {len(value)}\n".encode())
        for item in value.items():
            _feed(update, item)
    elif value is None or isinstance(value, (bool, int, float, str)):
        update(f"{type(value).__name__} {value!r}\n".encode())
    else:
        raise TypeError(f"{type(value).__module__}.{type(value).__qualname__}")


def versions(graphs: Sequence[Any]) -> list[dict[str, int | None]]:
    """How often each tensor of the graphs has been written into, by name."""
    return [
        {key: version(value) for key, value in data.to_dict().items() if isinstance(value, Tensor)} for data in graphs
    ]


def write(
    path: Path, graphs: Sequence[Any], results: Sequence[Any], before: Sequence[Mapping[str, int | None]]
) -> None:
    """Stores what ``results`` have and ``graphs`` have not; ``before`` are the :func:`versions` under the key.

    Raises:
        DataError: If the transform wrote into a tensor of a graph, which no longer is what the key was made of; or if
            an attribute that it has set is neither a tensor nor plain (numbers, text, lists and dictionaries of these).
        OSError: If the file cannot be written.
    """
    from safetensors.torch import save as serialize

    tensors: dict[str, Tensor] = {}
    entries = []
    _check_untouched(before, versions(graphs))
    for number, (data, result) in enumerate(zip(graphs, results, strict=True)):
        if type(result) is not type(data):
            raise DataError(f"a result of another class, {type(result).__name__}, is not cached; use cache=None")
        attributes = result.to_dict()
        entry: dict[str, Any] = {"order": list(attributes), "value": {}, "tensor": {}}
        for key, value in attributes.items():
            if key in data and _is_same(data[key], value):
                continue
            if isinstance(value, Tensor) and value.layout is torch.strided:
                # A copy, since safetensors refuses tensors that share memory.
                tensors[f"{number}.{key}"] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
                entry["tensor"][key] = value.device == data.edge_index.device
            elif _is_plain(value):
                entry["value"][key] = value
            else:
                raise DataError(
                    f"the result is not cached: attribute {key!r}, which the transform has set, is a "
                    f"{type(value).__name__}; only tensors, numbers, text, and lists and dictionaries of these can be "
                    "stored. Use cache=None"
                )
        entries.append(entry)
    text = json.dumps(entries)
    write_atomic(path, serialize(tensors, metadata={"entries": text, "sha256": _checksum(text, tensors)}))


def _check_untouched(before: Sequence[Mapping[str, int | None]], after: Sequence[Mapping[str, int | None]]) -> None:
    for was, now in zip(before, after, strict=True):
        for key in was:
            if was[key] != now.get(key):
                raise DataError(
                    f"the result is not cached: the transform wrote into attribute {key!r} of the graph given, in "
                    "place; let it work on a copy, or use cache=None"
                )


def read(path: Path, graphs: Sequence[Any]) -> list[Any]:
    """The results for ``graphs``.

    Raises:
        DataError: If the file is damaged.
        FileNotFoundError: If there is none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged or cannot be read ({error})") from error
    text = metadata.get("entries", "")
    if metadata.get("sha256") != _checksum(text, tensors):
        raise DataError(f"{path} is damaged: it does not have the checksum that it states")
    results = []
    for number, (data, entry) in enumerate(zip(graphs, json.loads(text), strict=True)):
        result = data.__copy__()
        for key in list(result.keys()):
            del result[key]
        for key in entry["order"]:
            if key in entry["tensor"]:
                value = tensors[f"{number}.{key}"]
                result[key] = value.to(data.edge_index.device) if entry["tensor"][key] else value
            else:
                result[key] = entry["value"][key] if key in entry["value"] else data[key]
        results.append(result)
    return results


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        digest.update(key.encode())
        _feed(digest.update, tensors[key])
    return digest.hexdigest()


def _is_same(before: Any, after: Any) -> bool:
    if before is after:
        return True
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        alike = before.dtype == after.dtype and before.device == after.device and before.layout == after.layout
        return alike and torch.equal(before, after)
    return _is_plain(before) and _is_plain(after) and json.dumps(before) == json.dumps(after)


def _is_plain(value: Any) -> bool:
    """Whether JSON gives the value back as it was."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, float, str)
