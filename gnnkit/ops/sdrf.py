"""The steps of stochastic discrete Ricci flow; see :class:`gnnkit.rewire.SDRF`."""

import math

import torch
from torch import Tensor

from gnnkit.ops._library import define
from gnnkit.ops.balanced_forman import curvature_of_edge, neighbour_sets

Pair = tuple[int, int]
_NOTHING: Pair = (-1, -1)


def reference(
    rowptr: Tensor, col: Tensor, num_steps: int, temperature: float, removal_bound: float, uniform: Tensor
) -> Tensor:
    """Curvatures of all edges anew in every step, and of the edge of lowest curvature for each candidate.

    Returns one row per step that changed something, int64 ``[T, 4]``: the ends of the edge added, then of the one
    removed, the lower end first; -1 where there is none.
    """
    neighbours, steps, draws = neighbour_sets(rowptr, col), [], uniform.tolist()
    while len(steps) < num_steps:
        curvature = _curvatures(neighbours)
        if not curvature:
            break
        i, j = min(curvature, key=lambda edge: (curvature[edge], edge))
        gains = _gains(neighbours, i, j)
        added = removed = _NOTHING
        if gains and math.isinf(temperature):
            added = min(gains, key=lambda pair: (-gains[pair], pair))
        elif gains:
            added = _sampled(gains, temperature, draws[len(steps)])
        if added != _NOTHING:
            _join(neighbours, added)
        if removal_bound < math.inf:
            curvature = _curvatures(neighbours)
            curvature.pop(added, None)
            highest = min(curvature, key=lambda edge: (-curvature[edge], edge), default=_NOTHING)
            if curvature and curvature[highest] > removal_bound:
                removed = highest
                _part(neighbours, removed)
        if added == removed == _NOTHING:
            break
        steps.append([*added, *removed])
    return torch.tensor(steps, dtype=torch.int64, device=col.device).reshape(-1, 4)


def _curvatures(neighbours: list[set[int]]) -> dict[Pair, float]:
    edges = [(u, v) for u, row in enumerate(neighbours) for v in row if u < v]
    return {(u, v): curvature_of_edge(neighbours, u, v) for u, v in edges}


def _gains(neighbours: list[set[int]], i: int, j: int) -> dict[Pair, float]:
    """What each candidate would add to the curvature of an edge, in order of k, then l, each pair once."""
    before, gains = curvature_of_edge(neighbours, i, j), {}
    for k in sorted({i} | neighbours[i]):
        for pair in [(min(k, m), max(k, m)) for m in sorted({j} | neighbours[j] - neighbours[k] - {k})]:
            if pair in gains or pair[0] == pair[1] or pair[1] in neighbours[pair[0]]:
                continue
            _join(neighbours, pair)
            gains[pair] = curvature_of_edge(neighbours, i, j) - before
            _part(neighbours, pair)
    return gains


def _sampled(gains: dict[Pair, float], temperature: float, uniform: float) -> Pair:
    most = max(gains.values())
    weights = {pair: math.exp(temperature * (gain - most)) for pair, gain in gains.items()}
    total, chosen = 0.0, _NOTHING
    for weight in weights.values():
        total += weight
    target, total = uniform * total, 0.0
    for pair, weight in weights.items():
        if weight > 0:
            chosen = pair
        total += weight
        if total > target:
            break
    return chosen


def _join(neighbours: list[set[int]], pair: Pair) -> None:
    neighbours[pair[0]].add(pair[1])
    neighbours[pair[1]].add(pair[0])


def _part(neighbours: list[set[int]], pair: Pair) -> None:
    neighbours[pair[0]].remove(pair[1])
    neighbours[pair[1]].remove(pair[0])


def _fake(
    rowptr: Tensor, col: Tensor, num_steps: int, temperature: float, removal_bound: float, uniform: Tensor
) -> Tensor:
    return col.new_empty(torch.library.get_ctx().new_dynamic_size(), 4)


# Rows ascend and hold both directions of every edge, without self-loops.
define(
    "sdrf(Tensor rowptr, Tensor col, int num_steps, float temperature, float removal_bound, Tensor uniform) -> Tensor",
    reference=reference,
    fake=_fake,
)
