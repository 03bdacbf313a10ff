"""Packed sequences laid out in blocks of places, of which some stay empty."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slots:
    """Places of tokens in blocks of equal length, so that what is missing comes last in the order of reading.

    Attributes:
        of_token: ``[T]``.
        count: Number of places.
    """

    of_token: Tensor
    count: int

    @classmethod
    def at(cls, begins: Tensor, count: int, offsets: Tensor, num_tokens: int, reverse: bool) -> "Slots":
        """Sequence ``s`` is read into the slots from ``begins[s]`` on."""
        ends = offsets[1:] - 1 if reverse else offsets[:-1]
        first = torch.repeat_interleave(
            torch.stack([begins, ends], dim=1), offsets.diff(), dim=0, output_size=num_tokens
        )
        token = torch.arange(num_tokens, device=offsets.device)
        return cls(first[:, 0] + (token - first[:, 1]).abs(), count)

    def fill(self, x: Tensor) -> Tensor:
        """``[T, D]`` to ``[count, D]``, zero where there is no token."""
        return x.new_zeros(self.count, x.size(1)).index_copy(0, self.of_token, x)

    def read(self, value: Tensor) -> Tensor:
        """``[count, D]`` to ``[T, D]``."""
        return value.index_select(0, self.of_token)
