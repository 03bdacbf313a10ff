"""Datasets: offline first, checksummed, never unpickled blindly.

``load(name)`` returns a :class:`GraphDataset`: all graphs of the set packed in a few tensors, from which single graphs
(:class:`torch_geometric.data.Data`) and whole mini-batches (:class:`torch_geometric.data.Batch`) are cut without a
Python loop over graphs. ``load_hypergraph(name)`` returns one hypergraph with labels of its nodes, as
:class:`gnnkit.hypergraph.HyperData`; ``load_nodes(name)`` one graph with labels of its nodes, and ``load_links(name)``
one graph with links to predict, both as :class:`torch_geometric.data.Data`. What a dataset consists of (files,
checksums, statistics, licence, citation) is written on its card, one TOML file per dataset.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit.data.columns import DatasetInfo, Ragged
    from gnnkit.data.commands import get, list_datasets, verify
    from gnnkit.data.dataset_card import Card, DataFile, card, names
    from gnnkit.data.files import cache_root, data_root
    from gnnkit.data.hypergraphs import load_hypergraph
    from gnnkit.data.links import load_links
    from gnnkit.data.loading import load
    from gnnkit.data.molecule import ATOM_FEATURE_DIMS, BOND_FEATURE_DIMS, smiles_to_data
    from gnnkit.data.nodes import load_nodes
    from gnnkit.data.packed import GraphDataset
    from gnnkit.data.restricted_pickle import load_pickle
    from gnnkit.data.synthetic import ring_transfer, tree_neighbors_match

# Resolved on first use: worker processes that only featurise molecules must not pay for importing torch_geometric.
_HOME = {
    "ATOM_FEATURE_DIMS": "molecule",
    "BOND_FEATURE_DIMS": "molecule",
    "Card": "dataset_card",
    "DataFile": "dataset_card",
    "DatasetInfo": "columns",
    "GraphDataset": "packed",
    "Ragged": "columns",
    "cache_root": "files",
    "card": "dataset_card",
    "data_root": "files",
    "get": "commands",
    "list_datasets": "commands",
    "load": "loading",
    "load_hypergraph": "hypergraphs",
    "load_links": "links",
    "load_nodes": "nodes",
    "load_pickle": "restricted_pickle",
    "names": "dataset_card",
    "ring_transfer": "synthetic",
    "smiles_to_data": "molecule",
    "tree_neighbors_match": "synthetic",
    "verify": "commands",
}

__all__ = [
    "ATOM_FEATURE_DIMS",
    "BOND_FEATURE_DIMS",
    "Card",
    "DataFile",
    "DatasetInfo",
    "GraphDataset",
    "Ragged",
    "cache_root",
    "card",
    "data_root",
    "get",
    "list_datasets",
    "load",
    "load_hypergraph",
    "load_links",
    "load_nodes",
    "load_pickle",
    "names",
    "ring_transfer",
    "smiles_to_data",
    "tree_neighbors_match",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
