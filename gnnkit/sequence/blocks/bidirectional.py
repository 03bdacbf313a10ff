"""Reading sequences in both directions."""

from typing import Literal, cast, get_args

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.sequence.blocks._inputs import check_tokens
from gnnkit.sequence.blocks.hybrid import common_width
from gnnkit.sequence.parts import Block

Merge = Literal["sum", "concat", "gate"]


class Bidirectional(torch.nn.Module):
    r"""One block that reads each sequence from its beginning, and one that reads it from its end.

    .. math::
        a = f(x), \quad b = P f'(P x), \qquad y = a + b \quad\text{or}\quad
        y = W [a \Vert b] + w \quad\text{or}\quad y = g \odot a + (1 - g) \odot b, \;\;
        g = \sigma(W [a \Vert b] + w)

    where :math:`P` turns each sequence around. Nothing is turned or padded: ``f'`` is asked to read in reverse, so that
    its first token is the last one of the sequence, and never padding.

    >>> import torch
    >>> from gnnkit.sequence import Bidirectional, Mamba
    >>> block = Bidirectional(Mamba(8), Mamba(8), merge="gate")
    >>> block(torch.randn(5, 8), torch.tensor([0, 3, 5])).shape
    torch.Size([5, 8])

    Args:
        forward_block: :math:`f`, a module that is a block.
        backward_block: :math:`f'`. None: ``forward_block``, with shared weights.
        merge: ``"sum"``, ``"concat"`` (the second form) or ``"gate"`` (the third).

    Raises:
        ConfigError: If the blocks have different widths, or ``merge`` is unknown.

    Determinism, complexity: those of the blocks, and ``O(T dim^2)`` where there is a :math:`W`.
    """

    def __init__(self, forward_block: Block, backward_block: Block | None = None, *, merge: Merge = "sum") -> None:
        super().__init__()
        if merge not in get_args(Merge):
            raise ConfigError(f"merge must be one of {', '.join(get_args(Merge))}, got {merge!r}")
        self.dim = common_width("Bidirectional", [forward_block, backward_block or forward_block])
        self.merge: Merge = merge
        self.forward_block = cast(torch.nn.Module, forward_block)
        self.backward_block = cast(torch.nn.Module | None, backward_block)
        self.mix = None if merge == "sum" else torch.nn.Linear(2 * self.dim, self.dim)

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        """Maps the tokens of packed sequences; arguments, result and errors as in :meth:`Mamba.forward`.

        With ``reverse``, both blocks read the other way round.
        """
        offsets = check_tokens(x, offsets, reverse=reverse, block="Bidirectional", dim=self.dim)
        ahead = self.forward_block(x, offsets, reverse=reverse)
        back = (self.forward_block if self.backward_block is None else self.backward_block)(
            x, offsets, reverse=not reverse
        )
        if self.mix is None:
            return ahead + back
        mixed = self.mix(torch.cat([ahead, back], dim=-1))
        # b + g (a - b)
        return mixed if self.merge == "concat" else torch.lerp(back, ahead, mixed.sigmoid())

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dim}, merge={self.merge!r}"
