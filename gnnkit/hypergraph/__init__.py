"""Hypergraphs: edges that join any number of nodes, transforms between them and graphs, and layers on them."""

from gnnkit.hypergraph.data import HyperData, batch_hyperedges
from gnnkit.hypergraph.hypergraph import Hypergraph

__all__ = ["HyperData", "Hypergraph", "batch_hyperedges"]
