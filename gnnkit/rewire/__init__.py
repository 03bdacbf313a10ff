"""Transforms that change the edges of a graph: ``Data`` in, ``Data`` out; on a ``Batch`` per graph."""

from gnnkit.rewire.borf import BORF
from gnnkit.rewire.k_hop import KHop

__all__ = ["BORF", "KHop"]
