"""Hypergraphs: edges that join any number of nodes, transforms between them and graphs, and layers on them."""

from gnnkit.hypergraph.conversions import from_dict, from_incidence_matrix, to_dict, to_incidence_matrix
from gnnkit.hypergraph.data import HyperData, batch_hyperedges
from gnnkit.hypergraph.edge_learning import (
    EdgeReconstruction,
    EHGNNClassifier,
    GMPool,
    HyperCluster,
    HyperDrop,
    KeptEdges,
    PooledEdges,
    num_seeds_of,
)
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.hypergraph.simplicial import CliqueComplex, SimplicialConv, boundary_matrices, hodge_laplacian
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
    "CliqueComplex",
    "CliqueExpansion",
    "DualHypergraph",
    "EHGNNClassifier",
    "EdgeReconstruction",
    "GMPool",
    "HyperCluster",
    "HyperData",
    "HyperDrop",
    "Hypergraph",
    "KeptEdges",
    "LineExpansion",
    "PooledEdges",
    "PrimalGraph",
    "SimplicialConv",
    "StarExpansion",
    "batch_hyperedges",
    "boundary_matrices",
    "clique_expansion",
    "dual_hyperedge_index",
    "from_dict",
    "from_incidence_matrix",
    "hodge_laplacian",
    "line_expansion",
    "num_seeds_of",
    "primal_edge_index",
    "star_expansion",
    "to_dict",
    "to_incidence_matrix",
]
