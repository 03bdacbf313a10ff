"""Transforms that add positional or structural node features: ``Data`` in, ``Data`` out; on a ``Batch`` per graph."""

from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings.laplacian import LaplacianEigenvectors
from gnnkit.encodings.random_walk import RandomWalk
from gnnkit.transforms.apply import apply

__all__ = ["Encoding", "LaplacianEigenvectors", "RandomWalk", "apply"]
