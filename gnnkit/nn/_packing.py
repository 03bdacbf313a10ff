"""Ragged sets of items, one per graph, as rows of one width and back."""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit import ops


class Packing(NamedTuple):
    """Items of graphs, of some number each, as rows of one width.

    Attributes:
        graph: Graph of each item, ``[P]``.
        place: Number of each item within its graph, ``[P]``.
        sizes: Items of each graph, ``[G]``.
        width: The largest of these.
    """

    graph: Tensor
    place: Tensor
    sizes: Tensor
    width: int

    @classmethod
    def of(cls, node: Tensor, ptr: Tensor) -> "Packing":
        """Items that belong to the graphs of these nodes ``[P]``, in any order; ``ptr`` as of a ``Batch``."""
        graph = torch.searchsorted(ptr.to(node.dtype), node, right=True) - 1
        start, order = ops.sort_index(graph, ptr.size(0) - 1)
        place = torch.empty_like(order)
        place[order] = torch.arange(order.size(0), device=order.device) - start[:-1].repeat_interleave(start.diff())
        sizes = start.diff()
        return cls(graph, place, sizes, int(sizes.max()) if sizes.numel() > 0 else 0)

    def pad(self, value: Tensor, fill: float) -> Tensor:
        """``[P, H]`` to ``[G, H, width]``."""
        out = value.new_full((self.sizes.size(0), self.width, value.size(1)), fill)
        return out.index_put((self.graph, self.place), value).transpose(1, 2)

    def unpad(self, value: Tensor) -> Tensor:
        """``[G, H, width]`` to ``[P, H]``."""
        return value.transpose(1, 2)[self.graph, self.place]
