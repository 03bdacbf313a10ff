"""Batch Ollivier-Ricci flow (BORF): the whole loop as one operator, on edges in whole numbers."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.ops._library import define
from gnnkit.ops.ollivier import linear_program, local_problem


def reference(ends: Tensor, num_nodes: int, batches: int, add: int, remove: int) -> Tensor:
    """From the definition, measuring everything anew in every batch, with a linear program per pair of nodes."""
    edges = sorted((int(u), int(v)) for u, v in ends.T.tolist())
    for _ in range(batches):
        neighbours = _neighbours(edges, num_nodes)
        curvature = [_curvature(neighbours, u, v) for u, v in edges]
        lowest = sorted(range(len(edges)), key=lambda edge: (curvature[edge], edge))[:add]
        highest = sorted(range(len(edges)), key=lambda edge: (-curvature[edge], edge))[:remove]
        pairs = {_widest_pair(neighbours, *edges[edge]) for edge in lowest}
        changed = sorted((set(edges) | pairs) - {edges[edge] for edge in highest})
        if changed == edges:
            break
        edges = changed
    return torch.tensor(edges, dtype=ends.dtype, device=ends.device).reshape(-1, 2).T.contiguous()


def _neighbours(edges: list[tuple[int, int]], num_nodes: int) -> list[set[int]]:
    neighbours: list[set[int]] = [set() for _ in range(num_nodes)]
    for u, v in edges:
        neighbours[u].add(v)
        neighbours[v].add(u)
    return neighbours


def _curvature(neighbours: list[set[int]], u: int, v: int) -> float:
    problem = local_problem(neighbours, u, v, 0, 1)
    cost = linear_program(problem.has, problem.wants, problem.distance)[1]
    return (problem.units - round(cost * problem.units)) / problem.units


def _widest_pair(neighbours: list[set[int]], u: int, v: int) -> tuple[int, int]:
    """Of all cheapest plans, where the most mass times distance is between two nodes; the first of equal pairs."""
    import numpy as np

    problem = local_problem(neighbours, u, v, 0, 1)
    stay = np.minimum(problem.has, problem.wants)
    rows, columns = (problem.has > stay).nonzero()[0], (problem.wants > stay).nonzero()[0]
    has, wants = (problem.has - stay)[rows], (problem.wants - stay)[columns]
    distance = problem.distance[np.ix_(rows, columns)]
    least = round(linear_program(has, wants, distance)[1] * has.sum())
    best, widest = 0, (u, v)
    for place in np.ndindex(distance.shape):
        value = int(distance[place]) * _most_mass(has, wants, distance, least, place)
        if value > best:
            best, widest = value, (problem.nodes[rows[place[0]]], problem.nodes[columns[place[1]]])
    return min(widest), max(widest)


def _most_mass(has: Any, wants: Any, distance: Any, least: int, place: tuple[int, ...]) -> int:
    """Most mass that a plan of the least cost carries between two nodes."""
    import numpy as np

    total = int(has.sum())
    penalty = np.zeros(distance.shape)
    penalty[place] = -1
    share, _ = linear_program(has, wants, penalty, at_cost=(distance, least / total))
    return round(share[place] * total)


def _fake(ends: Tensor, num_nodes: int, batches: int, add: int, remove: int) -> Tensor:
    return ends.new_empty(2, torch.library.get_ctx().new_dynamic_size())


define("borf(Tensor ends, int num_nodes, int batches, int add, int remove) -> Tensor", reference=reference, fake=_fake)
