"""Edges chosen one after the other: those that lower the total resistance, or raise the spectral gap, most."""

from collections.abc import Callable

import torch
from torch import Tensor

from gnnkit.ops._library import define
from gnnkit.ops.balanced_forman import neighbour_sets
from gnnkit.ops.laplacian import eigenpair_reference, fixed_numbers

_TIE = 1e-9
Pair = tuple[int, int]


def gtr_reference(
    rowptr: Tensor, col: Tensor, nodes: Tensor, ptr: Tensor, resistance: Tensor, square: Tensor, num_edges: int
) -> Tensor:
    """Greedy choice of pairs with the largest ``n B^2 / (1 + R)`` within components.

    Of gains that differ by less than a relative 1e-9, the lowest pair counts. It ends early where no pair is left.

    Args:
        rowptr: Boundaries of the nodes, int64 ``[N + 1]``.
        col: Neighbours, both directions of every edge.
        nodes: Nodes of the components that take part, ascending in each.
        ptr: Boundaries of the components in ``nodes``.
        resistance: ``L^+`` of each component, flat, one after the other, float64.
        square: ``(L^+)^2``, likewise.
        num_edges: Largest number of pairs.

    Returns:
        The pairs in the order in which they were chosen, int64 ``[2, A]``.
    """
    starts, members = ptr.tolist(), [part.tolist() for part in nodes.split(ptr.diff().tolist())]
    offset, parts = 0, []
    for place, part in enumerate(members):
        size = len(part)
        chosen = slice(offset, offset + size * size)
        local = torch.full((rowptr.numel() - 1,), -1)
        local[nodes[starts[place] : starts[place + 1]]] = torch.arange(size)
        joined = torch.eye(size, dtype=torch.bool)
        for i, node in enumerate(part):
            joined[i, local[col[rowptr[node] : rowptr[node + 1]]]] = True
        parts.append(_Component(part, resistance[chosen].view(size, size), square[chosen].view(size, size), joined))
        offset += size * size
    added: list[Pair] = []
    while len(added) < num_edges:
        best = max((part.best for part in parts), default=-1.0)
        if best < 0:
            break
        near = [part for part in parts if part.best >= best * (1 - _TIE)]
        part = min(near, key=lambda part: part.pair())
        added.append(part.pair())
        part.add_best()
    return _as_tensor(added)


class _Component:
    def __init__(self, nodes: list[int], p: Tensor, s: Tensor, joined: Tensor) -> None:
        self.nodes, self.p, self.s, self.joined = nodes, p.clone(), s.clone(), joined
        self._search()

    def pair(self) -> Pair:
        a, b = self.nodes[self.at[0]], self.nodes[self.at[1]]
        return min(a, b), max(a, b)

    def add_best(self) -> None:
        s, t = self.at
        self.joined[s, t] = self.joined[t, s] = True
        v = self.p[s] - self.p[t]
        scale = 1 / (1 + v[s] - v[t])
        w = scale * (self.p @ v - scale * (v @ v) / 2 * v)
        self.p -= scale * torch.outer(v, v)
        self.s -= torch.outer(v, w) + torch.outer(w, v)
        self._search()

    def _search(self) -> None:
        p, s = self.p.diagonal(), self.s.diagonal()
        gain = len(self.nodes) * (s[:, None] + s - 2 * self.s) / (1 + p[:, None] + p - 2 * self.p)
        gain[self.joined | torch.ones_like(self.joined).tril()] = -1.0
        self.best = float(gain.max()) if gain.numel() else -1.0
        if self.best >= 0:
            first = int((gain >= self.best * (1 - _TIE)).flatten().nonzero()[0, 0])
            self.at = divmod(first, len(self.nodes))


def least_product_reference(rowptr: Tensor, col: Tensor, value: Tensor, tie: float) -> Tensor:
    """The two nodes that no edge joins with the smallest product of values, ``[2, 1]``; ``[2, 0]`` where all are.

    Products that differ by less than ``tie`` times the largest square are equal; the lowest pair is taken of these.
    """
    size = value.numel()
    row = torch.arange(size).repeat_interleave(rowptr.diff())
    product = torch.outer(value, value)
    enough = tie * float(value.square().max()) if size else 0.0
    product[row, col] = product[col, row] = torch.inf
    product[torch.ones(size, size, dtype=torch.bool).tril()] = torch.inf
    least = float(product.min()) if size else torch.inf
    if least == torch.inf:
        return _as_tensor([])
    first = int((product <= least + enough).flatten().nonzero()[0, 0])
    return _as_tensor([divmod(first, size)])


