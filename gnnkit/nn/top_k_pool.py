"""Pooling that keeps the nodes of highest score."""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.graph import Graph
from gnnkit.nn._inputs import check_rows, node_features
from gnnkit.ops._checks import check_count, check_ratio


class KeptNodes(NamedTuple):
    """What a pooling of nodes has left.

    Attributes:
        x: Features of the nodes kept, ``[N', F]``.
        graph: The subgraph that they induce; its edges are in the order of those of the graph before.
        edge_attr: Of these edges, ``[E', *]``; None where none was given.
        ptr: First node of each graph, and ``N'`` at the end, ``[G + 1]``.
        position: Which nodes were kept, ascending, int64 ``[N']``.
        score: Score of each node before, in [-1, 1], ``[N]``.
    """

    x: Tensor
    graph: Graph
    edge_attr: Tensor | None
    ptr: Tensor
    position: Tensor
    score: Tensor


class TopKPooling(torch.nn.Module):
    r"""Keeps a share of the nodes of each graph, by a learned projection (Gao and Ji, "Graph U-Nets", 2019).

    .. math::
        s = \tanh\bigl(X p / \lVert p \rVert_2\bigr), \qquad
        K = \text{the } \lceil \rho\, n_g \rceil \text{ nodes of largest } s \text{ of each graph } g, \qquad
        X' = X_K \odot s_K

    and the edges whose two ends are both in :math:`K`. Of equal scores, the lower node is kept. This is the pooling of
    Cangea et al., "Towards sparse hierarchical graph classifiers", 2018. Weights are those of
    ``torch_geometric.nn.TopKPooling``, and so is what is kept, but in the order of the nodes in place of that of the
    scores.

    Args:
        in_channels: Width of the node features.
        ratio: :math:`\rho` in [0, 1], as of :func:`gnnkit.ops.segment_topk`.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(N F + E)``; it waits for the device to tell how many edges are left.
    """

    def __init__(self, in_channels: int, ratio: float = 0.5) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.ratio = check_ratio("ratio", ratio)
        self.weight = torch.nn.Parameter(torch.empty(1, in_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws a new projection, uniform within ``1 / sqrt(in_channels)``."""
        bound = self.in_channels**-0.5
        torch.nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, graph: Graph, edge_attr: Tensor | None = None, ptr: Tensor | None = None) -> KeptNodes:
        """Pools the nodes of each graph.

        Args:
            x: Node features, ``[N, in_channels]``.
            graph: The topology.
            edge_attr: One row per edge, ``[E, *]``, of which those of the edges kept are returned.
            ptr: First node of each graph, and ``N`` at the end, ``[G + 1]``. None: one graph.

        Returns:
            The nodes kept and their graph.

        Raises:
            ShapeError: If ``x`` or ``edge_attr`` does not fit the graph, or the graph is bipartite.
            IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
        """
        x = node_features(x, graph, layer="TopKPooling", width=self.in_channels)
        if edge_attr is not None:
            check_rows("edge_attr", edge_attr, graph.num_edges, "edge")
        if ptr is None:
            ptr = torch.tensor([0, x.size(0)], device=x.device)
        score = (x @ (self.weight / self.weight.norm(dim=-1, keepdim=True)).t()).squeeze(1).tanh()
        kept_ptr, position = ops.segment_topk(score, ptr.long(), ratio=self.ratio)
        subgraph, edge = induced_subgraph(graph, position)
        return KeptNodes(
            x=x.index_select(0, position) * score.index_select(0, position).unsqueeze(1),
            graph=subgraph,
            edge_attr=None if edge_attr is None else edge_attr.index_select(0, edge),
            ptr=kept_ptr,
            position=position,
            score=score,
        )

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, ratio={self.ratio}"


def induced_subgraph(graph: Graph, nodes: Tensor) -> tuple[Graph, Tensor]:
    """The edges between some nodes, numbered by their place in ``nodes``, and which edges they were.

    Args:
        graph: Not bipartite.
        nodes: Different nodes, int64 ``[N']``.

    Returns:
        The graph of ``N'`` nodes, and the numbers of its edges in ``graph``, ascending, int64 ``[E']``.
    """
    number = torch.full((graph.num_nodes,), -1, dtype=graph.col.dtype, device=graph.device)
    number[nodes] = torch.arange(nodes.numel(), dtype=number.dtype, device=number.device)
    ends = number[graph.edge_index.long()]
    edge = (ends >= 0).all(0).nonzero().flatten()
    return Graph.from_edge_index(ends[:, edge], num_nodes=nodes.numel()), edge
