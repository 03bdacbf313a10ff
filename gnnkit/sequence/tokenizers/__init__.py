"""Graphs, or the surroundings of nodes, as sequences of tokens; each is a :class:`~gnnkit.sequence.parts.Tokenizer`."""

from gnnkit.sequence.tokenizers.hac import HACTokens
from gnnkit.sequence.tokenizers.hops import HopTokens
from gnnkit.sequence.tokenizers.nodes import NodeTokens
from gnnkit.sequence.tokenizers.patches import PatchTokens
from gnnkit.sequence.tokenizers.walk import WalkTokens

__all__ = ["HACTokens", "HopTokens", "NodeTokens", "PatchTokens", "WalkTokens"]
