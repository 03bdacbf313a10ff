"""Hypergraphs: edges that join any number of nodes, transforms between them and graphs, and layers on them."""

from gnnkit.hypergraph.conv import (
    AllDeepSetsConv,
    AllSetTransformerConv,
    HGNNConv,
    HyperGCNConv,
    HypergraphConv,
    UniGATConv,
    UniGCNConv,
    UniGCNIIConv,
    UniGINConv,
    UniSAGEConv,
    hyper_gcn_graph,
)
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
from gnnkit.hypergraph.model import HypergraphModel
from gnnkit.hypergraph.self_loops import add_self_loops
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
    "AllDeepSetsConv",
    "AllSetTransformerConv",
    "CliqueComplex",
    "CliqueExpansion",
    "DualHypergraph",
    "EHGNNClassifier",
    "EdgeReconstruction",
    "GMPool",
    "HGNNConv",
    "HyperCluster",
    "HyperData",
    "HyperDrop",
    "HyperGCNConv",
    "Hypergraph",
    "HypergraphConv",
    "HypergraphModel",
    "KeptEdges",
    "LineExpansion",
    "PooledEdges",
    "PrimalGraph",
    "SimplicialConv",
    "StarExpansion",
    "UniGATConv",
    "UniGCNConv",
    "UniGCNIIConv",
    "UniGINConv",
    "UniSAGEConv",
    "add_self_loops",
    "batch_hyperedges",
    "boundary_matrices",
    "clique_expansion",
    "dual_hyperedge_index",
    "from_dict",
    "from_incidence_matrix",
    "hodge_laplacian",
    "hyper_gcn_graph",
    "line_expansion",
    "num_seeds_of",
    "primal_edge_index",
    "star_expansion",
    "to_dict",
    "to_incidence_matrix",
]
