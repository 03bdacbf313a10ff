"""Edge representation learning on the dual hypergraph: edges dropped, clustered, and read back from their clusters.

Jo et al., "Edge Representation Learning with Hypergraphs", NeurIPS 2021, https://arxiv.org/abs/2106.15845.
"""

from gnnkit.hypergraph.edge_learning.classifier import EHGNNClassifier
from gnnkit.hypergraph.edge_learning.hyper_cluster import GMPool, HyperCluster, PooledEdges, num_seeds_of
from gnnkit.hypergraph.edge_learning.hyper_drop import HyperDrop, KeptEdges
from gnnkit.hypergraph.edge_learning.reconstruction import EdgeReconstruction

__all__ = [
    "EHGNNClassifier",
    "EdgeReconstruction",
    "GMPool",
    "HyperCluster",
    "HyperDrop",
    "KeptEdges",
    "PooledEdges",
    "num_seeds_of",
]
