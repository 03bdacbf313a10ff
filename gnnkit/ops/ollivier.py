"""Cheapest transport between the lazy random walks of the ends of edges, in whole numbers.

Operators on a :class:`~gnnkit.geometry.simple_graph.SimpleGraph`: ``rowptr`` and ``col`` are its neighbours in ascending
order, ``ends`` ``[2, M]`` are edges of it. The walk of an end stays where it is with probability ``stays / of`` and else
goes to a neighbour. Masses are counted in units, of which a walk has ``of * lcm(d_u, d_v)``: all of them are whole.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gnnkit.ops._library import define


def _local_problems(
    rowptr: Tensor, col: Tensor, ends: Tensor, stays: Tensor, of: Tensor
) -> Iterator[tuple[Any, Any, Any, Any, Any, int]]:
    """Of each edge: all nodes that either walk can reach, the masses there, their distances, and the units."""
    import numpy as np

    neighbours = [set(part.tolist()) for part in torch.tensor_split(col, rowptr[1:-1])] if rowptr.numel() > 1 else []
    for edge, (u, v) in enumerate(ends.T.tolist()):
        common = int(np.lcm(len(neighbours[u]), len(neighbours[v])))
        part, whole = int(stays[edge]), int(of[edge])
        nodes = sorted(neighbours[u] | neighbours[v])
        masses = []
        for end in (u, v):
            moving = (whole - part) * common // len(neighbours[end])
            masses.append(
                np.array([part * common * (node == end) + moving * (node in neighbours[end]) for node in nodes])
            )
        distance = np.full((len(nodes), len(nodes)), 3)
        for i, a in enumerate(nodes):
            for j, b in enumerate(nodes):
                if a == b:
                    distance[i, j] = 0
                elif b in neighbours[a]:
                    distance[i, j] = 1
                elif neighbours[a] & neighbours[b]:
                    distance[i, j] = 2
        yield nodes, masses[0], masses[1], distance, edge, whole * common


def _linear_program(has: Any, wants: Any, distance: Any) -> tuple[Any, Any]:
    """A cheapest plan ``[P, Q]`` between masses, as shares of the whole, and its cost."""
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    rows, columns = distance.shape
    sums = vstack([kron(eye_array(rows), np.ones((1, columns))), kron(np.ones((1, rows)), eye_array(columns))])
    whole = has.sum()
    found = linprog(distance.ravel(), A_eq=sums.tocsr(), b_eq=np.concatenate([has, wants]) / whole, method="highs")
    if found.x is None:
        raise RuntimeError(f"the linear program of an edge was not solved: {found.message}")
    return found.x.reshape(rows, columns), found.fun


def reference(rowptr: Tensor, col: Tensor, ends: Tensor, stays: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
    """A linear program per edge, whose cost is a whole number of units."""
    costs, all_units = [], []
    for _, has, wants, distance, _, units in _local_problems(rowptr, col, ends, stays, of):
        costs.append(round(_linear_program(has, wants, distance)[1] * units))
        all_units.append(units)
    cost, units = (torch.tensor(values, dtype=torch.int64, device=ends.device) for values in (costs, all_units))
    return cost, units


def plan_reference(
    rowptr: Tensor, col: Tensor, ends: Tensor, stays: Tensor, of: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The corner of the polytope of plans that the linear program ends in: where several are best, another may be."""
    import numpy as np

    entries = []
    for nodes, has, wants, distance, edge, units in _local_problems(rowptr, col, ends, stays, of):
        stay = np.minimum(has, wants)
        entries += [(edge, node, node, int(mass)) for node, mass in zip(nodes, stay, strict=True) if mass]
        has, wants = has - stay, wants - stay
        if has.sum() == 0:
            continue
        share, _ = _linear_program(has, wants, distance)
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
