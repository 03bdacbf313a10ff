r"""Time-invariant diagonal state spaces over packed sequences, as a convolution and as a recurrence.

.. math:: h_t = \bar A \odot h_{t-1} + \bar B u_t, \qquad y_t = 2\,\mathrm{Re} \langle C, h_t \rangle
    = \sum_{j \ge 0} K_j u_{t-j}, \qquad K_j = 2\,\mathrm{Re} \sum_n C_n \bar B_n \bar A_n^j

All products of many terms are real, so that they are matrix products; complex numbers are only carried from chunk to
chunk.
"""

from collections.abc import Callable
from math import isqrt
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gnnkit.ops._checks import values_readable
from gnnkit.ops.selective_scan import blocked_scan
from gnnkit.sequence.blocks._slots import Slots

_SMALLEST, _LARGEST = 8, 64
"""Tokens of a chunk of the recurrence: large chunks need more products inside, small ones carry more states."""

_LONG = 4096
"""Mean length above which sequences are read as a recurrence again."""


class Diagonal(NamedTuple):
    r"""A discretised system of ``D`` channels with ``N / 2`` complex states each.

    Attributes:
        log_decay: Logarithm of :math:`\bar A`, complex128 ``[D, N / 2]``.
        read: :math:`2 C \bar B`, complex128 ``[D, N / 2]``.
    """

    log_decay: Tensor
    read: Tensor

    @classmethod
    def zero_order_hold(cls, step: Tensor, rate: Tensor, read: Tensor) -> "Diagonal":
        r"""The system that holds an input for the width of a step.

        :math:`\bar A = e^{\delta A}` and :math:`\bar B = (\bar A - 1) / A`.

        Args:
            step: :math:`\delta`, float64 ``[D]``.
            rate: :math:`A`, complex128 ``[D, N / 2]``, nowhere zero.
            read: :math:`C`, complex128 ``[D, N / 2]``.
        """
        log_decay = rate * step.unsqueeze(-1)
        return cls(log_decay, 2 * read * log_decay.expm1() / rate)

    def powers(self, exponents: Tensor) -> Tensor:
        r"""Powers of :math:`\bar A`, complex128 ``[D, N / 2, L]``."""
        return (self.log_decay.unsqueeze(-1) * exponents).exp()

    def kernel(self, length: int, dtype: torch.dtype) -> Tensor:
        r""":math:`K_0, \dots, K_{L-1}`, ``[D, L]``, in ``O(D N L)`` time and ``O(D (L + N sqrt(L)))`` memory."""
        fine = isqrt(max(length - 1, 0)) + 1
        blocks = -(-length // fine)
        device = self.log_decay.device
        coarse = self.read.unsqueeze(-1) * self.powers(fine * torch.arange(blocks, device=device))
        left = _real_rows(coarse.conj(), dtype).transpose(1, 2)
        products = left @ _real_rows(self.powers(torch.arange(fine, device=device)), dtype)
        return products.flatten(1)[:, :length]


def _real_rows(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Complex ``[D, N, L]`` as real ``[D, 2 N, L]``: with one factor conjugated, products of such are real parts."""
    return torch.view_as_real(value.resolve_conj()).movedim(3, 2).flatten(1, 2).to(dtype)


def convolve(x: Tensor, system: Diagonal, offsets: Tensor, reverse: bool) -> Tensor:
    """The system as a convolution by fast Fourier transforms.

    Sequences are padded to powers of two, those of one length side by side: less than twice the memory of the tokens.
    """
    if x.size(0) == 0:
        return x.clone()
    lengths = offsets.diff()
    # The exponent of a float is exact, where a logarithm may round.
    width = 1 << torch.frexp((lengths - 1).double()).exponent.long()
    width, order = torch.where(lengths > 0, width, 0).sort(stable=True)
    widths, counts = (values.tolist() for values in width.unique_consecutive(return_counts=True))
    sizes = [number * size for size, number in zip(widths, counts, strict=True)]
    begins = torch.empty_like(order).index_copy(0, order, width.cumsum(0) - width)
    slots = Slots.at(begins, sum(sizes), offsets, x.size(0), reverse)
    kernel = system.kernel(widths[-1], x.dtype)
    parts = slots.fill(x).split(sizes)
    return slots.read(
        torch.cat([_filtered(part, kernel, size) for part, size in zip(parts, widths, strict=True) if size > 0])
    )


def _filtered(x: Tensor, kernel: Tensor, size: int) -> Tensor:
    """Sequences of one length, one after the other, each convolved with the kernel."""
    # From channels to sequences and places, since a transform likes its numbers side by side.
    rows = x.unflatten(0, (-1, size)).permute(2, 0, 1)
    spectrum = torch.fft.rfft(rows, n=2 * size) * torch.fft.rfft(kernel[:, :size], n=2 * size).unsqueeze(1)
    return torch.fft.irfft(spectrum, n=2 * size)[..., :size].permute(1, 2, 0).flatten(0, 1)


def faster(x: Tensor, offsets: Tensor) -> Callable[[Tensor, Diagonal, Tensor, bool], Tensor]:
    """:func:`recur` or :func:`convolve`, by the mean length of sequences."""
    tokens, sequences = x.size(0), offsets.size(0) - 1
    # Sizes of transforms follow from values, which a trace does not know.
    medium = _LARGEST * sequences < tokens <= _LONG * sequences and not torch.compiler.is_compiling()
    return convolve if medium else recur


def recur(x: Tensor, system: Diagonal, offsets: Tensor, reverse: bool) -> Tensor:
    """The system as a recurrence from chunk to chunk.

    Inside of a chunk, tokens reach each other by a triangular matrix; what earlier chunks have left behind comes
    through the state, which is carried on by :func:`blocked_scan`.
    """
    size = _chunk_size(x.size(0), offsets.size(0) - 1)
    chunks = (offsets.diff() + size - 1) // size
    # Where the number must not be asked for, the largest there can be: spare chunks are empty.
    total = int(chunks.sum()) if values_readable(offsets) else x.size(0) // size + offsets.size(0) - 1
    if total == 0:
        return x.clone()
    begins = chunks.cumsum(0) - chunks
    slots = Slots.at(size * begins, size * total, offsets, x.size(0), reverse)
    tokens = slots.fill(x).unflatten(0, (total, size)).permute(2, 1, 0).contiguous()
    out = _triangle(system.kernel(size, x.dtype)) @ tokens
    if not values_readable(offsets) or total > int((chunks > 0).sum()):
        # A chunk that begins no sequence continues one.
        continues = torch.ones(total + 1, dtype=torch.bool, device=x.device).index_fill(0, begins, False)[:total]
        powers = system.powers(torch.arange(size + 1, device=x.device))
        left = _real_rows(powers[..., :size].flip(-1), x.dtype) @ tokens
        state = _carried(left, powers[..., size], continues)
        out = out + _real_rows((system.read.unsqueeze(-1) * powers[..., 1:]).conj(), x.dtype).transpose(1, 2) @ state
    return slots.read(out.permute(2, 1, 0).flatten(0, 1))


def _chunk_size(tokens: int, sequences: int) -> int:
    """A power of two that holds a sequence of mean length, within bounds; known while traced."""
    size = _SMALLEST
    while size < _LARGEST and size * sequences < tokens:
        size *= 2
    return size


def _triangle(kernel: Tensor) -> Tensor:
    """The kernel ``[D, Q]`` as matrices ``[D, Q, Q]`` from tokens to later tokens."""
    place = torch.arange(kernel.size(1), device=kernel.device)
    back = place.unsqueeze(1) - place
    return torch.where(back >= 0, kernel[:, back.clamp(min=0)], 0.0)


def _carried(left: Tensor, decay: Tensor, continues: Tensor) -> Tensor:
    """The states that chunks begin with, ``[D, N, M]``, from those that the tokens of each leave behind."""
    entered = left.unflatten(1, (-1, 2)).permute(3, 0, 1, 2)
    decay = torch.view_as_real(decay).to(left.dtype)
    before = cast(Tensor, _Carry.apply(entered, decay, continues))
    return before.permute(1, 2, 3, 0).flatten(1, 2)


class _Carry(torch.autograd.Function):
    """States before each chunk, real ``[M, D, N / 2, 2]``; the gradient is the same scan backwards."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, decay: Tensor, continues: Tensor) -> Tensor:
        kept = continues.view(-1, 1, 1)
        decays = torch.where(kept, _complex(decay), 0.0)
        entering = torch.where(kept, _complex(left).roll(1, 0), 0.0)
        before = blocked_scan(decays, entering)
        ctx.save_for_backward(before, decays, kept)
        return torch.view_as_real(before)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return _carry_backward(ctx, *grad_outputs)


@once_differentiable
def _carry_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    before, decays, kept = ctx.saved_tensors
    # Chunk 0 continues nothing, so that what is rolled around the end is zero.
    flow = blocked_scan(decays.roll(-1, 0).conj().flip(0), _complex(grad).flip(0)).flip(0)
    through = torch.where(kept, flow, 0.0)
    grad_decay = (before.roll(1, 0).conj() * through).sum(0)
    return torch.view_as_real(through.roll(-1, 0)), torch.view_as_real(grad_decay), None


def _complex(value: Tensor) -> Tensor:
    return torch.view_as_complex(value.contiguous())
