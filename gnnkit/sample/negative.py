"""Pairs of nodes that no edge joins."""

import numpy as np
import torch
from torch import Tensor

from gnnkit.errors import ConfigError, IndexRangeError, ShapeError
from gnnkit.ops._checks import check_count, check_flag, check_index, check_index_range, check_seed, check_size
from gnnkit.sample._targets import key_of, permutation, random_words

METHODS = ("sparse", "dense")
_MOST_PAIRS = 2**62


def negative_edges(
    edge_index: Tensor,
    num_nodes: int | tuple[int, int],
    num_samples: int,
    *,
    seed: int = 0,
    method: str = "sparse",
    undirected: bool = False,
    self_loops: bool = False,
) -> Tensor:
    """Different pairs of nodes that no edge joins, each set of them equally likely.

    No pair is tried and thrown away: numbers are drawn from those of all pairs that are no edge, and the pairs that
    have these numbers follow from the sorted edges. So the result is exact on dense graphs as well.

    Args:
        edge_index: The edges, ``[2, E]``, int32 or int64; multi-edges and self-loops may be among them.
        num_nodes: How many nodes there are; ``(sources, destinations)`` of a bipartite graph.
        num_samples: How many pairs to draw.
        seed: Of the draw.
        method: How the pairs that are no edge are found: by a search among the edges (``"sparse"``), or in a table of
            all pairs (``"dense"``), for small graphs. The results are the same.
        undirected: A pair is no edge if neither direction is one; the source is then the lower of the two nodes, and
            each pair is there in this direction alone.
        self_loops: Whether a node and itself are a pair. In a bipartite graph, where they are different nodes, not
            asked.

    Returns:
        ``[2, num_samples]``, of the dtype and on the device of ``edge_index``, in the order of the draw.

    Raises:
        ConfigError: If an argument is unknown, ``undirected`` is set for a bipartite graph, or there are fewer such
            pairs than ``num_samples``; the message says how many there are.
        IndexRangeError, ShapeError: If ``edge_index`` does not fit, or there are ``2^62`` pairs or more.

    Determinism: the same pairs for a seed on every machine.
    Complexity: ``O((E + S) log E)`` time and ``O(E + S)`` memory, ``O(N^2)`` with ``"dense"``.
    """
    pairs = _Pairs.of(num_nodes, undirected, self_loops)
    check_index("edge_index", edge_index, dim=2)
    if edge_index.size(0) != 2:
        raise ShapeError(f"edge_index must have shape [2, E], got {tuple(edge_index.shape)}")
    check_count("num_samples", num_samples, 0)
    check_seed(seed)
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    source, target = edge_index.detach().cpu().long()
    for row, end, size in ((0, source, pairs.num_src), (1, target, pairs.num_dst)):
        check_index_range(f"edge_index[{row}]", end, size, "num_nodes")
    taken = pairs.number(source, target).unique()
    free = pairs.count - taken.numel()
    if num_samples > free:
        raise ConfigError(
            f"num_samples must be at most the number of pairs without an edge, {free}, got {num_samples}; "
            f"{taken.numel()} of {pairs.count} pairs have one"
        )
    rank = _distinct(num_samples, free, seed)
    found = _at_rank(taken, rank) if method == "sparse" else _all_free(taken, pairs.count)[rank]
    return pairs.ends(found).to(edge_index)


class _Pairs:
    """Numbers of pairs of nodes, ``[0, count)``: row by row, or for unordered ones by their higher node."""

    def __init__(self, num_src: int, num_dst: int, undirected: bool, self_loops: bool) -> None:
        self.num_src = num_src
        self.num_dst = num_dst
        self.undirected = undirected
        self.self_loops = self_loops
        if num_src * num_dst >= _MOST_PAIRS:
            raise IndexRangeError(f"graphs of fewer than 2^62 pairs of nodes are served, got {num_src} x {num_dst}")
        if undirected:
            self.count = num_src * (num_src + (1 if self_loops else -1)) // 2
        else:
            self.count = num_src * (num_dst if self_loops else max(num_dst - 1, 0))

    @classmethod
    def of(cls, num_nodes: int | tuple[int, int], undirected: bool, self_loops: bool) -> "_Pairs":
        check_flag("undirected", undirected)
        check_flag("self_loops", self_loops)
        if not isinstance(num_nodes, tuple):
            size = check_size("num_nodes", num_nodes)
            return cls(size, size, undirected, self_loops)
        if len(num_nodes) != 2:
            raise ShapeError(f"num_nodes must be a number, or a pair of them for a bipartite graph, got {num_nodes!r}")
        if undirected:
            raise ConfigError("undirected pairs are of one set of nodes: give num_nodes as one number")
        return cls(check_size("num_nodes[0]", num_nodes[0]), check_size("num_nodes[1]", num_nodes[1]), False, True)

    def number(self, source: Tensor, target: Tensor) -> Tensor:
        """Of the pairs that count."""
        if not self.self_loops:
            counts = source != target
            source, target = source[counts], target[counts]
        if not self.undirected:
            if self.self_loops:
                return source * self.num_dst + target
            return source * (self.num_dst - 1) + target - (target > source).long()
        low, high = torch.minimum(source, target), torch.maximum(source, target)
        return self._before(high) + low

    def ends(self, number: Tensor) -> Tensor:
        """The pairs, ``[2, S]``."""
        if self.undirected:
            # The root is right but for rounding.
            high = (2 * number.double()).sqrt().long()
            for _ in range(3):
                high = high - (self._before(high) > number).long()
                high = high + (self._before(high + 1) <= number).long()
            return torch.stack([number - self._before(high), high])
        width = max(self.num_dst if self.self_loops else self.num_dst - 1, 1)
        source, target = number // width, number % width
        if not self.self_loops:
            target = target + (target >= source).long()
        return torch.stack([source, target])

    def _before(self, high: Tensor) -> Tensor:
        """Pairs whose higher node is below ``high``."""
        return high * (high + (1 if self.self_loops else -1)) // 2


def _at_rank(taken: Tensor, rank: Tensor) -> Tensor:
    """The number of rank ``rank`` among those that are not in ``taken``, which is sorted."""
    free_before = taken - torch.arange(taken.numel())
    return rank + torch.searchsorted(free_before, rank, right=True)


def _all_free(taken: Tensor, count: int) -> Tensor:
    free = torch.ones(count, dtype=torch.bool)
    free[taken] = False
    return free.nonzero()[:, 0]


def _distinct(count: int, size: int, seed: int) -> Tensor:
    """Different numbers in ``[0, size)``, in a uniform order: the first of a permutation, or of a sequence of draws."""
    key = key_of(seed)
    if 2 * count >= size:
        return permutation(size, key)[:count]
    found, first = np.zeros(0, dtype=np.int64), 0
    while len(found) < count:
        more = 2 * (count - len(found)) + 16
        drawn = np.concatenate([found, _uniform(key, first, more, size)])
        first += more
        found = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return torch.from_numpy(found[:count])


def _uniform(key: int, first: int, count: int, size: int) -> np.ndarray:
    """Draws ``first`` to ``first + count``, uniform in ``[0, size)``; a few draws, which would favour some, go."""
    value = random_words(key, first, count, stream=1)
    fair = value < np.uint64(2**64 - 2**64 % size) if 2**64 % size else np.ones(count, dtype=bool)
    return (value[fair] % np.uint64(size)).astype(np.int64)
