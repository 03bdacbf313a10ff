"""Spectral sparsification as a rewiring."""

from typing import Any

import torch

from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.geometry.sparsify import checked_epsilon, sampled_edges
from gnnkit.rewire._rewiring import Change, Fill, Rewiring


class SpectralSparsify(Rewiring):
    r"""Keeps a random choice of edges, and weights them so that the Laplacian stays the same within ``epsilon``.

    The choice, its guarantee and the number of draws are those of :func:`gnnkit.geometry.spectral_sparsify` (Spielman
    and Srivastava, 2011). Weights are read from ``edge_weight`` where the data has it (parallel edges add) and written
    there; self-loops stay as they are. No edge is added. What else happens to the data is said at the base class,
    ``Rewiring``.

    Args:
        epsilon: Relative error of the Laplacian's quadratic form, in (0, 1), with a probability of at least 0.99.
        edge_fill: Not used, since no edge is added.
        seed: Seed of the draws.

    Raises:
        ConfigError: If ``epsilon`` is out of range.
        DataError: Where applied, if a weight is not finite and positive or differs between the directions of an edge;
            else as the base class.

    Determinism: the same result for one seed, on one machine.
    Complexity: that of the resistances of all edges, and linear in edges and draws.
    """

    def __init__(self, *, epsilon: float, edge_fill: Fill | None = None, seed: int = 0) -> None:
        super().__init__(edge_fill=edge_fill, seed=seed)
        self.epsilon = checked_epsilon(epsilon)

    def read(self, data: Any) -> SimpleGraph:
        """The graph with the weights of ``data``, if it has any; those of parallel edges add up."""
        return SimpleGraph.from_edge_index(
            data.edge_index, int(data.num_nodes), weight=data.get("edge_weight"), allow_self_loops=True
        )

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """The edges that go, and the weights of those that stay."""
        kept, weight = sampled_edges(graph, self.epsilon, generator)
        stays = torch.zeros(graph.num_edges, dtype=torch.bool)
        stays[kept] = True
        added = torch.zeros(2, 0, dtype=torch.int64)
        return Change(added, removed=(~stays).nonzero().squeeze(1), weight=weight)
