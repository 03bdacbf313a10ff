"""Convolution over the graph of the farthest pair of nodes of each hyperedge."""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.graph import Graph
from gnnkit.hypergraph.conv import _incidence as incidence
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.nn.conv._linear import LinearConv
from gnnkit.nn.conv.gcn import normalized
from gnnkit.ops._checks import check_flag
from gnnkit.ops.segment import wide_dtype

# Pairs whose distances are computed at once.
_BLOCK = 1 << 16


class HyperGCNConv(LinearConv):
    r"""Graph convolution over the farthest pair of nodes of each hyperedge: HyperGCN.

    Yadati et al., "HyperGCN: a new method of training graph convolutional networks on hypergraphs", 2019.

    Every hyperedge becomes edges of a graph: its pair of nodes that lie farthest apart,

    .. math:: (i_e, j_e) = \arg\max_{i, j \in e} \lVert \Theta^\top x_i - \Theta^\top x_j \rVert_2,

    and with ``mediators`` also an edge from each other node of the hyperedge to both of them, :math:`2 b_e - 3` edges
    of weight :math:`w_e / (2 b_e - 3)` in all; without, one of weight :math:`w_e`. Weights of equal edges add up to
    :math:`A`, and

    .. math:: X' = \hat D^{-1/2} (A + I) \hat D^{-1/2} X \Theta + b

    Of pairs at equal distance the one of lowest nodes is taken, :math:`i` first. Repeated incidences count once.
    Hyperedges of fewer than two nodes give no edges, and a node without edges keeps :math:`\Theta^\top x_v + b`. The
    choice of the pairs has no gradient. The authors' code takes the ends of a random projection for the pair, and
    without mediators the weight :math:`1 / b_e`.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features.
        mediators: Connect the other nodes of a hyperedge to its pair.
        bias: Add :math:`b`.

    Raises:
        ConfigError: If ``mediators`` is no bool.

    Determinism: bitwise, forward and backward.
    Complexity: :math:`O(F' \sum_e b_e^2)` time to find the pairs, in blocks of bounded memory, and ``O(nnz F')`` for
    the rest. The graph is built anew in every pass, since it follows from the features; to build it once from the input
    features, as FastHyperGCN does, give :func:`hyper_gcn_graph` to :class:`gnnkit.nn.GCNConv`.
    """

    def __init__(self, in_channels: int, out_channels: int, *, mediators: bool = True, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, bias=bias)
        check_flag("mediators", mediators)
        self.mediators = mediators
        self.reset_parameters()

    def forward(self, x: Tensor, hypergraph: Hypergraph, hyperedge_weight: Tensor | None = None) -> Tensor:
        """Convolves ``x``.

        Args:
            x: Node features, ``[N, in_channels]``.
            hypergraph: The topology.
            hyperedge_weight: :math:`w`, ``[M]``, not negative. None: all 1.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ShapeError: If an argument does not fit the hypergraph.
            DtypeError: If an argument is of the wrong type.
        """
        x = incidence.node_features(x, hypergraph, layer="HyperGCNConv", width=self.in_channels)
        out = self.lin(x)
        graph, weight = hyper_gcn_graph(out, hypergraph, hyperedge_weight, mediators=self.mediators)
        graph, weight = normalized(graph, weight, add_self_loops=True, loop_weight=1.0)
        return incidence.with_bias(ops.spmm(graph, out, weight.to(out.dtype)), self.bias)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{super().extra_repr()}, mediators={self.mediators}"


class FarthestPairs(NamedTuple):
    """The pair of each hyperedge that has one."""

    hyperedge: Tensor
    """Those of at least two nodes, ascending, ``[P]``."""
    first: Tensor
    """The lower node of the pair, ``[P]``."""
    second: Tensor
    """The higher node of the pair, ``[P]``."""


