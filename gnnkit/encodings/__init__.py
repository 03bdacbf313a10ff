"""Transforms that add positional or structural node features: ``Data`` in, ``Data`` out; on a ``Batch`` per graph."""

from gnnkit.encodings.graph_random_features import GraphRandomFeatures, SparseGraphRandomFeatures
from gnnkit.encodings.laplacian import LaplacianEigenvectors
from gnnkit.encodings.random_feature_propagation import RandomFeaturePropagation
from gnnkit.encodings.random_walk import RandomWalk

__all__ = [
    "GraphRandomFeatures",
    "LaplacianEigenvectors",
    "RandomFeaturePropagation",
    "RandomWalk",
    "SparseGraphRandomFeatures",
]
