"""Generated graphs for the benchmarks."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor


def power_law(num_nodes: int, num_edges: int, *, exponent: float = 0.8, seed: int = 0) -> Tensor:
    """Edges whose ends are drawn with probability proportional to ``rank ** -exponent``; nodes are shuffled."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(_power_law_pairs(rng, num_nodes, exponent)(num_edges))


def power_law_parts(
    num_nodes: int, num_edges: int, size: int, *, exponent: float = 0.8, seed: int = 0
) -> Callable[[], Iterator[Tensor]]:
    """As :func:`power_law`, in parts of ``size`` edges; each call gives the same ones again."""
    draw = _power_law_ends(np.random.default_rng(seed), num_nodes, exponent)

    def parts() -> Iterator[Tensor]:
        for begin in range(0, num_edges, size):
            yield torch.from_numpy(draw(np.random.default_rng([seed, begin]), min(size, num_edges - begin)))

    return parts


def distinct_power_law(num_nodes: int, num_edges: int, *, exponent: float = 0.8, seed: int = 0) -> Tensor:
    """As :func:`power_law`, but a simple graph: no edge twice, no self-loop.

    torch's sparse matrices cannot differentiate repeated entries, and PyTorch Geometric counts a self-loop twice where
    its graph convolution is given such a matrix, but not where it is given edges.
    """
    rng = np.random.default_rng(seed)
    return _distinct(_power_law_pairs(rng, num_nodes, exponent), rng, num_nodes, num_edges)


def distinct_uniform(num_nodes: int, num_edges: int, *, seed: int = 0) -> Tensor:
    """Edges whose ends are drawn uniformly: no edge twice, no self-loop."""
    rng = np.random.default_rng(seed)
    return _distinct(lambda count: rng.integers(num_nodes, size=(2, count)), rng, num_nodes, num_edges)


def molecules(num_edges: int, *, seed: int = 0) -> tuple[Tensor, int]:
    """Many small graphs shaped like molecules, in one edge list: chains with branches and rings, both directions.

    Each has 10 to 40 atoms. An atom is bound to one of the three before it, and one in six closes a ring of five or
    six; so degrees stay below eight. Edges come molecule by molecule, each beside its opposite.

    Returns:
        The edge list, ``[2, num_edges]``, and the number of nodes.
    """
    rng = np.random.default_rng(seed)
    # A molecule has at least 9 bonds, so this many are more than enough.
    sizes = rng.integers(10, 41, size=num_edges // 18 + 2)
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    node = np.arange(sizes.sum())
    bound = place > 0
    tree = np.stack([node - np.minimum(rng.integers(1, 4, size=node.size), np.maximum(place, 1)), node])
    closing = (place > 5) & (rng.random(node.size) < 1 / 6)
    ring = np.stack([node - rng.integers(4, 6, size=node.size), node])
    # Ring bonds follow the tree bond of the same atom.
    both = np.stack([tree, ring], axis=-1).reshape(2, -1)
    kept = both[:, np.stack([bound, closing], axis=-1).reshape(-1)]
    directed = np.stack([kept, kept[::-1]], axis=-1).reshape(2, -1)[:, :num_edges]
    return torch.from_numpy(np.ascontiguousarray(directed)), int(directed.max()) + 1


def _power_law_pairs(rng: np.random.Generator, num_nodes: int, exponent: float) -> Callable[[int], np.ndarray]:
    draw = _power_law_ends(rng, num_nodes, exponent)
    return lambda count: draw(rng, count)


def _power_law_ends(
    rng: np.random.Generator, num_nodes: int, exponent: float
) -> Callable[[np.random.Generator, int], np.ndarray]:
    """``rng`` shuffles the nodes; what draws the edges is given with their number."""
    cumulative = np.cumsum(np.arange(1, num_nodes + 1) ** -exponent)
    shuffled = rng.permutation(num_nodes)
    return lambda drawing, count: shuffled[np.searchsorted(cumulative, drawing.random((2, count)) * cumulative[-1])]


def _distinct(draw: Callable[[int], np.ndarray], rng: np.random.Generator, num_nodes: int, num_edges: int) -> Tensor:
    """Draws until there are enough distinct edges between distinct nodes, and gives them in random order."""
    if 2 * num_edges > num_nodes**2:
        raise ValueError(f"{num_edges} distinct edges are too many for {num_nodes} nodes")
    keys = np.empty(0, dtype=np.int64)
    while keys.size < num_edges:
        src, dst = draw(num_edges - keys.size + num_edges // 50)
        drawn = (src * num_nodes + dst)[src != dst]
        keys = np.unique(np.concatenate([keys, drawn]))
    chosen = rng.permutation(keys)[:num_edges]
    return torch.from_numpy(np.stack(np.divmod(chosen, num_nodes)))
