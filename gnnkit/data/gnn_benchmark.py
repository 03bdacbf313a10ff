"""Co-purchase graphs of Amazon and co-author graphs of Microsoft Academic, whose splits are drawn from a seed.

Shchur et al., "Pitfalls of Graph Neural Network Evaluation", 2018, https://arxiv.org/abs/1811.05868.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data.node_parts import classes_of, dense_features, undirected_edges
from gnnkit.data.npz import read_npz
from gnnkit.data.restricted_pickle import SparseEntries
from gnnkit.errors import DataError

ROLES = ("graph",)
PER_CLASS, RATIO = "per-class", "ratio"
_TRAIN_PER_CLASS, _VAL_PER_CLASS = 20, 30
_TRAIN_TENTHS, _VAL_TENTHS = 6, 2


def read_gnn_benchmark(files: Mapping[str, Path], num_classes: int, options: Mapping[str, Any]) -> Data:
    """Reads one graph; edges are made undirected, duplicates and self-loops left out.

    Args:
        files: ``graph``, an archive with the sparse matrices ``adj_matrix`` and ``node_attr``, and ``node_label``.
        num_classes: Number of classes.
        options: ``split``: seed of the split, None: no masks. ``splits``: see :func:`random_masks`.

    Raises:
        DataError: If the file is damaged, or its arrays do not fit each other.
    """
    path = files["graph"]
    arrays = read_npz(path, ["adj_matrix", "node_attr", "node_label"])
    x = dense_features(path, "node_attr", arrays["node_attr"])
    links = arrays["adj_matrix"]
    if not isinstance(links, SparseEntries) or links.shape != (len(x), len(x)):
        raise DataError(f"{path}: adj_matrix must be a sparse matrix of {len(x)} rows and columns")
    y = classes_of(path, arrays["node_label"], len(x), num_classes)
    data = Data(x=torch.from_numpy(x), edge_index=undirected_edges(path, links.row, links.column, len(x)), y=y)
    if options["split"] is None:
        return data
    return data.update(random_masks(y, options["splits"], options["split"]))


def random_masks(y: Tensor, splits: str, seed: int) -> dict[str, Tensor]:
    """``train_mask``, ``val_mask`` and ``test_mask`` drawn from a seed.

    Args:
        y: Classes, int64 ``[N]``.
        splits: ``"per-class"``: 20 training and 30 validation nodes of each class, all others test, as Shchur et al.
            ``"ratio"``: 60 percent of all nodes train, 20 percent (both rounded down) validate, the others test.
        seed: Seed.

    Raises:
        DataError: If a class has too few nodes.

    Determinism: a function of the arguments.
    """
    order = torch.randperm(y.numel(), generator=torch.Generator().manual_seed(seed))
    if splits == RATIO:
        place = torch.arange(y.numel())
        trained, validated = _TRAIN_TENTHS * y.numel() // 10, _VAL_TENTHS * y.numel() // 10
    else:
        order = order[y[order].argsort(stable=True)]
        counts = y.bincount()
        if bool((counts <= _TRAIN_PER_CLASS + _VAL_PER_CLASS).any()):
            raise DataError(
                f"class {int(counts.argmin())} has {int(counts.min())} nodes, too few for {_TRAIN_PER_CLASS} to train "
                f"on, {_VAL_PER_CLASS} to validate on and others to test on; take splits={RATIO!r}"
            )
        # Place of each node within its class, in the shuffled order.
        place = torch.arange(y.numel()) - (counts.cumsum(0) - counts)[y[order]]
        trained, validated = _TRAIN_PER_CLASS, _VAL_PER_CLASS
    part = torch.empty_like(order)
    part[order] = (place >= trained).long() + (place >= trained + validated).long()
    return {f"{name}_mask": part == number for number, name in enumerate(("train", "val", "test"))}
