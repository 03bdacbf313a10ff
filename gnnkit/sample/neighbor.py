"""Neighbour sampling."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.errors import ConfigError
from gnnkit.graph import Graph, _trusted
from gnnkit.ops._checks import check_flag
from gnnkit.sample._gather import edges_at
from gnnkit.sample._targets import TargetLoader, key_of, nodes_of, topology_of

DIRECTIONS = ("in", "out", "both")
_MOST_DRAWS = 2**20
_INT32_MAX = 2**31 - 1


class Neighbor(TargetLoader):
    r"""Batches of seeds, each with neighbours of neighbours sampled hop by hop.

    Hamilton et al., "Inductive representation learning on large graphs", NIPS 2017. At hop ``h``, each node that was
    found at the hop before it gets ``fanout[h]`` of its neighbours. As in ``torch_geometric.loader.NeighborLoader``, a
    batch holds the edges that were sampled, and no others between its nodes; nodes are numbered seeds first, then in
    the order in which they are found; a node that is found again is not sampled again.

    A batch is a ``Data`` with ``edge_index``, which points the way it does in ``data``; ``n_id`` and ``e_id``, its
    nodes and edges in ``data``; the attributes of these; ``batch_size``, the number of seeds; ``input_id``, their
    places in ``seeds``; ``num_sampled_nodes`` and ``num_sampled_edges``, how many each hop has added (the seeds first);
    and ``batch``, the seed of each node, where ``disjoint``.

    Args:
        data: The whole graph.
        fanout: Neighbours at each hop; -1: all of them, 0: none.
        seeds: Nodes, int ``[S]``, or a mask, bool ``[N]``. None: all nodes. Where there are none, an epoch has no
            batches.
        batch_size: Seeds of a batch; the last batch of an epoch has the rest.
        replace: Draw with replacement: a node with neighbours then has exactly ``fanout[h]`` draws, and an edge may be
            there several times. Without, a node with no more neighbours than that has all of them, and another one a
            uniform sample of them.
        direction: Neighbours are sources of the edges that arrive at a node (``"in"``), targets of those that leave it
            (``"out"``), or ``"both"``; an edge that was sampled from both of its ends is there once, or with
            replacement as often as it was drawn.
        disjoint: Each seed has a subgraph of its own; a node that several seeds reach has a copy for each.
        shuffle: Whether the order of the seeds is drawn anew in each epoch.
        seed: Of all random numbers; every node has its own for each epoch, batch, hop and, where ``disjoint``, seed.
        prefetch: As of :class:`Loader`.

    Raises:
        ConfigError: If an argument is out of range, or ``seeds`` lists a node twice and ``disjoint`` is not set.
        DataError, DtypeError, IndexRangeError, ShapeError: If ``data`` or ``seeds`` does not fit.

    Determinism: the same batches for a seed, at any number of threads.
    Complexity: of a batch ``O(n + e)`` time and memory for its nodes and edges (besides one number per node of a graph
    of at most ``2^17``), whatever the size of the graph.
    """

    def __init__(
        self,
        data: Any,
        fanout: Sequence[int],
        seeds: Tensor | None = None,
        *,
        batch_size: int = 1,
        replace: bool = False,
        direction: str = "in",
        disjoint: bool = False,
        shuffle: bool = False,
        seed: int = 0,
        prefetch: int = 2,
    ) -> None:
        graph = topology_of(data)
        self.seeds = nodes_of("seeds", seeds, graph.num_nodes)
        super().__init__(data, self.seeds.numel(), batch_size=batch_size, shuffle=shuffle, seed=seed, prefetch=prefetch)
        check_flag("replace", replace)
        check_flag("disjoint", disjoint)
        self.fanout = check_fanout(fanout, replace)
        if direction not in DIRECTIONS:
            raise ConfigError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
        if not disjoint:
            _check_unique(self.seeds, graph.num_nodes)
        self.replace = replace
        self.direction = direction
        self.disjoint = disjoint
        self._rows = _rows_of(graph, direction)
        self._num_edges = graph.num_edges

    def _around(self, chosen: Tensor, epoch: int, number: int) -> Data:
        seeds = self.seeds[chosen]
        n_id, tree, near, node, position, nodes_per_hop, edges_per_hop = torch.ops.gnnkit.neighbor_sample(
            self._rows.rowptr,
            self._rows.col,
            seeds,
            torch.tensor(self.fanout, dtype=torch.int64),
            self.replace,
            self.disjoint,
            key_of(self.seed, epoch, number),
        )
        edge = edges_at(self._rows, position)
        edge_index = torch.stack([node, near] if self.direction == "out" else [near, node])
        if self.direction == "both":
            leaves = edge >= self._num_edges
            edge = edge - self._num_edges * leaves
            edge_index = torch.where(leaves, edge_index.flip(0), edge_index)
            if not self.replace:
                kept = _first_of_each(edge, tree[node], self._num_edges)
                hop = torch.repeat_interleave(edges_per_hop)[kept]
                edges_per_hop = torch.bincount(hop, minlength=len(self.fanout))
                edge, edge_index = edge[kept], edge_index[:, kept]
        batch = self._gathered(n_id, edge, edge_index)
        batch.batch_size, batch.input_id = seeds.numel(), chosen.to(self._device)
        batch.num_sampled_nodes = nodes_per_hop.tolist()
        batch.num_sampled_edges = edges_per_hop.tolist()
        if self.disjoint:
            batch.batch = tree.to(self._device)
        return batch


def check_fanout(fanout: Sequence[int], replace: bool) -> tuple[int, ...]:
    """The numbers of neighbours at each hop; raises ConfigError where they are none."""
    if isinstance(fanout, (str, bytes)) or not isinstance(fanout, Sequence):
        raise ConfigError(f"fanout must be a list of integers, one for each hop, got {fanout!r}")
    for most in fanout:
        if isinstance(most, bool) or not isinstance(most, int) or not -1 <= most < 2**62:
            raise ConfigError(f"fanout must hold integers of at least 0, or -1 for all neighbours, got {most!r}")
        if replace and most > _MOST_DRAWS:
            raise ConfigError(f"a fan-out with replacement must be at most 2^20, got {most}")
    return tuple(fanout)


def _check_unique(seeds: Tensor, num_nodes: int) -> None:
    count = torch.bincount(seeds, minlength=num_nodes)
    if bool((count > 1).any()):
        raise ConfigError(
            f"seeds must list each node once, but node {int(count.argmax())} is there {int(count.max())} times; take "
            "seeds.unique(), or set disjoint=True"
        )


def _rows_of(graph: Graph, direction: str) -> Graph:
    """The neighbours of each node, in order of edges: edge ``e`` is ``E + e`` where it leaves the node."""
    if direction == "in":
        return graph
    if direction == "out":
        return graph.transpose()
    edge_index = graph.edge_index if 2 * graph.num_edges <= _INT32_MAX else graph.edge_index.long()
    # A self-loop joins a node with itself once.
    leaving = (edge_index[0] != edge_index[1]).nonzero()[:, 0]
    both = Graph.from_edge_index(torch.cat([edge_index, edge_index[:, leaving].flip(0)], dim=1), graph.num_nodes)
    number = torch.cat([torch.arange(graph.num_edges), graph.num_edges + leaving])
    edge_id = number if both.edge_id is None else number.index_select(0, both.edge_id.long())
    # Not every number has a position: these rows are for sampling alone.
    return _trusted(both.rowptr, both.col, edge_id, graph.num_nodes)


def _first_of_each(edge: Tensor, tree: Tensor, num_edges: int) -> Tensor:
    """Places of the first copy of each pair of a tree and an edge, in ascending order."""
    ordered, place = (tree * num_edges + edge).sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return place[first].sort().values
