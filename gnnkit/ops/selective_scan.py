"""Selective scan (S6) over packed sequences."""

from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_flag, check_float, check_same_device, check_tensor, describe
from gnnkit.ops._library import define
from gnnkit.ops._packed import check_dtypes, check_offsets, check_shapes, in_float64, present

_LINEAR = 20.0
_PER_TOKEN = ("u", "delta", "B", "C", "z")
_SHAPES = {
    "u": "TD", "delta": "TD", "A": "DN", "B": "TN", "C": "TN", "D": "D", "z": "TD", "delta_bias": "D",
    "initial_state": "SDN",
}  # fmt: skip


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    *,
    offsets: Tensor,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
    initial_state: Tensor | None = None,
    return_final_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""The recurrence of Mamba, over sequences that lie one after the other without padding.

    .. math::
        h_t = \exp(\delta_t A) \odot h_{t-1} + \delta_t u_t B_t, \qquad
        y_t = \langle C_t, h_t \rangle + D \odot u_t, \qquad
        \mathrm{out}_t = y_t \odot z_t \odot \sigma(z_t)

    for each channel on its own, :math:`\delta = \Delta + b`, or :math:`\log(1 + e^{\Delta + b})` with
    ``delta_softplus`` (the argument itself above 20). Gu and Dao, "Mamba: linear-time sequence modeling with selective
    state spaces", 2023, https://arxiv.org/abs/2312.00752.

    Args:
        u: Inputs of ``T`` tokens, ``[T, D]``.
        delta: Step widths :math:`\Delta`, ``[T, D]``. Negative ones (without softplus) are taken as they are: the
            state then grows. A NaN makes the rest of its channel of its sequence NaN, and nothing else.
        A: Rates, ``[D, N]``, negative in a stable model.
        B: How inputs enter the state, ``[T, N]``.
        C: How the state is read, ``[T, N]``.
        D: What an input adds to its own output, ``[D]``. None: nothing.
        z: Gate, ``[T, D]``. None: no gate.
        offsets: Boundaries of the ``S`` sequences, int32 or int64 ``[S + 1]``, from 0 to ``T``; a sequence may be
            empty. As the ``ptr`` of a ``Batch``.
        delta_bias: ``b``, ``[D]``. None: zero.
        delta_softplus: Whether step widths pass through the softplus function.
        reverse: Whether each sequence is read from its end to its beginning. Nothing is moved: row ``t`` of the result
            still belongs to token ``t``.
        initial_state: State before the first token that is read, ``[S, D, N]``. None: zero.
        return_final_state: Whether to return the state after the last token that is read as well.

    Returns:
        ``[T, D]``; with ``return_final_state`` also ``[S, D, N]`` (of an empty sequence, its initial state).
        Differentiable once in every tensor but ``offsets``. bfloat16 is computed in float32 throughout, and so are
        the states.

    Raises:
        DtypeError: If tensors have other dtypes than ``u``; parameters and states may be float32 beside bfloat16.
        ShapeError: If shapes do not fit together.
        IndexRangeError: If ``offsets`` do not start at 0, decrease, or do not end at ``T``.
        ConfigError: If an option is no bool.

    Determinism: bitwise, for any number of threads; a sequence gives the same bits alone and among others (without the
    library, bits depend on the number of all tokens).
    Complexity: ``O(T D N)`` time. Memory beside inputs and results: nothing forward; backward ``O(T D N / 32)``
    (states before every 32nd token, and partial gradients of ``B`` and ``C`` by blocks of 32 channels).
    """
    given = {"u": u, "delta": delta, "A": A, "B": B, "C": C}
    given |= present(D=D, z=z, delta_bias=delta_bias, initial_state=initial_state)
    check_flag("delta_softplus", delta_softplus)
    check_flag("reverse", reverse)
    check_flag("return_final_state", return_final_state)
    for name, value in given.items():
        check_float(name, value)
    offsets = check_offsets(offsets, _checked_shapes(given, offsets))
    check_same_device(**given, offsets=offsets)
    check_dtypes(given, _PER_TOKEN, "u")
    dtype = u.dtype
    if dtype == torch.bfloat16:
        given = {name: value.float() for name, value in given.items()}
    out, final_state = torch.ops.gnnkit.selective_scan(
        *(given.get(name) for name in _SHAPES), offsets, delta_softplus, reverse, return_final_state
    )
    out = out.to(dtype)
    return (out, final_state) if return_final_state else out


def _checked_shapes(given: dict[str, Tensor], offsets: Tensor) -> int:
    """The number of tokens; raises ShapeError where shapes do not fit together."""
    u, rates = given["u"], given["A"]
    if u.dim() != 2 or rates.dim() != 2:
        raise ShapeError(f"u must have shape [T, D] and A [D, N], got {describe(u)} and {describe(rates)}")
    check_tensor("offsets", offsets)
    sizes = {"T": u.size(0), "D": u.size(1), "N": rates.size(1), "S": max(offsets.numel() - 1, 0)}
    check_shapes(given, _SHAPES, sizes, f"u {list(u.shape)} and A {list(rates.shape)}")
    return u.size(0)


class _Steps(NamedTuple):
    """A scan in the order in which tokens are read."""

    u: Tensor
    delta: Tensor
    growth: Tensor
    """Derivative of ``delta``."""
    decay: Tensor
    """``[T, D, N]``."""
    enters: Tensor
    """``[T, D, N]``."""
    b: Tensor
    c: Tensor
    first: Tensor
    """The first token of each sequence that has any, ``[S']``."""
    last: Tensor
    owner: Tensor
    """The sequence of each of these, in the order of ``offsets``, ``[S']``."""


def _in_order(value: Tensor, reverse: bool) -> Tensor:
    return value.flip(0) if reverse else value


def _steps(u, delta, A, B, C, delta_bias, offsets, softplus: bool, reverse: bool) -> _Steps:
    u, delta, b, c = (_in_order(value, reverse) for value in (u, delta, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias
    growth = torch.ones_like(delta)
    if softplus:
        growth = torch.where(delta > _LINEAR, growth, delta.sigmoid())
        delta = functional.softplus(delta, threshold=_LINEAR)
    owner = offsets.diff().nonzero().squeeze(1)
    first, last = offsets[owner], offsets[owner + 1] - 1
    if reverse:
        first, last = u.size(0) - 1 - last, u.size(0) - 1 - first
    decay = (delta.unsqueeze(-1) * A).exp()
    enters = (delta * u).unsqueeze(-1) * b.unsqueeze(1)
    return _Steps(u, delta, growth, decay, enters, b, c, first, last, owner)


def blocked_scan(decay: Tensor, enters: Tensor) -> Tensor:
    r"""The states :math:`h_t = a_t \odot h_{t-1} + x_t`, from :math:`h_{-1} = 0`, ``[T, *]``.

    About ``sqrt(T)`` blocks are passed side by side, then what each hands on is carried through: ``2 sqrt(T)`` steps of
    whole tensors, and no division, so that nothing can overflow that the states themselves do not.
    """
    tokens = enters.size(0)
    if tokens == 0:
        return enters.clone()
    length = isqrt(tokens - 1) + 1
    blocks = -(-tokens // length)
    padding = (0, 0) * (enters.dim() - 1) + (0, blocks * length - tokens)
    # Blocks of equal length, padded with tokens that change nothing.
    a = functional.pad(decay, padding, value=1.0).unflatten(0, (blocks, length))
    x = functional.pad(enters, padding).unflatten(0, (blocks, length))
    states, products = torch.empty_like(x), torch.empty_like(a)
    state, product = torch.zeros_like(x[:, 0]), torch.ones_like(a[:, 0])
    for step in range(length):
        # A decay of zero forgets, whatever there was: NaN and infinity stay in their sequence.
        forgets = a[:, step] == 0
        state = torch.where(forgets, x[:, step], a[:, step] * state + x[:, step])
        product = torch.where(forgets, 0.0, a[:, step] * product)
        states[:, step], products[:, step] = state, product
    for block in range(1, blocks):
        carried = states[block] + products[block] * states[block - 1, -1]
        states[block] = torch.where(products[block] == 0, states[block], carried)
    return states.flatten(0, 1)[:tokens]


def _states(steps: _Steps, initial: Tensor | None) -> tuple[Tensor, Tensor]:
    """States after each token, and what decays the state before it: nothing comes from another sequence."""
    enters, decay = steps.enters, steps.decay.index_fill(0, steps.first, 0.0)
    if initial is not None:
        begun = steps.decay.index_select(0, steps.first) * initial.index_select(0, steps.owner)
        enters = enters.index_add(0, steps.first, begun)
    return blocked_scan(decay, enters), decay


def _end_states(states: Tensor, steps: _Steps, initial: Tensor | None, sequences: int) -> Tensor:
    if initial is None:
        found = states.new_zeros((sequences, *states.shape[1:]))
    else:
        found = initial.clone()
    return found.index_copy(0, steps.owner, states.index_select(0, steps.last))


def reference(
    u, delta, A, B, C, D, z, delta_bias, initial_state, offsets, softplus: bool, reverse: bool, keep_final: bool
) -> tuple[Tensor, Tensor]:
    """All states of all tokens at once, by :func:`blocked_scan`."""
    dtype = u.dtype
    u, delta, A, B, C, D, z, delta_bias, initial_state = map(
        in_float64, (u, delta, A, B, C, D, z, delta_bias, initial_state)
    )
    steps = _steps(u, delta, A, B, C, delta_bias, offsets, softplus, reverse)
    states, _ = _states(steps, initial_state)
    out = torch.einsum("tdn,tn->td", states, steps.c)
    out = _in_order(out, reverse)
    if D is not None:
        out = out + D * u
    if z is not None:
        out = out * functional.silu(z)
    final = u.new_empty((0, *A.shape))
    if keep_final:
        final = _end_states(states, steps, initial_state, offsets.numel() - 1)
    return out.to(dtype).contiguous(), final.to(dtype)


def backward_reference(
    grad, grad_final, u, delta, A, B, C, D, z, delta_bias, initial_state, offsets, softplus: bool, reverse: bool
) -> tuple[Tensor, ...]:
    """The same scan backwards, over the gradients to the states."""
    dtype = u.dtype
    grad, grad_final, u, delta, A, B, C, D, z, delta_bias, initial_state = map(
        in_float64, (grad, grad_final, u, delta, A, B, C, D, z, delta_bias, initial_state)
    )
    steps = _steps(u, delta, A, B, C, delta_bias, offsets, softplus, reverse)
    states, decay = _states(steps, initial_state)
    grad_z = u.new_empty((0, u.size(1)))
    if z is not None:
        sigmoid = z.sigmoid()
        y = _in_order(torch.einsum("tdn,tn->td", states, steps.c), reverse)
        y = y if D is None else y + D * u
        grad_z = grad * y * sigmoid * (1 + z * (1 - sigmoid))
        grad = grad * z * sigmoid
    upstream = _in_order(grad, reverse)
    arrives = upstream.unsqueeze(-1) * steps.c.unsqueeze(1)
    if grad_final is not None:
        arrives = arrives.index_add(0, steps.last, grad_final.index_select(0, steps.owner))
    # What flows to a token from the one after it, which may belong to another sequence: there `decay` is zero.
    after = functional.pad(decay[1:], (0, 0, 0, 0, 0, 1)) if decay.size(0) > 0 else decay
    flow = blocked_scan(after.flip(0), arrives.flip(0)).flip(0)
    before = functional.pad(states[:-1], (0, 0, 0, 0, 1, 0)) if decay.size(0) > 0 else states
    if initial_state is not None:
        before = before.index_copy(0, steps.first, initial_state.index_select(0, steps.owner))
    else:
        before = before.index_fill(0, steps.first, 0.0)
    through = flow * steps.decay * before
    entered = torch.einsum("tdn,tn->td", flow, steps.b)
    grad_u = steps.delta * entered
    grad_delta = (torch.einsum("tdn,dn->td", through, A) + steps.u * entered) * steps.growth
    grad_skip, grad_bias, grad_initial = u.new_empty((0,)), u.new_empty((0,)), u.new_empty((0, *A.shape))
    if D is not None:
        grad_u, grad_skip = grad_u + D * upstream, (upstream * steps.u).sum(0)
    if delta_bias is not None:
        grad_bias = grad_delta.sum(0)
    if initial_state is not None:
        # An empty sequence hands its state on.
        grad_initial = torch.zeros_like(initial_state) if grad_final is None else grad_final.clone()
        begun = (flow * steps.decay).index_select(0, steps.first)
        grad_initial = grad_initial.index_copy(0, steps.owner, begun)
    grads = (
        _in_order(grad_u, reverse),
        _in_order(grad_delta, reverse),
        torch.einsum("tdn,td->dn", through, steps.delta),
        _in_order(torch.einsum("tdn,td->tn", flow, steps.delta * steps.u), reverse),
        _in_order(torch.einsum("tdn,td->tn", states, upstream), reverse),
    )
    return tuple(value.to(dtype).contiguous() for value in (*grads, grad_skip, grad_z, grad_bias, grad_initial))


def _fake(u, delta, A, B, C, D, z, delta_bias, initial_state, offsets, softplus, reverse, keep_final):
    return u.new_empty(u.shape), u.new_empty((offsets.size(0) - 1 if keep_final else 0, *A.shape))


def _backward_fake(
    grad, grad_final, u, delta, A, B, C, D, z, delta_bias, initial_state, offsets, softplus, reverse
) -> tuple[Tensor, ...]:
    channels = u.size(1)
    return (
        u.new_empty(u.shape),
        u.new_empty(u.shape),
        u.new_empty(A.shape),
        u.new_empty(B.shape),
        u.new_empty(C.shape),
        u.new_empty((0 if D is None else channels,)),
        u.new_empty((0 if z is None else u.size(0), channels)),
        u.new_empty((0 if delta_bias is None else channels,)),
        u.new_empty((0 if initial_state is None else offsets.size(0) - 1, *A.shape)),
    )


def _save(ctx, inputs, output) -> None:
    *tensors, softplus, reverse, keep_final = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)
    ctx.softplus, ctx.reverse, ctx.keep_final = softplus, reverse, keep_final


def _backward(ctx, grad, grad_final):
    u, delta, A, B, C, D, z, delta_bias, initial_state, offsets = ctx.saved_tensors
    if grad is None and grad_final is None:
        return (None,) * 13
    grad = torch.zeros_like(u) if grad is None else grad
    grad_final = grad_final if ctx.keep_final else None
    grads = torch.ops.gnnkit.selective_scan_backward(
        grad, grad_final, u, delta, A, B, C, D, z, delta_bias, initial_state, offsets, ctx.softplus, ctx.reverse
    )
    present = (True,) * 5 + tuple(value is not None for value in (D, z, delta_bias, initial_state))
    wanted = zip(grads, present, ctx.needs_input_grad[:9], strict=True)
    return (*(value if given and needed else None for value, given, needed in wanted), *(None,) * 4)


_INPUTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias, "
    "Tensor? initial_state, Tensor offsets, bool delta_softplus, bool reverse"
)

define(
    f"selective_scan({_INPUTS}, bool keep_final) -> (Tensor, Tensor)",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
define(
    f"selective_scan_backward(Tensor grad, Tensor? grad_final, {_INPUTS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=backward_reference,
    fake=_backward_fake,
)
