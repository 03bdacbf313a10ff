"""Blocks that read packed sequences of tokens; see :class:`gnnkit.sequence.parts.Block`."""

from gnnkit.sequence.blocks.mamba2 import Mamba2

__all__ = ["Mamba2"]
