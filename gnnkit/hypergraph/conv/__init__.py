"""Layers: ``conv(x, hypergraph, hyperedge_weight=None, hyperedge_attr=None)``, the last two where they apply."""

from gnnkit.hypergraph.conv.all_set import AllDeepSetsConv, AllSetTransformerConv
from gnnkit.hypergraph.conv.hgnn import HGNNConv
from gnnkit.hypergraph.conv.hyper_gcn import HyperGCNConv, hyper_gcn_graph
from gnnkit.hypergraph.conv.hypergraph_conv import HypergraphConv
from gnnkit.hypergraph.conv.uni_gnn import UniGATConv, UniGCNConv, UniGCNIIConv, UniGINConv, UniSAGEConv

__all__ = [
    "AllDeepSetsConv",
    "AllSetTransformerConv",
    "HGNNConv",
    "HyperGCNConv",
    "HypergraphConv",
    "UniGATConv",
    "UniGCNConv",
    "UniGCNIIConv",
    "UniGINConv",
    "UniSAGEConv",
    "hyper_gcn_graph",
]
