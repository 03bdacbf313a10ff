"""OGB's molecule property sets in their official folder layout.

Hu et al., "Open Graph Benchmark: Datasets for Machine Learning on Graphs", NeurIPS 2020,
https://arxiv.org/abs/2005.00687.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gnnkit.data.columns import DatasetInfo
from gnnkit.data.molecule import ATOM_FEATURE_DIMS, BOND_FEATURE_DIMS
from gnnkit.data.packed import GraphDataset
from gnnkit.data.tables import read_integers, read_numbers
from gnnkit.errors import DataError

SPLITS = {"train": "split-train", "val": "split-valid", "test": "split-test"}
ROLES = ("num-nodes", "num-edges", "edges", "node-features", "edge-features", "labels", *SPLITS.values())


def read_ogb_molecules(files: Mapping[str, Path], info: DatasetInfo) -> GraphDataset:
    """Reads one OGB molecule set.

    The files list each bond once; bond ``b`` gives the directed edges ``2b`` (as listed) and ``2b + 1`` (reversed), as
    OGB's own loader does.

    Args:
        files: One path for each of :data:`ROLES`.
        info: What the card says.

    Raises:
        DataError: If a file is damaged, or row counts and values do not fit together; the message names file and line.
    """
    num_nodes = _counts(files["num-nodes"])
    num_bonds = _counts(files["num-edges"])
    labels = read_numbers(files["labels"])
    if not num_nodes.size == num_bonds.size == len(labels):
        raise DataError(
            f"{files['num-nodes'].parent}: the files disagree on the number of graphs: num-node-list has "
            f"{num_nodes.size}, num-edge-list {num_bonds.size}, graph-label {len(labels)}"
        )
    if labels.size and labels.shape[1] != info.num_outputs:
        raise DataError(f"{files['labels']}: expected {info.num_outputs} column(s), got {labels.shape[1]}")
    bonds = read_integers(files["edges"], 2)
    _check_rows(files["edges"], len(bonds), int(num_bonds.sum()), "num-edge-list")
    _check_bonds(files["edges"], bonds, num_nodes, num_bonds)
    x = _features(files["node-features"], ATOM_FEATURE_DIMS, int(num_nodes.sum()), "num-node-list")
    edge_attr = _features(files["edge-features"], BOND_FEATURE_DIMS, int(num_bonds.sum()), "num-edge-list")
    both = np.stack([bonds, bonds[:, ::-1]], axis=1).reshape(-1, 2)
    return GraphDataset(
        info,
        node_ptr=_ptr(num_nodes),
        edge_ptr=_ptr(2 * num_bonds),
        edge_index=torch.from_numpy(np.ascontiguousarray(both.T)),
        node={"x": torch.from_numpy(x)},
        edge={"edge_attr": torch.from_numpy(edge_attr.repeat(2, axis=0))},
        graph={"y": torch.from_numpy(labels.astype(np.float32)).reshape(-1, info.num_outputs)},
        split={
            key: torch.from_numpy(np.ascontiguousarray(read_integers(files[role], 1)[:, 0]))
            for key, role in SPLITS.items()
        },
    ).with_info(node_categories=ATOM_FEATURE_DIMS, edge_categories=BOND_FEATURE_DIMS)


def _ptr(counts: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _counts(path: Path) -> NDArray[np.int64]:
    counts = read_integers(path, 1)[:, 0]
    if counts.size and counts.min() < 0:
        line = int(np.argmax(counts < 0)) + 1
        raise DataError(f"{path}, line {line}: a count cannot be negative, got {counts[line - 1]}")
    return counts


def _check_rows(path: Path, rows: int, expected: int, counted_by: str) -> None:
    if rows != expected:
        raise DataError(f"{path} has {rows} rows, but {counted_by} adds up to {expected}; one of them is truncated")


def _check_bonds(
    path: Path, bonds: NDArray[np.int64], num_nodes: NDArray[np.int64], num_bonds: NDArray[np.int64]
) -> None:
    sizes = np.repeat(num_nodes, num_bonds)
    outside = ((bonds < 0) | (bonds >= sizes[:, None])).any(axis=1)
    if outside.any():
        row = int(np.argmax(outside))
        graph = int(np.searchsorted(np.cumsum(num_bonds), row, side="right"))
        raise DataError(
            f"{path}, line {row + 1}: bond {tuple(bonds[row].tolist())} leaves graph {graph}, "
            f"which has {num_nodes[graph]} atoms"
        )


def _features(path: Path, dims: tuple[int, ...], rows: int, counted_by: str) -> NDArray[np.int64]:
    table = read_integers(path, len(dims))
    _check_rows(path, len(table), rows, counted_by)
    outside = (table < 0) | (table >= np.array(dims))
    if outside.any():
        row, column = (int(i) for i in np.argwhere(outside)[0])
        raise DataError(
            f"{path}, line {row + 1}: feature {column} is {table[row, column]}, expected 0 to {dims[column] - 1}"
        )
    return table
