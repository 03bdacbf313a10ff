"""From tokens to vectors by what random walks meet in them."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import check_dropout, normalized
from gnnkit.nn._inputs import edge_features
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.nn.epilogue import epilogue
from gnnkit.nn.pool import REDUCTIONS
from gnnkit.ops._checks import check_count, check_flag
from gnnkit.sequence._models import copied_rows, drawn_seed
from gnnkit.sequence.blocks._parameters import taps
from gnnkit.sequence.token_encoders import checked_features, checked_kind
from gnnkit.sequence.token_walks import TokenWalks, token_walks
from gnnkit.sequence.tokens import Tokens


class WalkFeatureEncoder(torch.nn.Module):
    r"""Random walks within the subgraph that each token induces, read by a convolutional network over their steps.

    The other local encoding of Graph Mamba networks (Behrouz and Hashemi, 2024), after CRaWL (Tönshoff et al., "Walking
    out of the Weisfeiler Leman hierarchy: graph learning beyond message passing", TMLR 2023). For a walk :math:`v_0,
    e_1, v_1, \ldots, e_L, v_L` of a token,

    .. math::
        h^0_i &= W_x x_{v_i} + W_e x_{e_i} + W_s\,[\mathrm{identity}_{i1}, \ldots, \mathrm{identity}_{is},
            \mathrm{adjacency}_{i2}, \ldots, \mathrm{adjacency}_{is}] + b \\
        h^l_i &= h^{l - 1}_i + \mathrm{dropout}\Bigl(\mathrm{relu}\bigl(\mathrm{norm}\bigl(W_l \sum_{j=0}^{s}
            c^l_j \odot h^{l - 1}_{i - j}\bigr)\bigr)\Bigr), \qquad
        y_t = \bigoplus_{\text{walks of } t} \bigoplus_{i} h^{D}_i + z_{\mathrm{kind}(t)}

    with :math:`\mathrm{identity}_{ij} = [v_i = v_{i - j}]` and :math:`\mathrm{adjacency}_{ij} = 1` where an edge joins
    :math:`v_i` and :math:`v_{i - j}`, in whatever direction (:meth:`TokenWalks.structure`). At the start, and where a
    walk stays, the features of the edge are zero; so is :math:`h` before the start. As in CRaWL the kernel reaches as
    far back as the encodings, each layer is a convolution of each channel and one of a single step, and walks do not
    turn back unless they must; unlike there, a token takes the pooling of all steps, the layers have residuals, and a
    walk stays where no edge leaves. The normalisation is a batch normalisation over all steps. An empty token has the
    vector of its kind, or zero.

    How walks start and go says :func:`token_walks`. Their seed is drawn from torch's global generator in training, and
    0 in evaluation, unless it is given. They depend on the places of tokens in the batch, and so do vectors.

    Args:
        in_dim: Width of the node features.
        dim: Width of the vectors.
        num_walks: Walks of each token, at least 1.
        walk_length: :math:`L`, at least 1.
        window: :math:`s`, at least 1.
        num_layers: :math:`D`, at least 1.
        pool: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.
        backtracking: As of :func:`token_walks`.
        edge_dim: Width of the edge features. None: they are not looked at.
        num_kinds: Learn a vector :math:`z_k` for each kind of token in ``[0, num_kinds)``. None: there is none.
        dropout: Probability of dropping an entry.

    Attributes:
        is_random: True.

    Raises:
        ConfigError: If a setting is unknown or out of range.

    Determinism: walks are the same for a seed, on every machine and for any number of threads; the network is bitwise,
    forward and backward, for a given state of torch's global generator.
    Complexity: that of :func:`token_walks` and :meth:`TokenWalks.structure`, and
    ``O(N in_dim dim + S D dim (dim + s))`` time, ``O(S (D dim + s))`` memory for ``S`` nodes of all walks.
    """

    is_random = True

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        num_walks: int = 2,
        walk_length: int = 6,
        window: int = 4,
        num_layers: int = 1,
        pool: str = "mean",
        backtracking: bool = False,
        edge_dim: int | None = None,
        num_kinds: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_dim = check_count("in_dim", in_dim, 1)
        self.dim = check_count("dim", dim, 1)
        self.num_walks = check_count("num_walks", num_walks, 1)
        self.walk_length = check_count("walk_length", walk_length, 1)
        self.window = check_count("window", window, 1)
        check_count("num_layers", num_layers, 1)
        check_flag("backtracking", backtracking)
        check_dropout("dropout", dropout)
        if pool not in REDUCTIONS:
            raise ConfigError(f"pool must be one of {', '.join(REDUCTIONS)}, got {pool!r}")
        self.pool = pool
        self.backtracking = backtracking
        self.dropout = dropout
        self.linear = torch.nn.Linear(in_dim, dim)
        self.structure_linear = torch.nn.Linear(2 * window - 1, dim, bias=False)
        self.edge_linear = None
        if edge_dim is not None:
            # Without a bias: no edge must be the same as one whose features are zero.
            self.edge_linear = torch.nn.Linear(check_count("edge_dim", edge_dim, 1), dim, bias=False)
        self.kinds = None
        if num_kinds is not None:
            self.kinds = torch.nn.Embedding(check_count("num_kinds", num_kinds, 1), dim)
        self.layers = torch.nn.ModuleList(_WalkConvolution(dim, window + 1, dropout) for _ in range(num_layers))

    def forward(
        self,
        tokens: Tokens,
        x: Tensor,
        graph: Graph,
        edge_attr: Tensor | None = None,
        *,
        seed: int | None = None,
        walks: TokenWalks | None = None,
    ) -> Tensor:
        """The vectors, ``[K, dim]``; see :class:`~gnnkit.sequence.parts.TokenEncoder`.

        Args:
            tokens: The tokens.
            x: Node features, ``[N, in_dim]``.
            graph: The topology.
            edge_attr: Edge features in the caller's order, ``[E, edge_dim]`` where ``edge_dim`` is given.
            seed: Of the walks. None: drawn from torch's global generator in training, 0 in evaluation.
            walks: Walks of the tokens that are known already, of any number and length; none are drawn then.

        Raises:
            ShapeError: If ``x`` is not ``[N, in_dim]``, ``edge_attr`` not ``[E, edge_dim]`` where ``edge_dim`` is
                given, ``tokens`` are of another number of nodes, or have no kinds where some are to be learned; or if
                ``walks`` are not of these tokens and this graph.
            IndexRangeError: If a node is in a token twice, or a kind is not below ``num_kinds``.
            ConfigError: If ``seed`` is no integer.
        """
        x = checked_features(tokens, x, graph, layer="WalkFeatureEncoder", width=self.in_dim)
        if walks is None:
            options = {"backtracking": self.backtracking, "seed": drawn_seed(seed, True, self.training)}
            walks = token_walks(tokens, graph, self.num_walks, self.walk_length, **options)
        _check_walks(walks, tokens, graph)
        steps = walks.length + 1
        offsets = torch.arange(walks.nodes.size(0) + 1, device=x.device) * steps
        h = self._step_features(x, edge_attr, graph, walks)
        for layer in self.layers:
            h = layer(h, offsets)
        out = ops.segment_reduce(h, walks.walk_ptr * steps, self.pool)
        return out if self.kinds is None else out + self.kinds(checked_kind(tokens, self.kinds.num_embeddings))

    def _step_features(self, x: Tensor, edge_attr: Tensor | None, graph: Graph, walks: TokenWalks) -> Tensor:
        """``h^0``, one row for each step of each walk."""
        h = copied_rows(self.linear(x), walks.nodes.reshape(-1))
        structure = walks.structure(graph, self.window).flatten(0, 1)
        h = h + self.structure_linear(structure.to(h.dtype))
        if self.edge_linear is None:
            return h
        width = self.edge_linear.in_features
        states = self.edge_linear(edge_features(edge_attr, graph, layer="WalkFeatureEncoder", width=width))
        # One more row stands for no edge, which is -1 in walks.
        states = torch.cat([states, states.new_zeros((1, self.dim))])
        edge = torch.nn.functional.pad(walks.edges, (1, 0), value=-1).reshape(-1)
        return h + copied_rows(states, torch.where(edge < 0, graph.num_edges, edge))

    def extra_repr(self) -> str:
        """The settings."""
        walks = f"num_walks={self.num_walks}, walk_length={self.walk_length}, window={self.window}"
        return f"{self.in_dim}, {self.dim}, {walks}, pool={self.pool!r}, dropout={self.dropout}"


class _WalkConvolution(torch.nn.Module):
    """A convolution of each channel over the steps of each walk, one over channels, normalisation and the rest."""

    def __init__(self, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        # Holds the weights; `forward` never calls it.
        self.steps = torch.nn.Conv1d(dim, dim, width, groups=dim, bias=False)
        self.channels = torch.nn.Linear(dim, dim, bias=False)
        self.norm = BatchNorm(dim)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        out = ops.causal_conv1d(x, *taps(self.steps, x.dtype), offsets=offsets)
        return epilogue(normalized(self.norm, self.channels(out)), None, x, self.dropout, "relu", self.training)


def _check_walks(walks: TokenWalks, tokens: Tokens, graph: Graph) -> None:
    given = (walks.walk_ptr.size(0) - 1, walks.num_nodes, walks.num_edges)
    wanted = (tokens.num_tokens, graph.num_nodes, graph.num_edges)
    if given != wanted:
        raise ShapeError(
            "walks must be of as many tokens, nodes and edges as there are, "
            f"{', '.join(map(str, wanted))}; got {', '.join(map(str, given))}"
        )