def fosr_reference(rowptr: Tensor, col: Tensor, num_edges: int, bridging: bool) -> Tensor:
    """Adds edges between ends of the second eigenvector ``x``: those with the smallest product of ``x / sqrt(1 + d)``.

    Without ``bridging``, each edge goes into the component with the smallest gap (of equal ones, the lowest) that is
    not complete. With it, the graph as a whole is served: while it has several components with edges, the eigenvector
    is ``sqrt(d)`` times a constant on each of them. The eigenvector is that of ``second_eigenpair``, and products that
    differ by less than 1e-9 times the largest square are equal.

    Returns:
        The pairs in the order in which they were chosen, int64 ``[2, A]``.
    """
    rows = neighbour_sets(rowptr, col)
    added: list[Pair] = []
    choose: Callable[[list[set[int]]], Pair | None] = _across if bridging else _within
    while len(added) < num_edges:
        pair = choose(rows)
        if pair is None:
            break
        rows[pair[0]].add(pair[1])
        rows[pair[1]].add(pair[0])
        added.append(pair)
    return _as_tensor(added)


def _within(rows: list[set[int]]) -> Pair | None:
    found: list[tuple[float, list[int], Tensor]] = []
    for nodes in _components(rows):
        if all(len(rows[node]) == len(nodes) - 1 for node in nodes):
            continue
        graph = _subgraph(rows, nodes)
        gap, vector = eigenpair_reference(*graph, torch.ones(graph[1].numel(), dtype=torch.float64))
        found.append((float(gap), nodes, vector))
    if not found:
        return None
    enough = min(gap for gap, _, _ in found) * (1 + _TIE)
    _, nodes, vector = next(part for part in found if part[0] <= enough)
    return _least(rows, nodes, vector)


def _across(rows: list[set[int]]) -> Pair | None:
    components = _components(rows)
    joined = [nodes for nodes in components if len(nodes) > 1]
    everything = list(range(len(rows)))
    if len(joined) == 1:
        alone: list[set[int]] = [row if node in set(joined[0]) else set() for node, row in enumerate(rows)]
        pair = _within(alone)
        if pair is not None:
            return pair
    degree = torch.tensor([float(len(row)) for row in rows], dtype=torch.float64)
    part = fixed_numbers(len(rows)) * degree.sqrt()
    vector = torch.zeros_like(degree)
    for nodes in joined:
        share = part[nodes].sum() / degree[nodes].sum() - part.sum() / degree.sum()
        vector[nodes] = share * degree[nodes].sqrt()
    return _least(rows, everything, vector)


def _least(rows: list[set[int]], nodes: list[int], vector: Tensor) -> Pair | None:
    degree = torch.tensor([float(len(rows[node])) for node in nodes], dtype=torch.float64)
    found = least_product_reference(*_subgraph(rows, nodes), vector / (1 + degree).sqrt(), _TIE)
    if found.size(1) == 0:
        return None
    a, b = (nodes[int(end)] for end in found[:, 0])
    return a, b


def _components(rows: list[set[int]]) -> list[list[int]]:
    seen: set[int] = set()
    out: list[list[int]] = []
    for root in range(len(rows)):
        if root in seen:
            continue
        members, front = {root}, [root]
        while front:
            front = [node for end in front for node in rows[end] if node not in members and not members.add(node)]
        seen |= members
        out.append(sorted(members))
    return out


def _subgraph(rows: list[set[int]], nodes: list[int]) -> tuple[Tensor, Tensor]:
    local = {node: place for place, node in enumerate(nodes)}
    lists = [sorted(local[other] for other in rows[node]) for node in nodes]
    ptr = torch.tensor([0, *(len(row) for row in lists)]).cumsum(0)
    return ptr, torch.tensor([other for row in lists for other in row], dtype=torch.int64)


def _as_tensor(pairs: list[Pair]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t().contiguous()


def _pairs_fake(like: Tensor) -> Tensor:
    return like.new_empty(2, torch.library.get_ctx().new_dynamic_size())


define(
    "gtr(Tensor rowptr, Tensor col, Tensor nodes, Tensor ptr, Tensor resistance, Tensor square, int num_edges) -> "
    "Tensor",
    reference=gtr_reference,
    fake=lambda rowptr, col, nodes, ptr, resistance, square, num_edges: _pairs_fake(col),
)
define(
    "fosr(Tensor rowptr, Tensor col, int num_edges, bool bridging) -> Tensor",
    reference=fosr_reference,
    fake=lambda rowptr, col, num_edges, bridging: _pairs_fake(col),
)
define(
    "least_product(Tensor rowptr, Tensor col, Tensor value, float tie) -> Tensor",
    reference=least_product_reference,
    fake=lambda rowptr, col, value, tie: _pairs_fake(col),
)
