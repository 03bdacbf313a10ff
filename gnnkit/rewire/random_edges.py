"""Random edges: the control of every rewiring."""

import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.rewire._chance import distinct_integers
from gnnkit.rewire._rewiring import Change, Fill, Rewiring, check_edge_count, edge_count


class RandomEdges(Rewiring):
    r"""Adds edges that are chosen uniformly, without replacement, from the pairs that are not joined yet.

    What a rewiring method is worth is what it gains over as many random edges. The candidates are

    .. math:: \{\{u, v\} : u \ne v, \{u, v\} \notin E\}

    or only those with both ends in one connected component. Each set of ``num_edges`` candidates has the same
    probability. Where there are fewer candidates, all are added; a complete graph stays as it is.

    Args:
        num_edges: Number of undirected edges to add (int), or fraction of the number of edges (float in [0, 1]).
        within_components: Whether an added edge must lie in one connected component. False: it may join two.
        edge_fill: What added edges get in edge attributes; see :class:`~gnnkit.rewire.Rewiring`.
        seed: Seed of the choice.

    Raises:
        ConfigError: If an argument is out of its range.

    Determinism: the same graph and seed give the same edges; equivariant in distribution.
    Complexity: ``O(N + M + k log(M + k))`` time and ``O(N + M + k)`` memory for ``k`` added edges: candidates are
    numbered, and the numbers drawn are turned into pairs, so that none is ever rejected.
    """

    def __init__(
        self, *, num_edges: float, within_components: bool = True, edge_fill: Fill | None = None, seed: int = 0
    ) -> None:
        super().__init__(edge_fill=edge_fill, seed=seed)
        self.num_edges = check_edge_count("num_edges", num_edges)
        if not isinstance(within_components, bool):
            raise ConfigError(f"within_components must be True or False, got {within_components!r}")
        self.within_components = within_components

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """Chooses the edges."""
        if self.within_components:
            component = graph.components()
        else:
            component = torch.zeros(graph.num_nodes, dtype=torch.int64)
        pairs = _Pairs(component)
        taken = pairs.number(graph.ends).sort().values
        free = pairs.count - taken.numel()
        count = min(edge_count(self.num_edges, graph.num_edges), free)
        chosen = distinct_integers(count, free, generator)
        # The i-th free number is i plus how many taken ones lie before it.
        before = torch.searchsorted(taken - torch.arange(taken.numel()), chosen, right=True)
        return Change(added=pairs.ends(chosen + before))


class _Pairs:
    """Numbers the pairs of different nodes of one component, one component after the other."""

    def __init__(self, component: Tensor) -> None:
        self._component = component
        # Stable, so that the order of two nodes is that of their places.
        self._node = component.argsort(stable=True)
        self._place = torch.empty_like(self._node)
        self._place[self._node] = torch.arange(component.numel())
        size = torch.bincount(component)
        self._first_place = size.cumsum(0) - size
        self._end = (size * (size - 1) // 2).cumsum(0)
        self._begin = self._end - size * (size - 1) // 2
        self.count = int(self._end[-1]) if size.numel() else 0

    def number(self, ends: Tensor) -> Tensor:
        """Numbers of pairs ``[2, P]`` with the smaller node first."""
        component = self._component[ends[0]]
        low, high = self._place[ends] - self._first_place[component]
        return self._begin[component] + high * (high - 1) // 2 + low

    def ends(self, number: Tensor) -> Tensor:
        """The pairs with these numbers, ``[2, P]``."""
        component = torch.searchsorted(self._end, number, right=True)
        within = number - self._begin[component]
        # Rounded, so at most one too large or too small.
        high = ((1 + (1 + 8 * within.double()).sqrt()) / 2).long()
        high -= (high * (high - 1) // 2 > within).long()
        high += (high * (high + 1) // 2 <= within).long()
        low = within - high * (high - 1) // 2
        return self._node[torch.stack([low, high]) + self._first_place[component]]
