"""From tokens, which are sets of nodes, to vectors."""

from typing import Literal, get_args

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, IndexRangeError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import check_dropout, normalized
from gnnkit.nn._convolution import make_convolution
from gnnkit.nn._inputs import edge_features, node_features
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.nn.epilogue import epilogue
from gnnkit.nn.pool import REDUCTIONS
from gnnkit.ops._checks import check_count, values_readable
from gnnkit.sequence._models import convolved, copied_rows
from gnnkit.sequence.tokens import Tokens

TokenConv = Literal["gatedgcn", "gine", "gcn"]


class NodeTokenEncoder(torch.nn.Module):
    r"""The mean of the members: :math:`y_t = \frac{1}{|t|} \sum_{i \in t} (W x_i + b)`; zero for an empty token.

    Where every token is a node, this is an affine map of its features. Edges do not matter.

    Args:
        in_dim: Width of the node features.
        dim: Width of the vectors.

    Raises:
        ConfigError: If a width is no positive integer.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(N in_dim dim + M dim)`` time for ``M`` members, and no row for each of them.
    """

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.in_dim = check_count("in_dim", in_dim, 1)
        self.dim = check_count("dim", dim, 1)
        self.linear = torch.nn.Linear(in_dim, dim)

    def forward(self, tokens: Tokens, x: Tensor, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        """The vectors, ``[K, dim]``; see :class:`~gnnkit.sequence.parts.TokenEncoder`. ``edge_attr`` is not looked at.

        Raises:
            ShapeError: If ``x`` is not ``[N, in_dim]``, or ``tokens`` are of another number of nodes.
        """
        x = checked_features(tokens, x, graph, layer="NodeTokenEncoder", width=self.in_dim)
        return ops.spmm(tokens.incidence(), self.linear(x), reduce="mean")

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_dim}, {self.dim}"


