"""Cheapest transport between the lazy random walks of the ends of edges, in whole numbers.

Operators on a :class:`~gnnkit.geometry.simple_graph.SimpleGraph`: ``rowptr`` and ``col`` are its neighbours in
ascending order, ``ends`` ``[2, M]`` are edges of it. The walk of an end stays where it is with probability
``stays / of`` and else goes to a neighbour. Masses are counted in units, of which a walk has ``of * lcm(d_u, d_v)``:
all of them are whole.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnkit.ops._library import define
from gnnkit.ops.balanced_forman import neighbour_sets


@dataclass(frozen=True)
class LocalProblem:
    """The transport of one edge.

    Attributes:
        nodes: All nodes that either walk can go to, in ascending order, ``n`` of them.
        has: Units of mass of the walk of the first end, int ``[n]``.
        wants: The same for the second end.
        distance: Edges between two of the nodes, 0 to 3, ``[n, n]``.
        units: Units that each walk has in all.
    """

    nodes: list[int]
    has: Any
    wants: Any
    distance: Any
    units: int


def local_problem(neighbours: list[set[int]], u: int, v: int, stays: int, of: int) -> LocalProblem:
    """The transport between the walks of two adjacent nodes."""
    import numpy as np

    common = math.lcm(len(neighbours[u]), len(neighbours[v]))
    nodes = sorted(neighbours[u] | neighbours[v])

    def masses(end: int) -> Any:
        moving = (of - stays) * (common // len(neighbours[end]))
        return np.array([stays * common * (node == end) + moving * (node in neighbours[end]) for node in nodes])

    def distance(a: int, b: int) -> int:
        if a == b or b in neighbours[a]:
            return int(a != b)
        return 2 if neighbours[a] & neighbours[b] else 3

    table = np.array([[distance(a, b) for b in nodes] for a in nodes])
    return LocalProblem(nodes, masses(u), masses(v), table, of * common)


def linear_program(has: Any, wants: Any, cost: Any, *, at_cost: tuple[Any, float] | None = None) -> tuple[Any, float]:
    """A cheapest plan ``[P, Q]`` between masses, as shares of the whole, and its cost.

    ``at_cost``: another table of costs, and the most that the plan may cost by it.
    """
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    rows, columns = cost.shape
    sums = vstack([kron(eye_array(rows), np.ones((1, columns))), kron(np.ones((1, rows)), eye_array(columns))])
    bound = {} if at_cost is None else {"A_ub": at_cost[0].reshape(1, -1), "b_ub": [at_cost[1]]}
    masses = np.concatenate([has / has.sum(), wants / wants.sum()])
    # The solver's tolerances are absolute, and these the tightest it takes.
    tolerances = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    largest = max(float(np.abs(cost).max()), 1e-300)
    found = linprog(cost.ravel() / largest, A_eq=sums.tocsr(), b_eq=masses, method="highs", options=tolerances, **bound)
    if found.x is None:
        raise RuntimeError(f"the linear program of an edge was not solved: {found.message}")
    return found.x.reshape(rows, columns), float(found.fun) * largest


def _local_problems(rowptr: Tensor, col: Tensor, ends: Tensor, stays: Tensor, of: Tensor) -> Iterator[LocalProblem]:
    neighbours = neighbour_sets(rowptr, col)
    for edge, (u, v) in enumerate(ends.T.tolist()):
        yield local_problem(neighbours, u, v, int(stays[edge]), int(of[edge]))


def reference(rowptr: Tensor, col: Tensor, ends: Tensor, stays: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
    """A linear program per edge, whose cost is a whole number of units."""
    costs, all_units = [], []
    for problem in _local_problems(rowptr, col, ends, stays, of):
        cost = linear_program(problem.has, problem.wants, problem.distance)[1]
        costs.append(round(cost * problem.units))
        all_units.append(problem.units)
    cost, units = (torch.tensor(values, dtype=torch.int64, device=ends.device) for values in (costs, all_units))
    return cost, units


def plan_reference(
    rowptr: Tensor, col: Tensor, ends: Tensor, stays: Tensor, of: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The corner of the polytope of plans that the linear program ends in: where several are best, another may be."""
    import numpy as np

    entries = []
    for edge, problem in enumerate(_local_problems(rowptr, col, ends, stays, of)):
        nodes, stay = problem.nodes, np.minimum(problem.has, problem.wants)
        entries += [(edge, node, node, int(mass)) for node, mass in zip(nodes, stay, strict=True) if mass]
        has, wants = problem.has - stay, problem.wants - stay
        if has.sum() == 0:
            continue
        share, _ = linear_program(has, wants, problem.distance)
        mass = np.rint(share * has.sum()).astype(np.int64)
        entries += [(edge, nodes[p], nodes[q], int(mass[p, q])) for p, q in zip(*mass.nonzero(), strict=True)]
    table = torch.tensor(entries, dtype=torch.int64, device=ends.device).reshape(-1, 4)
    edge, source, target, mass = (column.contiguous() for column in table.T)
    return edge, source, target, mass


def _fake(rowptr: Tensor, col: Tensor, ends: Tensor, stays: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
    return ends.new_empty(ends.size(1)), ends.new_empty(ends.size(1))


def _plan_fake(
    rowptr: Tensor, col: Tensor, ends: Tensor, stays: Tensor, of: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    entries = torch.library.get_ctx().new_dynamic_size()
    return ends.new_empty(entries), ends.new_empty(entries), ends.new_empty(entries), ends.new_empty(entries)


define(
    "ollivier(Tensor rowptr, Tensor col, Tensor ends, Tensor stays, Tensor of) -> (Tensor cost, Tensor units)",
    reference=reference,
    fake=_fake,
)
define(
    "ollivier_plan(Tensor rowptr, Tensor col, Tensor ends, Tensor stays, Tensor of) "
    "-> (Tensor edge, Tensor source, Tensor target, Tensor mass)",
    reference=plan_reference,
    fake=_plan_fake,
)
