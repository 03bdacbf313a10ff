"""What must hold for a packed dataset, and what its card states about it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gnnkit.errors import DataError

if TYPE_CHECKING:
    from gnnkit.data.packed import GraphDataset


def check_packed(dataset: "GraphDataset") -> None:
    """Checks that sizes fit together, edges stay inside of their graph, and splits are disjoint.

    Raises:
        DataError: If not; the message names the attribute, edge or graph.

    Complexity: ``O(N + E)``, once per dataset.
    """
    graphs = dataset.node_ptr.numel() - 1
    if graphs < 0:
        raise DataError("node_ptr must have at least one entry, got none")
    for key, ptr in (("node_ptr", dataset.node_ptr), ("edge_ptr", dataset.edge_ptr)):
        _check_ptr(key, ptr, graphs)
    for key, (_, ptr) in dataset.ragged.items():
        _check_ptr(f"ptr of {key}", ptr, graphs)
    if dataset.edge_index.dim() != 2 or dataset.edge_index.size(0) != 2 or dataset.edge_index.dtype != torch.int64:
        found = f"{tuple(dataset.edge_index.shape)} of {dataset.edge_index.dtype}"
        raise DataError(f"edge_index must be int64 [2, E], got {found}")
    for key, values, _, ptr, dim, _ in dataset.columns:
        if values.dim() == 0 or values.size(dim) != int(ptr[-1]):
            raise DataError(
                f"{key} has shape {tuple(values.shape)}; expected {int(ptr[-1])} in dimension {dim} for {graphs} graphs"
            )
    _check_unique_keys(dataset)
    _check_edges(dataset)
    _check_split(dataset.split, graphs)
    _check_labels(dataset)


def _check_ptr(key: str, ptr: Tensor, graphs: int) -> None:
    if ptr.dim() != 1 or ptr.dtype != torch.int64 or ptr.is_cuda:
        raise DataError(f"{key} must be an int64 vector on the CPU, got {tuple(ptr.shape)} of {ptr.dtype}")
    if ptr.numel() != graphs + 1:
        raise DataError(f"{key} must have {graphs + 1} entries for {graphs} graphs, got {ptr.numel()}")
    if int(ptr[0]) != 0 or bool((ptr.diff() < 0).any()):
        raise DataError(f"{key} must start with 0 and never decrease")


def _check_unique_keys(dataset: "GraphDataset") -> None:
    keys = [column.key for column in dataset.columns]
    for key in keys:
        if keys.count(key) > 1:
            raise DataError(f"attribute {key!r} is given twice")
        # PyG gives these names a meaning of their own in a batch.
        if "batch" in key or key in ("ptr", "num_nodes"):
            raise DataError(f"attribute {key!r} cannot be stored: a batch needs that name; rename it")


def _check_edges(dataset: "GraphDataset") -> None:
    edge_index = dataset.edge_index
    if edge_index.size(1) == 0:
        return
    per_graph = dataset.node_ptr.diff().to(edge_index.device)
    sizes = per_graph.repeat_interleave(dataset.edge_ptr.diff().to(edge_index.device), output_size=edge_index.size(1))
    outside = ((edge_index < 0) | (edge_index >= sizes)).any(0)
    if bool(outside.any()):
        edge = int(outside.nonzero()[0])
        graph = int(torch.searchsorted(dataset.edge_ptr, torch.tensor(edge), right=True)) - 1
        raise DataError(
            f"edge {edge - int(dataset.edge_ptr[graph])} of graph {graph} is {tuple(edge_index[:, edge].tolist())}, "
            f"but the graph has {int(per_graph[graph])} nodes"
        )


def _check_split(split: Mapping[str, Tensor], graphs: int) -> None:
    seen = torch.zeros(graphs, dtype=torch.int64)
    for key, members in split.items():
        if members.dim() != 1 or members.dtype != torch.int64 or members.is_cuda:
            raise DataError(f"split {key!r} must be an int64 vector on the CPU, got {members.dtype}")
        if members.numel() and (int(members.min()) < 0 or int(members.max()) >= graphs):
            worst = int(members.max()) if int(members.max()) >= graphs else int(members.min())
            raise DataError(f"split {key!r} names graph {worst}, but there are {graphs} graphs")
        seen += torch.bincount(members, minlength=graphs)
    if bool((seen > 1).any()):
        graph = int((seen > 1).nonzero()[0])
        inside = [key for key, members in split.items() if bool((members == graph).any())]
        raise DataError(f"graph {graph} is in more than one place of the splits: {' and '.join(inside)}")


def _check_labels(dataset: "GraphDataset") -> None:
    y = dataset.graph.get("y")
    if y is None:
        raise DataError("graph attributes must include the labels 'y'")
    info = dataset.info
    if info.task == "multiclass":
        if y.dim() != 1 or y.dtype != torch.int64:
            raise DataError(f"y of a multiclass dataset must be int64 [G], got {tuple(y.shape)} of {y.dtype}")
        if y.numel() and (int(y.min()) < 0 or int(y.max()) >= info.num_outputs):
            raise DataError(f"y must be in [0, {info.num_outputs}), got {int(y.min())} to {int(y.max())}")
    elif y.dim() != 2 or y.size(1) != info.num_outputs or y.dtype != torch.float32:
        expected = f"float32 [G, {info.num_outputs}]"
        raise DataError(f"y of a {info.task} dataset must be {expected}, got {tuple(y.shape)} of {y.dtype}")
    elif info.task in ("binary", "multilabel"):
        wrong = ~((y == 0) | (y == 1) | y.isnan()).all(1)
        if bool(wrong.any()):
            graph = int(wrong.nonzero()[0])
            raise DataError(f"labels of graph {graph} must be 0, 1 or missing, got {y[graph].tolist()}")


def label_statistics(task: str, y: Tensor, num_outputs: int) -> dict[str, Any]:
    """Counts that identify a set of labels.

    Args:
        task: The dataset's task.
        y: Labels, ``[G]`` (multiclass) or ``[G, T]``.
        num_outputs: Number of classes or targets.

    Returns:
        ``count`` per class (multiclass); ``positive`` and ``missing`` per target (binary, multilabel); ``mean``
        (rounded to six digits) and ``missing`` per target (regression).
    """
    y = y.cpu()
    if task == "multiclass":
        return {"count": torch.bincount(y, minlength=num_outputs).tolist()}
    missing = y.isnan().sum(0).tolist()
    if task == "regression":
        means = y.to(torch.float64).nanmean(0) if y.size(0) else torch.zeros(y.size(1))
        return {"mean": [round(value, 6) for value in means.tolist()], "missing": missing}
    return {"positive": (y == 1).sum(0).tolist(), "missing": missing}


def differences(expected: Mapping[str, Any], actual: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every entry of ``expected`` that ``actual`` does not match, in words."""
    found: list[str] = []
    for key, value in expected.items():
        other = actual.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            found += differences(value, other, f"{prefix}{key}.")
        elif not _equal(value, other):
            found.append(f"{prefix}{key}: the card says {value}, the data has {other}")
    return found


def _equal(expected: Any, actual: Any) -> bool:
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_equal, expected, actual))
    if isinstance(expected, float) and isinstance(actual, int | float):
        return abs(expected - actual) <= 1e-6
    return expected == actual


def check_statistics(name: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> None:
    """Compares what a dataset holds with what its card states.

    Raises:
        DataError: If any figure differs; the message lists all that do.
    """
    found = differences(expected, actual)
    if found:
        raise DataError(f"{name} is not what its card describes: {'; '.join(found)}")
