"""Batch Ollivier-Ricci flow."""

import torch

from gnnkit.errors import ConfigError
from gnnkit.geometry.simple_graph import SimpleGraph
from gnnkit.ops._checks import check_integer
from gnnkit.rewire._rewiring import Change, Fill, Rewiring, check_edge_count, edge_count


class BORF(Rewiring):
    r"""Batch Ollivier-Ricci flow: adds edges around the most negatively curved ones, removes the most positive ones.

    Nguyen et al., "Revisiting over-smoothing and over-squashing using Ollivier-Ricci curvature", 2023. In every batch,
    the Ollivier-Ricci curvature at :math:`\alpha = 0` of all edges is measured (see
    :func:`gnnkit.geometry.ollivier_ricci`). Then

    - for each of the ``add`` edges ``(u, v)``, ``u < v``, of the lowest curvature, an edge joins the nodes ``p`` and
      ``q`` for which a cheapest transport :math:`\pi` from the walk of ``u`` to that of ``v`` can make
      :math:`d(p, q) \, \pi(p, q)` largest; none, if they are adjacent already;
    - the ``remove`` edges of the highest curvature go, which were chosen before anything was added.

    Transports that are equally cheap are many, and the authors' code takes the one that its solver comes upon. Here all
    of them count: the largest value over all cheapest transports (with what both walks have at one node staying there)
    decides, so that the result is a matter of the graph alone. Ties go to the lexicographically smallest edge, and to
    the smallest ``(p, q)``. Nodes of different components are never joined; removing may take components apart. Where
    the lowest or the highest curvature is shared by more edges than are asked for, and only there, the result depends
    on how nodes are numbered.

    The authors' code counts every edge once per direction, removes one direction only, and with ``remove=0`` removes
    all edges; tables that were made with it cannot be told in terms of these settings.

    Args:
        num_batches: Number of batches, at least 0.
        add: Edges that get a new one per batch: a number, or a fraction of the edges of the graph as a float.
        remove: Edges that are removed per batch, in the same way. 0 removes none.
        edge_fill: See :class:`~gnnkit.rewire._rewiring.Rewiring`.
        seed: Not used: nothing is left to chance.

    Raises:
        ConfigError: If a setting is out of range.

    Stops early when a batch changes nothing, or no edges are left. Determinism: exact, for any number of threads.
    Complexity: transports are computed for all edges in the first batch, then for those with an end at or next to a
    change. Each takes about as many steps as its ends' neighbours have neighbours; memory ``O(E + N)``.
    """

    def __init__(
        self,
        *,
        num_batches: int = 3,
        add: float = 3,
        remove: float = 1,
        edge_fill: Fill | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(num_batches, bool) or check_integer("num_batches", num_batches) < 0:
            raise ConfigError(f"num_batches must not be negative, got {num_batches!r}")
        self.num_batches = num_batches
        self.add = check_edge_count("add", add)
        self.remove = check_edge_count("remove", remove)
        super().__init__(edge_fill=edge_fill, seed=seed)

    def rewire(self, graph: SimpleGraph, generator: torch.Generator) -> Change:
        """The edges of the flow's last batch, against those of the graph."""
        add = edge_count(self.add, graph.num_edges)
        remove = edge_count(self.remove, graph.num_edges)
        ends = torch.ops.gnnkit.borf(graph.ends, graph.num_nodes, self.num_batches, add, remove)
        place = graph.find(ends)
        stays = torch.zeros(graph.num_edges, dtype=torch.bool)
        stays[place[place >= 0]] = True
        return Change(added=ends[:, place < 0], removed=(~stays).nonzero().squeeze(1))
