"""What the readers of sets with labelled nodes share: edges, features, labels and masks of one graph."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnkit.data.restricted_pickle import SparseEntries
from gnnkit.errors import DataError

PARTS = ("train", "val", "test")


def undirected_edges(path: Path, source: NDArray[Any], target: NDArray[Any], num_nodes: int) -> Tensor:
    """Both directions of each edge, each once, without self-loops, in order of source, then target; ``[2, E]``.

    Raises:
        DataError: If an edge leaves the graph.
    """
    check_nodes(path, "edges", np.concatenate([source, target]), num_nodes)
    proper = source != target
    source, target = source[proper].astype(np.int64), target[proper].astype(np.int64)
    return _unique(np.concatenate([source, target]), np.concatenate([target, source]), num_nodes)


def directed_edges(path: Path, source: NDArray[Any], target: NDArray[Any], num_nodes: int) -> Tensor:
    """Each directed edge once, self-loops included, in order of source, then target; ``[2, E]``.

    Raises:
        DataError: If an edge leaves the graph.
    """
    check_nodes(path, "edges", np.concatenate([source, target]), num_nodes)
    return _unique(source.astype(np.int64), target.astype(np.int64), num_nodes)


def _unique(source: NDArray[np.int64], target: NDArray[np.int64], num_nodes: int) -> Tensor:
    codes = np.unique(source * num_nodes + target)
    return torch.from_numpy(np.stack([codes // max(num_nodes, 1), codes % max(num_nodes, 1)]))


def check_nodes(path: Path, what: str, nodes: NDArray[Any], num_nodes: int) -> None:
    """Raises DataError where something names a node that the graph does not have."""
    if nodes.dtype.kind not in "iu":
        raise DataError(f"{path}: {what} must be integers, got {nodes.dtype}")
    if nodes.size and not 0 <= nodes.min() <= nodes.max() < num_nodes:
        raise DataError(f"{path}: {what} must name nodes 0 to {num_nodes - 1}, got {nodes.min()} to {nodes.max()}")


def dense_features(path: Path, what: str, entries: Any) -> NDArray[np.float32]:
    """A sparse matrix of a pickle as an array, ``[rows, columns]``.

    Raises:
        DataError: If it is no real sparse matrix.
    """
    if not isinstance(entries, SparseEntries) or entries.value.dtype.kind == "c":
        raise DataError(f"{path}: {what} must be a real sparse matrix, got {type(entries).__name__}")
    dense = np.zeros(entries.shape, dtype=np.float32)
    np.add.at(dense, (entries.row, entries.column), entries.value.astype(np.float32))
    return dense


def classes_of(path: Path, y: Any, num_nodes: int, num_classes: int) -> Tensor:
    """Labels of all nodes, int64 ``[N]``.

    Raises:
        DataError: If there is not one class for each node.
    """
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "iu" or y.shape != (num_nodes,):
        found = f"{y.dtype} of shape {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
        raise DataError(f"{path}: labels must be {num_nodes} integers, one for each node, got {found}")
    if y.size and not 0 <= y.min() <= y.max() < num_classes:
        raise DataError(f"{path}: labels must be 0 to {num_classes - 1}, got {y.min()} to {y.max()}")
    return torch.from_numpy(y.astype(np.int64))


def masks_of(path: Path, parts: dict[str, Any], num_nodes: int) -> dict[str, Tensor]:
    """``train_mask``, ``val_mask`` and ``test_mask``, bool ``[N]``, from arrays of zeros and ones.

    Raises:
        DataError: If an array does not fit the graph, or a node is in two parts.
    """
    masks: dict[str, Tensor] = {}
    for part in PARTS:
        mask = parts[part]
        if mask.shape != (num_nodes,) or mask.dtype.kind not in "biu" or (mask > 1).any() or (mask < 0).any():
            raise DataError(
                f"{path}: the {part} mask must be {num_nodes} zeros and ones, got {mask.dtype} {mask.shape}"
            )
        masks[f"{part}_mask"] = torch.from_numpy(np.ascontiguousarray(mask.astype(bool)))
    return disjoint(path, masks)


def masks_from_nodes(path: Path, parts: dict[str, NDArray[Any]], num_nodes: int) -> dict[str, Tensor]:
    """The masks of the parts given, from lists of nodes.

    Raises:
        DataError: If a list names a node that is not there, or a node is in two parts.
    """
    masks: dict[str, Tensor] = {}
    for part, nodes in parts.items():
        check_nodes(path, f"the {part} nodes", nodes, num_nodes)
        members = torch.from_numpy(nodes.astype(np.int64))
        masks[f"{part}_mask"] = torch.zeros(num_nodes, dtype=torch.bool).index_fill(0, members, True)
    return disjoint(path, masks)


def disjoint(path: Path, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    """The masks. Raises DataError where a node is in two of them."""
    twice = torch.stack(list(masks.values())).sum(dim=0) > 1
    if bool(twice.any()):
        node = int(twice.nonzero()[0, 0])
        inside = [key.removesuffix("_mask") for key, mask in masks.items() if bool(mask[node])]
        raise DataError(f"{path}: node {node} is both in {' and in '.join(inside)}")
    return masks
