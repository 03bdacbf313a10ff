"""Transforms that add positional or structural node features: ``Data`` in, ``Data`` out; on a ``Batch`` per graph."""

from gnnkit.encodings.laplacian import LaplacianEigenvectors
from gnnkit.encodings.random_walk import RandomWalk
from gnnkit.encodings.relative_random_walk import RelativeRandomWalk

__all__ = ["LaplacianEigenvectors", "RandomWalk", "RelativeRandomWalk"]
