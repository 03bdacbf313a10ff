"""Balanced Forman curvature of every edge; see :mod:`gnnkit.geometry.balanced_forman`."""

from itertools import pairwise

import torch
from torch import Tensor

from gnnkit.ops._library import define


def neighbour_sets(rowptr: Tensor, col: Tensor) -> list[set[int]]:
    """The neighbours of each node."""
    boundaries, neighbours = rowptr.tolist(), col.tolist()
    return [set(neighbours[begin:end]) for begin, end in pairwise(boundaries)]


def curvature_of_edge(neighbours: list[set[int]], i: int, j: int) -> float:
    """The definition, for one edge; added up in the order in which the kernel does, for the same bits."""
    small, large = sorted((len(neighbours[i]), len(neighbours[j])))
    if small <= 1:
        return 0.0
    triangles = len(neighbours[i] & neighbours[j])
    alone_i = neighbours[i] - neighbours[j] - {j}
    alone_j = neighbours[j] - neighbours[i] - {i}
    cycles = [len(neighbours[k] & alone_j) for k in alone_i] + [len(neighbours[w] & alone_i) for w in alone_j]
    curvature = 2 / small + 2 / large - 2 + 2 * triangles / large + triangles / small
    squares = sum(count > 0 for count in cycles)
    return curvature + squares / (max(cycles) * large) if squares else curvature


def reference(rowptr: Tensor, col: Tensor) -> Tensor:
    """Edge by edge over sets of neighbours, float64 ``[M]``."""
    neighbours = neighbour_sets(rowptr, col)
    values = [curvature_of_edge(neighbours, i, j) for i, row in enumerate(neighbours) for j in sorted(row) if i < j]
    return torch.tensor(values, dtype=torch.float64, device=col.device)


def _fake(rowptr: Tensor, col: Tensor) -> Tensor:
    return col.new_empty(col.size(0) // 2, dtype=torch.float64)


# Rows ascend and hold both directions of every edge, without self-loops; edges are in order of (u, v), u < v.
define("balanced_forman(Tensor rowptr, Tensor col) -> Tensor", reference=reference, fake=_fake)
