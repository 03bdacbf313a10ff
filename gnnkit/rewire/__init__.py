"""Transforms that change the edges of a graph: ``Data`` in, ``Data`` out; on a ``Batch`` per graph."""

from gnnkit.rewire.afr import AFR
from gnnkit.rewire.borf import BORF
from gnnkit.rewire.k_hop import KHop
from gnnkit.rewire.sdrf import SDRF

__all__ = ["AFR", "BORF", "KHop", "SDRF"]
