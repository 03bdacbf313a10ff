"""A random regular graph over all nodes."""

import torch
from torch import Tensor

from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_count
from gnnkit.rewire._chance import first_of_equals, permutation, uniform_integers
from gnnkit.rewire._rewiring import Change, Fill, Rewiring


class Expander(Rewiring):
    r"""Adds a random ``d``-regular graph on all nodes.

    Random regular graphs of degree 3 and more are expanders with high probability: their spectral gap comes close to
    the best possible, :math:`d - 2 \sqrt{d - 1}`, whatever the number of nodes (Friedman 2008), so that any two nodes
    are ``O(log N)`` hops apart and no cut is narrow. Deac et al., "Expander graph propagation", 2022; Shirzad et al.,
    "Exphormer", 2023.

    The edges drawn are

    - ``d >= 3``: a random regular graph by the pairing of Steger and Wormald (asymptotically uniform), drawn again
      until it is connected, which takes one draw with probability ``1 - O(N^(2 - d))``;
    - ``d = 2``: a uniform Hamiltonian cycle; ``d = 1``: a uniform perfect matching, which is not connected;
    - the complete graph where ``N <= d + 1``. Where ``N d`` is odd no regular graph exists, and one random node has
      degree ``d - 1``.

    **All nodes are joined, those of different components and isolated ones too**; this is the point of the method. An
    edge drawn that the graph has already stays original, ``edge_type`` 0.

    Args:
        degree: ``d``, at least 1.
        edge_fill: What added edges get in edge attributes; see :class:`~gnnkit.rewire.Rewiring`.
        seed: Seed of the choice.

    Raises:
        ConfigError: If ``degree`` is no integer of at least 1.

    Determinism: the same number of nodes and seed give the same regular graph; equivariant in distribution.
    Complexity: ``O(N d log(N d))`` expected time, ``O(N d + M)`` memory.
    """

    def __init__(self, *, degree: int, edge_fill: Fill | None = None, seed: int = 0) -> None:
        super().__init__(edge_fill=edge_fill, seed=seed)
        self.degree = check_count("degree", degree, 1)

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """Draws the regular graph."""
        drawn = random_regular(graph.num_nodes, self.degree, generator)
        return Change(added=drawn[:, graph.find(drawn) < 0])


def random_regular(num_nodes: int, degree: int, generator: torch.Generator) -> Tensor:
    """The edges of a random regular graph as :class:`Expander` describes it, ``[2, M]``, each once."""
    if num_nodes <= degree + 1:
        return torch.triu_indices(num_nodes, num_nodes, offset=1)
    if degree == 2:
        cycle = permutation(num_nodes, generator)
        return torch.stack([cycle, cycle.roll(1)])
    degrees = torch.full((num_nodes,), degree)
    if num_nodes * degree % 2 == 1:
        degrees[uniform_integers(1, num_nodes, generator)] -= 1
    while True:
        edges = _of_degrees(degrees, generator)
        if degree == 1 or int(SimpleGraph.from_ends(edges, num_nodes).components().max()) == 0:
            return edges


def _of_degrees(degrees: Tensor, generator: torch.Generator) -> Tensor:
    """A random simple graph of given degrees."""
    num_nodes = degrees.numel()
    # Pairings of dense graphs run into dead ends: there the edges that are missing are drawn.
    dense = 2 * int(degrees.max()) > num_nodes - 1
    wanted = num_nodes - 1 - degrees if dense else degrees
    keys = _paired(wanted, generator)
    while keys is None:
        keys = _paired(wanted, generator)
    if dense:
        low, high = torch.triu_indices(num_nodes, num_nodes, offset=1)
        keys = (low * num_nodes + high)[~torch.isin(low * num_nodes + high, keys)]
    return torch.stack([keys // num_nodes, keys % num_nodes])


def _paired(degrees: Tensor, generator: torch.Generator) -> Tensor | None:
    """Pairs the free ends of nodes at random, keeping what makes new edges, until none is free.

    Returns:
        ``low * N + high`` of each edge. None: the ends left over can make no new edge.
    """
    num_nodes = degrees.numel()
    free = torch.arange(num_nodes).repeat_interleave(degrees)
    keys = torch.empty(0, dtype=torch.int64)
    while free.numel():
        pairs = free[permutation(free.numel(), generator)].view(-1, 2).T
        key = pairs.amin(0) * num_nodes + pairs.amax(0)
        good = (pairs[0] != pairs[1]) & first_of_equals(key) & ~torch.isin(key, keys)
        if not bool(good.any()) and _is_dead_end(free.unique(), keys, num_nodes, int(degrees.max())):
            return None
        keys = torch.cat([keys, key[good]])
        free = pairs[:, ~good].flatten()
    return keys


def _is_dead_end(nodes: Tensor, keys: Tensor, num_nodes: int, max_degree: int) -> bool:
    if nodes.numel() > max_degree + 1:
        # A node has at most max_degree neighbours, so that one of the others is none of them.
        return False
    low, high = nodes[torch.triu_indices(nodes.numel(), nodes.numel(), offset=1)]
    return bool(torch.isin(low * num_nodes + high, keys).all())
