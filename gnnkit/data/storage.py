"""A packed dataset on disk: safetensors for the tensors, JSON for the rest.

A folder holds two files. ``graphs.safetensors`` has every tensor, integers in the narrowest type that holds them, and
in its header the content hash. ``dataset.json`` has the :class:`DatasetInfo`, the true dtypes, the same content hash,
and a SHA-256 of itself. The content hash covers name, stored dtype, shape and bytes of every tensor, and is computed
again on reading: a file that was cut, changed, or belongs to another version of its partner is always noticed. Each
file is written atomically, ``dataset.json`` last, so an interrupted write leaves the old dataset or none.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gnnkit._files import hash_of, write_atomic
from gnnkit.data.files import logger
from gnnkit.errors import DataError

if TYPE_CHECKING:
    from gnnkit.data.packed import GraphDataset

FORMAT = 1
TENSORS = "graphs.safetensors"
DESCRIPTION = "dataset.json"
_WIDE = (torch.int64, torch.int32, torch.int16)


def save(dataset: "GraphDataset", folder: Path) -> None:
    """Writes a dataset into ``folder`` (made if missing); the format is described above.

    Determinism: equal datasets give equal files.
    """
    from safetensors.torch import save as serialize

    tensors, dtypes = _stored(dataset)
    content = hash_of(tensors)
    info = asdict(dataset.info)
    description = {
        "format": FORMAT,
        "content_sha256": content,
        "info": info,
        "dtypes": dtypes,
        # safetensors sorts names, but the order of attributes is part of a dataset.
        "order": {"node": list(dataset.node), "edge": list(dataset.edge), "graph": list(dataset.graph)},
        "split": list(dataset.split),
        "ragged": list(dataset.ragged),
    }
    description["sha256"] = _self_hash(description)
    write_atomic(folder / TENSORS, serialize(tensors, metadata={"content_sha256": content}))
    write_atomic(folder / DESCRIPTION, (json.dumps(description, indent=1) + "\n").encode())


def keep(dataset: "GraphDataset", folder: Path) -> None:
    """Saves a dataset in the cache; where that is not possible (disk full, read-only) it is only logged."""
    try:
        save(dataset, folder)
    except OSError as error:
        logger.warning("%s is not cached: cannot write %s (%s)", dataset.name, folder, error.strerror or error)


def read(folder: Path) -> "GraphDataset":
    """Reads what :func:`save` wrote.

    Raises:
        DataError: If a file is missing, truncated or changed, or the two do not belong together.
    """
    from gnnkit.data.columns import DatasetInfo, Ragged
    from gnnkit.data.packed import GraphDataset

    description = _read_description(folder / DESCRIPTION)
    tensors = _read_tensors(folder / TENSORS, description["content_sha256"])
    for key, dtype in description["dtypes"].items():
        tensors[key] = tensors[key].to(getattr(torch, dtype))
    info = description["info"]
    for key in ("notes", "node_categories", "edge_categories"):
        info[key] = None if info[key] is None else tuple(info[key])
    order = description["order"]
    dataset = GraphDataset(
        DatasetInfo(**info),
        node_ptr=tensors["node_ptr"],
        edge_ptr=tensors["edge_ptr"],
        edge_index=tensors["edge_index"],
        node={key: tensors[f"node.{key}"] for key in order["node"]},
        edge={key: tensors[f"edge.{key}"] for key in order["edge"]},
        graph={key: tensors[f"graph.{key}"] for key in order["graph"]},
        split={key: tensors[f"split.{key}"] for key in description["split"]},
        ragged={key: Ragged(tensors[f"ragged.{key}"], tensors[f"ragged_ptr.{key}"]) for key in description["ragged"]},
    )
    dataset.__dict__["content_hash"] = description["content_sha256"]
    return dataset


def exists(folder: Path) -> bool:
    """Whether a dataset was written to ``folder``; it may still be damaged."""
    return (folder / DESCRIPTION).is_file()


def content_hash(dataset: "GraphDataset") -> str:
    """SHA-256 over name, stored dtype, shape and bytes of every tensor."""
    return hash_of(_stored(dataset)[0])


def _stored(dataset: "GraphDataset") -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {"node_ptr": dataset.node_ptr, "edge_ptr": dataset.edge_ptr, "edge_index": dataset.edge_index}
    tensors |= {f"node.{key}": value for key, value in dataset.node.items()}
    tensors |= {f"edge.{key}": value for key, value in dataset.edge.items()}
    tensors |= {f"graph.{key}": value for key, value in dataset.graph.items()}
    tensors |= {f"split.{key}": value for key, value in dataset.split.items()}
    tensors |= {f"ragged.{key}": values for key, (values, _) in dataset.ragged.items()}
    tensors |= {f"ragged_ptr.{key}": ptr for key, (_, ptr) in dataset.ragged.items()}
    dtypes = {key: str(value.dtype).removeprefix("torch.") for key, value in tensors.items()}
    stored: dict[str, Tensor] = {}
    memory: set[int] = set()
    for key, value in tensors.items():
        narrow = _narrow(value.detach().cpu()).contiguous()
        # safetensors refuses tensors that share memory.
        start = narrow.untyped_storage().data_ptr()
        stored[key] = narrow.clone() if start in memory else narrow
        memory.add(start)
    return stored, dtypes


def _narrow(values: Tensor) -> Tensor:
    if values.dtype not in _WIDE or values.numel() == 0:
        return values
    low, high = (int(bound) for bound in values.aminmax())
    for dtype in (torch.uint8, torch.int16, torch.int32):
        limits = torch.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return values.to(dtype)
    return values


def _self_hash(description: Mapping[str, Any]) -> str:
    content = {key: value for key, value in description.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged or truncated: {error}") from error
    if not isinstance(description, dict) or description.get("sha256") != _self_hash(description):
        raise DataError(f"{path} is damaged: it does not have the checksum that it states")
    if description["format"] != FORMAT:
        raise DataError(f"{path} has format {description['format']}, this version of gnnkit reads format {FORMAT}")
    return description


def _read_tensors(path: Path, expected: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            stated = (file.metadata() or {}).get("content_sha256")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is missing, damaged or truncated: {error}") from error
    actual = hash_of(tensors)
    if not stated == actual == expected:
        raise DataError(
            f"{path} is damaged, or does not belong to {DESCRIPTION} beside it: content hash {actual}, "
            f"its header states {stated}, {DESCRIPTION} states {expected}"
        )
    return tensors
