"""Sampled neighbourhoods of nodes; see :class:`gnnkit.sample.ShaDow`."""

import torch
from torch import Tensor

from gnnkit.ops._library import define


def reference(
    rowptr: Tensor, col: Tensor, roots: Tensor, numbers: Tensor, depth: int, fanout: int, seed: int
) -> tuple[Tensor, Tensor]:
    """One breadth-first search after the other.

    Draws ``2 b`` and ``2 b + 1`` at a node take the words of the Philox block with key ``seed`` and counter
    ``(b, node, number % 2^32, number / 2^32)``: two words each, as a number in ``[0, 1)`` times the degree.

    Args:
        rowptr: Boundaries of the neighbours of each node, int32 or int64 ``[N + 1]``, at most ``2^32`` nodes.
        col: The neighbours, ``[E]``.
        roots: Where searches start, int64 ``[R]``.
        numbers: What tells the random numbers of searches apart, int64 ``[R]``.
        depth: Hops, at least 0.
        fanout: Of a node with more neighbours, so many draws with replacement are followed. -1: all are.
        seed: 64 bits.

    Returns:
        What each search meets, in the order in which it does, the root first, of the dtype of ``col``; and where that
        of each begins, int64 ``[R + 1]``.
    """
    from gnnkit.ops._draws import draws_below  # which needs NumPy

    bounds, neighbours = rowptr.tolist(), col.tolist()
    members: list[int] = []
    begins = [0]
    for root, number in zip(roots.tolist(), numbers.tolist(), strict=True):
        met = {root: None}
        level = [root]
        for _ in range(depth):
            known = len(met)
            for node in level:
                row = neighbours[bounds[node] : bounds[node + 1]]
                if 0 <= fanout < len(row):
                    words = (node, number % 2**32, number // 2**32 % 2**32)
                    row = [row[place] for place in draws_below([len(row)] * fanout, seed, words)]
                met.update(dict.fromkeys(row))
            level = list(met)[known:]
            if not level:
                break
        members += met
        begins.append(len(members))
    return torch.tensor(members, dtype=col.dtype), torch.tensor(begins, dtype=torch.int64)


def _fake(
    rowptr: Tensor, col: Tensor, roots: Tensor, numbers: Tensor, depth: int, fanout: int, seed: int
) -> tuple[Tensor, Tensor]:
    members = torch.library.get_ctx().new_dynamic_size()
    return col.new_empty(members), roots.new_empty(roots.size(0) + 1)


define(
    "k_hop_sample(Tensor rowptr, Tensor col, Tensor roots, Tensor numbers, int depth, int fanout, int seed) "
    "-> (Tensor, Tensor)",
    reference=reference,
    fake=_fake,
)
