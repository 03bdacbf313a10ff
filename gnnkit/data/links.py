"""``load_links``: from the name of a dataset to its one graph, whose missing links are to be predicted."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data.checks import check_statistics
from gnnkit.data.dataset_card import Card, card, check_roles, check_source
from gnnkit.data.download import describe, obtain
from gnnkit.data.node_parts import check_nodes, undirected_edges
from gnnkit.data.one_graph import OneGraph
from gnnkit.data.restricted_pickle import read_pickles
from gnnkit.data.tables import read_integers
from gnnkit.errors import DataError

SOURCE = "ogb-links"
"""What the cards of these datasets call their loader."""

ROLES = ("edges", "num-nodes", "split-valid", "split-test")
_SPLITS = {"val": "split-valid", "test": "split-test"}
# Before its content, torch's format of before 1.6 holds three pickles: a magic number, a version, and the sizes of
# types.
_TORCH_MAGIC, _TORCH_VERSION, _TORCH_CONTENT = 0x1950A86A20F9469CFC6C, 1001, 3


@dataclass(frozen=True, eq=False)
class LinkDataset(OneGraph):
    """One graph whose links are to be predicted and what is known of it, as an experiment needs it."""

    kind = "links"

    def with_node_numbers(self) -> "LinkDataset":
        """The dataset with the number of each node as its feature ``x`` ``[N, 1]``, if it has none, to be embedded."""
        if self.data.x is not None:
            return self
        assert self.data.num_nodes is not None
        data = self.data.clone()
        data.x = torch.arange(self.data.num_nodes).unsqueeze(1)
        return replace(self, data=data, info=replace(self.info, node_categories=(self.data.num_nodes,)))

    def statistics(self) -> dict[str, Any]:
        """Counts of nodes, directed training edges, and pairs of each split."""
        assert self.data.edge_index is not None
        keys = [key for key in self.data.to_dict() if key.endswith("_edges")]
        return {
            "nodes": self.data.num_nodes,
            "edges": self.data.edge_index.size(1),
            "pairs": {key.removesuffix("_edges"): self.data[key].size(1) for key in keys},
        }


def load_links(name: str, *, root: str | Path | None = None, progress: bool = True) -> Data:
    """Loads one graph whose missing links are to be predicted.

    Raw files are looked for under the data root, fetched if missing, verified against the SHA-256 on the dataset's
    card, read without unpickling blindly, and compared with the statistics there. Nothing is kept on disk.

    Args:
        name: ``ogbl-ddi``.
        root: Data root; default ``GNNKIT_DATA`` or the user cache folder. It may be read-only.
        progress: Show progress bars.

    Returns:
        ``num_nodes``; ``edge_index``, both directions of the training links, ``[2, 2P]``; and node pairs in the order
        of the files: ``train_edges`` ``[2, P]`` (each link once), ``val_edges``, ``val_negative_edges``,
        ``test_edges`` and ``test_negative_edges``. There is no ``x``.

    Raises:
        ConfigError: If there is no such dataset, or it is of another kind.
        DataError: If a file is missing, damaged or has the wrong checksum, or the graph is not what the card states.

    Determinism: a function of the files.
    """
    return read_links(card(name), root=None if root is None else Path(root), progress=progress).data


def read_links(found: Card, *, root: Path | None = None, progress: bool = False) -> LinkDataset:
    """Reads what a card describes, and checks it against its statistics.

    Raises:
        ConfigError: If the dataset is of another kind.
        DataError: As :func:`load_links`.
    """
    check_source(found, (SOURCE,), "graph with links to predict")
    check_roles(found, ROLES)
    located = obtain(found, ROLES, root=root, progress=progress)
    data = read_ogb_links({role: entry.path for role, entry in located.items()})
    dataset = LinkDataset(describe(found, located, {}), data)
    check_statistics(found.name, found.statistics, dataset.statistics())
    return dataset


def read_ogb_links(files: Mapping[str, Path]) -> Data:
    """Reads an OGB link set whose files list each training link once.

    Args:
        files: One path for each of :data:`ROLES`.

    Raises:
        DataError: If a file is damaged, or does not fit the others.
    """
    counts = read_integers(files["num-nodes"], 1)
    if counts.shape != (1, 1) or counts[0, 0] < 0:
        raise DataError(f"{files['num-nodes']} must hold one number of nodes, got {counts.tolist()[:3]}")
    num_nodes = int(counts[0, 0])
    train = read_integers(files["edges"], 2)
    check_nodes(files["edges"], "links", train, num_nodes)
    data = Data(
        num_nodes=num_nodes,
        edge_index=undirected_edges(files["edges"], train[:, 0], train[:, 1], num_nodes),
        train_edges=_pairs(train),
    )
    for part, role in _SPLITS.items():
        for key, pairs in _read_split(files[role], num_nodes).items():
            data[f"{part}_{key}"] = pairs
    return data


def _read_split(path: Path, num_nodes: int) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    magic, version, _, held = read_pickles(content, str(path), count=_TORCH_CONTENT + 1, encoding="utf-8")
    if (magic, version) != (_TORCH_MAGIC, _TORCH_VERSION):
        raise DataError(f"{path} is not in the format of torch before 1.6")
    if not isinstance(held, dict) or set(held) != {"edge", "edge_neg"}:
        found = sorted(map(str, held)) if isinstance(held, dict) else type(held).__name__
        raise DataError(f"{path} must hold a dict with the keys edge, edge_neg, got {found}")
    pairs = {}
    for key, name in (("edge", "edges"), ("edge_neg", "negative_edges")):
        table = held[key]
        if not isinstance(table, np.ndarray) or table.ndim != 2 or table.shape[1] != 2:
            raise DataError(f"{path}: {key} must be an array of two columns")
        check_nodes(path, key, table, num_nodes)
        pairs[name] = _pairs(table)
    return pairs


def _pairs(table: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(table.T.astype(np.int64)))
