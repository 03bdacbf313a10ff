"""S4D: a diagonal state space that does not depend on the token."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import gelu, glu, linear

from gnnkit.errors import ConfigError
from gnnkit.ops._checks import check_count
from gnnkit.sequence.blocks._diagonal import Diagonal, convolve, faster, recur
from gnnkit.sequence.blocks._inputs import check_steps, check_tokens
from gnnkit.sequence.blocks._parameters import UndecayedParameter, log_uniform

Init = Literal["lin", "inv"]
Mode = Literal["auto", "fft", "recurrent"]


class S4DKernel(torch.nn.Module):
    r"""The diagonal system of an :class:`S4D` block, of ``N / 2`` conjugate pairs for each channel.

    :math:`\delta = e^{log\_dt}` and :math:`A = -e^{log\_A\_real} + i\, A_{imag}`.

    Args:
        dim: Channels.
        state_dim: ``N``.
        init: See :class:`S4D`.
        dt_min: Least step width at the beginning.
        dt_max: Largest step width at the beginning.
    """

    def __init__(self, dim: int, state_dim: int, init: Init, dt_min: float, dt_max: float) -> None:
        super().__init__()
        pairs = state_dim // 2
        index = torch.arange(float(pairs))
        if init == "lin":
            imaginary = math.pi * index
        else:
            imaginary = state_dim / math.pi * (state_dim / (2 * index + 1) - 1)
        self.log_dt = UndecayedParameter(log_uniform(dim, dt_min, dt_max).log())
        self.log_A_real = UndecayedParameter(torch.full((dim, pairs), math.log(0.5)))
        self.A_imag = UndecayedParameter(imaginary.repeat(dim, 1))
        # As torch.view_as_real of complex normal numbers of variance one.
        self.C = torch.nn.Parameter(torch.randn(dim, pairs, 2) * 0.5**0.5)

    def forward(self) -> Diagonal:
        """The discretised system, in float64: its step widths are too small for differences in float32."""
        rate = torch.complex(-self.log_A_real.double().exp(), self.A_imag.double())
        read = torch.view_as_complex(self.C.double())
        return Diagonal.zero_order_hold(self.log_dt.double().exp(), rate, read)


class S4D(torch.nn.Module):
    r"""A diagonal state space with a gated linear map after it, on packed sequences.

    .. math::
        h_t &= \bar A \odot h_{t-1} + \bar B u_t, \qquad \bar A = e^{\delta A}, \qquad \bar B = (\bar A - 1) / A \\
        y_t &= 2\,\mathrm{Re} \langle C, h_t \rangle + D \odot u_t, \qquad
        \mathrm{out} = \mathrm{GLU}(W\, \mathrm{gelu}(y) + b)

    with complex states of each channel on its own and :math:`\mathrm{GLU}(a, b) = a \odot \sigma(b)`. Names, shapes
    and initial distributions of the parameters are those of the authors' stand-alone ``S4D`` (without dropout, which
    :class:`Hybrid` has), whose state dicts load. The parameters of :math:`\delta` and :math:`A` are marked
    ``no_weight_decay``, as there.

    Paper: `Gu, Gupta, Goel and Ré, "On the parameterization and initialization of diagonal state space models" (2022)
    <https://arxiv.org/abs/2206.11893>`_.

    Both modes give the same up to rounding. ``"recurrent"`` takes 8 to 64 tokens at a time by matrix products and
    carries the state from one such chunk to the next; ``"fft"`` convolves with the kernel
    :math:`K_j = 2\,\mathrm{Re} \sum_n C_n \bar B_n \bar A_n^j`, sequences of similar length together. A value that is
    NaN stays in its sequence, but may spread to tokens before it.

    >>> import torch
    >>> from gnnkit.sequence import S4D
    >>> block = S4D(8)
    >>> block(torch.randn(5, 8), torch.tensor([0, 3, 5])).shape
    torch.Size([5, 8])

    Args:
        dim: Width of tokens.
        state_dim: ``N``, twice the number of complex states of each channel: conjugates are left out.
        init: :math:`A` at the beginning: ``"lin"``: :math:`-\frac12 + i \pi n`; ``"inv"``: :math:`-\frac12 + i
            \frac N \pi (\frac N {2n + 1} - 1)`, for :math:`n = 0, \dots, N / 2 - 1`.
        mode: ``"fft"``, ``"recurrent"``, or ``"auto"``: the transforms where sequences have more than 64 and at most
            4096 tokens on average, and the recurrence elsewhere and where it is traced by ``torch.compile``.
        dt_min: Least step width at the beginning, where widths are log-uniform.
        dt_max: Largest step width at the beginning.

    Raises:
        ConfigError: If a setting is unknown or out of range.

    Determinism: bitwise, forward and backward, for a given number of threads.
    Complexity: ``O(T dim (dim + state_dim))`` time as a recurrence, ``O(T dim (dim + log L) + dim state_dim L)`` as a
    convolution, where ``L`` is the length of the longest sequence; memory ``O(T dim (1 + state_dim / Q))`` for chunks
    of ``Q`` tokens, and ``O(T dim + dim (L + state_dim sqrt(L)))``.
    """

    def __init__(
        self,
        dim: int,
        *,
        state_dim: int = 64,
        init: Init = "lin",
        mode: Mode = "auto",
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
    ) -> None:
        super().__init__()
        check_count("dim", dim, 1)
        check_count("state_dim", state_dim, 2)
        check_steps(dt_min, dt_max)
        if state_dim % 2 != 0:
            raise ConfigError(f"state_dim must be even, two for each conjugate pair, got {state_dim}")
        for name, value, allowed in (("init", init, get_args(Init)), ("mode", mode, get_args(Mode))):
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        self.dim = dim
        self.state_dim = state_dim
        self.mode: Mode = mode
        self.D = torch.nn.Parameter(torch.randn(dim))
        self.kernel = S4DKernel(dim, state_dim, init, dt_min, dt_max)
        # Holds the weights under the names of the authors; `forward` applies them to rows.
        self.output_linear = torch.nn.Sequential(torch.nn.Conv1d(dim, 2 * dim, 1), torch.nn.GLU(dim=-2))

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
        offsets = check_tokens(x, offsets, reverse=reverse, block="S4D", dim=self.dim)
        with torch.autocast(x.device.type, enabled=False):
            u = x.float() if x.dtype == torch.bfloat16 else x
            apply = {"fft": convolve, "recurrent": recur}.get(self.mode) or faster(u, offsets)
            y = apply(u, self.kernel(), offsets, reverse) + self.D.to(u.dtype) * u
        conv = self.output_linear[0]
        assert isinstance(conv, torch.nn.Conv1d)
        return glu(linear(gelu(y.to(x.dtype)), conv.weight.squeeze(-1), conv.bias))

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dim}, state_dim={self.state_dim}, mode={self.mode!r}"
