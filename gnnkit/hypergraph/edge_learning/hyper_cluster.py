"""Pooling of edges into a few learned clusters per graph, and back."""

import math
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.hypergraph.conv import HypergraphConv
from gnnkit.hypergraph.edge_learning._edges import checked_boundaries
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.ops._checks import check_count, check_number
from gnnkit.ops.segment import segment_of_row

SoftmaxOver = Literal["seeds", "edges"]


class PooledEdges(NamedTuple):
    """Clusters of edges.

    Attributes:
        x: Features of the clusters, ``[G, k, d]``.
        assignment: The attention :math:`A` between edges and clusters of their graph, ``[E, k, H]``.
        pairs: The same pairs as a graph from clusters (sources, ``G k``) to edges (destinations, ``E``); pair ``j`` of
            edge ``e`` is edge ``e k + j``.
    """

    x: Tensor
    assignment: Tensor
    pairs: Graph

    def unpool(self) -> Tensor:
        r"""Features of the edges from those of the clusters, :math:`A^\top O`, ``[E, d]``."""
        heads = self.x.flatten(0, 1).unflatten(1, (self.assignment.size(2), -1))
        return ops.spmm(self.pairs, heads, self.assignment.flatten(0, 1)).flatten(1)


class GMPool(torch.nn.Module):
    r"""Pools the nodes of a hypergraph by attention of learned seeds.

    Graph multiset pooling (Baek et al., "Accurate Learning of Graph Representations with Graph Multiset Pooling", 2021)
    as Jo et al. ("Edge Representation Learning with Hypergraphs", 2021) use it on the dual of a graph:

    .. math::
        Q = S W_Q + b_Q, \quad K = \mathrm{HypergraphConv}_K(E, H), \quad V = \mathrm{HypergraphConv}_V(E, H), \quad
        A = \mathrm{softmax}(Q K^\top / \sqrt d)

    .. math::
        O' = Q + A V, \qquad O = O' + \mathrm{relu}(O' W_O + b_O)

    with :math:`k` learned seeds :math:`S`, the same for every graph, and for each head its own part of the columns; the
    scale is that of the whole width. The softmax runs over the seeds, so that each node is distributed over the
    clusters (HyperCluster), or over the nodes of a graph, as in graph multiset pooling. Graphs are not padded.

    Args:
        in_channels: Width of the input.
        channels: Width :math:`d` of the clusters.
        num_seeds: :math:`k`; see :func:`num_seeds_of`.
        num_heads: Heads of the attention, a divisor of ``channels``.
        softmax_over: ``"seeds"`` or ``"edges"``.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E k d)`` time; memory ``O(E k)`` for the attention and the graph of its pairs.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_seeds: int,
        *,
        num_heads: int = 1,
        softmax_over: SoftmaxOver = "seeds",
    ) -> None:
        super().__init__()
        counts = {"in_channels": in_channels, "channels": channels, "num_seeds": num_seeds, "num_heads": num_heads}
        for name, value in counts.items():
            check_count(name, value, 1)
        if channels % num_heads != 0:
            raise ConfigError(f"channels must be a multiple of num_heads, got {channels} and {num_heads}")
        if softmax_over not in ("seeds", "edges"):
            raise ConfigError(f"softmax_over must be 'seeds' or 'edges', got {softmax_over!r}")
        self.num_heads = num_heads
        self.softmax_over = softmax_over
        self.seeds = torch.nn.Parameter(torch.empty(num_seeds, channels))
        self.query = torch.nn.Linear(channels, channels)
        self.key = HypergraphConv(in_channels, channels)
        self.value = HypergraphConv(in_channels, channels)
        self.out = torch.nn.Linear(channels, channels)
        torch.nn.init.xavier_uniform_(self.seeds)

    def reset_parameters(self) -> None:
        """Draws new seeds, Glorot uniform, and new weights of all maps."""
        torch.nn.init.xavier_uniform_(self.seeds)
        for part in (self.query, self.key, self.value, self.out):
            part.reset_parameters()

    def forward(self, x: Tensor, hypergraph: Hypergraph, ptr: Tensor | None = None) -> PooledEdges:
        """Pools the nodes of each hypergraph.

        Args:
            x: Features of the nodes, ``[E, in_channels]``; of a dual, these are the edges.
            hypergraph: The hypergraph, of ``E`` nodes.
            ptr: First node of each hypergraph, and ``E`` at the end, ``[G + 1]``. None: one hypergraph.

        Returns:
            The clusters; those of a graph without nodes hold what the seeds alone give.

        Raises:
            ShapeError: If ``x`` does not fit.
            IndexRangeError: If ``ptr`` does not run from 0 to ``E``.
        """
        ptr = checked_boundaries(ptr, hypergraph.num_nodes, x.device)
        query = self.query(self.seeds)
        key, value = (self._heads(conv(x, hypergraph)) for conv in (self.key, self.value))
        logits = torch.einsum("ehd,khd->ekh", key, self._heads(query)) * query.size(1) ** -0.5
        assignment = logits.softmax(1) if self.softmax_over == "seeds" else ops.segment_softmax(logits, ptr)
        pairs = _pairs(ptr, query.size(0))
        pooled = ops.spmm(pairs.transpose(), value, assignment.flatten(0, 1)).flatten(1)
        out = query + pooled.unflatten(0, (-1, query.size(0)))
        return PooledEdges(out + self.out(out).relu(), assignment, pairs)

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.unflatten(1, (self.num_heads, -1))

    def extra_repr(self) -> str:
        """The settings."""
        return f"num_seeds={self.seeds.size(0)}, num_heads={self.num_heads}, softmax_over={self.softmax_over!r}"


class HyperCluster(torch.nn.Module):
    r"""Hypergraph convolutions on edges, then :class:`GMPool` (Jo et al., 2021).

    .. math::
        E \leftarrow \mathrm{relu}(\mathrm{HypergraphConv}_l(E, H^*)) \quad (l = 1 \ldots L), \qquad
        O, A = \mathrm{GMPool}(E, H^*)

    Args:
        in_channels: Width of the edge features.
        hidden_channels: Width of edges and clusters.
        num_seeds: Clusters of each graph; see :func:`num_seeds_of`.
        num_convs: :math:`L`.
        num_heads: As of :class:`GMPool`.
        softmax_over: As of :class:`GMPool`; ``"seeds"`` is HyperCluster.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E d (L d + k))`` time.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_seeds: int,
        *,
        num_convs: int = 2,
        num_heads: int = 1,
        softmax_over: SoftmaxOver = "seeds",
    ) -> None:
        super().__init__()
        check_count("in_channels", in_channels, 1)
        check_count("num_convs", num_convs, 1)
        widths = [in_channels, *[hidden_channels] * num_convs]
        self.pool = GMPool(hidden_channels, hidden_channels, num_seeds, num_heads=num_heads, softmax_over=softmax_over)
        self.convs = torch.nn.ModuleList(HypergraphConv(*pair) for pair in pairwise(widths))

    def forward(self, edge_attr: Tensor, dual: Hypergraph, ptr: Tensor | None = None) -> PooledEdges:
        """Pools the edges of each graph.

        Args:
            edge_attr: Edge features, ``[E, in_channels]``.
            dual: The dual of the graph.
            ptr: First edge of each graph, and ``E`` at the end, ``[G + 1]``. None: one graph.

        Returns:
            The clusters, ``[G, num_seeds, hidden_channels]``; :meth:`PooledEdges.unpool` leads back.

        Raises:
            ShapeError, IndexRangeError: As :meth:`GMPool.forward`.
        """
        for conv in self.convs:
            edge_attr = conv(edge_attr, dual).relu()
        return self.pool(edge_attr, dual, ptr)


