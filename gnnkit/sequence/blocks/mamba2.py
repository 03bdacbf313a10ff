"""The block of Mamba-2."""

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

from gnnkit import ops
from gnnkit.errors import ConfigError
from gnnkit.ops._checks import check_count
from gnnkit.sequence.blocks._inputs import check_steps, check_tokens
from gnnkit.sequence.blocks._parameters import UndecayedParameter, decay_rates, step_biases, taps


class GatedRMSNorm(torch.nn.Module):
    r"""Normalises gated features by their root mean square.

    .. math::
        u = x \odot z\,\sigma(z), \qquad
        y = \gamma \odot \frac{u}{\sqrt{\mathrm{mean}(u^2) + \epsilon}}

    with a mean of its own for each of ``num_groups`` equal parts of the features (Zhang and Sennrich, "Root mean square
    layer normalization", 2019; gated as in Mamba-2).

    Args:
        dim: Width of the features.
        num_groups: Number of parts, which divides ``dim``.
        eps: :math:`\epsilon`.
    """

    def __init__(self, dim: int, *, num_groups: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Gates ``x`` by ``z`` and normalises it, all ``[*, dim]``."""
        parts = (x * silu(z)).unflatten(-1, (self.num_groups, -1))
        return rms_norm(parts, parts.shape[-1:], eps=self.eps).flatten(-2) * self.weight

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.weight.size(0)}, num_groups={self.num_groups}, eps={self.eps}"


class Mamba2(torch.nn.Module):
    r"""The block of Mamba-2 (Dao and Gu, "Transformers are SSMs", 2024, https://arxiv.org/abs/2405.21060).

    .. math::
        [z, x, B, C, \Delta] = W_i\, u, \qquad [x, B, C] \leftarrow \mathrm{SiLU}(\mathrm{conv}([x, B, C])), \qquad
        y = W_o\, \mathrm{norm}\bigl(\mathrm{SSD}(x, \Delta, A, B, C, D), z\bigr)

    with a causal convolution of each channel, :func:`gnnkit.ops.ssd`, and :class:`GatedRMSNorm`. Parameters are named,
    shaped and initialised as in the authors' class with ``rmsnorm=True`` and ``norm_before_gate=False``: rates
    :math:`-A \sim U(1, 16)`, :math:`D = 1`, and biases that spread initial steps evenly, on a logarithmic scale, over
    ``dt_min`` to ``dt_max`` (none below 1e-4). Rates, :math:`D` and those biases carry ``no_weight_decay = True``.

    Args:
        dim: Width of tokens.
        state_dim: States of each channel.
        head_dim: Channels that share a rate and a step; it divides ``expand * dim``.
        num_groups: Groups of heads, each of which shares :math:`B` and :math:`C`; it divides the number of heads.
        conv_width: Tokens that the convolution sees.
        expand: Inner channels per channel of a token.
        chunk_size: See :func:`gnnkit.ops.ssd`.
        dt_min: Smallest initial step.
        dt_max: Largest initial step.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: the scan and the convolution are bitwise so for any number of threads; the affine maps are torch's.
    Complexity: ``O(T expand dim (dim + state_dim))`` time. About ``3 expand dim^2`` parameters.
    """

    def __init__(
        self,
        dim: int,
        *,
        state_dim: int = 64,
        head_dim: int = 64,
        num_groups: int = 1,
        conv_width: int = 4,
        expand: int = 2,
        chunk_size: int = 64,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
    ) -> None:
        super().__init__()
        counts = {"dim": dim, "state_dim": state_dim, "head_dim": head_dim, "num_groups": num_groups}
        counts |= {"conv_width": conv_width, "expand": expand, "chunk_size": chunk_size}
        for name, value in counts.items():
            check_count(name, value, 1)
        check_steps(dt_min, dt_max)
        inner = expand * dim
        if inner % head_dim != 0:
            raise ConfigError(
                f"head_dim must divide the inner width expand * dim = {inner}, got {head_dim}; a divisor of it is "
                f"{math.gcd(inner, head_dim)}"
            )
        heads = inner // head_dim
        if heads % num_groups != 0:
            raise ConfigError(
                f"num_groups must divide the number of heads, expand * dim / head_dim = {heads}, got {num_groups}"
            )
        self.dim = dim
        self.state_dim = state_dim
        self.head_dim = head_dim
        self.num_groups = num_groups
        self.chunk_size = chunk_size
        self.dt_min = float(dt_min)
        self.dt_max = float(dt_max)
        mixed = inner + 2 * num_groups * state_dim
        self._widths = (inner, mixed, heads)
        # Names as in the authors' class.
        self.in_proj = torch.nn.Linear(dim, inner + mixed + heads, bias=False)
        self.conv1d = torch.nn.Conv1d(mixed, mixed, conv_width, groups=mixed)
        self.dt_bias = UndecayedParameter(torch.empty(heads))
        self.A_log = UndecayedParameter(torch.empty(heads))
        self.D = UndecayedParameter(torch.empty(heads))
        self.norm = GatedRMSNorm(inner, num_groups=num_groups)
        self.out_proj = torch.nn.Linear(inner, dim, bias=False)
        self._init_scan()

    def reset_parameters(self) -> None:
        """Draws new weights."""
        for part in (self.in_proj, self.conv1d, self.out_proj):
            part.reset_parameters()
        torch.nn.init.ones_(self.norm.weight)
        self._init_scan()

    @torch.no_grad()
    def _init_scan(self) -> None:
        self.dt_bias.copy_(step_biases(self.dt_bias.numel(), self.dt_min, self.dt_max))
        self.A_log.uniform_(1, 16).log_()
        self.D.fill_(1.0)

    def forward(self, x: Tensor, offsets: Tensor, *, reverse: bool = False) -> Tensor:
        """Reads each sequence of tokens.

        Args:
            x: Tokens, ``[T, dim]``.
            offsets: Boundaries of the ``S`` sequences, ``[S + 1]``, from 0 to ``T``.
            reverse: Whether each sequence is read from its end to its beginning; rows keep their places.

        Returns:
            ``[T, dim]``.

        Raises:
            ShapeError: If ``x`` is not ``[T, dim]``.
            DtypeError: If ``x`` is not floating, or ``offsets`` are no integers.
            IndexRangeError: If ``offsets`` do not start at 0, decrease, or do not end at ``T``.
        """
        offsets = check_tokens(x, offsets, reverse=reverse, block="Mamba2", dim=self.dim)
        gate, mixed, delta = self.in_proj(x).split(self._widths, dim=1)
        mixed = ops.causal_conv1d(
            mixed, *taps(self.conv1d, mixed.dtype), offsets=offsets, activation="silu", reverse=reverse
        )
        states = self.num_groups * self.state_dim
        inputs, b, c = mixed.split((self._widths[0], states, states), dim=1)
        scanned = ops.ssd(
            inputs.unflatten(1, (-1, self.head_dim)), delta, decay_rates(self.A_log),
            b.unflatten(1, (self.num_groups, -1)), c.unflatten(1, (self.num_groups, -1)), self.D,
            offsets=offsets, delta_bias=self.dt_bias, delta_softplus=True, reverse=reverse,
            chunk_size=self.chunk_size,
        )  # fmt: skip
        return self.out_proj(self.norm(cast(Tensor, scanned).flatten(1), gate))

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.dim}, state_dim={self.state_dim}, head_dim={self.head_dim}, num_groups={self.num_groups}, "
            f"chunk_size={self.chunk_size}"
        )