def hyper_gcn_graph(
    signal: Tensor, hypergraph: Hypergraph, hyperedge_weight: Tensor | None = None, *, mediators: bool = True
) -> tuple[Graph, Tensor]:
    r"""The graph that :class:`HyperGCNConv` convolves over, before loops and normalisation.

    Args:
        signal: What distances are taken of, ``[N, F]``.
        hypergraph: The topology.
        hyperedge_weight: ``[M]``. None: all 1.
        mediators: Connect the other nodes of a hyperedge to its pair.

    Returns:
        The graph, every edge both ways, repeated where hyperedges share it; and the weights of its edges, in float32 at
        least, differentiable in ``hyperedge_weight``.

    Raises:
        ShapeError, DtypeError: If an argument does not fit the hypergraph.

    Determinism: bitwise.
    Complexity: :math:`O(F \sum_e b_e^2)` time, bounded memory besides the graph's.
    """
    incidence.check_hypergraph(hypergraph)
    incidence.rows_of_width("signal", signal, hypergraph.num_nodes, "node", layer="hyper_gcn_graph", width=None)
    dtype = wide_dtype(signal.dtype)
    weight = incidence.hyperedge_weights(hyperedge_weight, hypergraph, dtype)
    if weight is None:
        weight = signal.new_ones(hypergraph.num_hyperedges, dtype=dtype)
    # Once each, and ascending: the pairs must not depend on the order of the incidences.
    rows = hypergraph.to_hyperedges.cached("coalesced", hypergraph.coalesce).to_hyperedges
    pairs = farthest_pairs(signal.detach(), rows)
    ends, owner = [torch.stack([pairs.first, pairs.second])], [pairs.hyperedge]
    if mediators:
        weight = weight / (2 * rows.in_degree() - 3).clamp(min=1).to(dtype)
        node, hyperedge = _others(pairs, rows)
        place = torch.searchsorted(pairs.hyperedge, hyperedge)
        for end in (pairs.first, pairs.second):
            ends.append(torch.stack([node, end.index_select(0, place)]))
            owner.append(hyperedge)
    edges, weight = torch.cat(ends, dim=1), weight.index_select(0, torch.cat(owner))
    both = Graph.from_edge_index(torch.cat([edges, edges.flip(0)], dim=1), hypergraph.num_nodes)
    return both, torch.cat([weight, weight])


def farthest_pairs(signal: Tensor, rows: Graph) -> FarthestPairs:
    """The pair of sources of each destination that lie farthest apart; of equal ones the first.

    Args:
        signal: ``[num_src, F]``, without gradient.
        rows: Sources of each destination, once each and ascending.
    """
    ptr = rows.rowptr.long()
    end = ptr[1:].index_select(0, rows.dst_of_position().long())
    # Pair number q is the position p with begin[p] <= q, and one of those after p in its row.
    later = end - 1 - torch.arange(rows.num_edges, device=ptr.device)
    begin = torch.cat([later.new_zeros(1), later.cumsum(0)])
    pair_ptr = begin.index_select(0, ptr)
    total = int(begin[-1])
    best = signal.new_full((rows.num_dst,), -1.0, dtype=wide_dtype(signal.dtype))
    chosen = torch.full_like(pair_ptr[1:], -1)
    for start in range(0, total, _BLOCK):
        stop = min(start + _BLOCK, total)
        pair = torch.arange(start, stop, device=ptr.device)
        distance = _distances(signal, rows.col, begin, pair).to(best.dtype)
        low, high = (torch.searchsorted(pair_ptr, pair[[0, -1]], right=True) - 1).tolist()
        bounds = pair_ptr[low : high + 2].clamp(start, stop) - start
        value, place = torch.ops.gnnkit.segment_extremum(distance, bounds, None, True)
        # Later blocks of a row must be farther, so that the first of equal pairs stays.
        better = (place >= 0) & ((value > best[low : high + 1]) | (chosen[low : high + 1] < 0))
        best[low : high + 1] = torch.where(better, value, best[low : high + 1])
        chosen[low : high + 1] = torch.where(better, place + start, chosen[low : high + 1])
    hyperedge = (chosen >= 0).nonzero().squeeze(1)
    first, second = _positions(begin, chosen.index_select(0, hyperedge))
    return FarthestPairs(hyperedge, rows.col.index_select(0, first), rows.col.index_select(0, second))


def _positions(begin: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
    first = torch.searchsorted(begin, pair, right=True) - 1
    return first, first + 1 + pair - begin.index_select(0, first)


def _distances(signal: Tensor, col: Tensor, begin: Tensor, pair: Tensor) -> Tensor:
    """Squared distances. By differences: those of norms would not make equal distances equal."""
    first, second = (signal.index_select(0, col.index_select(0, at)) for at in _positions(begin, pair))
    wide = wide_dtype(signal.dtype)
    return (first.to(wide) - second.to(wide)).square().sum(1)


def _others(pairs: FarthestPairs, rows: Graph) -> tuple[Tensor, Tensor]:
    """Incidences of the nodes that are not of the pair, in hyperedges that have one: nodes and hyperedges."""
    node, hyperedge = rows.col, rows.dst_of_position().long()
    first, second = (
        torch.full((rows.num_dst,), -1, dtype=node.dtype, device=node.device).index_copy(0, pairs.hyperedge, end)
        for end in (pairs.first, pairs.second)
    )
    of_first, of_second = (end.index_select(0, hyperedge) for end in (first, second))
    kept = ((of_first >= 0) & (node != of_first) & (node != of_second)).nonzero().squeeze(1)
    return node.index_select(0, kept), hyperedge.index_select(0, kept)
