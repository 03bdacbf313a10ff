"""``load_nodes``: from the name of a dataset to its one graph, whose nodes are to be classified."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data import geom_gcn, gnn_benchmark, heterophilous, planetoid
from gnnkit.data.checks import check_statistics, label_statistics
from gnnkit.data.dataset_card import Card, card, check_roles, check_source, nearest
from gnnkit.data.download import describe, obtain
from gnnkit.data.node_parts import PARTS
from gnnkit.data.one_graph import OneGraph
from gnnkit.errors import ConfigError

_READERS: dict[str, Callable[[Mapping[str, Path], int, Mapping[str, Any]], Data]] = {
    "planetoid": planetoid.read_planetoid,
    "geom-gcn": geom_gcn.read_geom_gcn,
    "heterophilous": heterophilous.read_heterophilous,
    "gnn-benchmark": gnn_benchmark.read_gnn_benchmark,
}
_ROLES = {
    "planetoid": planetoid.ROLES,
    "geom-gcn": geom_gcn.ROLES,
    "heterophilous": heterophilous.ROLES,
    "gnn-benchmark": gnn_benchmark.ROLES,
}
# Of each kind of splits how many there are; None: any seed.
_SPLITS: dict[str, dict[str, int | None]] = {
    "planetoid": {planetoid.PUBLIC: 1, planetoid.GEOM_GCN: geom_gcn.NUM_SPLITS},
    "geom-gcn": {"geom-gcn": geom_gcn.NUM_SPLITS},
    "heterophilous": {"published": heterophilous.NUM_SPLITS},
    "gnn-benchmark": {gnn_benchmark.PER_CLASS: None, gnn_benchmark.RATIO: None},
}
SOURCES = tuple(_READERS)
"""What the cards of these datasets call their loaders."""


@dataclass(frozen=True, eq=False)
class NodeDataset(OneGraph):
    """One graph with labelled nodes and what is known of it, as an experiment needs it."""

    kind = "nodes"

    @property
    def labels(self) -> Tensor:
        """Labels of all nodes."""
        assert isinstance(self.data.y, Tensor)
        return self.data.y

    @property
    def split(self) -> dict[str, Tensor]:
        """Node numbers of ``train``, ``val`` and ``test``, ascending."""
        masks = {part: self.data[f"{part}_mask"] for part in PARTS if f"{part}_mask" in self.data}
        return {part: mask.nonzero().flatten() for part, mask in masks.items()}

    def statistics(self) -> dict[str, Any]:
        """Counts of nodes, directed edges, features, self-loops, nodes without edges, split sizes and labels."""
        edge_index = self.data.edge_index
        assert edge_index is not None
        assert self.data.x is not None
        num_nodes = self.labels.size(0)
        touched = torch.zeros(num_nodes, dtype=torch.bool).index_fill(0, edge_index.flatten(), True)
        return {
            "nodes": num_nodes,
            "edges": edge_index.size(1),
            "features": self.data.x.size(1),
            "self_loops": int((edge_index[0] == edge_index[1]).sum()),
            "isolated": int((~touched).sum()),
            "split": {part: members.numel() for part, members in self.split.items()},
            "labels": label_statistics(self.task, self.labels, self.num_outputs),
        }


def load_nodes(
    name: str,
    *,
    split: int | None = 0,
    splits: str | None = None,
    root: str | Path | None = None,
    progress: bool = True,
) -> Data:
    """Loads one graph whose nodes are to be classified.

    Raw files are looked for under the data root, fetched if missing, verified against the SHA-256 on the dataset's
    card, read without unpickling blindly, and compared with the statistics there. Nothing is kept on disk.

    Args:
        name: ``cora``, ``citeseer``, ``pubmed``, ``cornell``, ``texas``, ``wisconsin``, ``actor``, ``chameleon``,
            ``squirrel``, ``chameleon-filtered``, ``squirrel-filtered``, ``minesweeper``, ``tolokers``,
            ``amazon-computers``, ``amazon-photo``, ``coauthor-cs`` or ``coauthor-physics``.
        split: Which split the masks are, counted from 0; where there are no published ones, the seed it is drawn from.
            None: no masks.
        splits: Which family of splits: of the citation networks ``"public"`` (one) or ``"geom-gcn"`` (ten of
            48/32/20 percent), of Amazon and Coauthor ``"per-class"`` (20 training and 30 validation nodes a class) or
            ``"ratio"`` (60/20/20 percent), both drawn from the seed ``split``. None: the one on the card.
        root: Data root; default ``GNNKIT_DATA`` or the user cache folder. It may be read-only.
        progress: Show progress bars.

    Returns:
        ``x`` float32 ``[N, F]`` as the files have it, not normalised; ``edge_index`` ``[2, E]`` in order of source,
        then target; ``y``, classes int64 ``[N]``, or float32 ``[N, 1]`` where the card's task is binary;
        ``train_mask``, ``val_mask`` and ``test_mask`` bool ``[N]``. Edges of cora, citeseer, pubmed, of Amazon,
        Coauthor and the heterophilous graphs go both ways; those of texas, wisconsin and actor are directed as in their
        files.

    Raises:
        ConfigError: If there is no such dataset or split, or the dataset is of another kind.
        DataError: If a file is missing, damaged or has the wrong checksum, or the graph is not what the card states.

    Determinism: a function of the files and arguments.
    """
    found = card(name)
    options: dict[str, Any] = {"split": split}
    if splits is not None:
        options["splits"] = splits
    return read_nodes(found, options, root=None if root is None else Path(root), progress=progress).data


def read_nodes(
    found: Card, options: Mapping[str, Any] | None = None, *, root: Path | None = None, progress: bool = False
) -> NodeDataset:
    """Reads what a card describes, and checks it against its statistics.

    Args:
        found: The card.
        options: ``split`` and ``splits``, as :func:`load_nodes`; others are those on the card.
        root: Data root.
        progress: Show progress bars.

    Raises:
        ConfigError: If the dataset is of another kind, or an option is unknown or out of range.
        DataError: As :func:`load_nodes`.
    """
    check_source(found, SOURCES, "graph with labelled nodes")
    complete = _checked(found, options or {})
    split = complete["split"]
    roles = list(_ROLES[found.source])
    listed = split is not None and complete["splits"] == "geom-gcn"
    if listed:
        roles.append(f"split-{split}")
    check_roles(found, roles)
    located = obtain(found, roles, root=root, progress=progress)
    paths = {"split" if role == f"split-{split}" else role: entry.path for role, entry in located.items()}
    data = _READERS[found.source](paths, 2 if found.task == "binary" else found.num_outputs, complete)
    if found.task == "binary":
        assert isinstance(data.y, Tensor)
        data.y = data.y.to(torch.float32).unsqueeze(1)
    dataset = NodeDataset(describe(found, located, complete), data)
    # The sizes of the splits are those of the options on the card.
    unknown = set() if complete == _checked(found, {}) else {"split"}
    expected = {key: value for key, value in found.statistics.items() if key not in unknown}
    check_statistics(found.name, expected, dataset.statistics())
    return dataset


def _checked(found: Card, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options, with their defaults."""
    families = _SPLITS[found.source]
    complete = {"split": 0, "splits": next(iter(families)), **found.options, **options}
    for key in complete:
        if key not in ("split", "splits"):
            raise ConfigError(
                f"{found.name} has no option {key!r}{nearest(key, ('split', 'splits'))}; its options are split, splits"
            )
    split, family = complete["split"], complete["splits"]
    if not isinstance(family, str) or family not in families:
        raise ConfigError(f"splits of {found.name} must be {' or '.join(map(repr, families))}, got {family!r}")
    count = families[family]
    legal = isinstance(split, int) and not isinstance(split, bool) and 0 <= split < (count or 2**63)
    if split is not None and not legal:
        expected = "a seed, 0 or more" if count is None else f"0 to {count - 1}" if count > 1 else "0"
        raise ConfigError(f"split of {found.name} must be {expected}, or None, got {split!r}")
    return complete
