"""Heterophilous graphs with ten splits in one archive: minesweeper, tolokers, chameleon, squirrel, cornell.

Platonov et al., "A critical look at the evaluation of GNNs under heterophily: Are we really making progress?", ICLR
2023, https://arxiv.org/abs/2302.11640.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from gnnkit.data.node_parts import PARTS, classes_of, masks_of, undirected_edges
from gnnkit.data.npz import read_npz
from gnnkit.errors import DataError

ROLES = ("graph",)
NUM_SPLITS = 10


def read_heterophilous(files: Mapping[str, Path], num_classes: int, options: Mapping[str, Any]) -> Data:
    """Reads one graph; each edge of the file gives both directions.

    Args:
        files: ``graph``, the archive.
        num_classes: Number of classes.
        options: ``split``: number of the split, None: no masks.

    Raises:
        DataError: If the file is damaged, or its arrays do not fit each other.
    """
    path = files["graph"]
    masks = [f"{part}_masks" for part in PARTS]
    arrays = read_npz(path, ["node_features", "node_labels", "edges", *masks])
    x, edges = arrays["node_features"], arrays["edges"]
    if x.ndim != 2 or x.dtype.kind != "f" or edges.ndim != 2 or edges.shape[1] != 2:
        raise DataError(f"{path} must hold features [N, F] and edges [E, 2], got {x.dtype} {x.shape} and {edges.shape}")
    data = Data(
        x=torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)),
        edge_index=undirected_edges(path, edges[:, 0], edges[:, 1], len(x)),
        y=classes_of(path, arrays["node_labels"], len(x), num_classes),
    )
    if options["split"] is None:
        return data
    for key in masks:
        if arrays[key].shape != (NUM_SPLITS, len(x)):
            raise DataError(f"{path}: {key} must have shape ({NUM_SPLITS}, {len(x)}), got {arrays[key].shape}")
    return data.update(masks_of(path, {part: arrays[f"{part}_masks"][options["split"]] for part in PARTS}, len(x)))
