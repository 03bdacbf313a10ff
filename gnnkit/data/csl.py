"""Circular skip links: regular graphs in ten classes.

Murphy et al., "Relational Pooling for Graph Representations", ICML 2019, https://arxiv.org/abs/1903.02541; folds of
Dwivedi et al., "Benchmarking Graph Neural Networks", https://arxiv.org/abs/2003.00982.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.data.columns import DatasetInfo
from gnnkit.data.packed import GraphDataset
from gnnkit.data.restricted_pickle import SparseEntries, load_pickle
from gnnkit.errors import ConfigError, DataError

NUM_FOLDS = 5
_PARTS = ("train", "val", "test")
ROLES = ("graphs", "labels", *(f"split-{part}" for part in _PARTS))


def read_csl(files: Mapping[str, Path], info: DatasetInfo, options: Mapping[str, Any]) -> GraphDataset:
    """Reads the 150 graphs: 15 relabelled copies of each of ten cycles with skip links, 41 nodes with degree 4.

    The self-loops that the file gives every node are left out, as the benchmark of Dwivedi et al. does. There are no
    features. Edges are in order of source, then target.

    Args:
        files: ``graphs``, ``labels`` and ``split-train``, ``split-val``, ``split-test``.
        info: What the card says.
        options: ``fold``, 0 to 4.

    Raises:
        ConfigError: If ``fold`` is out of range.
        DataError: If a file is damaged, or does not fit the others.

    Determinism: a function of the files and options.
    """
    fold = options.get("fold", 0)
    if not 0 <= fold < NUM_FOLDS:
        raise ConfigError(f"fold must be 0 to {NUM_FOLDS - 1}, got {fold}")
    path = files["graphs"]
    matrices = load_pickle(path, encoding="latin1")
    if not isinstance(matrices, list) or not all(isinstance(matrix, SparseEntries) for matrix in matrices):
        raise DataError(f"{path} must hold a list of sparse matrices")
    for number, matrix in enumerate(matrices):
        if matrix.shape[0] != matrix.shape[1] or not (matrix.value == 1).all():
            raise DataError(f"{path}: graph {number} is no square matrix of zeros and ones")
    sizes = np.array([matrix.shape[0] for matrix in matrices], dtype=np.int64)
    graph = np.repeat(np.arange(sizes.size), [matrix.row.size for matrix in matrices])
    source = np.concatenate([matrix.row for matrix in matrices] or [np.zeros(0, np.int64)])
    target = np.concatenate([matrix.column for matrix in matrices] or [np.zeros(0, np.int64)])
    proper = source != target
    order = np.flatnonzero(proper)[np.lexsort((target[proper], source[proper], graph[proper]))]
    y = _labels(files["labels"], sizes.size)
    return GraphDataset(
        info,
        node_ptr=torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)])),
        edge_ptr=torch.from_numpy(np.searchsorted(graph[order], np.arange(sizes.size + 1)).astype(np.int64)),
        edge_index=torch.from_numpy(np.stack([source[order], target[order]])),
        node={},
        edge={},
        graph={"y": y},
        split=_split({part: files[f"split-{part}"] for part in _PARTS}, fold, sizes.size),
    )


def _labels(path: Path, graphs: int) -> Tensor:
    try:
        # In torch's format from before 1.6, which our own reader of pickles does not know; this one rebuilds tensors
        # and nothing else.
        labels = torch.load(path, weights_only=True)
    except Exception as error:
        # What torch says suggests to load the file without protection.
        raise DataError(f"{path} cannot be read as a tensor ({type(error).__name__})") from error
    if not isinstance(labels, Tensor) or labels.shape != (graphs,) or labels.dtype != torch.int64:
        raise DataError(f"{path} must hold one int64 label for each of {graphs} graphs")
    return labels


def _split(files: Mapping[str, Path], fold: int, graphs: int) -> dict[str, Tensor]:
    split: dict[str, Tensor] = {}
    for part, path in files.items():
        try:
            lines = path.read_text(encoding="ascii").split()
            members = torch.tensor([int(word) for word in lines[fold].split(",")], dtype=torch.int64)
        except (OSError, ValueError, IndexError, OverflowError, RuntimeError) as error:
            raise DataError(f"{path}: no list of graphs in line {fold + 1}: {error}") from error
        split[part] = members.sort().values
    everything = torch.cat(list(split.values())).sort().values
    if not torch.equal(everything, torch.arange(graphs)):
        raise DataError(f"the lists of fold {fold} do not name each of the {graphs} graphs once: {[*files.values()]}")
    return split
