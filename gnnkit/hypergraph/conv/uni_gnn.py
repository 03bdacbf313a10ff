"""The layers of UniGNN: those of graphs, with hyperedges as neighbours."""

from collections.abc import Callable

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.hypergraph.conv import _incidence as incidence
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.nn.conv import _attention as attention
from gnnkit.nn.conv._linear import LinearConv
from gnnkit.ops._checks import check_count, check_number


class UniGCNConv(LinearConv):
    r"""UniGCN (Huang and Yang, "UniGNN: a unified framework for graph and hypergraph neural networks", 2021).

    .. math::
        h_e = \frac{1}{b_e} \sum_{u \in e} x_u, \qquad
        x_v' = \frac{1}{\sqrt{d_v}} \sum_{e \ni v} \frac{1}{\sqrt{d_e}} W h_e + b, \qquad
        d_e = \frac{1}{b_e} \sum_{u \in e} d_u

    with :math:`d_v` the number of hyperedges of a node and :math:`b_e` the number of nodes of a hyperedge. A node in
    no hyperedge gets :math:`b`; :func:`gnnkit.hypergraph.add_self_loops` gives it a hyperedge of its own.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features.
        bias: Add :math:`b`, which the authors' code has not.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(nnz F)`` time for two sparse products, without a message per incidence, besides the map of the
    features, which is applied to nodes or to hyperedges, whichever is less work. The normalisation is computed once per
    hypergraph.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, bias=bias)
        self.reset_parameters()

    def forward(self, x: Tensor, hypergraph: Hypergraph) -> Tensor:
        """Convolves ``x``, ``[N, in_channels]``, to ``[N, out_channels]``.

        Raises:
            ShapeError: If ``x`` does not fit the hypergraph.
            DtypeError: If an argument is of the wrong type.
        """
        x = incidence.node_features(x, hypergraph, layer="UniGCNConv", width=self.in_channels)
        gather = incidence.sums_of_nodes(hypergraph)
        out = incidence.convolve(x, hypergraph, self.lin, gather, lambda sums: _uni_gcn(hypergraph, sums))
        return incidence.with_bias(out, self.bias)


class UniGINConv(LinearConv):
    r"""UniGIN (Huang and Yang, "UniGNN: a unified framework for graph and hypergraph neural networks", 2021).

    .. math:: x_v' = W \Bigl((1 + \varepsilon) x_v + \sum_{e \ni v} h_e\Bigr) + b

    with :math:`h_e` the mean of the nodes of a hyperedge. A node in no hyperedge keeps its own term.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features.
        eps: :math:`\varepsilon`, at the start where it is learned.
        train_eps: Learn it.
        bias: Add :math:`b`, which the authors' code has not.

    Raises:
        ConfigError: If ``eps`` is no number.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(nnz F)`` time for two sparse products of the narrower width, without a message per incidence,
    besides the map of the features.
    """

    eps: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, *, eps: float = 0.0, train_eps: bool = True, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, bias=bias)
        self.initial_eps = check_number("eps", eps)
        value = torch.empty(1)
        if train_eps:
            self.eps = torch.nn.Parameter(value)
        else:
            self.register_buffer("eps", value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Draws new weights: Glorot uniform, bias 0, :math:`\varepsilon` as given."""
        super().reset_parameters()
        torch.nn.init.constant_(self.eps, self.initial_eps)

    def forward(self, x: Tensor, hypergraph: Hypergraph) -> Tensor:
        """Convolves ``x``, ``[N, in_channels]``, to ``[N, out_channels]``.

        Raises:
            ShapeError: If ``x`` does not fit the hypergraph.
            DtypeError: If an argument is of the wrong type.
        """
        x = incidence.node_features(x, hypergraph, layer="UniGINConv", width=self.in_channels)

        def combine(rows: Tensor) -> Tensor:
            sums = ops.spmm(hypergraph.to_hyperedges, rows)
            return (1 + self.eps.to(rows.dtype)) * rows + incidence.sum_of_hyperedges(hypergraph, sums)

        return incidence.with_bias(_narrowest(self.lin, combine, x), self.bias)


