"""From graphs to hypergraphs and back, on ``Data``, ``HyperData`` and batches of them."""

from gnnkit.hypergraph.transforms.clique import CliqueExpansion, clique_expansion
from gnnkit.hypergraph.transforms.dual import DualHypergraph, PrimalGraph, dual_hyperedge_index, primal_edge_index
from gnnkit.hypergraph.transforms.line import LineExpansion, line_expansion
from gnnkit.hypergraph.transforms.star import StarExpansion, star_expansion

__all__ = [
    "CliqueExpansion",
    "DualHypergraph",
    "LineExpansion",
    "PrimalGraph",
    "StarExpansion",
    "clique_expansion",
    "dual_hyperedge_index",
    "line_expansion",
    "primal_edge_index",
    "star_expansion",
]
