"""Transport between random walks on graphs whose edges have lengths: exact, and smoothed by entropy (Sinkhorn).

Operators on a :class:`~gnnkit.geometry.simple_graph.SimpleGraph`, as in :mod:`gnnkit.ops.ollivier`. ``length`` and
``share``, float64, have one number per position of ``col``: the length of the edge, and the probability with which a
walk that moves takes it. The walk of each end stays with probability ``stays``, float64 ``[M]``.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gnnkit.ops._library import define
from gnnkit.ops.ollivier import linear_program

_SMALLEST = 2.0**-51


def _local_problems(
    rowptr: Tensor, col: Tensor, length: Tensor, share: Tensor, ends: Tensor, stays: Tensor
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Of each edge: the masses of both walks at all nodes, and distances from all nodes that these can reach."""
    import numpy as np
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    num_nodes = rowptr.numel() - 1
    arrays = [value.cpu().numpy() for value in (length, share, col, rowptr)]
    lengths, shares = (csr_array((value, *arrays[2:]), shape=(num_nodes, num_nodes)) for value in arrays[:2])
    for edge, (u, v) in enumerate(ends.T.tolist()):
        has, wants = (np.zeros(num_nodes) for _ in range(2))
        for end, mass in ((u, has), (v, wants)):
            begin, stop = int(rowptr[end]), int(rowptr[end + 1])
            mass[arrays[2][begin:stop]] = (1 - float(stays[edge])) * shares.data[begin:stop]
            mass[end] += float(stays[edge])
            mass[mass < _SMALLEST] = 0
        yield has, wants, dijkstra(lengths, directed=False, indices=np.unique([*has.nonzero()[0], u])), (u, v)


def _solve(
    rowptr: Tensor, col: Tensor, length: Tensor, share: Tensor, ends: Tensor, stays: Tensor, solve: Any
) -> tuple[Tensor, Tensor]:
    import numpy as np

    costs, between = [], []
    for has, wants, distance, (u, v) in _local_problems(rowptr, col, length, share, ends, stays):
        rows = np.unique([*has.nonzero()[0], u])
        table = distance[np.ix_(has[rows] > 0, wants > 0)]
        costs.append(solve(has[has > 0], wants[wants > 0], table))
        between.append(distance[np.searchsorted(rows, u), v])
    cost, far = (torch.tensor(value, dtype=torch.float64, device=ends.device) for value in (costs, between))
    return cost, far


def reference(
    rowptr: Tensor, col: Tensor, length: Tensor, share: Tensor, ends: Tensor, stays: Tensor
) -> tuple[Tensor, Tensor]:
    """A linear program per edge over Dijkstra's distances; and the distance of the ends.

    Masses below the solver's tolerances may end up anywhere: costs are right to about 1e-9 of the longest distance.
    """
    return _solve(rowptr, col, length, share, ends, stays, lambda *problem: linear_program(*problem)[1])


def plan_reference(
    rowptr: Tensor, col: Tensor, length: Tensor, share: Tensor, ends: Tensor, stays: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The corner of the polytope of plans that the linear program ends in: where several are best, another may be."""
    import numpy as np

    entries = []
    for edge, (has, wants, distance, (u, _)) in enumerate(_local_problems(rowptr, col, length, share, ends, stays)):
        stay = np.minimum(has, wants)
        entries += [(edge, int(node), int(node), stay[node]) for node in stay.nonzero()[0]]
        rows = np.unique([*has.nonzero()[0], u])
        sources, targets = (has > stay).nonzero()[0], (wants > stay).nonzero()[0]
        moving = (has - stay).sum()
        if len(sources) == 0 or len(targets) == 0:
            continue
        table = distance[np.ix_(np.searchsorted(rows, sources), targets)]
        shares, _ = linear_program((has - stay)[sources], (wants - stay)[targets], table)
        entries += [
            (edge, int(sources[p]), int(targets[q]), shares[p, q] * moving)
            for p, q in zip(*shares.nonzero(), strict=True)
        ]
    columns = [torch.tensor([entry[k] for entry in entries], dtype=torch.int64) for k in range(3)]
    mass = torch.tensor([entry[3] for entry in entries], dtype=torch.float64)
    edge, source, target, mass = (value.to(ends.device) for value in (*columns, mass))
    return edge, source, target, mass


def sinkhorn_reference(
    rowptr: Tensor,
    col: Tensor,
    length: Tensor,
    share: Tensor,
    ends: Tensor,
    stays: Tensor,
    epsilon: float,
    steps: int,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """Sinkhorn's method in the log domain, then rounded to the masses."""
    return _solve(
        rowptr, col, length, share, ends, stays, lambda *problem: _sinkhorn(*problem, epsilon, steps, tolerance)
    )


def _sinkhorn(has: Any, wants: Any, cost: Any, epsilon: float, steps: int, tolerance: float) -> float:
    import numpy as np
    from scipy.special import logsumexp

    source, target = np.zeros(len(has)), np.zeros(len(wants))
    for step in range(steps):
        source = epsilon * (np.log(has) - logsumexp((target - cost) / epsilon, axis=1))
        fit = epsilon * (np.log(wants) - logsumexp((source[:, None] - cost) / epsilon, axis=0))
        with np.errstate(over="ignore"):
            change = (wants * np.abs(1 - np.exp((target - fit) / epsilon))).sum()
        target = fit
        if step > 0 and change <= tolerance:
            break
    plan = np.exp((source[:, None] + target - cost) / epsilon)
    plan *= np.minimum(has / plan.sum(1), 1)[:, None]
    plan *= np.minimum(wants / plan.sum(0), 1)
    lacks, missing = np.maximum(has - plan.sum(1), 0), np.maximum(wants - plan.sum(0), 0)
    if missing.sum() > 0:
        plan += np.outer(lacks, missing) / missing.sum()
    return float((plan * cost).sum())


def _fake(
    rowptr: Tensor, col: Tensor, length: Tensor, share: Tensor, ends: Tensor, stays: Tensor
) -> tuple[Tensor, Tensor]:
    return stays.new_empty(ends.size(1)), stays.new_empty(ends.size(1))


def _plan_fake(
    rowptr: Tensor, col: Tensor, length: Tensor, share: Tensor, ends: Tensor, stays: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    entries = torch.library.get_ctx().new_dynamic_size()
    return ends.new_empty(entries), ends.new_empty(entries), ends.new_empty(entries), stays.new_empty(entries)


def _sinkhorn_fake(
    rowptr: Tensor,
    col: Tensor,
    length: Tensor,
    share: Tensor,
    ends: Tensor,
    stays: Tensor,
    epsilon: float,
    steps: int,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    return stays.new_empty(ends.size(1)), stays.new_empty(ends.size(1))


_WALKS = "Tensor rowptr, Tensor col, Tensor length, Tensor share, Tensor ends, Tensor stays"
define(f"ollivier_weighted({_WALKS}) -> (Tensor cost, Tensor distance)", reference=reference, fake=_fake)
define(
    f"ollivier_weighted_plan({_WALKS}) -> (Tensor edge, Tensor source, Tensor target, Tensor mass)",
    reference=plan_reference,
    fake=_plan_fake,
)
define(
    f"ollivier_sinkhorn({_WALKS}, float epsilon, int steps, float tolerance) -> (Tensor cost, Tensor distance)",
    reference=sinkhorn_reference,
    fake=_sinkhorn_fake,
)
