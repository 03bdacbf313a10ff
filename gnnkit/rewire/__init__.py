"""Transforms that change the edges of a graph: ``Data`` in, ``Data`` out; on a ``Batch`` per graph."""

from gnnkit.rewire._rewiring import Rewiring
from gnnkit.rewire.afr import AFR
from gnnkit.rewire.borf import BORF
from gnnkit.rewire.digl import DigL
from gnnkit.rewire.expander import Expander
from gnnkit.rewire.fosr import FoSR
from gnnkit.rewire.gtr import GTR
from gnnkit.rewire.k_hop import KHop
from gnnkit.rewire.laser import LASER
from gnnkit.rewire.random_edges import RandomEdges
from gnnkit.rewire.sdrf import SDRF
from gnnkit.rewire.spectral_sparsify import SpectralSparsify
from gnnkit.rewire.virtual_node import VirtualNode
from gnnkit.transforms.apply import apply

__all__ = [
    "AFR",
    "BORF",
    "DigL",
    "Expander",
    "FoSR",
    "GTR",
    "KHop",
    "LASER",
    "RandomEdges",
    "Rewiring",
    "SDRF",
    "SpectralSparsify",
    "VirtualNode",
    "apply",
]
