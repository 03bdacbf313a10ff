"""Mamba: a state space whose parameters depend on the token."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from gnnkit import ops
from gnnkit.ops._checks import check_count
from gnnkit.sequence.blocks._inputs import check_steps, check_tokens
from gnnkit.sequence.blocks._parameters import UndecayedParameter, decay_rates, step_biases, taps


class Mamba(torch.nn.Module):
    r"""A selective state space (S6) between a convolution and a gate, on packed sequences.

    .. math::
        (u, z) &= W_{in} x, \qquad u \leftarrow \mathrm{silu}(\mathrm{conv}(u)), \qquad (r, B, C) = W_x u \\
        \delta &= \log(1 + e^{W_\delta r + b_\delta}), \qquad
        h_t = e^{\delta_t A} \odot h_{t-1} + \delta_t u_t B_t \\
        y_t &= W_{out} \bigl((\langle C_t, h_t \rangle + D \odot u_t) \odot \mathrm{silu}(z_t)\bigr)

    with a causal convolution of each channel and :math:`A = -e^{A_{log}}`. Convolution and scan read the tokens of one
    sequence only, and there is no padding that a scan in reverse would read first.

    Names and shapes of the parameters are those of ``mamba_ssm.Mamba``, whose checkpoints load. At the beginning, as
    there: :math:`A = -(1, \dots, N)` for each channel, :math:`D = 1`, and biases such that
    :math:`\log(1 + e^{b_\delta})` is log-uniform in ``[dt_min, dt_max]``, but at least ``1e-4``. ``A_log``, ``D`` and
    ``dt_proj.bias`` are marked ``no_weight_decay``.

    Paper: `Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces" (2023)
    <https://arxiv.org/abs/2312.00752>`_.

    >>> import torch
    >>> from gnnkit.sequence import Mamba
    >>> block = Mamba(8)
    >>> block(torch.randn(5, 8), torch.tensor([0, 3, 5])).shape
    torch.Size([5, 8])

    Args:
        dim: Width of tokens.
        state_dim: ``N``, the size of the state of each channel.
        conv_width: Tokens that the convolution sees.
        expand: Channels inside per channel outside.
        dt_rank: Width of ``r``. None: a sixteenth of ``dim``, rounded up.
        dt_min: Least step width at the beginning.
        dt_max: Largest step width at the beginning.

    Raises:
        ConfigError: If a setting is out of range.

    Determinism: bitwise, forward and backward, for a given number of threads (matrix products are torch's; convolution
    and scan give the same bits for any number, and for a sequence alone and among others).
    Complexity: ``O(T dim (expand dim + expand state_dim))`` time for ``T`` tokens, and
    ``O(T expand dim (1 + state_dim / 32))`` memory for the backward pass.
    """

    def __init__(
        self,
        dim: int,
        *,
        state_dim: int = 16,
        conv_width: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
    ) -> None:
        super().__init__()
        check_count("dim", dim, 1)
        check_count("state_dim", state_dim, 1)
        check_count("conv_width", conv_width, 1)
        check_count("expand", expand, 1)
        check_steps(dt_min, dt_max)
        self.dim = dim
        self.state_dim = state_dim
        self.dt_rank = -(-dim // 16) if dt_rank is None else check_count("dt_rank", dt_rank, 1)
        inner = expand * dim
        self.in_proj = torch.nn.Linear(dim, 2 * inner, bias=False)
        # Holds the weights under the names of the authors; `forward` never calls it.
        self.conv1d = torch.nn.Conv1d(inner, inner, conv_width, groups=inner)
        self.x_proj = torch.nn.Linear(inner, self.dt_rank + 2 * state_dim, bias=False)
        self.dt_proj = torch.nn.Linear(self.dt_rank, inner)
        torch.nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        self.dt_proj.bias = UndecayedParameter(step_biases(inner, dt_min, dt_max))
        rates = torch.arange(1.0, state_dim + 1).log()
        self.A_log = UndecayedParameter(rates.repeat(inner, 1))
        self.D = UndecayedParameter(torch.ones(inner))
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
        offsets = check_tokens(x, offsets, reverse=reverse, block="Mamba", dim=self.dim)
        u, z = self.in_proj(x).chunk(2, dim=-1)
        u = ops.causal_conv1d(u, *taps(self.conv1d, u.dtype), offsets=offsets, activation="silu", reverse=reverse)
        delta, b, c = self.x_proj(u).split([self.dt_rank, self.state_dim, self.state_dim], dim=-1)
        out = ops.selective_scan(
            u,
            linear(delta, self.dt_proj.weight),
            decay_rates(self.A_log),
            b,
            c,
            self.D,
            z,
            offsets=offsets,
            delta_bias=self.dt_proj.bias,
            delta_softplus=True,
            reverse=reverse,
        )
        assert isinstance(out, Tensor)
        return self.out_proj(out)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dim}, state_dim={self.state_dim}, dt_rank={self.dt_rank}"
