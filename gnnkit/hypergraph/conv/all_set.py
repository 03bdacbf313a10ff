"""Layers that are two functions of multisets, from nodes to hyperedges and back."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import dropout

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.graph import Graph
from gnnkit.hypergraph.conv import _incidence as incidence
from gnnkit.hypergraph.hypergraph import Hypergraph
from gnnkit.nn._blocks import check_dropout
from gnnkit.nn.conv import _attention as attention
from gnnkit.ops._checks import check_count, check_flag


class AllDeepSetsConv(torch.nn.Module):
    r"""Sums of perceptrons, of perceptrons, both ways: AllDeepSets.

    Chien et al., "You are AllSet: a multiset function framework for hypergraph neural networks", 2022.

    .. math::
        z_e = f_1(\{x_v : v \in e\}), \qquad x_v' = f_2(\{z_e : e \ni v\}), \qquad
        f(S) = \mathrm{MLP}\Bigl(\sum_{s \in S} \mathrm{MLP}(s)\Bigr)

    A perceptron is ``mlp_layers`` affine maps with the rectifier, layer normalisation and dropout between them, and
    layer normalisation before them. A node in no hyperedge gets the perceptron of 0. Repeated incidences count each.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features, and of everything between.
        aggr: ``"sum"``, or ``"mean"``, which the authors' code takes.
        mlp_layers: Affine maps of each of the four perceptrons.
        norm: Whether there are layer normalisations.
        dropout: Probability of dropping an entry within the perceptrons in training.

    Raises:
        ConfigError: If a setting is unknown or out of range.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O((N + M) F^2 + nnz F)`` time, ``O((N + M) F)`` memory.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        aggr: str = "sum",
        mlp_layers: int = 2,
        norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if aggr not in ("sum", "mean"):
            raise ConfigError(f"aggr must be one of sum, mean, got {aggr!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.aggr = aggr

        def perceptron(width: int) -> Perceptron:
            return Perceptron(width, out_channels, num_layers=mlp_layers, norm=norm, dropout=dropout)

        self.encode_nodes, self.decode_hyperedges = perceptron(in_channels), perceptron(out_channels)
        self.encode_hyperedges, self.decode_nodes = perceptron(out_channels), perceptron(out_channels)

    def reset_parameters(self) -> None:
        """Draws new weights."""
        _reset_children(self)

    def forward(self, x: Tensor, hypergraph: Hypergraph) -> Tensor:
        """Applies both functions.

        Args:
            x: Node features, ``[N, in_channels]``.
            hypergraph: The topology.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ShapeError: If ``x`` does not fit the hypergraph.
            DtypeError: If an argument is of the wrong type.
        """
        x = incidence.node_features(x, hypergraph, layer="AllDeepSetsConv", width=self.in_channels)
        z = self.decode_hyperedges(ops.spmm(hypergraph.to_hyperedges, self.encode_nodes(x), reduce=self.aggr))
        return self.decode_nodes(ops.spmm(hypergraph.to_nodes, self.encode_hyperedges(z), reduce=self.aggr))

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr!r}"


