"""Graphs, or the surroundings of nodes, as sequences of tokens; each is a :class:`~gnnkit.sequence.parts.Tokenizer`."""

from gnnkit.sequence.tokenizers.hac import HACTokens

__all__ = ["HACTokens"]
