"""Layers on packed sequences, without padding: see :class:`gnnkit.sequence.parts.Block`."""

from gnnkit.sequence.blocks.attention import Attention
from gnnkit.sequence.blocks.bidirectional import Bidirectional
from gnnkit.sequence.blocks.delta_product import DeltaProduct
from gnnkit.sequence.blocks.hybrid import Hybrid
from gnnkit.sequence.blocks.mamba import Mamba
from gnnkit.sequence.blocks.mamba2 import Mamba2
from gnnkit.sequence.blocks.s4d import S4D

__all__ = [
    "Attention",
    "Bidirectional",
    "DeltaProduct",
    "Hybrid",
    "Mamba",
    "Mamba2",
    "S4D",
]
