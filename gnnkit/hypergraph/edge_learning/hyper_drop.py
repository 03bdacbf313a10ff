"""Dropping edges by scores that are learned on the dual hypergraph."""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import DataError, ShapeError
from gnnkit.hypergraph.conv import HypergraphConv
from gnnkit.hypergraph.edge_learning._edges import checked_boundaries, dual_of_edges
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.hypergraph.transforms.dual import undirected_columns
from gnnkit.nn._inputs import check_rows
from gnnkit.ops._checks import check_count, check_flag, check_ratio, check_size, describe


class KeptEdges(NamedTuple):
    """What :class:`HyperDrop` has left. The dual of these edges is that of their ``edge_index``, made anew.

    Attributes:
        edge_index: Edges kept, in the order in which they stood, ``[2, E']``.
        edge_attr: Their features, ``[E', F]``.
        edge_weight: Their scores, those below 0 as 0, ``[E']``: what the next layer on the nodes weighs them by.
        ptr: First of them of each graph, and ``E'`` at the end, int64 ``[G + 1]``.
        position: Which of the edges before they are, ascending, int64 ``[E']``.
    """

    edge_index: Tensor
    edge_attr: Tensor
    edge_weight: Tensor
    ptr: Tensor
    position: Tensor


class HyperDrop(torch.nn.Module):
    r"""Keeps a share of the edges of each graph (Jo et al., "Edge Representation Learning with Hypergraphs", 2021).

    .. math::
        s = \tanh\bigl(\mathrm{HypergraphConv}(E, H^*)\bigr), \qquad
        K = \text{the } \lceil \rho\, m_g \rceil \text{ edges of largest } s \text{ of each graph } g, \qquad
        w_e = \min(\max(s_e, 0), 1)

    where :math:`H^*` is the dual with loops: its nodes are the :math:`m_g` columns of ``edge_index``. Of equal scores,
    the edge that stands first is kept. Nodes are never dropped. Gradients reach the scores through the weights, and
    those below 0 not at all, as in the authors' code.

    The two directions of an undirected edge are two dual nodes with scores of their own, so that a graph may come out
    directed; where both have the same features, rounding decides which of them is kept as the last one. With
    ``symmetric`` both have the mean of the two scores, :math:`m_g` counts undirected edges, and both directions are
    kept, or dropped, together; a self-loop is one edge.

    Args:
        in_channels: Width of the edge features.
        ratio: :math:`\rho` in [0, 1], as of :func:`gnnkit.ops.segment_topk`.
        symmetric: Treat both directions of an edge as one; False, as the authors do.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(E F + N)``, with ``symmetric`` ``O(E log E)`` besides. Edges of all graphs are selected by one call.
    """

    def __init__(self, in_channels: int, ratio: float, *, symmetric: bool = False) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.ratio = check_ratio("ratio", ratio)
        check_flag("symmetric", symmetric)
        self.symmetric = symmetric
        self.conv = HypergraphConv(in_channels, 1)

    def reset_parameters(self) -> None:
        """Draws new weights of the convolution."""
        self.conv.reset_parameters()

    def forward(
        self,
        edge_attr: Tensor,
        edge_index: Tensor,
        num_nodes: int,
        ptr: Tensor | None = None,
        *,
        dual: Hypergraph | None = None,
    ) -> KeptEdges:
        """Scores the edges and keeps those of largest score.

        Args:
            edge_attr: Edge features, ``[E, in_channels]``.
            edge_index: Edges in order of their graphs, ``[2, E]``.
            num_nodes: Number of nodes.
            ptr: First edge of each graph, and ``E`` at the end, ``[G + 1]``. None: one graph.
            dual: The dual of the edges, where it has been made already.

        Returns:
            The edges kept.

        Raises:
            ShapeError: If shapes do not fit together.
            IndexRangeError: If an edge leaves the range of the nodes, or ``ptr`` does not run from 0 to ``E``.
            DataError: With ``symmetric``, if a direction of an edge is missing.
        """
        num_nodes = check_size("num_nodes", num_nodes)
        if dual is None:
            dual = dual_of_edges(edge_index, num_nodes)
        check_rows("edge_attr", edge_attr, edge_index.size(1), "edge")
        if edge_attr.dim() != 2 or edge_attr.size(1) != self.in_channels:
            raise ShapeError(f"HyperDrop needs edge_attr of shape [E, {self.in_channels}], got {describe(edge_attr)}")
        if dual.num_nodes != edge_index.size(1):
            raise ShapeError(f"dual must have one node per edge, {edge_index.size(1)}, got {dual.num_nodes}")
        ptr = checked_boundaries(ptr, edge_index.size(1), edge_index.device)
        score = self.conv(edge_attr, dual).squeeze(1).tanh()
        if self.symmetric:
            score, ptr, position = self._select_pairs(score, edge_index, num_nodes, ptr)
        else:
            ptr, position = ops.segment_topk(score, ptr, ratio=self.ratio)
        return KeptEdges(
            edge_index=edge_index.index_select(1, position),
            edge_attr=edge_attr.index_select(0, position),
            edge_weight=score.index_select(0, position).clamp(0, 1),
            ptr=ptr,
            position=position,
        )

    def _select_pairs(
        self, score: Tensor, edge_index: Tensor, num_nodes: int, ptr: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The score that both directions of each edge share, boundaries of the edges kept, and which they are."""
        try:
            first, second = undirected_columns(edge_index, num_nodes)
        except DataError as error:
            raise DataError(
                "HyperDrop(symmetric=True) needs both directions of every edge, as often each; make the graph "
                "undirected, or use symmetric=False"
            ) from error
        pair = torch.arange(first.numel(), device=first.device)
        pair_of_edge = first.new_empty(score.size(0))
        pair_of_edge[first] = pair
        pair_of_edge[second] = pair
        of_pair = (score.index_select(0, first) + score.index_select(0, second)) / 2
        _, chosen = ops.segment_topk(of_pair, torch.searchsorted(first, ptr), ratio=self.ratio)
        is_kept = torch.zeros_like(first, dtype=torch.bool)
        is_kept[chosen] = True
        position = is_kept[pair_of_edge].nonzero().flatten()
        return of_pair.index_select(0, pair_of_edge), torch.searchsorted(position, ptr), position

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, ratio={self.ratio}, symmetric={self.symmetric}"
