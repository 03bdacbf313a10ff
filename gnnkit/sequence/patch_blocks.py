"""Blocks for short sequences of patches: mixing over places, and attention that knows how patches lie."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import dropout

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.nn._blocks import affine, check_dropout
from gnnkit.nn.attended_pairs import complete_graphs
from gnnkit.nn.epilogue import epilogue
from gnnkit.ops._checks import check_count
from gnnkit.sequence.blocks._inputs import check_tokens
from gnnkit.sequence.blocks._slots import Slots
from gnnkit.sequence.patches import PatchPairs

PatchAttentionKind = Literal["standard", "hadamard", "graph", "kernel", "additive"]


class MixerBlock(torch.nn.Module):
    r"""MLP-Mixer block (Tolstikhin et al., 2021) on packed sequences of at most ``max_tokens`` tokens.

    .. math::
        U = X + (\mathrm{MLP}_1(\mathrm{LN}(X)^\top))^\top, \qquad Y = U + \mathrm{MLP}_2(\mathrm{LN}(U)), \qquad
        \mathrm{MLP}(z) = W_2\, \mathrm{dropout}(\mathrm{gelu}(W_1\, \mathrm{dropout}(z)))

    :math:`\mathrm{MLP}_1` acts along the places of a sequence, of which there is a fixed number; places behind the last
    token count as zeros. So the number of tokens and their order matter. (In the code of He et al. such places take
    part with values of their own from the second block on.)

    Args:
        dim: Width of tokens.
        max_tokens: Number of places.
        token_dim: Hidden width of :math:`\mathrm{MLP}_1`. None: ``4 dim``.
        channel_dim: Hidden width of :math:`\mathrm{MLP}_2`. None: ``dim // 2``, at least 1.
        dropout: Probability of dropping an entry of the input and the hidden layer of each network.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, for a given state of torch's global generator and a number of threads.
    Complexity: ``O(S dim max_tokens token_dim + T dim channel_dim)`` for ``S`` sequences.
    """

    def __init__(
        self,
        dim: int,
        max_tokens: int,
        *,
        token_dim: int | None = None,
        channel_dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        token_dim = 4 * dim if token_dim is None else token_dim
        channel_dim = max(dim // 2, 1) if channel_dim is None else channel_dim
        sizes = {"dim": dim, "max_tokens": max_tokens, "token_dim": token_dim, "channel_dim": channel_dim}
        for name, value in sizes.items():
            check_count(name, value, 1)
        check_dropout("dropout", dropout)
        self.dim = dim
        self.max_tokens = max_tokens
        self.token_norm = torch.nn.LayerNorm(dim)
        self.token_mix = _network(max_tokens, token_dim, dropout)
        self.channel_norm = torch.nn.LayerNorm(dim)
        self.channel_mix = _network(dim, channel_dim, dropout)

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        """Mixes tokens of each sequence, then channels of each token.

        Args:
            x: Tokens, ``[T, dim]``.
            offsets: Where sequences begin, and ``T`` at the end, ``[S + 1]``.
            reverse: Count places from the end of each sequence.

        Returns:
            ``[T, dim]``.

        Raises:
            ConfigError: If a sequence has more than ``max_tokens`` tokens.
            ShapeError, IndexRangeError: If ``x`` or ``offsets`` do not fit.
        """
        offsets = check_tokens(x, offsets, reverse=reverse, block="MixerBlock", dim=self.dim)
        slots = self._slots(offsets, x.size(0), reverse)
        filled = slots.fill(self.token_norm(x).to(x.dtype))
        mixed = self.token_mix(filled.unflatten(0, (-1, self.max_tokens)).transpose(1, 2)).transpose(1, 2)
        x = x + slots.read(mixed.flatten(0, 1))
        return x + self.channel_mix(self.channel_norm(x))

    def _slots(self, offsets: Tensor, num_tokens: int, reverse: bool) -> Slots:
        """``max_tokens`` places for each sequence."""
        sizes = offsets.diff()
        largest = int(sizes.max()) if sizes.numel() > 0 else 0
        if largest > self.max_tokens:
            raise ConfigError(
                f"MixerBlock has a fixed number of places, max_tokens = {self.max_tokens}, but a sequence has "
                f"{largest} tokens; make it for more, or take fewer patches"
            )
        begins = torch.arange(sizes.size(0), device=sizes.device) * self.max_tokens
        return Slots.at(begins, sizes.size(0) * self.max_tokens, offsets, num_tokens, reverse)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dim}, max_tokens={self.max_tokens}"


class PatchTransformerLayer(torch.nn.Module):
    r"""Transformer layer whose attention among the patches of a graph may know how they lie (He et al., 2023).

    .. math::
        U = X + \mathrm{dropout}(\mathrm{attention}(\mathrm{LN}(X))), \qquad
        Y = U + \mathrm{dropout}(W_2\, \mathrm{dropout}(\mathrm{relu}(W_1 \mathrm{LN}(U))))

    For each head, with :math:`S = Q K^\top / \sqrt{d}` and :math:`\omega_{pq} \ge 0` given for each pair of patches,
    the attention is :math:`W_o (P V) + b_o` with

    ============== =================================================================================================
    ``attention``  :math:`P`
    ============== =================================================================================================
    ``"standard"`` :math:`\mathrm{softmax}(S)`
    ``"hadamard"`` :math:`\omega \odot \mathrm{softmax}(S)`
    ``"graph"``    :math:`\omega \odot e^S`, rows scaled to sum to 1; ``"kernel"`` the same
    ``"additive"`` :math:`\mathrm{softmax}(S + a\, \omega + b)`, with :math:`a, b` learned for each head
    ============== =================================================================================================

    This is what the authors' code computes; the paper writes :math:`\mathrm{softmax}(\omega \odot S)` for ``"graph"``
    and ``"kernel"``, which differ in :math:`\omega` only, and :math:`\mathrm{softmax}(S) + \mathrm{LL}(\omega)` for the
    last.

    Args:
        dim: Width of tokens, a multiple of ``num_heads``.
        num_heads: Number of heads.
        attention: As in the table.
        hidden_dim: Width between :math:`W_1` and :math:`W_2`. None: ``2 dim``.
        dropout: Probability of dropping an entry, also of the attention weights.

    Raises:
        ConfigError: If a setting is unknown or out of range.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(sum P^2 dim + T dim^2)`` time for sequences of ``P`` tokens. Weights of pairs are stored for
    ``"hadamard"`` and ``"additive"``, and in training with dropout.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int = 8,
        attention: PatchAttentionKind = "hadamard",
        hidden_dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        hidden_dim = 2 * dim if hidden_dim is None else hidden_dim
        for name, value in (("dim", dim), ("num_heads", num_heads), ("hidden_dim", hidden_dim)):
            check_count(name, value, 1)
        check_dropout("dropout", dropout)
        if attention not in get_args(PatchAttentionKind):
            raise ConfigError(f"attention must be one of {', '.join(get_args(PatchAttentionKind))}, got {attention!r}")
        if dim % num_heads != 0:
            raise ConfigError(f"dim must be a multiple of num_heads, got {dim} and {num_heads}")
        self.dim = dim
        self.num_heads = num_heads
        self.attention = attention
        self.dropout = dropout
        self.attention_norm = torch.nn.LayerNorm(dim)
        self.project_in = torch.nn.Linear(dim, 3 * dim)
        self.project_out = torch.nn.Linear(dim, dim)
        self.pair_bias = torch.nn.Linear(1, num_heads) if attention == "additive" else None
        self.feed_forward_norm = torch.nn.LayerNorm(dim)
        self.expand = torch.nn.Linear(dim, hidden_dim)
        self.contract = torch.nn.Linear(hidden_dim, dim)
        torch.nn.init.xavier_uniform_(self.project_in.weight)
        torch.nn.init.xavier_uniform_(self.project_out.weight)
        torch.nn.init.zeros_(self.project_out.bias)

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False, pairs: PatchPairs | None = None) -> Tensor:
        r"""Lets every token attend to all tokens of its sequence.

        Args:
            x: Tokens, ``[T, dim]``.
            offsets: Where sequences begin, and ``T`` at the end, ``[S + 1]``.
            reverse: Changes nothing: attention reads in no order.
            pairs: All pairs of tokens with :math:`\omega`; ``"standard"`` can do without.

        Returns:
            ``[T, dim]``.

        Raises:
            ConfigError: If there is no ``pairs`` for an attention that needs them.
            ShapeError, IndexRangeError: If ``x``, ``offsets`` or ``pairs`` do not fit.
        """
        offsets = check_tokens(x, offsets, reverse=reverse, block="PatchTransformerLayer", dim=self.dim)
        if pairs is None:
            if self.attention != "standard":
                raise ConfigError(
                    f'attention "{self.attention}" needs pairs that say how patches lie, which GraphViT gives it; '
                    'outside of that take "standard"'
                )
            pairs = PatchPairs(complete_graphs(offsets), x.new_ones(0, dtype=torch.float64))
        if pairs.graph.num_nodes != x.size(0):
            raise ShapeError(f"pairs must be of {x.size(0)} tokens, got {pairs.graph.num_nodes}")
        out = self.project_out(self._attended(self.attention_norm(x), pairs))
        x = epilogue(out, None, x, self.dropout, "none", self.training)
        hidden = affine(self.expand, self.feed_forward_norm(x), None, self.dropout, "relu", self.training)
        return affine(self.contract, hidden, x, self.dropout, "none", self.training)

    def _attended(self, x: Tensor, pairs: PatchPairs) -> Tensor:
        q, k, v = self.project_in(x).unflatten(1, (3, self.num_heads, -1)).unbind(1)
        weight = pairs.weight.to(q.dtype)
        bias = None
        if self.pair_bias is not None:
            bias = self.pair_bias(weight.unsqueeze(-1))
        elif self.attention in ("graph", "kernel"):
            bias = weight.log()
        p = self.dropout if self.training else 0.0
        if p == 0.0 and self.attention != "hadamard":
            return ops.attend(pairs.graph, q, k, v, bias=bias).flatten(1)
        score = ops.sddmm(pairs.graph, q, k) * q.size(2) ** -0.5
        if bias is not None:
            score = score + (bias if bias.dim() == 2 else bias.unsqueeze(-1))
        share = ops.edge_softmax(pairs.graph, score)
        if self.attention == "hadamard":
            share = share * weight.unsqueeze(-1)
        return ops.spmm(pairs.graph, v, dropout(share, p)).flatten(1)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dim}, num_heads={self.num_heads}, attention={self.attention!r}, dropout={self.dropout}"


def _network(width: int, hidden: int, p: float) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Dropout(p),
        torch.nn.Linear(width, hidden),
        torch.nn.GELU(),
        torch.nn.Dropout(p),
        torch.nn.Linear(hidden, width),
    )
