"""An edge that closes a triangle over each of some edges; see :class:`gnnkit.rewire.AFR`."""

import torch
from torch import Tensor

from gnnkit.ops._library import define
from gnnkit.ops.balanced_forman import neighbour_sets


def reference(rowptr: Tensor, col: Tensor, ends: Tensor) -> Tensor:
    """For each edge ``(u, v)`` of ``ends [2, K]`` in turn, one new edge, the lower end first, ``[2, A]``.

    It joins ``v`` to the lowest neighbour of ``u`` that is not joined to it yet, by the graph or before; where there is
    none, ``u`` to such a neighbour of ``v``; where there is none either, nothing.
    """
    neighbours, added = neighbour_sets(rowptr, col), []
    joined = [set() for _ in neighbours]
    for u, v in ends.T.tolist():
        for near, far in ((u, v), (v, u)):
            open_pairs = neighbours[near] - neighbours[far] - joined[far] - {far}
            if open_pairs:
                w = min(open_pairs)
                joined[far].add(w)
                joined[w].add(far)
                added.append((min(w, far), max(w, far)))
                break
    return torch.tensor(added, dtype=torch.int64, device=col.device).reshape(-1, 2).T.contiguous()


def _fake(rowptr: Tensor, col: Tensor, ends: Tensor) -> Tensor:
    return col.new_empty(2, torch.library.get_ctx().new_dynamic_size())


# Rows ascend and hold both directions of every edge, without self-loops.
define("supporting_edges(Tensor rowptr, Tensor col, Tensor ends) -> Tensor", reference=reference, fake=_fake)
