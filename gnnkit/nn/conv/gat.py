"""Graph attention networks, first and second version."""

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import NodeFeatures, edge_features, endpoint_features, no_edge_features
from gnnkit.nn.conv import _attention as attention


class _GraphAttention(torch.nn.Module):
    """Settings and the last step that both versions share."""

    bias: torch.nn.Parameter | None

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int,
        concat: bool,
        negative_slope: float,
        dropout: float,
        add_self_loops: bool,
        edge_dim: int | None,
        fill_value: float | str,
        bias: bool,
        residual: bool,
    ) -> None:
        super().__init__()
        attention.check_probability(dropout)
        attention.check_fill_value(fill_value)
        self._widths = in_channels if isinstance(in_channels, tuple) else (in_channels, in_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.concat = concat
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.add_self_loops = add_self_loops
        self.edge_dim = edge_dim
        self.edge_input = "none" if edge_dim is None else "features"
        self.fill_value = fill_value
        total = heads * out_channels
        joined = total if concat else out_channels
        self.lin_edge = None if edge_dim is None else torch.nn.Linear(edge_dim, total, bias=False)
        self.res = torch.nn.Linear(self._widths[1], joined, bias=False) if residual else None
        self.bias = torch.nn.Parameter(torch.empty(joined)) if bias else None

    def _edge_rows(self, edge_attr: Tensor | None, graph: Graph, layer: str) -> Tensor | None:
        if self.edge_dim is None:
            no_edge_features(edge_attr, layer=f"{layer} without edge_dim")
            return None
        return edge_features(edge_attr, graph, layer=layer, width=self.edge_dim)

    def _finish(self, out: Tensor, x_dst: Tensor | None) -> Tensor:
        out = attention.join_heads(out, self.concat)
        if self.res is not None and x_dst is not None:
            out = out + self.res(x_dst)
        return out if self.bias is None else out + self.bias

    def _reset(self, *attentions: torch.nn.Parameter | None) -> None:
        for module in self.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    torch.nn.init.zeros_(module.bias)
        for parameter in attentions:
            if parameter is not None:
                torch.nn.init.xavier_uniform_(parameter)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.in_channels}, {self.out_channels}, heads={self.heads}, concat={self.concat}, "
            f"negative_slope={self.negative_slope}, dropout={self.dropout}, add_self_loops={self.add_self_loops}, "
            f"edge_dim={self.edge_dim}, residual={self.res is not None}"
        )