class SubgraphTokenEncoder(torch.nn.Module):
    r"""Message passing within the subgraph that each token induces, then a pooling of its nodes.

    .. math::
        h^0_{it} = W x_i + b, \qquad h^{l} = \mathrm{layer}_l(h^{l-1}, G[t]), \qquad
        y_t = \bigoplus_{i \in t} h^L_{it} + z_{\mathrm{kind}(t)}

    A node has a copy in each of its tokens, and no message passes from one token to another. Layers have the width
    ``dim`` and end in batch normalisation over all copies, the rectifier, dropout and a residual; ``"gatedgcn"`` is
    :class:`gnnkit.nn.GatedGCNConv`, which has these itself and the same for edges. An empty token has the vector of its
    kind, or zero.

    Args:
        in_dim: Width of the node features.
        dim: Width of the vectors.
        num_layers: :math:`L`, at least 1.
        conv: ``"gatedgcn"``, ``"gine"`` or ``"gcn"``.
        pool: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.
        edge_dim: Width of the edge features, which are mapped to ``dim`` before the first layer. None: they are not
            looked at, and layers that read some begin with zeros.
        num_kinds: Learn a vector :math:`z_k` for each kind of token in ``[0, num_kinds)``. None: there is none.
        dropout: Probability of dropping an entry.

    Raises:
        ConfigError: If a setting is unknown or out of range, or ``edge_dim`` is given for ``"gcn"``, which reads no
            edge features.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: that of :func:`gnnkit.ops.induced_subgraphs`, and ``O(N in_dim dim + L (M + E') dim^2)`` time,
    ``O(L (M + E') dim)`` memory for ``M`` members with ``E'`` edges among them.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        num_layers: int = 1,
        conv: TokenConv = "gatedgcn",
        pool: str = "mean",
        edge_dim: int | None = None,
        num_kinds: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_dim = check_count("in_dim", in_dim, 1)
        self.dim = check_count("dim", dim, 1)
        check_count("num_layers", num_layers, 1)
        for name, value, allowed in (("conv", conv, get_args(TokenConv)), ("pool", pool, REDUCTIONS)):
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        check_dropout("dropout", dropout)
        if conv == "gcn" and edge_dim is not None:
            raise ConfigError(f'conv="gcn" reads no edge features: leave out edge_dim, got {edge_dim}')
        self.conv = conv
        self.pool = pool
        self.dropout = dropout
        self.linear = torch.nn.Linear(in_dim, dim)
        self.edge_linear = None
        if edge_dim is not None:
            self.edge_linear = torch.nn.Linear(check_count("edge_dim", edge_dim, 1), dim)
        self.kinds = None
        if num_kinds is not None:
            self.kinds = torch.nn.Embedding(check_count("num_kinds", num_kinds, 1), dim)
        self.layers = torch.nn.ModuleList(
            make_convolution(conv, dim, dropout=dropout, residual=True, activation="relu") for _ in range(num_layers)
        )
        self.norms = torch.nn.ModuleList(BatchNorm(dim) for _ in range(0 if conv == "gatedgcn" else num_layers))

    def forward(self, tokens: Tokens, x: Tensor, graph: Graph, edge_attr: Tensor | None = None) -> Tensor:
        """The vectors, ``[K, dim]``; see :class:`~gnnkit.sequence.parts.TokenEncoder`.

        Raises:
            ShapeError: If ``x`` is not ``[N, in_dim]``, ``edge_attr`` not ``[E, edge_dim]`` where ``edge_dim`` is
                given, ``tokens`` are of another number of nodes, or have no kinds where some are to be learned.
            IndexRangeError: If a node is in a token twice, or a kind is not below ``num_kinds``.
        """
        x = checked_features(tokens, x, graph, layer="SubgraphTokenEncoder", width=self.in_dim)
        members = tokens.incidence()
        subgraphs, edge = tokens.induced(graph)
        h = ops.gather(members, self.linear(x), "src")
        state = self._edge_states(edge_attr, graph, edge)
        for number, layer in enumerate(self.layers):
            out, state = convolved(layer, h, subgraphs, state)
            if self.conv != "gatedgcn":
                out = epilogue(normalized(self.norms[number], out), None, h, self.dropout, "relu", self.training)
            h = out
        out = ops.aggregate(members, h, self.pool)
        return out if self.kinds is None else out + self.kinds(checked_kind(tokens, self.kinds.num_embeddings))

    def _edge_states(self, edge_attr: Tensor | None, graph: Graph, edge: Tensor) -> Tensor | None:
        if self.edge_linear is None:
            return None
        width = self.edge_linear.in_features
        given = edge_features(edge_attr, graph, layer="SubgraphTokenEncoder", width=width)
        return copied_rows(self.edge_linear(given), edge)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_dim}, {self.dim}, conv={self.conv!r}, pool={self.pool!r}, dropout={self.dropout}"


def checked_features(tokens: Tokens, x: Tensor, graph: Graph, *, layer: str, width: int) -> Tensor:
    """``x`` itself; raises ShapeError where it does not fit the layer, the graph and the tokens."""
    x = node_features(x, graph, layer=layer, width=width)
    if tokens.num_nodes != x.size(0):
        raise ShapeError(f"{layer} got tokens of {tokens.num_nodes} nodes and features of {x.size(0)}")
    return x


def checked_kind(tokens: Tokens, num_kinds: int) -> Tensor:
    """The kinds; raises ShapeError where there are none, IndexRangeError where one is not below ``num_kinds``."""
    kind = tokens.kind
    if kind is None:
        raise ShapeError("vectors of kinds need tokens that have kinds; leave out num_kinds for those that have none")
    if kind.numel() > 0 and values_readable(kind):
        low, high = (int(bound) for bound in kind.aminmax())
        if low < 0 or high >= num_kinds:
            raise IndexRangeError(f"kinds must lie in [0, {num_kinds - 1}], got {low} to {high}; raise num_kinds")
    return kind
