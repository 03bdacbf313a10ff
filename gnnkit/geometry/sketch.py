"""Effective resistances from a random projection."""

import math

import torch
from torch import Tensor

from gnnkit.geometry.laplacian import BLOCK, Laplacian
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_seed

_FAILURE = 0.01
_SOLVER_SHARE = 0.01


def seeded_generator(seed: object) -> torch.Generator:
    """A new generator; raises ConfigError where ``seed`` is no integer."""
    return torch.Generator().manual_seed(check_seed(seed))


def num_sketch_rows(num_pairs: int, epsilon: float) -> int:
    """Rows that hold the relative error of all pairs to ``epsilon`` with a probability of 0.99.

    For random signs, Achlioptas ("Database-friendly random projections", 2003) bounds the probability that a squared
    length is off by more than ``e`` by ``2 exp(-k (e^2 / 4 - e^3 / 6))``.
    """
    root = 1 + _SOLVER_SHARE * epsilon
    left = min((1 + epsilon) / root**2 - 1, 1 - (1 - epsilon) / (2 - root) ** 2)
    return math.ceil(math.log(2 * max(num_pairs, 1) / _FAILURE) / (left**2 / 4 - left**3 / 6))


def sketch_resistance(graph: SimpleGraph, pairs: Tensor, epsilon: float, seed: int) -> Tensor:
    r"""Estimates for pairs ``[2, P]`` of nodes of one component each, float64 ``[P]``.

    With a random matrix of signs ``Q``, ``[k, M]``, the incidence matrix ``B`` and weights ``W``, distances between
    columns of :math:`Z = k^{-1/2} Q W^{1/2} B L^+` are square roots of resistances. Rows are made a few at a time, so
    that the memory does not grow with their number. A solution whose error is at most :math:`\tau` of its own energy
    shifts a distance by at most :math:`\tau \sqrt{n R}` in all rows together: hence the tolerance.
    """
    generator = seeded_generator(seed)
    laplacian = Laplacian.for_many_solutions(graph)
    ends = laplacian.place[pairs]
    root = graph.edge_weight.sqrt()
    tolerance = _SOLVER_SHARE * epsilon / math.sqrt(max(graph.num_nodes, 1))
    out = torch.zeros(pairs.size(1), dtype=torch.float64)
    rows = num_sketch_rows(pairs.size(1), epsilon)
    for begin in range(0, rows, BLOCK):
        width = min(BLOCK, rows - begin)
        word = torch.randint(2**BLOCK, (graph.num_edges,), generator=generator)
        out += torch.ops.gnnkit.squared_distances(_rows(laplacian, root, word, width, tolerance), ends)
    return out / rows


def sketch_coordinates(graph: SimpleGraph, count: int, seed: int) -> Tensor:
    """The transpose of such a ``Z`` of ``count`` rows: coordinates of the nodes, float64 ``[N, count]``.

    Solutions are as accurate as an ``epsilon`` of 0.1 takes.
    """
    generator = seeded_generator(seed)
    laplacian = Laplacian.for_many_solutions(graph)
    root = graph.edge_weight.sqrt()
    tolerance = 0.1 * _SOLVER_SHARE / math.sqrt(max(graph.num_nodes, 1))
    blocks = []
    for begin in range(0, count, BLOCK):
        width = min(BLOCK, count - begin)
        word = torch.randint(2**BLOCK, (graph.num_edges,), generator=generator)
        blocks.append(_rows(laplacian, root, word, width, tolerance)[laplacian.place])
    return torch.cat(blocks, dim=1) / math.sqrt(count)


def _rows(laplacian: Laplacian, root: Tensor, word: Tensor, width: int, tolerance: float) -> Tensor:
    graph, split = laplacian.graph, laplacian.num_eliminated
    block = torch.ops.gnnkit.sketch_sums(graph.rowptr, graph.col, graph.edge, root, word, width)
    if split:
        block = laplacian.forward(block.index_select(0, laplacian.order))
        block[:split] *= laplacian.inverse_pivot[:, None]
    if laplacian.num_core:
        block[split:] = laplacian.solve_core(block[split:], tolerance, single=True)
    return laplacian.backward(block) if split else block
