"""Statistics of values at nodes."""

import torch
from torch import Tensor

from gnnkit import ops


def mean_and_deviation(value: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each segment, ``[S]``; 0 where it is empty.

    From the squares of what is left without the mean, so that equal values have deviation 0.
    """
    mean = ops.segment_reduce(value, ptr, "mean")
    rest = value - mean.repeat_interleave(ptr.diff())
    return mean, ops.segment_reduce(rest.square(), ptr, "mean").sqrt()


def in_order(node: Tensor, value: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Values by node, ascending at each; boundaries of the nodes ``[num_nodes + 1]`` and values ``[K]``."""
    order = value.argsort(stable=True)
    ptr, by_node = ops.sort_index(node[order], num_nodes)
    return ptr, value[order[by_node]]


def at_rank(ptr: Tensor, value: Tensor, rank: Tensor) -> Tensor:
    """The value at a place of each segment, ``[S]``; 0 where ``rank`` is not in ``[0, length)``."""
    place = ptr[:-1] + rank
    exists = (rank >= 0) & (place < ptr[1:])
    padded = torch.cat([value, value.new_zeros(1)])
    return padded[torch.where(exists, place, value.numel())]
