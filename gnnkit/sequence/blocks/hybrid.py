"""Stacks of blocks."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.nn._blocks import check_block, make_norm, normalized
from gnnkit.nn.epilogue import epilogue
from gnnkit.sequence.blocks._inputs import check_tokens
from gnnkit.sequence.parts import Block


class Hybrid(torch.nn.Module):
    r"""Blocks on top of each other, of one kind or of several, each with a residual and a normalisation before it.

    .. math:: x \leftarrow x + \mathrm{dropout}\bigl(\mathrm{block}_i(\mathrm{norm}_i(x))\bigr),
        \qquad i = 1, \dots, n

    Recurrences and attention make up for each other's weaknesses: what the one forgets over a distance, the other
    reaches, and what has no order for the other, the one reads in order. ``Hybrid([Mamba(d), Mamba(d), Attention(d)])``
    is the global encoder of GSM++ (`Behrouz et al., "Best of both worlds: advantages of hybrid graph sequence models"
    (2024) <https://arxiv.org/abs/2411.15671>`_). Nothing is normalised after the last block.

    >>> import torch
    >>> from gnnkit.sequence import Attention, Hybrid, Mamba
    >>> block = Hybrid([Mamba(8), Attention(8)])
    >>> block(torch.randn(5, 8), torch.tensor([0, 3, 5])).shape
    torch.Size([5, 8])

    Args:
        blocks: Modules that are blocks of one width, at least one. One that is given twice shares its weights.
        norm: ``"layer"`` (of each token), ``"batch"`` (over all tokens), ``"graph"`` (over the tokens of each sequence,
            by :class:`gnnkit.nn.GraphNorm`) or ``"none"``.
        dropout: Probability of dropping an entry of what a block returns, by torch's global generator.

    Raises:
        ConfigError: If there is no block, blocks have different widths, or a setting is unknown or out of range.

    Determinism, complexity: those of the blocks.
    """

    def __init__(self, blocks: Sequence[Block], *, norm: str = "layer", dropout: float = 0.0) -> None:
        super().__init__()
        check_block(dropout=dropout, activation="none", norm=norm)
        self.dim = common_width("Hybrid", blocks)
        self.dropout = dropout
        self.blocks = torch.nn.ModuleList(cast(Sequence[torch.nn.Module], blocks))
        self.norms = torch.nn.ModuleList(make_norm(norm, self.dim) or torch.nn.Identity() for _ in blocks)

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        """Maps the tokens of packed sequences; arguments, result and errors as in :meth:`Mamba.forward`."""
        offsets = check_tokens(x, offsets, reverse=reverse, block="Hybrid", dim=self.dim)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            out = block(normalized(norm, x, offsets), offsets, reverse=reverse)
            x = epilogue(out, None, x, self.dropout, "none", self.training)
        return x

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dim}, dropout={self.dropout}"


def common_width(owner: str, blocks: Sequence[Block]) -> int:
    """The width of blocks; raises ConfigError where there is none, or more than one."""
    widths = [block.dim for block in blocks]
    if not widths or len(set(widths)) > 1:
        raise ConfigError(f"{owner} needs blocks of one width, got {widths if widths else 'no block'}")
    return widths[0]