class GATConv(_GraphAttention):
    r"""Graph attention layer (Veličković et al., "Graph attention networks", 2018).

    .. math::
        \alpha_e = \mathrm{softmax}_{e : j \to i}\Bigl(\mathrm{leaky}\bigl(
            \langle a_d, W x_i \rangle + \langle a_s, W x_j \rangle + \langle a_e, W_e e_e \rangle\bigr)\Bigr), \qquad
        x_i' = \sum_{e : j \to i} \alpha_e W x_j + b

    for each of ``heads`` heads, which are then joined. Weights and results are those of
    ``torch_geometric.nn.GATConv``.

    Args:
        in_channels: Width of the input features, or of the sources' and of the destinations' (a map for each then).
        out_channels: Width of one head's output.
        heads: Number of heads.
        concat: Join the heads; False: average them.
        negative_slope: Slope of the leaky rectifier below zero.
        dropout: Probability of dropping an attention weight in training, by torch's global generator.
        add_self_loops: Give every node exactly one self-loop, in place of those it has.
        edge_dim: Width of the edge features. None: the layer takes none.
        fill_value: Features of the added self-loops: a number, or ``"mean"`` or ``"add"`` of what arrives at the node.
        bias: Add :math:`b`.
        residual: Add a linear map of the destinations' features.

    Raises:
        ConfigError: If ``dropout`` is no probability, or ``fill_value`` is unknown.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(E H C)`` time besides the maps of the nodes, and ``O(N H C)`` memory, by the fused kernel. Edge
    features cost ``O(E H)`` more, and so does dropout in training, which stores the weights of the edges.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        *,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        edge_dim: int | None = None,
        fill_value: float | str = "mean",
        bias: bool = True,
        residual: bool = False,
    ) -> None:
        settings = (negative_slope, dropout, add_self_loops, edge_dim, fill_value, bias, residual)
        super().__init__(in_channels, out_channels, heads, concat, *settings)
        total = heads * out_channels
        self.lin = self.lin_src = self.lin_dst = None
        if isinstance(in_channels, tuple):
            self.lin_src = torch.nn.Linear(in_channels[0], total, bias=False)
            self.lin_dst = torch.nn.Linear(in_channels[1], total, bias=False)
        else:
            self.lin = torch.nn.Linear(in_channels, total, bias=False)
        self.att_src = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_edge = None if edge_dim is None else torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights: Glorot uniform, bias 0."""
        self._reset(self.att_src, self.att_dst, self.att_edge)

    def forward(self, x: NodeFeatures, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        """Attends to the in-neighbours of every destination.

        Args:
            x: Node features ``[N, in_channels]``, or ``(x_src, x_dst)`` of a bipartite graph; ``x_dst`` may be None,
                and then has no part in the attention.
            graph: The topology.
            edge_attr: Edge features, ``[E, edge_dim]``; None exactly where ``edge_dim`` is None.

        Returns:
            ``[num_dst, heads * out_channels]``, or ``[num_dst, out_channels]`` without ``concat``.

        Raises:
            ShapeError: If ``x`` or ``edge_attr`` does not fit the graph.
            ConfigError: If edge features are given to a layer without ``edge_dim``.
        """
        x_src, x_dst = endpoint_features(x, graph, layer="GATConv", widths=self._widths)
        edge = self._edge_rows(edge_attr, graph, "GATConv")
        shape = (-1, self.heads, self.out_channels)
        lin_src, lin_dst = self.lin_src or self.lin, self.lin_dst or self.lin
        assert lin_src is not None
        assert lin_dst is not None
        value = lin_src(x_src).reshape(shape)
        att_src, att_dst = (vector.squeeze(0).to(value.dtype) for vector in (self.att_src, self.att_dst))
        if x_dst is x_src and lin_dst is lin_src:
            a_src, a_dst = attention.head_products(value, att_src, att_dst)
        else:
            (a_src,) = attention.head_products(value, att_src)
            if x_dst is None:
                a_dst = a_src.new_zeros((graph.num_dst, self.heads))
            else:
                (a_dst,) = attention.head_products(lin_dst(x_dst).reshape(shape), att_dst)
        out = self._attend(graph, a_dst, a_src, value, edge)
        return self._finish(out, x_dst)

    def _attend(self, graph: Graph, a_dst: Tensor, a_src: Tensor, value: Tensor, edge: Tensor | None) -> Tensor:
        bias = fill = None
        if edge is not None:
            # <a_e, W e> = <W' a_e, e>: edge features are never as wide as the output.
            assert self.lin_edge is not None
            assert self.att_edge is not None
            turned = attention.turned_map(self.lin_edge.weight, self.att_edge.squeeze(0)).to(value.dtype)
            bias = torch.nn.functional.linear(edge.to(value.dtype), turned)
            fill = self.fill_value if isinstance(self.fill_value, str) else turned.sum(-1) * self.fill_value
        if self.add_self_loops and bias is None:
            graph, bias = attention.loops_without_features(graph, value.dtype)
        elif self.add_self_loops and bias is not None and fill is not None:
            looped = attention.with_self_loops(graph)
            mask = attention.loop_mask(looped, value.dtype)
            bias = attention.extend_edges(graph, looped, bias, fill)
            bias = bias if mask is None else bias + mask.unsqueeze(-1)
            graph = looped.graph
        p = self.dropout if self.training else 0.0
        return attention.additive(graph, a_dst, a_src, value, negative_slope=self.negative_slope, dropout=p, bias=bias)


class GATv2Conv(_GraphAttention):
    r"""Graph attention layer, second version (Brody et al., "How attentive are graph attention networks?", 2022).

    .. math::
        \alpha_e = \mathrm{softmax}_{e : j \to i}
            \bigl\langle a, \mathrm{leaky}(W_r x_i + W_l x_j + W_e e_e)\bigr\rangle, \qquad
        x_i' = \sum_{e : j \to i} \alpha_e W_l x_j + b

    for each of ``heads`` heads, which are then joined. Weights and results are those of
    ``torch_geometric.nn.GATv2Conv``.

    Args:
        in_channels: Width of the input features, or of the sources' and of the destinations'.
        out_channels: Width of one head's output.
        heads: Number of heads.
        concat: Join the heads; False: average them.
        negative_slope: Slope of the leaky rectifier below zero.
        dropout: Probability of dropping an attention weight in training, by torch's global generator.
        add_self_loops: Give every node exactly one self-loop, in place of those it has.
        edge_dim: Width of the edge features. None: the layer takes none.
        fill_value: Features of the added self-loops: a number, or ``"mean"`` or ``"add"`` of what arrives at the node.
        bias: Add :math:`b`, and give :math:`W_l` and :math:`W_r` a bias.
        share_weights: :math:`W_r = W_l`.
        residual: Add a linear map of the destinations' features.

    Raises:
        ConfigError: If ``dropout`` is no probability, ``fill_value`` is unknown, or weights of different widths are to
            be shared.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(E H C)`` time besides the maps of the nodes, and ``O(N H C)`` memory, by the fused kernel. The
    rectifier stands between edge features and everything else: with them, and in training with dropout, the layer
    stores messages, ``O(E H C)`` memory.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        *,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        edge_dim: int | None = None,
        fill_value: float | str = "mean",
        bias: bool = True,
        share_weights: bool = False,
        residual: bool = False,
    ) -> None:
        settings = (negative_slope, dropout, add_self_loops, edge_dim, fill_value, bias, residual)
        super().__init__(in_channels, out_channels, heads, concat, *settings)
        source, destination = self._widths
        if share_weights and source != destination:
            raise ConfigError(f"share_weights needs equal widths, got {source} and {destination}")
        self.share_weights = share_weights
        self.lin_l = torch.nn.Linear(source, heads * out_channels, bias=bias)
        self.lin_r = self.lin_l if share_weights else torch.nn.Linear(destination, heads * out_channels, bias=bias)
        self.att = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights: Glorot uniform, biases 0."""
        self._reset(self.att)

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
        x_src, x_dst = endpoint_features(x, graph, layer="GATv2Conv", widths=self._widths)
        x_dst = attention.destination(x_dst, "GATv2Conv")
        edge = self._edge_rows(edge_attr, graph, "GATv2Conv")
        shape = (-1, self.heads, self.out_channels)
        left = self.lin_l(x_src).reshape(shape)
        right = left if self.share_weights and x_src is x_dst else self.lin_r(x_dst).reshape(shape)
        mask = None
        if self.add_self_loops and edge is None:
            graph, mask = attention.loops_without_features(graph, left.dtype)
        elif self.add_self_loops and edge is not None:
            looped = attention.with_self_loops(graph)
            edge = attention.extend_edges(graph, looped, edge, self._fill(edge))
            graph, mask = looped.graph, attention.loop_mask(looped, left.dtype)
        att = self.att.squeeze(0).to(left.dtype)
        p = self.dropout if self.training else 0.0
        if edge is None and p == 0.0:
            out = ops.gatv2(graph, right, left, att, negative_slope=self.negative_slope, bias=mask)
            return self._finish(out, x_dst)
        mixed = ops.gather(graph, right, "dst") + ops.gather(graph, left, "src")
        if edge is not None and self.lin_edge is not None:
            mixed = mixed + self.lin_edge(edge).reshape(shape)
        score = (leaky_relu(mixed, self.negative_slope) * att).sum(-1)
        score = score if mask is None else score + mask.unsqueeze(-1)
        return self._finish(ops.spmm(graph, left, attention.weights(graph, score, p)), x_dst)

    def _fill(self, edge: Tensor) -> Tensor | str:
        return self.fill_value if isinstance(self.fill_value, str) else edge.new_full(edge.shape[1:], self.fill_value)
