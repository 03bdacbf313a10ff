"""LRGB Peptides-func from its official raw files.

Dwivedi et al., "Long Range Graph Benchmark", NeurIPS 2022 Datasets and Benchmarks, https://arxiv.org/abs/2206.08164.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from gnnkit.data.columns import DatasetInfo
from gnnkit.data.molecule import ATOM_FEATURE_DIMS, BOND_FEATURE_DIMS, featurize
from gnnkit.data.packed import GraphDataset
from gnnkit.data.restricted_pickle import load_pickle
from gnnkit.data.tables import read_columns
from gnnkit.errors import DataError

ROLES = ("graphs", "split")
SPLITS = ("train", "val", "test")


def read_peptides(
    files: Mapping[str, Path], info: DatasetInfo, *, num_workers: int | None = None, progress: bool = False
) -> GraphDataset:
    """Reads the peptides: SMILES to graphs with OGB's features, the ten-class list as labels, the official split.

    Args:
        files: ``graphs`` (``.csv.gz`` with the columns ``smiles`` and ``labels``) and ``split`` (pickle of a dict with
            the keys ``train``, ``val``, ``test``).
        info: What the card says.
        num_workers: Processes; default all cores.
        progress: Show a progress bar.

    Raises:
        DataError: If a file is damaged, a SMILES or label cannot be read, or the split does not fit.
        BackendError: If RDKit is not installed.
    """
    table = read_columns(files["graphs"], ["smiles", "labels"])
    labels = torch.tensor(
        [_label(text, info.num_outputs, f"{files['graphs']}, row {row}") for row, text in enumerate(table["labels"])],
        dtype=torch.float32,
    ).reshape(-1, info.num_outputs)
    split = _read_split(files["split"])
    try:
        molecules = featurize(table["smiles"], num_workers=num_workers, progress=progress)
    except DataError as error:
        raise DataError(f"{files['graphs']}, {error}") from error
    return GraphDataset(
        info,
        node_ptr=_ptr(molecules.num_nodes),
        edge_ptr=_ptr(molecules.num_edges),
        edge_index=torch.from_numpy(molecules.edge_index.astype(np.int64)),
        node={"x": torch.from_numpy(molecules.x.astype(np.int64))},
        edge={"edge_attr": torch.from_numpy(molecules.edge_attr.astype(np.int64))},
        graph={"y": labels},
        split=split,
    ).with_info(node_categories=ATOM_FEATURE_DIMS, edge_categories=BOND_FEATURE_DIMS)


def _ptr(counts: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _label(text: str, num_outputs: int, where: str) -> list[int]:
    try:
        label = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: labels must be a list of {num_outputs} zeros and ones, got {text[:80]!r}") from error
    if not isinstance(label, list) or len(label) != num_outputs or any(value not in (0, 1) for value in label):
        raise DataError(f"{where}: labels must be a list of {num_outputs} zeros and ones, got {text[:80]!r}")
    return label


def _read_split(path: Path) -> dict[str, torch.Tensor]:
    content = load_pickle(path)
    if not isinstance(content, dict) or set(content) != set(SPLITS):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path} must hold a dict with the keys {', '.join(SPLITS)}, got {found}")
    split = {}
    for key in SPLITS:
        members = np.asarray(content[key])
        if members.ndim != 1 or not np.issubdtype(members.dtype, np.integer):
            raise DataError(f"{path}: {key} must be a vector of integers, got {members.dtype} of shape {members.shape}")
        split[key] = torch.from_numpy(members.astype(np.int64))
    return split
