"""Locality-aware sequential rewiring."""

import numpy as np
import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count
from gnnkit.rewire._rewiring import Change, Fill, Rewiring

_ENTRIES = 2**22
_EXACT = 2.0**53


class LASER(Rewiring):
    r"""Joins each node to those of its near nodes that are connected to it worst.

    Barbero et al., "Locality-aware graph rewiring in GNNs", 2024. With :math:`\tilde A = A + I` and walk length
    :math:`k`, the connectivity of two nodes is their number of walks,

    .. math:: \mu(v, u) = (\tilde A^k)_{vu}.

    For each node :math:`v` and each distance :math:`2 \le r \le R`, the nodes :math:`O_r(v) = \{u : d(v, u) = r\}` are
    one orbit, and :math:`v` is joined to the :math:`\max(1, \lfloor \rho |O_r(v)| + 1/2 \rfloor)` of them with the
    lowest :math:`\mu`, equal ones by chance. The edges are undirected: one stays if either end has chosen it.

    ``edge_type`` is 0 for original edges and ``r - 1`` for an edge that joins nodes at distance ``r``: 1 for
    distance 2, 2 for distance 3. A model with weights of their own for each snapshot of the paper takes the edges of
    each type in turn. For ``radius`` above 2 these labels are relations, on which no other rewiring can build:
    one that follows raises :class:`~gnnkit.errors.DataError`. Those of an earlier rewiring that are 1 stay so.

    Args:
        radius: :math:`R`, the largest distance, at least 2.
        density: :math:`\rho`, the fraction of each orbit, in (0, 1]. The paper uses 0.5 for Peptides-func, 0.1 for the
            TU data sets (with radius 2).
        walk_length: :math:`k`, at least ``radius``, since there are no shorter walks.
        edge_fill: What added edges get in edge attributes; see :class:`~gnnkit.rewire.Rewiring`.
        seed: Seed of the choice among nodes with the same :math:`\mu`.

    Raises:
        ConfigError: If an argument is out of its range; if there are more than 1e308 walks between two nodes.

    Determinism: the same graph and seed give the same edges; equivariant in distribution, and exactly where no two
    nodes tie. Numbers of walks above :math:`2^{53}` are compared to a relative 1e-12.
    Complexity: with ``B`` the nodes within :math:`(k + R) / 2` hops of a node, ``O(k N B d)`` time for mean degree
    ``d``; memory for the pairs within ``R`` hops, and for rows of about four million entries of the powers at a time.
    """

    def __init__(
        self,
        *,
        radius: int = 3,
        density: float = 0.5,
        walk_length: int = 8,
        edge_fill: Fill | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(edge_fill=edge_fill, seed=seed)
        check_count("radius", radius, 2)
        check_count("walk_length", walk_length, 1)
        if isinstance(density, bool) or not isinstance(density, (int, float)) or not 0 < density <= 1:
            raise ConfigError(f"density must be a fraction in (0, 1], got {density!r}")
        if walk_length < radius:
            raise ConfigError(f"walk_length must be at least radius, {radius}, got {walk_length}")
        self.radius = radius
        self.density = density
        self.walk_length = walk_length

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """Chooses the edges of all snapshots."""
        topology = Graph(rowptr=graph.rowptr, col=graph.col, edge_id=None, num_src=graph.num_nodes)
        near, distance = ops.k_hop(topology, self.radius)
        far = distance >= 2
        row, col, distance = near.dst_of_position()[far], near.col[far], distance[far]
        walks = _walk_counts(graph, row, col, self.radius, self.walk_length)
        chance = torch.rand(row.numel(), dtype=torch.float64, generator=generator)
        orbit = row * (self.radius + 1) + distance
        order = torch.from_numpy(np.lexsort((chance.numpy(), walks.numpy(), orbit.numpy())))
        _, place, size = torch.unique_consecutive(orbit[order], return_inverse=True, return_counts=True)
        rank = torch.arange(order.numel()) - (size.cumsum(0) - size)[place]
        wanted = (self.density * size + 0.5).floor().clamp(min=1)
        chosen = order[rank < wanted[place]]
        pairs = torch.stack([row[chosen], col[chosen]])
        key, first = np.unique((pairs.amin(0) * graph.num_nodes + pairs.amax(0)).numpy(), return_index=True)
        ends = torch.from_numpy(key)
        size_or_one = max(graph.num_nodes, 1)
        added = torch.stack([ends // size_or_one, ends % size_or_one])
        return Change(added=added, label=distance[chosen][torch.from_numpy(first)] - 1)


def _walk_counts(graph: SimpleGraph, row: Tensor, col: Tensor, radius: int, length: int) -> Tensor:
    """``((A + I)^length)[row, col]`` for pairs of at most ``radius`` hops, in order of ``row``; float64 ``[P]``."""
    num_nodes = graph.num_nodes
    loops = torch.arange(num_nodes)
    with_loops = torch.cat([graph.edge_index(), torch.stack([loops, loops])], dim=1)
    adjacency = Graph.from_edge_index(with_loops, num_nodes=num_nodes)
    rowptr = torch.searchsorted(row, torch.arange(num_nodes + 1))
    step = max(1, _ENTRIES // max(num_nodes, 1))
    parts = [row.new_empty(0, dtype=torch.float64)]
    for begin in range(0, num_nodes, step):
        end = min(begin + step, num_nodes)
        first, last = int(rowptr[begin]), int(rowptr[end])
        pairs = Graph(rowptr=rowptr[begin : end + 1] - first, col=col[first:last], edge_id=None, num_src=num_nodes)
        parts.append(_block_walk_counts(adjacency, begin, pairs, radius, length))
    counts = torch.cat(parts)
    if not bool(counts.isfinite().all()):
        raise ConfigError(f"there are more walks of length {length} than float64 can count; take a smaller walk_length")
    # Above 2^53 sums depend on the order of their terms, hence on the numbering of the nodes.
    mantissa, exponent = torch.frexp(counts)
    return torch.where(counts < _EXACT, counts, torch.ldexp((mantissa * 2.0**40).round(), exponent))


def _block_walk_counts(adjacency: Graph, begin: int, pairs: Graph, radius: int, length: int) -> Tensor:
    """The same for the rows from ``begin`` on; ``pairs`` has one row for each."""
    count = pairs.num_dst
    power = Graph(
        rowptr=torch.arange(count + 1),
        col=torch.arange(begin, begin + count),
        edge_id=None,
        num_src=adjacency.num_src,
    )
    value = torch.ones(count, dtype=torch.float64)
    patterns: dict[int, Graph] = {}
    for steps in range(1, length):
        # Walks that are farther away now than they can come back in time do not count.
        reach = radius + length - steps
        if reach >= steps:
            power, value = ops.spgemm(power, adjacency, value)
        else:
            value = ops.masked_spgemm(patterns[reach], power, adjacency, value)
            power = patterns[reach]
        patterns[steps] = power
    return ops.masked_spgemm(pairs, power, adjacency, value)
