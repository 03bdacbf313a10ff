"""Sums over random walks; see :class:`gnnkit.encodings.GraphRandomFeatures`."""

import torch
from torch import Tensor

from gnnkit.ops._library import define

_SIDE_BY_SIDE = 256


def reference(
    rowptr: Tensor,
    col: Tensor,
    factor: Tensor,
    probability: Tensor,
    key: Tensor,
    node: Tensor,
    modulation: Tensor,
    halting: float,
    num_walks: int,
    ensemble: int,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Walks from every node, all of them one step further at a time.

    A walk has load 1 at first. At step ``s`` it adds ``load * modulation[s]`` to its sum for the node where it is. It
    ends after the last entry of ``modulation``, at a node without entries, and with probability ``halting``. Otherwise
    it moves along an entry of the row, drawn with its probability, whose ``factor`` multiplies the load.
    Its chances are those of the Philox block with counter ``(step, walk, node, ensemble)``.

    Args:
        rowptr: Boundaries of the rows, int64 ``[N + 1]``.
        col: Where the entries lead, ``[E]``.
        factor: What they multiply the load by, float64 ``[E]``.
        probability: Of drawing each entry of its row, float64 ``[E]``; the last one also gets what is missing to 1.
        key: Key of the random numbers of the walks from each node, int64 ``[N]``.
        node: Number of each node in the counters, in ``[0, 2^32)``, int64 ``[N]``.
        modulation: By step, float64 ``[L + 1]``.
        halting: Probability of an end before each step.
        num_walks: Walks from each node, at least 1.
        ensemble: In ``[0, 2^32)``.

    Returns:
        Boundaries of the rows, the nodes met from each node in ascending order, and the mean over walks of the sums.
    """
    import numpy as np

    from gnnkit.ops._philox import philox_words, unit_interval

    bounds, target = rowptr.cpu().numpy(), col.cpu().numpy()
    scale, weight = factor.cpu().numpy(), modulation.cpu().numpy()
    rows = np.split(probability.cpu().numpy(), bounds[1:-1])
    cumulative = np.concatenate([np.cumsum(row) for row in rows])
    size = len(bounds) - 1
    row, walk = np.repeat(np.arange(size), num_walks), np.tile(np.arange(num_walks), size)
    keys, nodes = key.cpu().numpy().astype(np.uint64), node.cpu().numpy()
    at, load = row, np.ones(len(row))
    met: list[tuple[np.ndarray, ...]] = []
    for step in range(len(weight)):
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at what is not finite
            met.append((row, at, walk, np.full(len(row), step), load * weight[step]))
        low, high = bounds[at], bounds[at + 1] - 1
        words = philox_words(keys[row], step, walk, nodes[row], ensemble)
        goes_on = (low <= high) & (unit_interval(words[2], words[3]) >= halting)
        row, walk, load, low, high = row[goes_on], walk[goes_on], load[goes_on], low[goes_on], high[goes_on]
        chance = unit_interval(words[0], words[1])[goes_on]
        while (low < high).any():
            middle = (low + high) // 2
            beyond = (cumulative[middle] <= chance) & (low < high)
            low, high = np.where(beyond, middle + 1, low), np.where(beyond, high, np.minimum(high, middle))
        with np.errstate(over="ignore", invalid="ignore"):
            load = load * scale[low]
        at = target[low]
    start, end, *order, value = (np.concatenate(parts) for parts in zip(*met, strict=True))
    # Sums in the order of the kernel, which takes so many walks of a node side by side.
    sequence = np.lexsort((order[0], order[1], order[0] // _SIDE_BY_SIDE))
    pairs, place = np.unique(start * max(size, 1) + end, return_inverse=True)
    total = np.zeros(len(pairs))
    np.add.at(total, place[sequence], value[sequence])
    found_rowptr = np.zeros(size + 1, np.int64)
    np.cumsum(np.bincount(pairs // max(size, 1), minlength=size)[:size], out=found_rowptr[1:])
    found = found_rowptr, pairs % max(size, 1), total / num_walks
    return tuple(torch.from_numpy(array).to(col.device) for array in found)  # type: ignore[return-value]


def _fake(
    rowptr: Tensor, col: Tensor, factor: Tensor, probability: Tensor, key: Tensor, node: Tensor, modulation: Tensor, *_
) -> tuple[Tensor, Tensor, Tensor]:
    met = torch.library.get_ctx().new_dynamic_size()
    return torch.empty_like(rowptr), col.new_empty(met), factor.new_empty(met)


define(
    "graph_random_features(Tensor rowptr, Tensor col, Tensor factor, Tensor probability, Tensor key, Tensor node, "
    "Tensor modulation, float halting, int num_walks, int ensemble) -> (Tensor, Tensor, Tensor)",
    reference=reference,
    fake=_fake,
)
