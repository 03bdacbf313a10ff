"""Graphs as sequences of tokens, and models that read them: Graph-Mamba, GMN, GSM++, Graph MLP-Mixer.

Every tokenizer, ordering, token encoder and block can be swapped for another; :mod:`gnnkit.sequence.parts` says what
each takes and gives.
"""

from gnnkit.sequence.blocks import Mamba2
from gnnkit.sequence.tokens import Tokens

__all__ = ["Mamba2", "Tokens"]
