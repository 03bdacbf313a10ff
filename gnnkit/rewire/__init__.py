"""Transforms that change the edges of a graph: ``Data`` in, ``Data`` out; on a ``Batch`` per graph."""

from gnnkit.rewire.fosr import FoSR
from gnnkit.rewire.gtr import GTR
from gnnkit.rewire.k_hop import KHop
from gnnkit.rewire.spectral_sparsify import SpectralSparsify

__all__ = ["FoSR", "GTR", "KHop", "SpectralSparsify"]
