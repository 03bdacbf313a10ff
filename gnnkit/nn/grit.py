"""Attention between pairs of nodes that have features of their own (GRIT)."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, DtypeError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._blocks import affine, check_block, check_dropout, make_norm, normalized
from gnnkit.nn._inputs import edge_features, node_features
from gnnkit.nn._pair_states import pair_states
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.nn.conv._attention import edges_as_sources, weights
from gnnkit.nn.epilogue import Activation, epilogue
from gnnkit.ops._checks import check_count


class GRITLayer(torch.nn.Module):
    r"""A layer of the graph inductive bias transformer.

    Ma et al., "Graph inductive biases in transformers without message passing", 2023. For every pair :math:`p` from
    source :math:`j` to destination :math:`i`, with :math:`\rho(z) = \mathrm{sign}(z) \sqrt{|z|}`, and for every head
    :math:`h` on its own,

    .. math::
        r_p &= \mathrm{relu}\bigl(\rho((W_q x_i + b_q + W_k x_j) \odot (W_w e_p + b_w)) + W_b e_p + b_b\bigr) \\
        \alpha_p &= \mathrm{softmax}_{p : j \to i}\bigl(\mathrm{clamp}(\langle a_h, r_p \rangle, -c, c)\bigr), \qquad
        y_i = \sum_{p : j \to i} \alpha_p (W_v x_j + W_r r_p)

    Queries and keys are added, not multiplied. Then, with the degree :math:`d_i` of the node,

    .. math::
        x_i' &= \mathrm{norm}\bigl(x_i + W_o (\theta_1 \odot y_i + \theta_2 \odot y_i \log(1 + d_i)) + b_o\bigr), \qquad
        e_p' = \mathrm{norm}(e_p + W_e r_p + b_e) \\
        x_i'' &= \mathrm{norm}(x_i' + W_2\, \phi(W_1 x_i'))

    with dropout on :math:`y`, on :math:`r` before :math:`W_e`, and inside the feed-forward block, as in the authors'
    code.

    Args:
        dim: Width of nodes and of pairs, a multiple of ``num_heads``.
        num_heads: Number of heads.
        dropout: Probability of dropping an entry.
        attention_dropout: Probability of dropping an attention weight.
        clamp: :math:`c`. None: logits are not clamped.
        degree_scaler: Scale by the degree; without, :math:`y` itself goes to :math:`W_o`.
        update_pairs: Give new pair features; False (in a last layer, say): return those given.
        norm: ``"batch"`` (over all nodes, or pairs), ``"layer"`` (of each) or ``"none"``.
        activation: :math:`\phi`: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"none"``.

    Raises:
        ConfigError: If the heads do not divide the width, or a setting is unknown or out of range.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(P dim^2 + N dim^2)`` time for ``P`` pairs. ``O(P dim)`` memory, of which training keeps the states
    and what the normalisation needs, two tensors of the size of ``e`` besides ``e`` itself (one more with ``dropout``);
    all that leads to the states is computed anew, a block of pairs at a time. The derivative of :math:`\rho` is without
    bound near 0, and taken as 0 at 0.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        clamp: float | None = 5.0,
        degree_scaler: bool = True,
        update_pairs: bool = True,
        norm: str = "batch",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        check_count("dim", dim, 1)
        check_count("num_heads", num_heads, 1)
        check_block(dropout=dropout, activation=activation, norm=norm, norms=("none", "batch", "layer"))
        check_dropout("attention_dropout", attention_dropout)
        if dim % num_heads != 0:
            raise ConfigError(f"dim must be a multiple of num_heads, got {dim} and {num_heads}")
        if clamp is not None and not clamp > 0:
            raise ConfigError(f"clamp must be above 0, or None, got {clamp}")
        self.dim = dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.clamp = clamp
        self.update_pairs = update_pairs
        self.activation: Activation = activation
        width = dim // num_heads
        self.query = torch.nn.Linear(dim, dim)
        self.key = torch.nn.Linear(dim, dim, bias=False)
        self.value = torch.nn.Linear(dim, dim, bias=False)
        self.pair = torch.nn.Linear(dim, 2 * dim)
        self.logit = torch.nn.Parameter(torch.empty(num_heads, width))
        self.pair_value = torch.nn.Parameter(torch.empty(num_heads, width, width))
        self.degree = torch.nn.Parameter(torch.empty(2, dim)) if degree_scaler else None
        self.out = torch.nn.Linear(dim, dim)
        self.out_pair = torch.nn.Linear(dim, dim) if update_pairs else None
        self.norm = make_norm(norm, dim)
        self.norm_pair = make_norm(norm, dim) if update_pairs else None
        self.expand = torch.nn.Linear(dim, 2 * dim)
        self.contract = torch.nn.Linear(2 * dim, dim)
        self.norm_out = make_norm(norm, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights, with the variances of the authors' code, and forgets running statistics."""
        for module in self.children():
            if isinstance(module, torch.nn.Linear | BatchNorm | torch.nn.LayerNorm):
                module.reset_parameters()
        for linear in (self.query, self.key, self.value, self.pair):
            torch.nn.init.xavier_normal_(linear.weight)
        heads, width = self.logit.shape
        torch.nn.init.normal_(self.logit, std=(2 / (heads + width)) ** 0.5)
        torch.nn.init.normal_(self.pair_value, std=(2 / (heads * width + width**2)) ** 0.5)
        if self.degree is not None:
            torch.nn.init.normal_(self.degree, std=(1 / (self.dim + 1)) ** 0.5)

    def forward(self, x: Tensor, pairs: Graph, e: Tensor, degree: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Updates nodes and pairs.

        Args:
            x: Node features, ``[N, dim]``.
            pairs: Which nodes attend to which: an edge from ``j`` to ``i`` lets ``i`` see ``j``. All pairs of each
                graph (:func:`gnnkit.nn.complete_graphs`), or some. A node without in-edges sees nothing, ``y = 0``.
            e: Pair features, ``[P, dim]`` in the order of the edges of ``pairs``.
            degree: Number of neighbours of each node in the graph itself, ``[N]``; needed with ``degree_scaler``.

        Returns:
            Node features ``[N, dim]`` and pair features ``[P, dim]``.

        Raises:
            ShapeError: If a tensor does not fit ``pairs``, or ``degree`` is missing.
            DtypeError: If ``degree`` holds no real numbers.
        """
        x = node_features(x, pairs, layer="GRITLayer", width=self.dim)
        e = edge_features(e, pairs, layer="GRITLayer", width=self.dim)
        attended, states = self._attend(x, pairs, e)
        attended = epilogue(attended, None, None, self.dropout, "none", self.training)
        attended = self._scaled(attended, degree)
        x = normalized(self.norm, affine(self.out, attended, x, 0.0, "none", self.training))
        if self.out_pair is not None:
            if self.dropout > 0 and self.training:
                states = epilogue(states, None, None, self.dropout, "none", self.training)
            # Two plain passes: the fused one would keep what it was given, which is as large as all pairs.
            e = normalized(self.norm_pair, e + self.out_pair(states))
        hidden = affine(self.expand, x, None, self.dropout, self.activation, self.training)
        return normalized(self.norm_out, affine(self.contract, hidden, x, 0.0, "none", self.training)), e

    def _attend(self, x: Tensor, pairs: Graph, e: Tensor) -> tuple[Tensor, Tensor]:
        """What arrives at each node, ``[N, dim]``, and the states of the pairs, ``[P, dim]``."""
        states, logits = pair_states(
            self.query(x), self.key(x), e, self.pair.weight, self.pair.bias, self.logit, pairs.edge_index
        )
        if self.clamp is not None:
            logits = logits.clamp(-self.clamp, self.clamp)
        alpha = weights(pairs, logits, self.attention_dropout if self.training else 0.0)
        value = self.value(x).unflatten(1, (self.num_heads, -1)).to(alpha.dtype)
        by_head = states.unflatten(1, (self.num_heads, -1))
        gathered = ops.spmm(edges_as_sources(pairs), by_head, alpha)
        gathered = torch.einsum("nhc,hcd->nhd", gathered, self.pair_value.to(gathered.dtype)).to(alpha.dtype)
        return (ops.spmm(pairs, value, alpha) + gathered).flatten(1), states

    def _scaled(self, attended: Tensor, degree: Tensor | None) -> Tensor:
        if self.degree is None:
            return attended
        if degree is None or degree.shape != attended.shape[:1]:
            found = None if degree is None else tuple(degree.shape)
            raise ShapeError(f"GRITLayer needs one degree per node, [{attended.size(0)}], got {found}")
        if degree.dtype == torch.bool or degree.is_complex():
            raise DtypeError(f"GRITLayer needs numbers for degree, got {degree.dtype}")
        log_degree = degree.to(attended.dtype).log1p().unsqueeze(-1)
        plain, scaled = self.degree.to(attended.dtype)
        return attended * (plain + log_degree * scaled)

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.dim}, {self.num_heads}, dropout={self.dropout}, attention_dropout={self.attention_dropout}, "
            f"clamp={self.clamp}, activation={self.activation!r}"
        )
