"""State space duality in chunks, all of it dense products: the reference, and what runs on accelerators.

Letters of products: chunk ``k``, tokens ``i`` (that reads) and ``j`` (that entered) of it, group ``g``, head ``r`` of
the group, width ``p`` and state ``n``. Decays are multiplied, never subtracted as logarithms: nothing overflows that
the states themselves do not. Token ``i`` of a chunk sees

    sum over j <= i of <c_i, b_j> (decays of j + 1 to i) input_j  +  (decays of 0 to i) <c_i, state before the chunk>
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gnnkit.ops._checks import values_readable
from gnnkit.ops._packed import in_float64

LINEAR = 20.0


def _wide(value: Any) -> Any:
    """For a CPU see ``in_float64``; on accelerators, where speed is the point, the dtype that was given."""
    if value is None or value.device.type != "cpu":
        return None if value is None else value.contiguous()
    return in_float64(value)


class _Chunks(NamedTuple):
    """Where tokens lie in chunks of equal length, in the order in which they are read.

    There are more chunks than needed: how many sequences end within one is not known without reading ``offsets``.
    """

    token: Tensor
    """``[K, Q]``."""
    inside: Tensor
    """Whether there is such a token, ``[K, Q]``."""
    slot: Tensor
    """Where each token is in the chunks, ``[T]``."""
    owner: Tensor
    """Sequence of each chunk, ``[K]``."""
    place: Tensor
    """How many chunks of its sequence are read before each, ``[K]``."""
    follow: Tensor
    """How many are read after it."""
    first: Tensor
    """First chunk of each sequence, ``[S]``."""
    last: Tensor
    filled: Tensor
    """Whether a sequence has any, ``[S]``."""

    @classmethod
    def of(cls, offsets: Tensor, tokens: int, chunk_size: int, reverse: bool) -> "_Chunks":
        sequences = offsets.size(0) - 1
        # No longer than the mean sequence: at most as much again is padded as was given.
        size = min(chunk_size, -(-tokens // sequences))
        lengths = offsets.diff()
        counts = (lengths + size - 1) // size
        begins = functional.pad(counts.cumsum(0), (1, 0))
        chunk = torch.arange(tokens // size + sequences, device=offsets.device)
        owner = (torch.searchsorted(begins, chunk, right=True) - 1).clamp(max=sequences - 1)
        place = chunk - begins[owner]
        position = place.unsqueeze(1) * size + torch.arange(size, device=offsets.device)
        inside = position < lengths[owner].unsqueeze(1)
        token = offsets[owner + 1].unsqueeze(1) - 1 - position if reverse else offsets[owner].unsqueeze(1) + position
        every = torch.arange(tokens, device=offsets.device)
        sequence = torch.searchsorted(offsets, every, right=True) - 1
        read = offsets[sequence + 1] - 1 - every if reverse else every - offsets[sequence]
        slot = begins[sequence] * size + read
        first, last = begins[:-1].clamp(max=chunk.size(0) - 1), (begins[1:] - 1).clamp(min=0)
        follow = counts[owner] - 1 - place
        return cls(torch.where(inside, token, 0), inside, slot, owner, place, follow, first, last, lengths > 0)

    def split(self, value: Tensor, fill: float = 0.0) -> Tensor:
        """``[T, *]`` to ``[K, Q, *]``; what lies beyond the end of a sequence becomes ``fill``."""
        rows = value.index_select(0, self.token.flatten()).unflatten(0, self.token.shape)
        return torch.where(self.inside.view(*self.inside.shape, *(1,) * (value.dim() - 1)), rows, fill)

    def join(self, value: Tensor) -> Tensor:
        """``[K, Q, *]`` to ``[T, *]``."""
        return value.flatten(0, 1).index_select(0, self.slot)


class _Inputs(NamedTuple):
    """What enters, by chunk."""

    chunks: _Chunks
    delta: Tensor
    """Step widths by token, ``[T, H]``."""
    growth: Tensor
    """Their derivative."""
    input: Tensor
    """``[K, Q, G, R, P]``."""
    b: Tensor
    """``[K, Q, G, N]``."""
    c: Tensor
    between: Tensor
    """Product of the decays of tokens ``j + 1`` to ``i``, zero where ``j > i``, ``[K, G, R, Q, Q]``."""
    from_start: Tensor
    """Product of those up to each token, ``[K, Q, G, R]``."""
    to_end: Tensor
    """Product of those after it, ``[K, Q, G, R]``."""

    @property
    def whole(self) -> Tensor:
        """Product of all of a chunk, ``[K, G, R, 1, 1]``."""
        return self.from_start[:, -1, :, :, None, None]


def _inputs(x, delta, A, B, C, delta_bias, offsets, softplus: bool, reverse: bool, chunk_size: int) -> _Inputs:
    if delta_bias is not None:
        delta = delta + delta_bias
    growth = torch.ones_like(delta)
    if softplus:
        growth = torch.where(delta > LINEAR, growth, delta.sigmoid())
        delta = functional.softplus(delta, threshold=LINEAR)
    chunks = _Chunks.of(offsets, x.size(0), chunk_size, reverse)
    heads = (B.size(1), A.size(0) // B.size(1))
    decay = chunks.split((delta * A).exp(), 1.0).unflatten(2, heads)
    size = decay.size(1)
    later = torch.ones((size, size), dtype=torch.bool, device=x.device).tril(-1)
    by_head = decay.permute(0, 2, 3, 1)
    between = torch.where(later, by_head.unsqueeze(-1), 1.0).cumprod(-2).tril()
    entering = chunks.split(delta.unsqueeze(-1) * x).unflatten(2, heads)
    to_end = between[..., -1, :].permute(0, 3, 1, 2)
    return _Inputs(chunks, delta, growth, entering, chunks.split(B), chunks.split(C), between, decay.cumprod(1), to_end)


def _passed_on(whole: Tensor, enters: Tensor, place: Tensor, outer: Tensor | None) -> tuple[Tensor, Tensor]:
    """States after and before each chunk: ``after = enters + whole * before``, by doubling the chunks summed up.

    Args:
        whole: Decays, ``[K, G, R, 1, 1]``.
        enters: ``[K, G, R, P, N]``.
        place: How many chunks come before each in its sequence, ``[K]``.
        outer: The state before the first chunk of the sequence, for each chunk, ``[K, G, R, P, N]``. None: zero.
    """

    def where(condition: Tensor, value: Tensor, other: Tensor) -> Tensor:
        return torch.where(condition.view(-1, 1, 1, 1, 1), value, other)

    after, product = enters, whole
    if outer is not None:
        after = where(place == 0, enters + whole * outer, enters)
    shift = 1
    while shift < enters.size(0):
        reaches = place[shift:] >= shift
        if values_readable(place) and not bool(reaches.any()):
            break
        sums = where(reaches, after[shift:] + product[shift:] * after[:-shift], after[shift:])
        products = where(reaches, product[shift:] * product[:-shift], product[shift:])
        after, product = torch.cat([after[:shift], sums]), torch.cat([product[:shift], products])
        shift *= 2
    begins = torch.zeros_like(after) if outer is None else outer
    return after, where(place > 0, torch.cat([after[:1], after[:-1]]), begins)


def _outer(value: Tensor | None, given: _Inputs) -> Tensor | None:
    """``[S, H, P, N]`` to the chunks of each sequence."""
    if value is None:
        return None
    return value.index_select(0, given.chunks.owner).unflatten(1, given.input.shape[2:4])


def _by_sequence(value: Tensor, chunk: Tensor, given: _Inputs, otherwise: Tensor | None) -> Tensor:
    """States of one chunk of each sequence, ``[S, H, P, N]``; ``otherwise``, or zero, where it has none."""
    found = value.flatten(1, 2).index_select(0, chunk)
    return torch.where(given.chunks.filled.view(-1, 1, 1, 1), found, 0.0 if otherwise is None else otherwise)


def _states(given: _Inputs, initial: Tensor | None) -> tuple[Tensor, Tensor]:
    """The states after and before each chunk, ``[K, G, R, P, N]``."""
    enters = torch.einsum("kjgrp,kjgn->kgrpn", given.input * given.to_end.unsqueeze(-1), given.b)
    return _passed_on(given.whole, enters, given.chunks.place, _outer(initial, given))


def _nothing_read(initial: Tensor | None, shape: tuple[int, ...], like: Tensor) -> Tensor:
    return like.new_zeros(shape) if initial is None else initial.clone(memory_format=torch.contiguous_format)


def reference(
    x, delta, A, B, C, D, delta_bias, initial_state, offsets, softplus: bool, reverse: bool, chunk_size: int,
    keep_final: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Within chunks as a masked product, between them by their states."""
    dtype, shape = x.dtype, (offsets.size(0) - 1, *x.shape[1:], B.size(2))
    if x.size(0) == 0:
        final = _nothing_read(initial_state, shape, x) if keep_final else x.new_empty((0, *shape[1:]))
        return x.new_empty(x.shape), final
    x, delta, A, B, C, D, delta_bias, initial_state = map(_wide, (x, delta, A, B, C, D, delta_bias, initial_state))
    given = _inputs(x, delta, A, B, C, delta_bias, offsets, softplus, reverse, chunk_size)
    after, before = _states(given, initial_state)
    scores = torch.einsum("kign,kjgn->kgij", given.c, given.b)
    weights = (scores.unsqueeze(2) * given.between).tril()
    # Zero times NaN is NaN, and a product would bring it to tokens that were read earlier.
    finite = given.input.isfinite()
    out = torch.einsum("kgrij,kjgrp->kigrp", weights, torch.where(finite, given.input, 0.0))
    out = out + torch.einsum("kign,kgrpn->kigrp", given.c, before) * given.from_start.unsqueeze(-1)
    out = out.masked_fill((~finite).cumsum(1) > 0, torch.nan)
    out = given.chunks.join(out.flatten(2, 3))
    if D is not None:
        out = out + D.unsqueeze(1) * x
    final = x.new_empty((0, *shape[1:]))
    if keep_final:
        final = _by_sequence(after, given.chunks.last, given, initial_state)
    return out.to(dtype).contiguous(), final.to(dtype).contiguous()