def num_seeds_of(ratio: float, mean_edges: float) -> int:
    r"""Clusters for a share of the edges, :math:`k = \lceil \rho\, \bar m \rceil`, and at least 1.

    Args:
        ratio: :math:`\rho`, above 0.
        mean_edges: Mean number of edges of a graph :math:`\bar m`, counted as the dual nodes are.

    Raises:
        ConfigError: If one is not finite, ``ratio`` is not above 0, or ``mean_edges`` is negative.
    """
    ratio, mean_edges = check_number("ratio", ratio), check_number("mean_edges", mean_edges)
    if not 0 < ratio < math.inf or not 0 <= mean_edges < math.inf:
        raise ConfigError(f"ratio must be above 0 and mean_edges at least 0, got {ratio} and {mean_edges}")
    return max(1, math.ceil(ratio * mean_edges))


def _pairs(ptr: Tensor, num_seeds: int) -> Graph:
    """From the clusters of each graph to its edges."""
    num_edges = int(ptr[-1])
    first = segment_of_row(ptr, num_edges).unsqueeze(1) * num_seeds
    cluster = first + torch.arange(num_seeds, device=ptr.device)
    rowptr = torch.arange(num_edges + 1, device=ptr.device) * num_seeds
    return Graph(rowptr, cluster.flatten(), None, (ptr.numel() - 1) * num_seeds)