class UniSAGEConv(LinearConv):
    r"""UniSAGE (Huang and Yang, "UniGNN: a unified framework for graph and hypergraph neural networks", 2021).

    .. math:: x_v' = W \Bigl(x_v + \mathrm{aggr}_{e \ni v}\, h_e\Bigr) + b

    with :math:`h_e` the mean of the nodes of a hyperedge. A node in no hyperedge keeps its own term.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features.
        aggr: ``"mean"``, or ``"sum"``, which the authors' code takes, and which is UniGIN with :math:`\varepsilon = 0`.
        bias: Add :math:`b`, which the authors' code has not.

    Raises:
        ConfigError: If ``aggr`` is unknown.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(nnz F)`` time for two sparse products of the narrower width, without a message per incidence,
    besides the map of the features.
    """

    def __init__(self, in_channels: int, out_channels: int, *, aggr: str = "mean", bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, bias=bias)
        if aggr not in ("mean", "sum"):
            raise ConfigError(f"aggr must be one of mean, sum, got {aggr!r}")
        self.aggr = aggr
        self.reset_parameters()

    def forward(self, x: Tensor, hypergraph: Hypergraph) -> Tensor:
        """Convolves ``x``, ``[N, in_channels]``, to ``[N, out_channels]``.

        Raises:
            ShapeError: If ``x`` does not fit the hypergraph.
            DtypeError: If an argument is of the wrong type.
        """
        x = incidence.node_features(x, hypergraph, layer="UniSAGEConv", width=self.in_channels)
        scatter = incidence.mean_of_hyperedges if self.aggr == "mean" else incidence.sum_of_hyperedges

        def combine(rows: Tensor) -> Tensor:
            return rows + scatter(hypergraph, ops.spmm(hypergraph.to_hyperedges, rows))

        return incidence.with_bias(_narrowest(self.lin, combine, x), self.bias)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{super().extra_repr()}, aggr={self.aggr!r}"


class UniGATConv(torch.nn.Module):
    r"""UniGAT (Huang and Yang, "UniGNN: a unified framework for graph and hypergraph neural networks", 2021).

    .. math::
        \alpha_{ve} = \mathrm{softmax}_{e \ni v}\Bigl(\mathrm{leaky}\bigl(
            \langle a_v, W x_v \rangle + \langle a_e, W h_e \rangle\bigr)\Bigr), \qquad
        x_v' = \sum_{e \ni v} \alpha_{ve} W h_e + b

    with :math:`h_e` the mean of the nodes of a hyperedge, for each of ``heads`` heads, which are then joined. A node in
    no hyperedge gets :math:`b`. The authors' code leaves the node out of the attention.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of one head's output.
        heads: Number of heads.
        concat: Join the heads; False: average them.
        negative_slope: Slope of the leaky rectifier below zero.
        dropout: Probability of dropping an attention weight in training, by torch's global generator.
        bias: Add :math:`b`, which the authors' code has not.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(nnz H C)`` time besides the map of the features, and ``O((N + M) H C)`` memory, by the fused kernel;
    dropout in training stores one weight per incidence and head.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        *,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        attention.check_probability(dropout)
        check_count("heads", heads, 1)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.concat = concat
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.lin = torch.nn.Linear(in_channels, heads * out_channels, bias=False)
        self.att_node = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_hyperedge = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.bias = torch.nn.Parameter(torch.empty(heads * out_channels if concat else out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights: Glorot uniform, bias 0."""
        for weight in (self.lin.weight, self.att_node, self.att_hyperedge):
            torch.nn.init.xavier_uniform_(weight)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, hypergraph: Hypergraph) -> Tensor:
        """Attends to the hyperedges of every node.

        Args:
            x: Node features, ``[N, in_channels]``.
            hypergraph: The topology.

        Returns:
            ``[N, heads * out_channels]``, or ``[N, out_channels]`` without ``concat``.

        Raises:
            ShapeError: If ``x`` does not fit the hypergraph.
            DtypeError: If an argument is of the wrong type.
        """
        x = incidence.node_features(x, hypergraph, layer="UniGATConv", width=self.in_channels)
        nodes = hypergraph.to_nodes
        value = incidence.mapped_means(x, hypergraph, self.lin)
        value = value.reshape(hypergraph.num_hyperedges, self.heads, self.out_channels)
        (score_e,) = attention.head_products(value, self.att_hyperedge.squeeze(0).to(value.dtype))
        # Nodes need no map of their own.
        score_v = attention.mapped_products(x, self.lin.weight, self.att_node.squeeze(0), value.dtype)
        p = self.dropout if self.training else 0.0
        out = attention.additive(nodes, score_v, score_e, value, negative_slope=self.negative_slope, dropout=p)
        return incidence.with_bias(attention.join_heads(out, self.concat), self.bias)

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.in_channels}, {self.out_channels}, heads={self.heads}, concat={self.concat}, "
            f"negative_slope={self.negative_slope}, dropout={self.dropout}, bias={self.bias is not None}"
        )