def _step_gradients(given: _Inputs, pairs: Tensor, read: Tensor, left: Tensor, through: Tensor) -> Tensor:
    """Gradients to the exponents of the decays, ``[K, Q, G, R]``: what passed each token on its way to an output.

    Args:
        given: What entered.
        pairs: From token ``j`` to token ``i`` of a chunk, ``[K, G, R, Q, Q]``.
        read: From before the chunk to token ``i``, ``[K, Q, G, R]``.
        left: From token ``j`` to after the chunk, ``[K, Q, G, R]``.
        through: From before the chunk to after it, ``[K, G, R]``.
    """
    size = pairs.size(-1)
    not_before = pairs.new_ones((size, size)).triu()
    strictly_before = pairs.new_ones((size, size)).tril(-1)
    inner = torch.matmul(not_before, pairs).tril(-1).sum(-1).permute(0, 3, 1, 2)
    ends = torch.einsum("ti,kigr->ktgr", not_before, read) + torch.einsum("tj,kjgr->ktgr", strictly_before, left)
    return inner + ends + through.unsqueeze(1)


def backward_reference(
    grad, grad_final, x, delta, A, B, C, D, delta_bias, initial_state, offsets, softplus: bool, reverse: bool,
    chunk_size: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The same products, and the gradients to the states passed on from the last chunk to the first."""
    dtype, shape = x.dtype, (offsets.size(0) - 1, *x.shape[1:], B.size(2))
    optional = (D, delta_bias)
    if x.size(0) == 0:
        begun = x.new_empty((0, *shape[1:])) if initial_state is None else _nothing_read(grad_final, shape, x)
        sums = (x.new_zeros((0,) if value is None else value.shape) for value in optional)
        zeros = (value.new_zeros(value.shape) for value in (x, delta, A, B, C))
        return (*zeros, *sums, begun)
    grad, grad_final, x, delta, A, B, C, D, delta_bias, initial_state = map(
        _wide, (grad, grad_final, x, delta, A, B, C, D, delta_bias, initial_state)
    )
    given = _inputs(x, delta, A, B, C, delta_bias, offsets, softplus, reverse, chunk_size)
    chunks = given.chunks
    _, before = _states(given, initial_state)
    upstream = chunks.split(grad).unflatten(2, given.input.shape[2:4])
    # Gradients to the states before and after each chunk: the same recurrence, in the other direction.
    from_before, to_after = upstream * given.from_start.unsqueeze(-1), given.input * given.to_end.unsqueeze(-1)
    arrives = torch.einsum("kigrp,kign->kgrpn", from_before, given.c)
    outer = _outer(grad_final, given)
    flow_before, flow_after = (
        value.flip(0)
        for value in _passed_on(
            given.whole.flip(0), arrives.flip(0), chunks.follow.flip(0), None if outer is None else outer.flip(0)
        )
    )
    scores = torch.einsum("kign,kjgn->kgij", given.c, given.b).unsqueeze(2)
    weighted = (torch.einsum("kigrp,kjgrp->kgrij", upstream, given.input) * given.between).tril()
    read = torch.einsum("kign,kgrpn->kigrp", given.c, before)
    sent = torch.einsum("kjgn,kgrpn->kjgrp", given.b, flow_after)
    grad_input = torch.einsum("kgrij,kigrp->kjgrp", (scores * given.between).tril(), upstream)
    grad_input = grad_input + sent * given.to_end.unsqueeze(-1)
    grad_b = torch.einsum("kgrij,kign->kjgn", weighted, given.c)
    grad_b = grad_b + torch.einsum("kjgrp,kgrpn->kjgn", to_after, flow_after)
    grad_c = torch.einsum("kgrij,kjgn->kign", weighted, given.b)
    grad_c = grad_c + torch.einsum("kigrp,kgrpn->kign", from_before, before)
    through = given.whole.flatten(3).squeeze(-1) * (before * flow_after).sum((-2, -1))
    grad_step = _step_gradients(
        given, (weighted * scores).tril(), (from_before * read).sum(-1), (to_after * sent).sum(-1), through
    )
    grad_input, grad_step = chunks.join(grad_input.flatten(2, 3)), chunks.join(grad_step.flatten(2, 3))
    grad_x = grad_input * given.delta.unsqueeze(-1)
    grad_delta = (grad_step * A + (grad_input * x).sum(-1)) * given.growth
    grad_skip, grad_bias = (x.new_empty((0,)) for _ in optional)
    if D is not None:
        grad_x, grad_skip = grad_x + D.unsqueeze(1) * grad, (grad * x).sum((0, 2))
    if delta_bias is not None:
        grad_bias = grad_delta.sum(0)
    grad_initial = x.new_empty((0, *shape[1:]))
    if initial_state is not None:
        grad_initial = _by_sequence(flow_before, chunks.first, given, grad_final)
    grads = (grad_x, grad_delta, (grad_step * given.delta).sum(0), chunks.join(grad_b), chunks.join(grad_c))
    return tuple(value.to(dtype).contiguous() for value in (*grads, grad_skip, grad_bias, grad_initial))
