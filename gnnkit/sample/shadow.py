"""shaDow: a subgraph of its own for each target."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import ops
from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.graph import Graph
from gnnkit.ops._checks import check_count, check_index, check_index_range, check_number
from gnnkit.sample._gather import ends_of, index_like
from gnnkit.sample._sets import Sets, boundaries, double_radius_labels, hops, ranked_sets, scores_in, united
from gnnkit.sample._targets import TargetLoader, key_of, nodes_of, topology_of

FEATURES = ("hop", "drnl", "ppr")
_DEFAULT_FANOUT = 10
# Targets that local pushes are run for at a time: enough for all threads, and few to hold unranked.
_BLOCK = 4096


class ShaDow(TargetLoader):
    r"""Batches of targets, each with a small subgraph of its own in which a deep network can run.

    Zeng et al., "Decoupling the depth and scope of graph neural networks", NeurIPS 2021. The subgraph of a target is
    induced by the nodes that matter most to it, found along edges that arrive, in one of two ways:

    - ``depth`` and ``fanout``: hop by hop; a node with at most ``fanout`` neighbours adds all of them, another one what
      ``fanout`` draws with replacement give, anew in each epoch;
    - ``ppr``: the nodes of the ``ppr`` largest scores of personalised PageRank :math:`\pi = \alpha (I - (1 - \alpha)
      (I + A D^{-1}) / 2)^{-1} e_t` (lazy walks from ``t`` along in-edges that end with probability ``alpha`` at each
      step; at a node without in-edges they stay), approximated by local push (Andersen et al., "Local graph
      partitioning using PageRank vectors", FOCS 2006): of all nodes with a residual above ``epsilon`` times their
      degree, the one of lowest number is pushed first. On an undirected graph, scores :math:`p` satisfy :math:`0 \le
      \pi_v - p_v \le` ``epsilon`` :math:`\deg(v)`. Of these nodes, those stay whose score is at least ``threshold``
      times the second largest, as in the authors' program, where the largest is that of the target as a rule. Equal
      scores go by number. The target always belongs.

    A link target ``(u, v)`` has the subgraph of the union of both sets. Where there are multi-edges, each counts.

    A batch is the disjoint union of the subgraphs: a ``Data`` with ``edge_index``; ``n_id`` and ``e_id``, its nodes and
    edges in ``data``; the attributes of these; ``batch``, the target of each node; ``ptr``, where the nodes of each
    begin; ``root_n_id``, the place of each target, ``[B]`` or, of links, ``[2, B]`` (targets are the first nodes of
    their subgraph); ``input_id``, their places in ``targets``; and what ``features`` names:

    - ``"hop"``: the number of hops to the target within its subgraph, along the direction of the edges, int64 ``[n]``,
      or to both, ``[n, 2]``; -1 where no path leads;
    - ``"drnl"``: double-radius node labels, of link targets alone, int64 ``[n]``
      (:func:`gnnkit.sample._sets.double_radius_labels`);
    - ``"ppr"``: the scores, float32 ``[n]`` or ``[n, 2]``; 0 in what comes from the other end of a link.

    Args:
        data: The whole graph.
        depth: Hops.
        fanout: Neighbours of a node that are followed, -1: all. Not with ``ppr``; 10 without either.
        ppr: How many nodes of largest score to take, the target among them; then ``depth`` is not read.
        targets: Nodes, int ``[T]``, or a mask, bool ``[N]``; or links, int ``[2, T]``. None: all nodes. Where there are
            none, an epoch has no batches.
        batch_size: Targets of a batch; the last batch of an epoch has the rest.
        epsilon: :math:`\epsilon`, ``10^-15`` to 1.
        alpha: :math:`\alpha`, ``10^-6`` to 1.
        threshold: At least 0.
        features: Which of the features to write.
        shuffle: Whether the order of the targets is drawn anew in each epoch.
        seed: Of all random numbers; each node has its own for each epoch and target.
        prefetch: As of :class:`Loader`.

    Raises:
        ConfigError: If an argument is out of range, or two do not go together.
        DataError: If a link target joins a node to itself, or ``data`` has an attribute of the name of a feature.
        DtypeError, IndexRangeError, ShapeError: If ``data`` or ``targets`` does not fit.

    Determinism: the same batches for a seed, at any number of threads.
    Complexity: a push costs ``O(1 / (alpha epsilon))`` time at most, in much less on most graphs, whatever the size of
    the graph; it uses 24 bytes per node and thread, of which only what it touches is mapped.
    """

    def __init__(
        self,
        data: Any,
        depth: int = 2,
        fanout: int | None = None,
        *,
        ppr: int | None = None,
        targets: Tensor | None = None,
        batch_size: int = 128,
        epsilon: float = 1e-5,
        alpha: float = 0.15,
        threshold: float = 0.0,
        features: Sequence[str] = (),
        shuffle: bool = False,
        seed: int = 0,
        prefetch: int = 2,
    ) -> None:
        graph = topology_of(data)
        self.targets = _targets(targets, graph.num_nodes)
        count = self.targets.size(-1)
        super().__init__(data, count, batch_size=batch_size, shuffle=shuffle, seed=seed, prefetch=prefetch)
        self.depth = check_count("depth", depth, 0)
        if ppr is not None and fanout is not None:
            raise ConfigError("give fanout, for neighbours by hops, or ppr, for those of largest score, not both")
        self.ppr = None if ppr is None else check_count("ppr", ppr, 1)
        self.fanout = check_count("fanout", _DEFAULT_FANOUT if fanout is None else fanout, -1)
        self.epsilon = _within("epsilon", epsilon, 1e-15, 1.0)
        self.alpha = _within("alpha", alpha, 1e-6, 1.0)
        self.threshold = _within("threshold", threshold, 0.0, math.inf)
        self.features = self._checked_features(features)
        self._graph = graph
        self._known: tuple[Tensor, Sets] | None = None

    @property
    def has_links(self) -> bool:
        """Whether targets are links."""
        return self.targets.dim() == 2

    def precompute(self) -> None:
        """Finds the scores of all targets now and keeps them, so that no batch has to.

        Shards that are made from now on share them. Memory: for each different node among the targets, 8 bytes (12 with
        int64 indices) for each of at most ``ppr`` + 1 members, fewer where ``threshold`` leaves fewer.

        Raises:
            ConfigError: If ``ppr`` is not set: neighbours by hops are drawn anew in each epoch.
        """
        if self.ppr is None:
            raise ConfigError("nothing can be computed ahead of time without ppr: neighbours are drawn in each epoch")
        roots = self.targets.unique()
        self._known = (roots, self._push(roots))

    def _around(self, chosen: Tensor, epoch: int, number: int) -> Data:
        targets = self.targets[..., chosen]
        found = [self._sets(ends, chosen, place, epoch) for place, ends in enumerate(targets.view(-1, chosen.numel()))]
        if self.has_links:
            members, ptr = united(found[0], found[1], self._graph.num_nodes)
        else:
            members, ptr = found[0].members, found[0].ptr
        subgraphs, edge = ops.induced_subgraphs(self._graph, members, ptr)
        batch = self._gathered(members.long(), edge, ends_of(subgraphs, index_like(self.data)))
        device = self._device
        roots = torch.stack([ptr[:-1], ptr[:-1] + 1]) if self.has_links else ptr[:-1]
        batch.root_n_id, batch.ptr, batch.input_id = roots.to(device), ptr.to(device), chosen.to(device)
        batch.batch = torch.repeat_interleave(ptr.diff(), output_size=members.numel()).to(device)
        for name in self.features:
            batch[name] = self._feature(name, subgraphs, members, ptr, roots, found).to(device)
        return batch

    def _sets(self, roots: Tensor, chosen: Tensor, place: int, epoch: int) -> Sets:
        """Around one end of the chosen targets."""
        if self.ppr is None:
            graph, key = self._graph, key_of(self.seed, epoch)
            # The ends of a link have random numbers of their own.
            members, ptr = torch.ops.gnnkit.k_hop_sample(
                graph.rowptr, graph.col, roots, 2 * chosen + place, self.depth, self.fanout, key
            )
            return Sets(members, ptr, None)
        known = self._known
        if known is None:
            different = roots.unique()
            known = (different, self._push(different))
        return known[1].select(torch.searchsorted(known[0], roots))

    def _push(self, roots: Tensor) -> Sets:
        assert self.ppr is not None
        graph, parts = self._graph, []
        for block in roots.split(_BLOCK) or (roots,):
            members, score, ptr = torch.ops.gnnkit.ppr_push(
                graph.rowptr, graph.col, block, self.alpha, self.epsilon, self.ppr
            )
            parts.append(ranked_sets(members, score, ptr, block, self.ppr, self.threshold))
        sizes = torch.cat([part.ptr.diff() for part in parts])
        scores = torch.cat([part.score for part in parts if part.score is not None])
        return Sets(torch.cat([part.members for part in parts]), boundaries(sizes), scores)

    def _feature(
        self, name: str, subgraphs: Graph, members: Tensor, ptr: Tensor, roots: Tensor, found: list[Sets]
    ) -> Tensor:
        if name == "drnl":
            return double_radius_labels(subgraphs, ptr)
        if name == "hop":
            columns = [hops(subgraphs, ptr, ends) for ends in roots.view(-1, roots.size(-1))]
        else:
            columns = [scores_in(sets, members, ptr, self._graph.num_nodes) for sets in found]
        return torch.stack(columns, dim=1) if self.has_links else columns[0]

    def _checked_features(self, features: Sequence[str]) -> tuple[str, ...]:
        if isinstance(features, str) or not isinstance(features, Sequence):
            raise ConfigError(f"features must be a list of some of {', '.join(FEATURES)}, got {features!r}")
        for name in features:
            if name not in FEATURES:
                raise ConfigError(f"features must be some of {', '.join(FEATURES)}, got {name!r}")
            if name in self.data:
                raise DataError(f"data has an attribute {name!r} already, which the feature would replace; rename it")
        if "drnl" in features and not self.has_links:
            raise ConfigError("the feature 'drnl' tells nodes apart by two targets; give links as targets, int [2, T]")
        if "ppr" in features and self.ppr is None:
            raise ConfigError("the feature 'ppr' needs scores: give ppr=, how many nodes to take by them")
        return tuple(features)


def _targets(targets: Tensor | None, num_nodes: int) -> Tensor:
    """Nodes ``[T]`` or links ``[2, T]``, int64."""
    if not isinstance(targets, Tensor) or targets.dim() != 2:
        return nodes_of("targets", targets, num_nodes)
    check_index("links", targets, dim=2)
    if targets.size(0) != 2:
        raise ShapeError(f"links must have shape [2, T], got {tuple(targets.shape)}")
    links = targets.detach().cpu().long()
    for row in (0, 1):
        check_index_range(f"targets[{row}]", links[row], num_nodes, "num_nodes")
    same = links[0] == links[1]
    if bool(same.any()):
        where = int(same.nonzero()[0, 0])
        raise DataError(f"a link must join two nodes, but link {where} joins node {int(links[0, where])} to itself")
    return links


def _within(name: str, value: object, low: float, high: float) -> float:
    number = check_number(name, value)
    if not low <= number <= high or math.isinf(number):
        wanted = f"at least {low:g} and finite" if math.isinf(high) else f"in [{low:g}, {high:g}]"
        raise ConfigError(f"{name} must be {wanted}, got {value!r}")
    return number
