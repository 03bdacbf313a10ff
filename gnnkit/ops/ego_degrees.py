"""Histograms of the degrees within the ego networks of nodes and edges; see :mod:`gnnkit.encodings.ego_degrees`."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.ops._library import define
from gnnkit.ops.k_hop import reference as k_hop

if TYPE_CHECKING:
    import numpy as np

# What a histogram counts: each of three relative degrees, the sum of them, or all three together.
RELATIVE, TOTAL, JOINT = range(3)


def num_bins(depth: int, layout: int, count: int) -> int:
    """Length of a histogram."""
    return count * {RELATIVE: 3 * (depth + 1), TOTAL: depth + 1, JOINT: 1}[layout]


def reference(rowptr: Tensor, col: Tensor, depth: int, layout: int, count: int, of_edges: bool) -> Tensor:
    """All members of all ego networks at once, then all arcs between members of one; float32 ``[N or 2 M, bins]``.

    A network has the root ``u``, and is the ball around it, or for the edge at a position the nodes that also lie in
    the ball around the other end. A member is the number ``network * N + node``.
    """
    import numpy as np

    neighbours = col.cpu().numpy()
    begin, degree = rowptr[:-1].cpu().numpy(), rowptr.diff().cpu().numpy()
    num_nodes = len(degree)
    ball, distance = _balls(rowptr, col, depth)
    ball_begin = np.searchsorted(ball, np.arange(num_nodes + 1) * num_nodes)
    root = np.repeat(np.arange(num_nodes), degree) if of_edges else np.arange(num_nodes)

    place, network = _ranges(ball_begin[root], np.diff(ball_begin)[root])
    node, distance = ball[place] % max(num_nodes, 1), distance[place]
    if of_edges:
        kept = np.isin(neighbours[network] * num_nodes + node, ball)
        network, node, distance = network[kept], node[kept], distance[kept]
    member = network * num_nodes + node

    place, tail = _ranges(begin[node], degree[node])
    head_member = network[tail] * num_nodes + neighbours[place]
    head = np.searchsorted(member, head_member).clip(max=max(len(member) - 1, 0))
    inside = member[head] == head_member
    tail, head = tail[inside], head[inside]
    step = distance[head] - distance[tail] + 1
    degrees = np.bincount(tail * 3 + step, minlength=len(member) * 3).reshape(-1, 3)

    width = num_bins(depth, layout, count)
    if layout == RELATIVE:
        bins = (distance[:, None] * 3 + np.arange(3)) * count + degrees.clip(max=count - 1)
    elif layout == TOTAL:
        bins = distance[:, None] * count + degrees.sum(1, keepdims=True).clip(max=count - 1)
    else:
        bins = (_hash(np.column_stack([distance, degrees]))[:, None] % np.uint64(count)).astype(np.int64)
    cells = (network[:, None] * width + bins).reshape(-1)
    found = np.bincount(cells, minlength=len(root) * width).reshape(len(root), width)
    return torch.from_numpy(found.astype(np.float32)).to(col.device)


def _balls(rowptr: Tensor, col: Tensor, depth: int) -> "tuple[np.ndarray, np.ndarray]":
    """The numbers ``root * N + node`` of all nodes within ``depth`` of each root, ascending, and their distances."""
    num_nodes = rowptr.numel() - 1
    row_begin, node, distance = k_hop(rowptr, col, depth)
    root = torch.arange(num_nodes, device=col.device)
    pair = root.repeat_interleave(row_begin.diff()) * num_nodes + node
    pair, order = torch.cat([root * (num_nodes + 1), pair]).sort()
    return pair.cpu().numpy(), torch.cat([torch.zeros_like(root), distance])[order].cpu().numpy()


def _ranges(begin: "np.ndarray", length: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The elements of ``begin[i], ..., begin[i] + length[i] - 1`` for all ``i``, and the ``i`` of each."""
    import numpy as np

    which = np.repeat(np.arange(len(begin)), length)
    return np.arange(len(which)) + np.repeat(begin - (np.cumsum(length) - length), length), which


def _hash(rows: "np.ndarray") -> "np.ndarray":
    """SplitMix64 of what has come so far and the next column."""
    import numpy as np

    key = np.zeros(len(rows), np.uint64)
    for part in rows.T.astype(np.uint64):
        key = (key ^ part) + np.uint64(0x9E3779B97F4A7C15)
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        key ^= key >> np.uint64(31)
    return key


def _fake(rowptr: Tensor, col: Tensor, depth: int, layout: int, count: int, of_edges: bool) -> Tensor:
    rows = col.size(0) if of_edges else rowptr.size(0) - 1
    return col.new_empty((rows, num_bins(depth, layout, count)), dtype=torch.float32)


# Rows ascend and hold both directions of every edge, without self-loops.
define(
    "ego_degrees(Tensor rowptr, Tensor col, int depth, int layout, int count, bool of_edges) -> Tensor",
    reference=reference,
    fake=_fake,
)
