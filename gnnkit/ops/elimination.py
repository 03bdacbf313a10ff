"""Elimination of the nodes of a graph Laplacian: what direct solutions and resistances of edges are made of."""

from collections import deque

import torch
from torch import Tensor

from gnnkit.ops._library import define

_DENSE_DEGREE = 16


def eliminate_reference(
    rowptr: Tensor, col: Tensor, weight: Tensor, effort: int, late_effort: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Eliminates nodes of smallest degree, of equals the one that has had that degree longest.

    It ends where ``nodes left * degree ** 2``, what the rest would cost if degrees stayed, is above ``effort``; once
    less than 3 in 10 nodes are left, above ``late_effort``. It also ends where a third of all pairs are joined. Only
    entries above the diagonal are read.

    Returns:
        All nodes, eliminated ones in order and then those of the core; boundaries, neighbours (as places in that order,
        ascending) and their shares of the pivot for each eliminated node; the pivots; the core as CSR with weights.
    """
    num_nodes = rowptr.numel() - 1
    rows: list[dict[int, float]] = [{} for _ in range(num_nodes)]

    def join(a: int, b: int, value: float) -> None:
        rows[a][b] = rows[b][a] = rows[a].get(b, 0.0) + value

    row = torch.arange(num_nodes).repeat_interleave(rowptr.diff())
    for a, b, value in zip(row.tolist(), col.tolist(), weight.tolist(), strict=True):
        if b > a:
            join(a, b, value)
    queues: list[deque[int]] = [deque() for _ in range(num_nodes)]
    for node in range(num_nodes):
        queues[len(rows[node])].append(node)
    order: list[int] = []
    gone: set[int] = set()
    eliminated: list[list[tuple[int, float]]] = []
    pivot: list[float] = []
    lowest = 0
    for remaining in range(num_nodes, 0, -1):
        while not queues[lowest] or queues[lowest][0] in gone or len(rows[queues[lowest][0]]) != lowest:
            if queues[lowest]:
                queues[lowest].popleft()
            else:
                lowest += 1
        node, degree = queues[lowest][0], lowest
        allowed = effort if remaining > num_nodes * 3 // 10 else late_effort
        if degree * degree > allowed // remaining or (degree >= _DENSE_DEGREE and degree * 3 >= remaining):
            break
        total = 0.0
        for value in rows[node].values():
            total += value
        shares = [(neighbor, value / total) for neighbor, value in rows[node].items()]
        for neighbor, _ in shares:
            del rows[neighbor][node]
        for place, (a, share) in enumerate(shares):
            for b, other in shares[place + 1 :]:
                join(a, b, share * other * total)
        rows[node] = {}
        order.append(node)
        gone.add(node)
        eliminated.append(shares)
        pivot.append(total)
        for neighbor, _ in shares:
            queues[len(rows[neighbor])].append(neighbor)
            lowest = min(lowest, len(rows[neighbor]))
    core = [node for node in range(num_nodes) if node not in gone]
    place_of = {node: place for place, node in enumerate(order + core)}
    entries = [sorted((place_of[node], share) for node, share in shares) for shares in eliminated]
    core_rows = [sorted((place_of[b] - len(order), value) for b, value in rows[a].items()) for a in core]
    ptr, neighbor, share = _compressed(entries)
    core_rowptr, core_col, core_weight = _compressed(core_rows)
    places = torch.tensor(order + core, dtype=torch.int64)
    return places, ptr, neighbor, share, torch.tensor(pivot, dtype=torch.float64), core_rowptr, core_col, core_weight


def _compressed(rows: list[list[tuple[int, float]]]) -> tuple[Tensor, Tensor, Tensor]:
    count = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    index = torch.tensor([node for row in rows for node, _ in row], dtype=torch.int64)
    return ptr, index, torch.tensor([value for row in rows for _, value in row], dtype=torch.float64)


def _eliminate_fake(
    rowptr: Tensor, col: Tensor, weight: Tensor, effort: int, late_effort: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    eliminated, entries = context.new_dynamic_size(), context.new_dynamic_size()
    core_entries = context.new_dynamic_size()
    return (
        col.new_empty(rowptr.numel() - 1),
        col.new_empty(eliminated + 1),
        col.new_empty(entries),
        weight.new_empty(entries),
        weight.new_empty(eliminated),
        col.new_empty(rowptr.numel() - eliminated),
        col.new_empty(core_entries),
        weight.new_empty(core_entries),
    )


def substitute_reference(ptr: Tensor, neighbor: Tensor, share: Tensor, block: Tensor, backward: bool) -> Tensor:
    """``block[k] += share * block[j]`` for the neighbours ``k`` of each eliminated ``j``; or backward, from k to j."""
    out, starts = block.clone(), ptr.tolist()
    rows = range(len(starts) - 1)
    for j in reversed(rows) if backward else rows:
        span = slice(starts[j], starts[j + 1])
        if backward:
            out[j] += share[span] @ out[neighbor[span]]
        else:
            out[neighbor[span]] += share[span, None] * out[j]
    return out


def eliminated_resistance_reference(
    ptr: Tensor,
    neighbor: Tensor,
    share: Tensor,
    pivot: Tensor,
    core_rowptr: Tensor,
    core_col: Tensor,
    core_resistance: Tensor,
) -> tuple[Tensor, Tensor]:
    r"""Resistances between each eliminated node and its neighbours at that time, last node first.

    A node ``j`` with pivot ``d`` hangs by the resistance ``1 / d`` from the mean of its neighbours with weights ``p``:

    .. math:: R_{jk} = 1/d + \sum_l p_l R_{kl} - \tfrac12 \sum_{l,m} p_l p_m R_{lm}

    Returns:
        One resistance per neighbour, and by node the terms that do not depend on ``k``.
    """
    eliminated = pivot.numel()
    known: list[dict[int, float]] = [{} for _ in range(eliminated + core_rowptr.numel() - 1)]
    core_row = torch.arange(core_rowptr.numel() - 1).repeat_interleave(core_rowptr.diff())
    for a, b, value in zip(core_row.tolist(), core_col.tolist(), core_resistance.tolist(), strict=True):
        known[eliminated + a][eliminated + b] = value
    out, excess, starts = torch.zeros_like(share), torch.zeros_like(pivot), ptr.tolist()
    for j in range(eliminated - 1, -1, -1):
        span = slice(starts[j], starts[j + 1])
        members, part = neighbor[span].tolist(), share[span]
        if not members:
            continue
        between = [[known[a].get(b, 0.0) for b in members] for a in members]
        mean = torch.tensor(between, dtype=torch.float64) @ part
        excess[j] = 1 / pivot[j] - (part @ mean) / 2
        out[span] = mean + excess[j]
        for member, resistance in zip(members, out[span].tolist(), strict=True):
            known[j][member] = known[member][j] = resistance
    return out, excess


define(
    "eliminate(Tensor rowptr, Tensor col, Tensor weight, int effort, int late_effort) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=eliminate_reference,
    fake=_eliminate_fake,
)
define(
    "substitute(Tensor ptr, Tensor neighbor, Tensor share, Tensor block, bool backward) -> Tensor",
    reference=substitute_reference,
    fake=lambda ptr, neighbor, share, block, backward: torch.empty_like(block),
)
define(
    "eliminated_resistance(Tensor ptr, Tensor neighbor, Tensor share, Tensor pivot, Tensor core_rowptr, "
    "Tensor core_col, Tensor core_resistance) -> (Tensor, Tensor)",
    reference=eliminated_resistance_reference,
    fake=lambda ptr, neighbor, share, pivot, *core: (torch.empty_like(share), torch.empty_like(pivot)),
)