class UniGCNIIConv(torch.nn.Module):
    r"""UniGCNII (Huang and Yang, "UniGNN: a unified framework for graph and hypergraph neural networks", 2021).

    .. math::
        \hat x_v = \frac{1}{\sqrt{d_v}} \sum_{e \ni v} \frac{1}{\sqrt{d_e}} h_e, \qquad
        x_v' = \bigl((1 - \beta) I + \beta W\bigr) \bigl((1 - \alpha) \hat x_v + \alpha x_v^{(0)}\bigr)

    with :math:`h_e`, :math:`d_v` and :math:`d_e` of :class:`UniGCNConv` and :math:`x^{(0)}` the input of the first
    layer. In a network, layer :math:`\ell = 1, 2, \ldots` has :math:`\beta_\ell = \log(\lambda / \ell + 1)`.

    Args:
        channels: Width of the features.
        alpha: :math:`\alpha`, the share of the first layer's input, in ``[0, 1]``.
        beta: :math:`\beta`, the share of the linear map, in ``[0, 1]``.

    Raises:
        ConfigError: If a share is no number in ``[0, 1]``.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(nnz F)`` time for two sparse products, without a message per incidence, and ``O(N F^2)`` for the
    map. The normalisation is computed once per hypergraph.
    """

    def __init__(self, channels: int, *, alpha: float = 0.1, beta: float = 0.5) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not 0.0 <= check_number(name, value) <= 1.0:
                raise ConfigError(f"{name} must lie in [0, 1], got {value}")
        self.channels = channels
        self.alpha = alpha
        self.beta = beta
        self.lin = torch.nn.Linear(channels, channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights: Glorot uniform."""
        torch.nn.init.xavier_uniform_(self.lin.weight)

    def forward(self, x: Tensor, hypergraph: Hypergraph, x_0: Tensor) -> Tensor:
        """Convolves ``x``.

        Args:
            x: Node features, ``[N, channels]``.
            hypergraph: The topology.
            x_0: Input of the first layer, ``[N, channels]``.

        Returns:
            ``[N, channels]``.

        Raises:
            ShapeError: If ``x`` or ``x_0`` does not fit the hypergraph.
            DtypeError: If an argument is of the wrong type.
        """
        x = incidence.node_features(x, hypergraph, layer="UniGCNIIConv", width=self.channels)
        incidence.rows_of_width("x_0", x_0, hypergraph.num_nodes, "node", layer="UniGCNIIConv", width=self.channels)
        sums = ops.spmm(hypergraph.to_hyperedges, x)
        smooth = _uni_gcn(hypergraph, sums)
        mixed = torch.lerp(smooth, x_0.to(smooth.dtype), self.alpha)
        return torch.lerp(mixed, self.lin(mixed).to(mixed.dtype), self.beta)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.channels}, alpha={self.alpha}, beta={self.beta}"


def _narrowest(lin: torch.nn.Linear, combine: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``lin(combine(x))`` for a linear ``combine`` that keeps the width, at the narrower end of the map."""
    return combine(lin(x)) if lin.out_features <= lin.in_features else lin(combine(x))


def _uni_gcn(hypergraph: Hypergraph, sums: Tensor) -> Tensor:
    r""":math:`d_v^{-1/2} \sum_{e \ni v} d_e^{-1/2} b_e^{-1} z_e` of the sums ``z`` of the hyperedges' nodes."""
    nodes, hyperedges = hypergraph.to_nodes, hypergraph.to_hyperedges

    def scales() -> incidence.Scales:
        size = incidence.inverse_count(hyperedges)
        mean_degree = ops.spmm(hyperedges, nodes.in_degree().double().unsqueeze(1)).squeeze(1) * size
        return incidence.inverse_count(nodes, 0.5), incidence.inverse_power(mean_degree, 0.5) * size

    return incidence.scaled_spmm(nodes, sums, "uni_gcn", scales)
