"""The co-citation and co-authorship hypergraphs of HyperGCN, whose nodes are documents.

Yadati et al., "HyperGCN: A New Method of Training Graph Convolutional Networks on Hypergraphs", NeurIPS 2019,
https://arxiv.org/abs/1809.02589.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.data.checks import label_statistics
from gnnkit.data.node_parts import classes_of, dense_features, masks_from_nodes
from gnnkit.data.restricted_pickle import SparseEntries, load_pickle
from gnnkit.errors import DataError
from gnnkit.hypergraph import HyperData, Hypergraph, from_dict

SOURCE = "hypergcn"
"""What the cards of these datasets call their loader."""

ROLES = ("hypergraph", "labels")
"""Files without which there is nothing to read; ``features`` and ``split`` may be missing."""

_PARTS = ("train", "test")


def read_hypergcn(files: Mapping[str, Path], num_outputs: int) -> HyperData:
    """Reads one hypergraph.

    Args:
        files: ``hypergraph``, a pickled dictionary from hyperedges to sets or lists of nodes; ``labels``, a list of
            classes, one per node; perhaps ``features``, a sparse matrix of one row per node; perhaps ``split``, a
            dictionary of ``train`` and ``test`` nodes.
        num_outputs: Number of classes.

    Returns:
        ``hyperedge_index`` in the order of the dictionary, nodes in that of their list, of a set ascending;
        ``num_nodes`` and ``num_hyperedges``; ``y`` int64 ``[N]``; ``x`` float32 ``[N, F]`` as the file has it, not
        normalised; ``train_mask`` and ``test_mask`` bool ``[N]``. What has no file is left out.

    Raises:
        DataError: If a file is damaged, or does not fit the others.

    Determinism: a function of the files.
    """
    y = _labels(files["labels"], num_outputs)
    path = files["hypergraph"]
    try:
        hypergraph, _, _ = from_dict(load_pickle(path), range(y.numel()))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    data = HyperData(
        hyperedge_index=hypergraph.hyperedge_index,
        num_nodes=hypergraph.num_nodes,
        num_hyperedges=hypergraph.num_hyperedges,
        y=y,
    )
    if "features" in files:
        data.x = _features(files["features"], y.numel())
    if "split" in files:
        data.update(_masks(files["split"], y.numel()))
    return data


def statistics(data: HyperData) -> dict[str, Any]:
    """Counts of nodes, hyperedges, incidences, nodes without hyperedges, features, split sizes and labels."""
    hypergraph = Hypergraph.from_data(data)
    assert isinstance(data.y, Tensor)
    return {
        "nodes": hypergraph.num_nodes,
        "hyperedges": hypergraph.num_hyperedges,
        "incidences": hypergraph.num_incidences,
        "isolated": int((hypergraph.node_degree() == 0).sum()),
        "features": 0 if data.x is None else data.x.size(1),
        "split": {part: int(data[f"{part}_mask"].sum()) for part in _PARTS if f"{part}_mask" in data},
        "labels": label_statistics("multiclass", data.y, 0),
    }


def _labels(path: Path, num_outputs: int) -> Tensor:
    y = _integers(path, "labels", load_pickle(path))
    return classes_of(path, y, y.size, num_outputs)


def _features(path: Path, num_nodes: int) -> Tensor:
    entries = load_pickle(path)
    if not isinstance(entries, SparseEntries) or entries.shape[0] != num_nodes or entries.value.dtype.kind == "c":
        found = entries.shape if isinstance(entries, SparseEntries) else type(entries).__name__
        raise DataError(f"{path} must hold a real sparse matrix of {num_nodes} rows, got {found}")
    return torch.from_numpy(dense_features(path, "features", entries))


def _masks(path: Path, num_nodes: int) -> dict[str, Tensor]:
    content = load_pickle(path)
    if not isinstance(content, dict) or set(content) != set(_PARTS):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path} must hold a dict with the keys train, test, got {found}")
    return masks_from_nodes(path, {part: _integers(path, part, content[part]) for part in _PARTS}, num_nodes)


def _integers(path: Path, what: str, values: Any) -> np.ndarray:
    """A list of integers, in whichever types they were pickled."""
    array = np.asarray(values) if isinstance(values, list | np.ndarray) else None
    if array is not None and array.size == 0:
        array = array.astype(np.int64)
    if array is None or array.ndim != 1 or array.dtype.kind not in "iu":
        found = type(values).__name__ if array is None else f"{array.dtype} of shape {array.shape}"
        raise DataError(f"{path}: {what} must be a list of integers, got {found}")
    return array.astype(np.int64)
