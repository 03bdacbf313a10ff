r"""GraphSAINT: training on induced subgraphs of random sets of nodes, with normalisation against their bias.

Zeng et al., "GraphSAINT: graph sampling based inductive learning method", ICLR 2020. Every batch is the subgraph that a
random set of nodes induces; the samplers differ in the law of the set. Duplicates in a set are dropped; its nodes
ascend, and the edges are in order of target, then as given.

**Direction.** Messages go from ``edge_index[0]`` to ``edge_index[1]``, and a walk steps from a node to one of those
that it has messages from. Of a graph that holds both directions of each edge, the usual case, nothing depends on this.
``deg`` is the in-degree, multi-edges counted each.

**Normalisation.** Before the first batch, :math:`S` subgraphs are drawn, independently of those of all epochs, until
they have more than ``coverage`` times as many nodes as the graph. With :math:`C_v` and :math:`C_e` the number of those
with node ``v`` and edge ``e``, batches have

- ``node_norm``, :math:`\lambda_v^{-1} / |T| = S / (C_v |T|)` for the nodes ``T`` with a loss (``train_mask``, or all),
  0 for others: ``(batch.node_norm * loss).sum()`` is an estimate of the mean loss without bias;
- ``edge_norm``, :math:`\alpha_{uv} = C_v / C_{uv}` with ``v`` the **target**, by which a message is multiplied (the
  paper writes the inverse and divides): given that ``v`` is in the subgraph,
  :math:`\sum_{u \to v} \alpha_{uv} x_u` over its edges is an estimate of the sum over all in-edges of ``v``;
- ``in_degree`` of each node in the training graph, by which means are taken: ``weight = batch.edge_norm /
  batch.in_degree[batch.edge_index[1]]`` makes ``ops.spmm(graph, x, weight)`` an estimate of the mean over all
  neighbours.

Both hold for the true probabilities, which the counts tend to with growing ``coverage``. A node or edge that was in
none of the :math:`S` subgraphs counts as if it had been in one: weights stay finite, at most :math:`S / |T|` and
:math:`C_v`, and α is 1 where neither the target nor the edge was met. (The authors' program has 0.1 in place of what it
did not meet, and α = 10^4 for an edge that was not met at a node that was.) A node that a sampler never draws, such as
an isolated one for :class:`SaintEdge`, has no part in the loss.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError
from gnnkit.ops._checks import check_count
from gnnkit.sample._saint import Saint

WEIGHTS = ("column_norm", "degree")
_LARGEST = 2**63 - 1


class SaintNode(Saint):
    r"""GraphSAINT with nodes drawn by themselves; :mod:`gnnkit.sample.saint` says what all its samplers share.

    A set is of ``num_nodes`` draws with replacement. The law of a draw is that of the paper,

    .. math:: P(v) \propto \lVert \tilde A_{:, v} \rVert^2 = \sum_{u} (A_{uv} / \deg(u))^2

    over the targets ``u`` of edges that leave ``v`` (:math:`A_{uv}` is the number of such edges, so that two of them
    are one entry of 2); or, with ``weights="degree"``, that of the authors' program, :math:`P(v) \propto \deg(v)`.

    Args:
        data: The graph; any node and edge attributes.
        num_nodes: Draws for each subgraph, 1 to ``2^31``.
        num_steps: Subgraphs of an epoch. None: ``N / num_nodes``, rounded up.
        coverage: How many nodes the subgraphs of pre-sampling have, together, for each node of the graph. 0: batches
            come without norms.
        seed: Any integer.
        weights: ``"column_norm"`` or ``"degree"``.
        train_mask: Nodes with a loss, bool ``[N]``. None: all.
        inductive: Draw from the graph of the training nodes and the edges between them, as the authors do. Else
            subgraphs have all nodes, of which those outside of ``train_mask`` weigh nothing.
        prefetch: Batches that wait; see :class:`~gnnkit.sample.Loader`.

    Attributes:
        probabilities: Of each node to be the next draw, float64 ``[N]``.

    Raises:
        ConfigError: If an option is out of range.
        DataError: If ``data`` has no ``edge_index``, number of nodes, node or edge, or ``train_mask`` no node.
        DtypeError, ShapeError, IndexRangeError: If ``train_mask`` or ``edge_index`` does not fit.

    Determinism: batches depend on the seed, epoch and number alone: not on threads, machine or order.
    Complexity: ``O(E log E)`` time once; a batch costs ``O(num_nodes log N)`` time and the in-degrees of its nodes.
    """

    def __init__(
        self,
        data: Any,
        num_nodes: int,
        num_steps: int | None = None,
        coverage: float = 50,
        seed: int = 0,
        *,
        weights: str = "column_norm",
        train_mask: Tensor | None = None,
        inductive: bool = False,
        prefetch: int = 2,
    ) -> None:
        super().__init__(
            data, coverage=coverage, seed=seed, train_mask=train_mask, inductive=inductive, prefetch=prefetch
        )
        self.num_nodes = check_count("num_nodes", num_nodes, 1)
        if weights not in WEIGHTS:
            raise ConfigError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
        self.weights = weights
        self._finish(num_steps, num_nodes, num_nodes)
        _check_edges(self)
        weight = self._in_degree.double() if weights == "degree" else self._column_norms()
        self._cumulative = torch.from_numpy(np.cumsum(weight.numpy()))
        self.probabilities = self._of_nodes(weight / weight.sum())

    def draw(self, first: int, count: int, key: int) -> tuple[Tensor, Tensor]:
        """See :class:`~gnnkit.sample._saint.Saint`."""
        graph = self._graph
        return torch.ops.gnnkit.walk_sets(
            graph.rowptr, graph.col, self._cumulative, self.num_nodes, 0, first, count, key
        )

    def settings(self) -> dict[str, Any]:
        """What the law of the subgraphs depends on."""
        return {"num_nodes": self.num_nodes, "weights": self.weights}

    def _column_norms(self) -> Tensor:
        size = self._graph.num_nodes
        source, target = self._graph.edge_index.long()
        pair, entry = torch.unique(source * size + target, return_counts=True)
        square = (entry / self._in_degree[pair % size].double()) ** 2
        return torch.zeros(size, dtype=torch.float64).index_add_(0, pair // size, square)


class SaintEdge(Saint):
    r"""GraphSAINT with both ends of edges; :mod:`gnnkit.sample.saint` says what all its samplers share.

    A set is of the ends of ``num_edges`` draws with replacement. A draw takes a node that has in-edges, each with the
    same probability, then one of its in-edges. So the pair ``{u, v}`` is drawn in proportion to :math:`\tilde A_{vu} +
    \tilde A_{uv}`, as the paper has it, which in a graph that holds both directions of its edges is

    .. math:: P(\{u, v\}) \propto 1 / \deg(u) + 1 / \deg(v)

    and, for an edge :math:`u \to v` without its opposite, :math:`1 / \deg(v)`. Multi-edges add up.

    Args:
        data: As in :class:`SaintNode`.
        num_edges: Draws for each subgraph, 1 to ``2^30``.
        num_steps: Subgraphs of an epoch. None: ``N / (2 num_edges)``, rounded up.
        coverage: As in :class:`SaintNode`; so are the rest.
        seed: See there.
        train_mask: See there.
        inductive: See there.
        prefetch: See there.

    Attributes:
        probabilities: Of the pair of ends of each edge to be the next draw, float64 ``[E]``; the two directions of an
            edge, and multi-edges, share it equally, so that all add up to 1.

    Raises:
        ConfigError, DataError, DtypeError, ShapeError, IndexRangeError: As :class:`SaintNode`.

    Determinism: as :class:`SaintNode`.
    Complexity: ``O(E log E)`` time once; a batch costs ``O(num_edges)`` time (where there are nodes without in-edges,
    times ``log N``) and the in-degrees of its nodes.
    """

    def __init__(
        self,
        data: Any,
        num_edges: int,
        num_steps: int | None = None,
        coverage: float = 50,
        seed: int = 0,
        *,
        train_mask: Tensor | None = None,
        inductive: bool = False,
        prefetch: int = 2,
    ) -> None:
        super().__init__(
            data, coverage=coverage, seed=seed, train_mask=train_mask, inductive=inductive, prefetch=prefetch
        )
        self.num_edges = check_count("num_edges", num_edges, 1)
        self._finish(num_steps, 2 * num_edges, 2 * num_edges)
        _check_edges(self)
        reached = self._in_degree > 0
        self._cumulative = None if bool(reached.all()) else reached.double().cumsum(0)
        self.probabilities = self._of_edges(self._pair_probabilities(int(reached.sum())))

    def draw(self, first: int, count: int, key: int) -> tuple[Tensor, Tensor]:
        """See :class:`~gnnkit.sample._saint.Saint`."""
        graph = self._graph
        return torch.ops.gnnkit.walk_sets(
            graph.rowptr, graph.col, self._cumulative, self.num_edges, 1, first, count, key
        )

    def settings(self) -> dict[str, Any]:
        """What the law of the subgraphs depends on."""
        return {"num_edges": self.num_edges}

    def _pair_probabilities(self, num_reached: int) -> Tensor:
        source, target = self._graph.edge_index.long()
        low, high = torch.minimum(source, target), torch.maximum(source, target)
        _, pair, size = torch.unique(low * self._graph.num_nodes + high, return_inverse=True, return_counts=True)
        total = torch.zeros(size.numel(), dtype=torch.float64)
        total.index_add_(0, pair, 1 / (self._in_degree[target].double() * num_reached))
        return (total / size)[pair]


class SaintWalk(Saint):
    r"""GraphSAINT with random walks; :mod:`gnnkit.sample.saint` says what all its samplers share.

    A set is of all nodes that ``num_roots`` walks of ``walk_length`` steps visit, roots included. Roots are uniform,
    with replacement; a step takes one of the in-edges of a node, each with the same probability, to its source. A walk
    stays at a node without in-edges, so that an isolated root is a node of the subgraph, alone.

    Args:
        data: As in :class:`SaintNode`.
        num_roots: Walks for each subgraph, 1 to ``2^31 / (walk_length + 1)``; there may be more than nodes.
        walk_length: Steps of each, at least 0.
        num_steps: Subgraphs of an epoch. None: ``N / (num_roots walk_length)``, rounded up.
        coverage: As in :class:`SaintNode`; so are the rest.
        seed: See there.
        train_mask: See there.
        inductive: See there.
        prefetch: See there.

    Attributes:
        probabilities: Of each node to be the next root, float64 ``[N]``: 1 by the number of nodes of the training
            graph.

    Raises:
        ConfigError, DataError, DtypeError, ShapeError, IndexRangeError: As :class:`SaintNode`; a graph without edges is
            served.

    Determinism: as :class:`SaintNode`.
    Complexity: a batch costs ``O(num_roots walk_length)`` time and the in-degrees of its nodes.
    """

    def __init__(
        self,
        data: Any,
        num_roots: int,
        walk_length: int,
        num_steps: int | None = None,
        coverage: float = 50,
        seed: int = 0,
        *,
        train_mask: Tensor | None = None,
        inductive: bool = False,
        prefetch: int = 2,
    ) -> None:
        super().__init__(
            data, coverage=coverage, seed=seed, train_mask=train_mask, inductive=inductive, prefetch=prefetch
        )
        self.num_roots = check_count("num_roots", num_roots, 1)
        self.walk_length = check_count("walk_length", walk_length, 0)
        self._finish(num_steps, num_roots * max(walk_length, 1), num_roots * (walk_length + 1))
        self.probabilities = self._of_nodes(_uniform(self._graph.num_nodes))

    def draw(self, first: int, count: int, key: int) -> tuple[Tensor, Tensor]:
        """See :class:`~gnnkit.sample._saint.Saint`."""
        graph = self._graph
        return torch.ops.gnnkit.walk_sets(
            graph.rowptr, graph.col, None, self.num_roots, self.walk_length, first, count, key
        )

    def settings(self) -> dict[str, Any]:
        """What the law of the subgraphs depends on."""
        return {"num_roots": self.num_roots, "walk_length": self.walk_length}


class SaintFrontier(Saint):
    r"""GraphSAINT with multi-dimensional random walks; :mod:`gnnkit.sample.saint` says what all its samplers share.

    Ribeiro and Towsley, "Estimating and sampling graphs with multidimensional random walks", IMC 2010. A frontier
    starts with uniform nodes, drawn with replacement. ``num_nodes - frontier`` times, one place of it is chosen in
    proportion to :math:`\min(\deg, \text{degree\_clip})` of its node, and the node is replaced by the source of one of
    its in-edges, each with the same probability. The set is of all nodes that have been in the frontier. It ends early
    where no node of the frontier has in-edges. With a frontier of one node this is a random walk: the very one of
    :class:`SaintWalk`, for the same seed.

    Args:
        data: As in :class:`SaintNode`.
        num_nodes: Draws for each subgraph, the first frontier included, up to ``2^31``.
        frontier: Nodes of the frontier, 1 to ``num_nodes``.
        num_steps: Subgraphs of an epoch. None: ``N / num_nodes``, rounded up.
        coverage: As in :class:`SaintNode`; so is what follows, but for ``degree_clip``.
        seed: See there.
        degree_clip: Keeps hubs from drawing most of the steps; at least 1. None: no bound.
        train_mask: See there.
        inductive: See there.
        prefetch: See there.

    Attributes:
        probabilities: Of each node to be the next of the first frontier, float64 ``[N]``: 1 by the number of nodes of
            the training graph.

    Raises:
        ConfigError, DataError, DtypeError, ShapeError, IndexRangeError: As :class:`SaintNode`; a graph without edges is
            served.

    Determinism: as :class:`SaintNode`.
    Complexity: a batch costs ``O(num_nodes log(frontier))`` time and the in-degrees of its nodes.
    """

    def __init__(
        self,
        data: Any,
        num_nodes: int,
        frontier: int,
        num_steps: int | None = None,
        coverage: float = 50,
        seed: int = 0,
        *,
        degree_clip: int | None = None,
        train_mask: Tensor | None = None,
        inductive: bool = False,
        prefetch: int = 2,
    ) -> None:
        super().__init__(
            data, coverage=coverage, seed=seed, train_mask=train_mask, inductive=inductive, prefetch=prefetch
        )
        self.num_nodes = check_count("num_nodes", num_nodes, 1)
        self.frontier = check_count("frontier", frontier, 1)
        if frontier > num_nodes:
            raise ConfigError(
                f"frontier must be at most num_nodes = {num_nodes}, of which it is a part, got {frontier}"
            )
        self.degree_clip = None if degree_clip is None else check_count("degree_clip", degree_clip, 1)
        self._finish(num_steps, num_nodes, num_nodes)
        self.probabilities = self._of_nodes(_uniform(self._graph.num_nodes))

    def draw(self, first: int, count: int, key: int) -> tuple[Tensor, Tensor]:
        """See :class:`~gnnkit.sample._saint.Saint`."""
        graph, clip = self._graph, min(self.degree_clip or _LARGEST, _LARGEST)
        return torch.ops.gnnkit.frontier_sets(
            graph.rowptr, graph.col, self.num_nodes, self.frontier, clip, first, count, key
        )

    def settings(self) -> dict[str, Any]:
        """What the law of the subgraphs depends on."""
        return {"num_nodes": self.num_nodes, "frontier": self.frontier, "degree_clip": self.degree_clip}


def _uniform(size: int) -> Tensor:
    return torch.full((size,), 1 / size, dtype=torch.float64)


def _check_edges(sampler: Saint) -> None:
    if sampler._graph.num_edges == 0:
        where = "the graph of the training nodes" if sampler.inductive else "data"
        raise DataError(f"{where} has no edges for {type(sampler).__name__} to draw by; SaintWalk draws nodes alone")