class AllSetTransformerConv(torch.nn.Module):
    r"""Attention of a learned seed to a set, both ways: AllSetTransformer.

    Chien et al., "You are AllSet: a multiset function framework for hypergraph neural networks", 2022.

    .. math::
        z_e = f_1(\{x_v : v \in e\}), \qquad x_v' = f_2(\{z_e : e \ni v\}), \qquad
        f(S) = \mathrm{LN}(y + \mathrm{MLP}(y)), \quad y = \mathrm{LN}(\theta + \mathrm{MH}(\theta, S, S)),

    .. math::
        \mathrm{MH}(\theta, S, S)_h = \sum_{s \in S} \mathrm{softmax}_{s \in S}\bigl(\langle \theta_h, W_{K,h} s
        \rangle\bigr) (W_{V,h} s + b_h)

    with one learned seed :math:`\theta` per function, cut into ``heads`` heads. The attention of an empty set is 0: a
    node in no hyperedge gets :math:`f(\emptyset)`, which is a function of the seed. The authors' code has a leaky
    rectifier before the softmax and a rectifier after the perceptron, which the paper has not.

    Args:
        in_channels: Width of the input features.
        out_channels: Width of the output features, and of everything between; a multiple of ``heads``.
        heads: Number of heads.
        mlp_layers: Affine maps of each of the two perceptrons, with the rectifier between them.
        dropout: Probability of dropping an attention weight in training, by torch's global generator.

    Raises:
        ConfigError: If a setting is out of range, or ``heads`` does not divide ``out_channels``.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O((N + M) F^2 + nnz F)`` time and ``O((N + M) F)`` memory, by the fused kernel of additive attention;
    dropout in training stores one weight per incidence and head.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, heads: int = 1, mlp_layers: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.to_hyperedges = SetAttention(
            in_channels, out_channels, heads=heads, mlp_layers=mlp_layers, dropout=dropout
        )
        self.to_nodes = SetAttention(out_channels, out_channels, heads=heads, mlp_layers=mlp_layers, dropout=dropout)

    def reset_parameters(self) -> None:
        """Draws new weights."""
        _reset_children(self)

    def forward(self, x: Tensor, hypergraph: Hypergraph) -> Tensor:
        """Applies both functions.

        Args:
            x: Node features, ``[N, in_channels]``.
            hypergraph: The topology.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ShapeError: If ``x`` does not fit the hypergraph.
            DtypeError: If an argument is of the wrong type.
        """
        x = incidence.node_features(x, hypergraph, layer="AllSetTransformerConv", width=self.in_channels)
        return self.to_nodes(self.to_hyperedges(x, hypergraph.to_hyperedges), hypergraph.to_nodes)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"


class SetAttention(torch.nn.Module):
    """The function ``f`` of :class:`AllSetTransformerConv`, of the set of sources of each destination."""

    def __init__(self, in_channels: int, out_channels: int, *, heads: int, mlp_layers: int, dropout: float) -> None:
        super().__init__()
        check_count("heads", heads, 1)
        check_dropout("dropout", dropout)
        if out_channels % heads != 0:
            raise ConfigError(f"out_channels must be a multiple of heads, got {out_channels} and {heads}")
        self.heads = heads
        self.dropout = dropout
        self.seed = torch.nn.Parameter(torch.empty(heads, out_channels // heads))
        # A bias of the keys would change all scores of a set alike, and so nothing.
        self.lin_key = torch.nn.Linear(in_channels, out_channels, bias=False)
        self.lin_value = torch.nn.Linear(in_channels, out_channels)
        self.norm_in = torch.nn.LayerNorm(out_channels)
        self.mlp = Perceptron(out_channels, out_channels, num_layers=mlp_layers, norm=False, dropout=0.0)
        self.norm_out = torch.nn.LayerNorm(out_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights: Glorot uniform for seed, keys and values."""
        _reset_children(self)
        for weight in (self.seed, self.lin_key.weight, self.lin_value.weight):
            torch.nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """From rows of the sources, ``[num_src, in]``, to rows of the destinations, ``[num_dst, out]``."""
        value = self.lin_value(x).unflatten(1, self.seed.shape)
        # The keys themselves are never needed.
        score = attention.mapped_products(x, self.lin_key.weight, self.seed, value.dtype)
        if self.training and self.dropout > 0:
            weight = attention.weights(graph, ops.gather(graph, score, "src"), self.dropout)
            heads = ops.spmm(graph, value, weight)
        else:
            # Additive attention to which destinations add nothing, with a rectifier that is the identity.
            nothing = score.new_zeros((graph.num_dst, self.heads))
            heads = ops.gat(graph, nothing, score, value, negative_slope=1.0)
        y = self.norm_in((heads + self.seed.to(heads.dtype)).flatten(1))
        return self.norm_out(y + self.mlp(y))


class Perceptron(torch.nn.Module):
    """Affine maps with rectifier, layer normalisation and dropout between them, and a normalisation first.

    Args:
        in_channels: Width of the input.
        out_channels: Width of everything after the first map.
        num_layers: Number of affine maps.
        norm: Whether there are layer normalisations.
        dropout: Probability of dropping an entry between maps.
    """

    def __init__(self, in_channels: int, out_channels: int, *, num_layers: int, norm: bool, dropout: float) -> None:
        super().__init__()
        check_count("mlp_layers", num_layers, 1)
        check_flag("norm", norm)
        check_dropout("dropout", dropout)
        widths = [in_channels] + [out_channels] * num_layers
        self.linears = torch.nn.ModuleList(torch.nn.Linear(*pair) for pair in pairwise(widths))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for width in widths[:-1]) if norm else None
        self.dropout = dropout

    def reset_parameters(self) -> None:
        """Draws new weights."""
        for part in (*self.linears, *(self.norms or ())):
            part.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        """``[*, in_channels]`` to ``[*, out_channels]``."""
        for place, linear in enumerate(self.linears):
            if place > 0:
                x = x.relu()
            if self.norms is not None:
                x = self.norms[place](x)
            if place > 0:
                x = dropout(x, self.dropout, self.training)
            x = linear(x)
        return x


def _reset_children(module: torch.nn.Module) -> None:
    for child in module.children():
        child.reset_parameters()  # type: ignore[operator]
