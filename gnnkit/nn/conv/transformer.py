"""Attention by dot products along edges."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.graph import Graph
from gnnkit.nn._inputs import NodeFeatures, edge_features, endpoint_features, no_edge_features
from gnnkit.nn.conv import _attention as attention


class TransformerConv(torch.nn.Module):
    r"""Graph transformer layer (Shi et al., "Masked label prediction", 2021): attention over the in-edges of each node.

    .. math::
        \alpha_e = \mathrm{softmax}_{e : j \to i}
            \Bigl(C^{-1/2} \langle W_q x_i,\; W_k x_j + W_e a_e \rangle\Bigr), \qquad
        x_i' = W_s x_i + \sum_{e : j \to i} \alpha_e (W_v x_j + W_e a_e)

    for each of ``heads`` heads, which are then joined. With ``beta``, a learned gate mixes the two terms instead.
    Weights and results are those of ``torch_geometric.nn.TransformerConv``.

    Args:
        in_channels: Width of the input features, or of the sources' and of the destinations'.
        out_channels: :math:`C`, the width of one head's output.
        heads: Number of heads.
        concat: Join the heads; False: average them.
        beta: Mix both terms by a learned gate; needs ``root_weight``, and is off without it.
        dropout: Probability of dropping an attention weight in training, by torch's global generator.
        edge_dim: Width of the edge features. None: the layer takes none.
        bias: Give the affine maps (but that of the edges) a bias.
        root_weight: Add :math:`W_s x_i`.

    Raises:
        ConfigError: If ``dropout`` is no probability.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(E H C)`` time besides the maps of the nodes, and ``O(N H C)`` memory, by the fused kernel. With edge
    features, and in training with dropout, the weights of the edges are stored: ``O(E H)`` more. Edge features are
    neither projected nor copied per head: they meet queries and weights in their own width.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        *,
        concat: bool = True,
        beta: bool = False,
        dropout: float = 0.0,
        edge_dim: int | None = None,
        bias: bool = True,
        root_weight: bool = True,
    ) -> None:
        super().__init__()
        attention.check_probability(dropout)
        self._widths = in_channels if isinstance(in_channels, tuple) else (in_channels, in_channels)
        source, destination = self._widths
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.concat = concat
        self.beta = beta and root_weight
        self.dropout = dropout
        self.edge_dim = edge_dim
        self.edge_input = "none" if edge_dim is None else "features"
        self.root_weight = root_weight
        total = heads * out_channels
        joined = total if concat else out_channels
        self.lin_key = torch.nn.Linear(source, total, bias=bias)
        self.lin_query = torch.nn.Linear(destination, total, bias=bias)
        self.lin_value = torch.nn.Linear(source, total, bias=bias)
        self.lin_edge = None if edge_dim is None else torch.nn.Linear(edge_dim, total, bias=False)
        # PyTorch Geometric makes this map without root_weight too: its weights must load.
        self.lin_skip = torch.nn.Linear(destination, joined, bias=bias)
        self.lin_beta = torch.nn.Linear(3 * joined, 1, bias=False) if self.beta else None

    def reset_parameters(self) -> None:
        """Draws new weights."""
        for part in (self.lin_key, self.lin_query, self.lin_value, self.lin_edge, self.lin_skip, self.lin_beta):
            if part is not None:
                part.reset_parameters()

    def forward(self, x: NodeFeatures, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        """Attends to the in-neighbours of every destination.

        Args:
            x: Node features ``[N, in_channels]``, or ``(x_src, x_dst)`` of a bipartite graph.
            graph: The topology.
            edge_attr: Edge features, ``[E, edge_dim]``; None exactly where ``edge_dim`` is None.

        Returns:
            ``[num_dst, heads * out_channels]``, or ``[num_dst, out_channels]`` without ``concat``.

        Raises:
            ShapeError: If ``x`` or ``edge_attr`` does not fit the graph.
            ConfigError: If edge features are given to a layer without ``edge_dim``.
        """
        x_src, x_dst = endpoint_features(x, graph, layer="TransformerConv", widths=self._widths)
        x_dst = attention.destination(x_dst, "TransformerConv")
        shape = (-1, self.heads, self.out_channels)
        query = self.lin_query(x_dst).reshape(shape)
        key = self.lin_key(x_src).reshape(shape)
        value = self.lin_value(x_src).reshape(shape)
        if self.lin_edge is None:
            no_edge_features(edge_attr, layer="TransformerConv without edge_dim")
        else:
            edge_attr = edge_features(edge_attr, graph, layer="TransformerConv", width=self.edge_dim).to(query.dtype)
        p = self.dropout if self.training else 0.0
        if edge_attr is None and p == 0.0:
            out = ops.attend(graph, query, key, value)
        else:
            out = self._with_weights(graph, query, key, value, edge_attr, p)
        return self._join(attention.join_heads(out, self.concat), x_dst)

    def _with_weights(self, graph: Graph, query, key, value, edge_attr: Tensor | None, p: float) -> Tensor:
        """Attention by way of stored weights, ``[E, H]``."""
        score = ops.sddmm(graph, query, key)
        by_head = None if self.lin_edge is None else attention.per_head(self.lin_edge.weight, self.heads)
        if by_head is not None and edge_attr is not None:
            # <q, W a> = <W' q, a>: once per node in place of once per edge.
            turned = torch.einsum("nhc,hcd->nhd", query, by_head.to(query.dtype))
            score = score + attention.edge_products(graph, turned, edge_attr)
        weight = attention.weights(graph, score * self.out_channels**-0.5, p)
        out = ops.spmm(graph, value, weight)
        if by_head is not None and edge_attr is not None:
            gathered = attention.weighted_edges(graph, weight, edge_attr)
            out = out + torch.einsum("nhd,hcd->nhc", gathered, by_head.to(query.dtype))
        return out

    def _join(self, out: Tensor, x_dst: Tensor) -> Tensor:
        if not self.root_weight:
            return out
        own = self.lin_skip(x_dst)
        if self.lin_beta is None:
            return out + own
        gate = self.lin_beta(torch.cat([out, own, out - own], dim=-1)).sigmoid()
        return gate * own + (1 - gate) * out

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.in_channels}, {self.out_channels}, heads={self.heads}, concat={self.concat}, beta={self.beta}, "
            f"dropout={self.dropout}, edge_dim={self.edge_dim}"
        )
