"""Triangles and 4-cycles through every edge of an undirected graph; see :mod:`gnnkit.geometry.forman`."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.ops._library import define


def reference(rowptr: Tensor, col: Tensor, length: int) -> Tensor:
    """Walks between the ends of each edge ``(u, v)``, ``u < v``, that make a cycle with it, int64 ``[M]``.

    Triangles are walks of two steps. Of those of three steps, ``u -> v -> w -> v`` and ``u -> w -> u -> v`` go over the
    edge itself and make no 4-cycle.
    """
    import numpy as np
    from scipy.sparse import csr_array

    num_nodes, degree = rowptr.numel() - 1, rowptr.diff().cpu().numpy()
    ones = np.ones(col.numel(), dtype=np.int64)
    adjacency = csr_array((ones, col.cpu().numpy(), rowptr.cpu().numpy()), shape=(num_nodes, num_nodes))
    source = np.repeat(np.arange(num_nodes), degree)
    u, v = (end[source < adjacency.indices] for end in (source, adjacency.indices))
    if length == 3:
        count = adjacency[u].multiply(adjacency[v]).sum(axis=1)
    else:
        two_steps: Any = adjacency @ adjacency
        count = two_steps[u].multiply(adjacency[v]).sum(axis=1) - degree[u] - degree[v] + 1
    return torch.from_numpy(np.asarray(count, dtype=np.int64)).to(col.device)


def _fake(rowptr: Tensor, col: Tensor, length: int) -> Tensor:
    return col.new_empty(col.size(0) // 2)


# Rows ascend and hold both directions of every edge, without self-loops; edges are in order of (u, v), u < v.
define("edge_cycles(Tensor rowptr, Tensor col, int length) -> Tensor", reference=reference, fake=_fake)
