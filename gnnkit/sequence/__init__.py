"""Graphs as sequences of tokens, and models that read them: Graph-Mamba, GMN, GSM++, Graph MLP-Mixer.

Every tokenizer, ordering, token encoder and block can be swapped for another; :mod:`gnnkit.sequence.parts` says what
each takes and gives.
"""

from gnnkit.sequence.build import build_sequence_model
from gnnkit.sequence.config import SequenceModelConfig
from gnnkit.sequence.gmn import GMN
from gnnkit.sequence.graph_mamba import GraphMamba, GraphMambaLayer
from gnnkit.sequence.ordered_block import OrderedBlock
from gnnkit.sequence.tokens import Tokens

__all__ = [
    "GMN",
    "GraphMamba",
    "GraphMambaLayer",
    "OrderedBlock",
    "SequenceModelConfig",
    "Tokens",
    "build_sequence_model",
]
