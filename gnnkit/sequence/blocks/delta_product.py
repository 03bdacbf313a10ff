"""DeltaProduct: a matrix of associations per head, moved by a product of Householder steps at each token."""

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.ops._checks import check_count, check_flag
from gnnkit.sequence.blocks._inputs import check_tokens
from gnnkit.sequence.blocks._parameters import UndecayedParameter, step_biases, taps

_LENGTH_EPS = 1e-6
_NORM_EPS = 1e-5
_RATES = (1.0, 16.0)
_STEP_WIDTHS = (1e-3, 0.1)


class DeltaProduct(torch.nn.Module):
    r"""Linear attention whose state follows the gated delta rule, with ``n`` steps per token.

    .. math::
        (q, k, v) &= \mathrm{silu}(\mathrm{conv}(W_{qkv} x)), \qquad
        q \leftarrow q / \lVert q \rVert, \quad k_j \leftarrow k_j / \lVert k_j \rVert \\
        \beta_j &= b\, \sigma(W_\beta x)_j, \qquad g = -e^{A_{log}} \log(1 + e^{W_a x + b_\delta}) \\
        y &= W_{out} \bigl(\mathrm{RMSNorm}(\mathrm{delta}(q, k, v, \beta, g)) \odot \mathrm{silu}(W_z x)\bigr)

    for each head, with a causal convolution of each channel, :math:`b = 2` (``negative_eigenvalues``) or 1, and
    :func:`gnnkit.ops.gated_delta` in the middle. Each step multiplies the state by
    :math:`I - \beta_j k_j k_j^\top`; where :math:`\beta_j` comes near 2 that is a reflection, and products of ``n`` of
    them reach all rotations that move ``n`` dimensions. So states can follow words of a group, such as permutations,
    for sequences longer than those of training, which a state space with a diagonal matrix cannot
    (``benchmarks/state_tracking.py``). ``num_steps=1`` is Gated DeltaNet, and DeltaNet without ``gate``.

    At the beginning, :math:`e^{A_{log}}` is uniform in ``[1, 16]``, and :math:`\log(1 + e^{b_\delta})` log-uniform in
    ``[0.001, 0.1]``, as in Gated DeltaNet and Mamba-2. Both are marked ``no_weight_decay``.

    Papers: Yang et al., "Gated delta networks: improving Mamba2 with delta rule", ICLR 2025,
    https://arxiv.org/abs/2412.06464; Siems et al., "DeltaProduct: improving state-tracking in linear RNNs via
    Householder products", 2025, https://arxiv.org/abs/2502.10297.

    >>> import torch
    >>> from gnnkit.sequence import DeltaProduct
    >>> block = DeltaProduct(8, num_heads=2)
    >>> block(torch.randn(5, 8), torch.tensor([0, 3, 5])).shape
    torch.Size([5, 8])

    Args:
        dim: Width of tokens.
        num_heads: Number of heads.
        num_steps: ``n``, the steps of the delta rule per token.
        head_dim: Width of the queries, keys and values of a head. None: ``dim / num_heads``.
        conv_width: Tokens that the convolution sees.
        gate: Let the state decay by :math:`e^g` at each token. Without, nothing is forgotten but by steps.
        negative_eigenvalues: Let :math:`\beta` go up to 2, so that steps can reflect.

    Raises:
        ConfigError: If a setting is out of range, or the heads do not divide ``dim`` and ``head_dim`` is None.

    Determinism: bitwise, forward and backward, for a given number of threads (matrix products are torch's; convolution
    and delta rule give the same bits for any number, and for a sequence alone and among others).
    Complexity: ``O(T num_steps (dim + head_dim) num_heads head_dim)`` time for ``T`` tokens, and ``O(T num_steps
    num_heads head_dim)`` memory for the backward pass.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int = 4,
        num_steps: int = 2,
        head_dim: int | None = None,
        conv_width: int = 4,
        gate: bool = True,
        negative_eigenvalues: bool = True,
    ) -> None:
        super().__init__()
        check_count("dim", dim, 1)
        check_count("num_heads", num_heads, 1)
        check_count("num_steps", num_steps, 1)
        check_count("conv_width", conv_width, 1)
        check_flag("gate", gate)
        check_flag("negative_eigenvalues", negative_eigenvalues)
        if head_dim is None and dim % num_heads != 0:
            raise ConfigError(f"num_heads must divide dim where head_dim is None, got dim={dim}, num_heads={num_heads}")
        self.dim = dim
        self.num_heads = num_heads
        self.num_steps = num_steps
        self.head_dim = dim // num_heads if head_dim is None else check_count("head_dim", head_dim, 1)
        self.negative_eigenvalues = negative_eigenvalues
        inner = num_heads * self.head_dim
        channels = (1 + 2 * num_steps) * inner
        # What is convolved (q, k, v), the gate of the output, the strengths, and the decay.
        self._parts = [channels, inner, num_steps * num_heads, num_heads if gate else 0]
        self.in_proj = torch.nn.Linear(dim, sum(self._parts), bias=False)
        # Holds the weights as torch draws them; `forward` never calls it.
        self.conv1d = torch.nn.Conv1d(channels, channels, conv_width, groups=channels, bias=False)
        self.A_log = self.dt_bias = None
        if gate:
            self.A_log = UndecayedParameter(torch.empty(num_heads).uniform_(*_RATES).log())
            self.dt_bias = UndecayedParameter(step_biases(num_heads, *_STEP_WIDTHS))
        self.norm = torch.nn.RMSNorm(self.head_dim, eps=_NORM_EPS)
        self.out_proj = torch.nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        """Maps the tokens of packed sequences.

        Args:
            x: Tokens, ``[T, dim]``.
            offsets: Boundaries of the ``S`` sequences, int32 or int64 ``[S + 1]``, from 0 to ``T``; a sequence may be
                empty.
            reverse: Whether each sequence is read from its end to its beginning; rows keep their places.

        Returns:
            ``[T, dim]``.

        Raises:
            ShapeError: If ``x`` is not ``[T, dim]``.
            DtypeError: If ``x`` is not floating, or ``offsets`` are no integers.
            IndexRangeError: If ``offsets`` do not start at 0, decrease, or do not end at ``T``.
        """
        offsets = check_tokens(x, offsets, reverse=reverse, block="DeltaProduct", dim=self.dim)
        heads, steps = self.num_heads, self.num_steps
        qkv, z, beta, rate = self.in_proj(x).split(self._parts, dim=-1)
        qkv = ops.causal_conv1d(qkv, *taps(self.conv1d, qkv.dtype), offsets=offsets, activation="silu", reverse=reverse)
        inner = heads * self.head_dim
        q, k, v = qkv.split([inner, steps * inner, steps * inner], dim=-1)
        out = ops.gated_delta(
            _of_length_one(q.unflatten(-1, (heads, self.head_dim))),
            _of_length_one(k.unflatten(-1, (steps, heads, self.head_dim))),
            v.unflatten(-1, (steps, heads, self.head_dim)),
            (beta.sigmoid() * (2 if self.negative_eigenvalues else 1)).unflatten(-1, (steps, heads)),
            self._decay(rate),
            offsets=offsets,
            reverse=reverse,
        )
        assert isinstance(out, Tensor)
        # Under autocast, tokens are narrower than the weights of the norm.
        out = self.norm(out.to(self.norm.weight.dtype)).to(z.dtype).flatten(-2)
        return self.out_proj(out * silu(z))

    def _decay(self, rate: Tensor) -> Tensor | None:
        """The logarithm of what is left of the state, ``[T, H]``; at least in float32."""
        if self.A_log is None or self.dt_bias is None:
            return None
        wide = torch.promote_types(rate.dtype, torch.float32)
        return -self.A_log.to(wide).exp() * softplus(rate.to(wide) + self.dt_bias.to(wide))

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.dim}, num_heads={self.num_heads}, num_steps={self.num_steps}, head_dim={self.head_dim}, "
            f"gate={self.A_log is not None}, negative_eigenvalues={self.negative_eigenvalues}"
        )


def _of_length_one(x: Tensor) -> Tensor:
    """Rows of length 1, or less where they are next to nothing; in bfloat16 lengths are taken in float32."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * (wide.square().sum(-1, keepdim=True) + _LENGTH_EPS).rsqrt()).to(x.dtype)
