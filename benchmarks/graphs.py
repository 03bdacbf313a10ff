"""Generated graphs for the benchmarks."""

import numpy as np
import torch
from torch import Tensor


def power_law(num_nodes: int, num_edges: int, *, exponent: float = 0.8, seed: int = 0) -> Tensor:
    """Edges whose ends are drawn with probability proportional to ``rank ** -exponent``; nodes are shuffled."""
    rng = np.random.default_rng(seed)
    cumulative = np.cumsum(np.arange(1, num_nodes + 1) ** -exponent)
    shuffled = rng.permutation(num_nodes)
    ends = shuffled[np.searchsorted(cumulative, rng.random((2, num_edges)) * cumulative[-1])]
    return torch.from_numpy(ends)
