"""Hypergraphs: edges that join any number of nodes, transforms between them and graphs, and layers on them."""

from gnnkit.hypergraph.conversions import from_dict, from_incidence_matrix, to_dict, to_incidence_matrix
from gnnkit.hypergraph.data import HyperData, batch_hyperedges
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.hypergraph.transforms import (
    CliqueExpansion,
    DualHypergraph,
    LineExpansion,
    PrimalGraph,
    StarExpansion,
    clique_expansion,
    dual_hyperedge_index,
    line_expansion,
    primal_edge_index,
    star_expansion,
)

__all__ = [
    "CliqueExpansion",
    "DualHypergraph",
    "HyperData",
    "Hypergraph",
    "LineExpansion",
    "PrimalGraph",
    "StarExpansion",
    "batch_hyperedges",
    "clique_expansion",
    "dual_hyperedge_index",
    "from_dict",
    "from_incidence_matrix",
    "line_expansion",
    "primal_edge_index",
    "star_expansion",
    "to_dict",
    "to_incidence_matrix",
]
