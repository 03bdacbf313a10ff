"""Attention among the tokens of each sequence."""

import torch
from torch import Tensor

from gnnkit.nn import GlobalAttention
from gnnkit.sequence.blocks._inputs import check_tokens


class Attention(torch.nn.Module):
    r"""Lets every token attend to all tokens of its sequence: :class:`gnnkit.nn.GlobalAttention` as a block.

    It sees no order, and gives the same with and without ``reverse``; put positions into the tokens where they matter.

    >>> import torch
    >>> from gnnkit.sequence import Attention
    >>> block = Attention(8)
    >>> block(torch.randn(5, 8), torch.tensor([0, 3, 5])).shape
    torch.Size([5, 8])

    Args:
        dim: Width of tokens, a multiple of ``num_heads``.
        num_heads: Number of heads.
        dropout: Probability of dropping an attention weight in training, by torch's global generator.

    Raises:
        ConfigError: If the heads do not divide the width, or a setting is out of range.

    Determinism, complexity: those of :class:`gnnkit.nn.GlobalAttention`, quadratic in the length of each sequence.
    """

    def __init__(self, dim: int, *, num_heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.attention = GlobalAttention(dim, num_heads, dropout=dropout)

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        """Maps the tokens of packed sequences; arguments, result and errors as in :meth:`Mamba.forward`."""
        return self.attention(x, check_tokens(x, offsets, reverse=reverse, block="Attention", dim=self.dim))
