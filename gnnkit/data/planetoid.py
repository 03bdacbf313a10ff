"""Citation networks of Planetoid: Cora, CiteSeer and PubMed.

Yang, Cohen and Salakhutdinov, "Revisiting Semi-Supervised Learning with Graph Embeddings", ICML 2016,
https://arxiv.org/abs/1603.08861.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from gnnkit.data.geom_gcn import read_split
from gnnkit.data.node_parts import check_nodes, classes_of, dense_features, masks_from_nodes, undirected_edges
from gnnkit.data.restricted_pickle import load_pickle
from gnnkit.data.tables import read_integers
from gnnkit.errors import DataError

ROLES = ("x", "y", "tx", "ty", "allx", "ally", "graph", "test-index")
PUBLIC, GEOM_GCN = "public", "geom-gcn"
_NUM_VALIDATION = 500


def read_planetoid(files: Mapping[str, Path], num_classes: int, options: Mapping[str, Any]) -> Data:
    """Reads one citation network.

    Nodes that neither the training matrices nor the list of test nodes name (15 of CiteSeer, which do have links) are
    kept: their features are zero, their class is 0, as in the loaders in common use. Edges are made undirected;
    duplicates and self-loops are left out.

    Args:
        files: One path for each of :data:`ROLES`, and ``split`` for the splits of Geom-GCN.
        num_classes: Number of classes.
        options: ``split``: number of the split, None: no masks. ``splits``: ``"public"`` trains on the nodes of ``x``,
            20 of each class, validates on the 500 nodes that follow and tests on the 1,000 listed; ``"geom-gcn"``.

    Raises:
        DataError: If a file is damaged, or does not fit the others.
    """
    allx, tx = _features(files["allx"]), _features(files["tx"])
    ally, ty = _one_hot(files["ally"], allx.shape[0], num_classes), _one_hot(files["ty"], tx.shape[0], num_classes)
    tested = read_integers(files["test-index"], 1)[:, 0]
    num_nodes = int(max(tested.max(initial=-1) + 1, allx.shape[0]))
    if tested.size != tx.shape[0] or np.unique(tested).size != tested.size or (tested < allx.shape[0]).any():
        raise DataError(
            f"{files['test-index']} must name each of the {tx.shape[0]} test nodes once, "
            f"after the {allx.shape[0]} others"
        )
    if tx.shape[1] != allx.shape[1]:
        raise DataError(f"{files['tx']} has {tx.shape[1]} features, but {files['allx']} has {allx.shape[1]}")
    x = np.zeros((num_nodes, allx.shape[1]), dtype=np.float32)
    y = np.zeros(num_nodes, dtype=np.int64)
    x[: allx.shape[0]], y[: allx.shape[0]] = allx, ally
    x[tested], y[tested] = tx, ty
    source, target = _edges(files["graph"], num_nodes)
    data = Data(
        x=torch.from_numpy(x),
        edge_index=undirected_edges(files["graph"], source, target, num_nodes),
        y=classes_of(files["ally"], y, num_nodes, num_classes),
    )
    if options["split"] is None:
        return data
    if options["splits"] == GEOM_GCN:
        return data.update(read_split(files["split"], num_nodes))
    return data.update(_public(files, tested, allx.shape[0], num_nodes))


def _public(
    files: Mapping[str, Path], tested: NDArray[np.int64], known: int, num_nodes: int
) -> dict[str, torch.Tensor]:
    trained = _features(files["x"]).shape[0]
    if trained > known:
        raise DataError(f"{files['x']} has {trained} nodes, more than the {known} of {files['allx']}")
    validated = np.arange(trained, min(trained + _NUM_VALIDATION, known))
    parts = {"train": np.arange(trained), "val": validated, "test": tested}
    return masks_from_nodes(files["test-index"], parts, num_nodes)


def _features(path: Path) -> NDArray[np.float32]:
    return dense_features(path, "features", load_pickle(path, encoding="latin1"))


def _one_hot(path: Path, rows: int, num_classes: int) -> NDArray[np.int64]:
    labels = load_pickle(path, encoding="latin1")
    if not isinstance(labels, np.ndarray) or labels.shape != (rows, num_classes) or labels.dtype.kind not in "biu":
        found = f"{labels.dtype} of shape {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise DataError(f"{path} must hold one of {num_classes} classes for each of {rows} nodes, got {found}")
    return labels.argmax(axis=1)


def _edges(path: Path, num_nodes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    links = load_pickle(path, encoding="latin1")
    if not isinstance(links, dict) or not all(isinstance(targets, list) for targets in links.values()):
        raise DataError(f"{path} must hold a dictionary from nodes to lists of nodes, got {type(links).__name__}")
    try:
        nodes = np.array(list(links), dtype=np.int64)
        target = np.array([node for targets in links.values() for node in targets], dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: nodes must be integers: {error}") from error
    check_nodes(path, "nodes", nodes, num_nodes)
    return np.repeat(nodes, [len(targets) for targets in links.values()]), target
