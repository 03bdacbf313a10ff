"""Hypergraph convolution and hypergraph attention."""

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.hypergraph.conv import _incidence as incidence
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.nn.conv import _attention as attention
from gnnkit.ops._checks import check_count

MODES = ("edge", "node")


class HypergraphConv(torch.nn.Module):
    r"""Hypergraph convolution (Bai et al., "Hypergraph convolution and hypergraph attention", 2021).

    .. math::
        X' = D^{-1} H W B^{-1} H^\top X \Theta + b, \qquad
        x_v' = \frac{1}{d_v} \sum_{e \ni v} \frac{w_e}{b_e} \sum_{u \in e} \Theta^\top x_u + b

    with :math:`d_v = \sum_{e \ni v} w_e` and :math:`b_e` the number of nodes in :math:`e`; :math:`1 / 0` is 0, so that
    a node in no hyperedge gets :math:`b`. The rows of the matrix of a node in some hyperedge sum to one, whatever the
    weights.

    With ``use_attention``, :math:`H` is weighted both ways by

    .. math::
        \alpha_{ve} = \mathrm{softmax}_{e \ni v}\Bigl(\mathrm{leaky}\bigl(
            \langle a_1, \Theta^\top x_v \rangle + \langle a_2, \Theta^\top z_e \rangle\bigr)\Bigr)

    for each of ``heads`` heads, which are then joined; :math:`z_e` are the hyperedges' own features,
    ``hyperedge_attr``, and :math:`d` and :math:`b` still count incidences.

    Parameters, and results without hyperedge weights, are those of ``torch_geometric.nn.HypergraphConv``. That layer
    divides by the weighted degree, but leaves :math:`W` out of the sum, so that weighted rows do not sum to one. Its
    ``attention_mode`` is ``"node"`` by default.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features; of one head's, where there are heads.
        use_attention: Weigh incidences by attention.
        attention_mode: ``"edge"``: softmax over the hyperedges of each node, as in the paper. ``"node"``: over the
            nodes of each hyperedge.
        heads: Number of heads; 1 without attention.
        concat: Join the heads; False: average them.
        negative_slope: Slope of the leaky rectifier below zero.
        dropout: Probability of dropping an attention weight in training, both ways alike, by torch's global generator.
        bias: Add :math:`b`.

    Raises:
        ConfigError: If a setting is unknown or out of range, or there are heads without attention.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(nnz F)`` time for two sparse products, without a message per incidence, besides the map of the
    features, which is applied to nodes or to hyperedges, whichever is less work. What follows from the hypergraph is
    computed once. Attention stores one weight per incidence and head.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        use_attention: bool = False,
        attention_mode: str = "edge",
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        attention.check_probability(dropout)
        check_count("heads", heads, 1)
        if attention_mode not in MODES:
            raise ConfigError(f"attention_mode must be one of {', '.join(MODES)}, got {attention_mode!r}")
        if heads > 1 and not use_attention:
            raise ConfigError(f"{heads} heads need attention; set use_attention=True")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.use_attention = use_attention
        self.attention_mode = attention_mode
        self.heads = heads
        self.concat = concat
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.lin = torch.nn.Linear(in_channels, heads * out_channels, bias=False)
        self.att = torch.nn.Parameter(torch.empty(1, heads, 2 * out_channels)) if use_attention else None
        self.bias = torch.nn.Parameter(torch.empty(heads * out_channels if concat else out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights: Glorot uniform, bias 0."""
        torch.nn.init.xavier_uniform_(self.lin.weight)
        if self.att is not None:
            torch.nn.init.xavier_uniform_(self.att)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor,
        hypergraph: Hypergraph,
        hyperedge_weight: Tensor | None = None,
        hyperedge_attr: Tensor | None = None,
    ) -> Tensor:
        """Convolves ``x``.

        Args:
            x: Node features, ``[N, in_channels]``.
            hypergraph: The topology.
            hyperedge_weight: :math:`w`, ``[M]``, not negative. None: all 1.
            hyperedge_attr: Features of the hyperedges, ``[M, in_channels]``; given exactly with attention.

        Returns:
            ``[N, heads * out_channels]``, or ``[N, out_channels]`` without ``concat``.

        Raises:
            ShapeError: If an argument does not fit the hypergraph, or ``hyperedge_attr`` is missing.
            DtypeError: If an argument is of the wrong type.
            ConfigError: If ``hyperedge_attr`` is given to a layer without attention.
        """
        x = incidence.node_features(x, hypergraph, layer="HypergraphConv", width=self.in_channels)
        if self.att is not None:
            out = self._attend(x, hypergraph, hyperedge_weight, self._checked(hyperedge_attr, hypergraph), self.att)
            return incidence.with_bias(attention.join_heads(out, self.concat), self.bias)
        if hyperedge_attr is not None:
            raise ConfigError(
                "HypergraphConv without attention does not use hyperedge_attr; leave it out, or set use_attention=True"
            )

        def scatter(sums: Tensor) -> Tensor:
            weight = incidence.hyperedge_weights(hyperedge_weight, hypergraph, sums.dtype)
            if weight is None:
                return incidence.mean_of_hyperedges(hypergraph, sums)
            return _weighted_mean(hypergraph, sums, weight)

        out = incidence.convolve(x, hypergraph, self.lin, incidence.sums_of_nodes(hypergraph), scatter)
        return incidence.with_bias(out, self.bias)

    def _checked(self, hyperedge_attr: Tensor | None, hypergraph: Hypergraph) -> Tensor:
        rows = hypergraph.num_hyperedges
        if hyperedge_attr is None:
            raise ShapeError(
                f"attention needs features of the hyperedges, hyperedge_attr of shape [{rows}, {self.in_channels}], "
                "got None; the mean of their nodes is gnnkit.ops.spmm(hypergraph.to_hyperedges, x, reduce='mean')"
            )
        incidence.rows_of_width(
            "hyperedge_attr", hyperedge_attr, rows, "hyperedge", layer="HypergraphConv", width=self.in_channels
        )
        return hyperedge_attr

    def _attend(self, x: Tensor, hypergraph: Hypergraph, given: Tensor | None, attr: Tensor, att: Tensor) -> Tensor:
        """The convolution with weighted incidences, ``[N, H, C]``."""
        value = self.lin(x).reshape(-1, self.heads, self.out_channels)
        of_node, of_hyperedge = att.squeeze(0).to(value.dtype).chunk(2, dim=1)
        (score_v,) = attention.head_products(value, of_node)
        # Hyperedges need no map of their own.
        score_e = attention.mapped_products(attr, self.lin.weight, of_hyperedge, value.dtype)
        nodes, hyperedges = hypergraph.to_nodes, hypergraph.to_hyperedges
        score = leaky_relu(ops.gather(nodes, score_v, "dst") + ops.gather(nodes, score_e, "src"), self.negative_slope)
        over = nodes if self.attention_mode == "edge" else hyperedges
        alpha = attention.weights(over, score, self.dropout if self.training else 0.0)
        means = ops.spmm(hyperedges, value, alpha) * incidence.inverse_count_rows(hyperedges, value)
        weight = incidence.hyperedge_weights(given, hypergraph, means.dtype)
        if weight is None:
            return ops.spmm(nodes, means, alpha) * incidence.inverse_count_rows(nodes, means)
        degree = incidence.inverse_power(hypergraph.node_degree(weight), 1.0)
        weighted = ops.spmm(nodes, means * incidence.as_column(weight, means), alpha)
        return weighted * incidence.as_column(degree, weighted)

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.in_channels}, {self.out_channels}, use_attention={self.use_attention}, "
            f"attention_mode={self.attention_mode!r}, heads={self.heads}, concat={self.concat}, "
            f"dropout={self.dropout}, bias={self.bias is not None}"
        )


def _weighted_mean(hypergraph: Hypergraph, sums: Tensor, weight: Tensor) -> Tensor:
    r""":math:`D^{-1} H W B^{-1} Z`."""
    scaled = sums * incidence.inverse_count_rows(hypergraph.to_hyperedges, sums) * weight.unsqueeze(1)
    degree = incidence.inverse_power(hypergraph.node_degree(weight), 1.0)
    return ops.spmm(hypergraph.to_nodes, scaled) * degree.unsqueeze(1)
