"""Graphs as sequences of tokens, and models that read them: Graph-Mamba, GMN, GSM++, Graph MLP-Mixer.

Every tokenizer, ordering, token encoder and block can be swapped for another; :mod:`gnnkit.sequence.parts` says what
each takes and gives.
"""

from gnnkit.sequence.blocks import S4D, Attention, Bidirectional, DeltaProduct, Hybrid, Mamba
from gnnkit.sequence.tokens import Tokens

__all__ = [
    "Attention",
    "Bidirectional",
    "DeltaProduct",
    "Hybrid",
    "Mamba",
    "S4D",
    "Tokens",
]
