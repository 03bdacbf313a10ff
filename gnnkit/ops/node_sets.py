"""Random sets of nodes, many in one call; see :mod:`gnnkit.sample`.

Number ``i`` of walker ``w`` of set ``s`` is made of words ``2 (i mod 2)`` and ``2 (i mod 2) + 1`` of the Philox block
with key ``seed`` and counter ``(i // 2, w, s mod 2^32, s // 2^32)``, as a number in ``[0, 1)``. A whole number below
``n`` is the integer part of its product with ``n``.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.ops._library import define

if TYPE_CHECKING:
    import numpy as np

# The walker whose numbers choose a place in a frontier.
_CHOOSER = 2**32 - 1
_LARGEST = 2**63 - 1
_MOST_DRAWS = 2**31


def walks_reference(
    rowptr: Tensor,
    col: Tensor,
    cumulative: Tensor | None,
    num_roots: int,
    length: int,
    first: int,
    count: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """What walks from random roots visit: all walks of all sets one step further at a time.

    Number 0 of walker ``w`` draws the root, number ``t`` step ``t``. A walk stays at a node without edges.

    Args:
        rowptr: Boundaries of the rows that walks follow, int32 or int64 ``[N + 1]``, at least one node.
        col: Where they lead, ``[E]``.
        cumulative: Weights of roots, each added to all those before it, float64 ``[N]``; the last is positive. None:
            all nodes are as likely.
        num_roots: Walks of each set; times the nodes of a walk at most ``2^31``.
        length: Steps of each, at least 0.
        first: Number of the first set, at least 0.
        count: How many sets.
        seed: 64 bits.

    Returns:
        Members of the sets in ascending order, int64, and where those of each set begin, int64 ``[count + 1]``.
    """
    import numpy as np

    bounds, target = rowptr.cpu().numpy().astype(np.int64), col.cpu().numpy()
    _check(num_roots >= 1 and length >= 0 and num_roots * (length + 1) <= _MOST_DRAWS, "num_roots or length")
    _check_sets(len(bounds) - 1, first, count)
    walker = np.arange(num_roots)
    chance = _numbers(seed, first, count, walker, 0)
    if cumulative is None:
        at = _below(chance, len(bounds) - 1)
    else:
        weight = cumulative.double().cpu().numpy()
        _check(len(weight) == len(bounds) - 1 and 0 < weight[-1] < np.inf, "cumulative")
        at = np.searchsorted(weight, chance * weight[-1], side="right")
    visited = [at]
    for step in range(1, length + 1):
        at = moved(bounds, target, at, _numbers(seed, first, count, walker, step))
        visited.append(at)
    return _sets(np.concatenate(visited, axis=1), rowptr)


def frontiers_reference(
    rowptr: Tensor, col: Tensor, num_nodes: int, frontier: int, degree_clip: int, first: int, count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """What multi-dimensional random walks visit: the walks of all sets one step further at a time.

    Number 0 of walker ``w`` draws place ``w`` of the frontier. In step ``t``, number ``t`` of walker ``2^32 - 1``
    chooses a place in proportion to the length of the node's row, at most ``degree_clip``; and number ``t`` of walker 0
    the entry of the row that takes the place. There are ``num_nodes - frontier`` steps, none where all rows are empty.

    Args:
        rowptr: As in :func:`walks_reference`.
        col: See there.
        num_nodes: Nodes that are drawn for each set, at most ``2^31``.
        frontier: Nodes of the frontier, 1 to ``num_nodes``.
        degree_clip: At least 1.
        first: As in :func:`walks_reference`; so are the next two.
        count: See there.
        seed: See there.

    Returns:
        As :func:`walks_reference`.
    """
    import numpy as np

    bounds, target = rowptr.cpu().numpy().astype(np.int64), col.cpu().numpy()
    _check(1 <= frontier <= num_nodes <= _MOST_DRAWS and degree_clip >= 1, "num_nodes, frontier or degree_clip")
    _check_sets(len(bounds) - 1, first, count)
    clip = min(degree_clip, _LARGEST // frontier)
    at = _below(_numbers(seed, first, count, np.arange(frontier), 0), len(bounds) - 1)
    visited, every = [at.copy()], np.arange(count)
    for step in range(1, num_nodes - frontier + 1):
        before = np.minimum(bounds[at + 1] - bounds[at], clip).cumsum(axis=1)
        moves = before[:, -1] > 0
        if not moves.any():
            break
        wanted = _below(_numbers(seed, first, count, np.array([_CHOOSER]), step)[:, 0], before[:, -1])
        place = np.where(moves, (before <= wanted[:, None]).sum(axis=1), 0)
        at[every, place] = moved(
            bounds, target, at[every, place][:, None], _numbers(seed, first, count, np.array([0]), step)
        )[:, 0]
        visited.append(at[every, place][:, None])
    return _sets(np.concatenate(visited, axis=1), rowptr)


def _check(valid: bool, what: str) -> None:
    if not valid:
        raise RuntimeError(f"{what} out of range")


def _check_sets(num_nodes: int, first: int, count: int) -> None:
    _check(num_nodes >= 1, "the number of nodes is")
    _check(first >= 0 and 0 <= count <= 2**40 and first + count <= _LARGEST, "first or count")


def _numbers(seed: int, first: int, count: int, walker: "np.ndarray", place: int) -> "np.ndarray":
    """Number ``place`` of some walkers of all sets, ``[count, walkers]``."""
    import numpy as np

    from gnnkit.ops._philox import philox_words, unit_interval

    number = (np.arange(count, dtype=np.uint64) + np.uint64(first))[:, None]
    key = np.array(seed % 2**64, np.uint64)
    words = philox_words(key, place // 2, walker, number & np.uint64(2**32 - 1), number >> np.uint64(32))
    return unit_interval(*words[place % 2 * 2 :][:2])


def _below(chance: "np.ndarray", size: "np.ndarray | int") -> "np.ndarray":
    import numpy as np

    return np.minimum((chance * size).astype(np.int64), np.maximum(size, 1) - 1)


def moved(bounds: "np.ndarray", target: "np.ndarray", at: "np.ndarray", chance: "np.ndarray") -> "np.ndarray":
    """Where walks are after one more step; those at a node without edges stay."""
    import numpy as np

    degree = bounds[at + 1] - bounds[at]
    chosen = np.minimum(bounds[at] + _below(chance, degree), max(len(target) - 1, 0))
    return np.where(degree > 0, target[chosen], at) if len(target) else at


def _sets(visited: "np.ndarray", like: Tensor) -> tuple[Tensor, Tensor]:
    """Members and boundaries from what each set visits, ``[count, draws]``."""
    import numpy as np

    ordered = np.sort(visited, axis=1)
    fresh = np.ones(ordered.shape, dtype=bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ptr = np.zeros(len(ordered) + 1, dtype=np.int64)
    np.cumsum(fresh.sum(axis=1), out=ptr[1:])
    members = ordered[fresh].astype(np.int64)
    return torch.from_numpy(members).to(like.device), torch.from_numpy(ptr).to(like.device)


def _fake(rowptr: Tensor, count: int) -> tuple[Tensor, Tensor]:
    members = torch.library.get_ctx().new_dynamic_size()
    return rowptr.new_empty(members, dtype=torch.int64), rowptr.new_empty(count + 1, dtype=torch.int64)


define(
    "walk_sets(Tensor rowptr, Tensor col, Tensor? cumulative, int num_roots, int length, int first, int count, "
    "int seed) -> (Tensor, Tensor)",
    reference=walks_reference,
    fake=lambda rowptr, col, cumulative, num_roots, length, first, count, seed: _fake(rowptr, count),
)
define(
    "frontier_sets(Tensor rowptr, Tensor col, int num_nodes, int frontier, int degree_clip, int first, int count, "
    "int seed) -> (Tensor, Tensor)",
    reference=frontiers_reference,
    fake=lambda rowptr, col, num_nodes, frontier, degree_clip, first, count, seed: _fake(rowptr, count),
)
