"""The gated delta rule (DeltaNet, Gated DeltaNet, DeltaProduct) over packed sequences."""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_flag, check_float, check_number, check_same_device, check_tensor, describe
from gnnkit.ops._library import define
from gnnkit.ops._packed import check_dtypes, check_offsets, check_shapes, in_float64, present

_PER_TOKEN = ("q", "k", "v")
_SHAPES = {"q": "THK", "k": "TnHK", "v": "TnHV", "beta": "TnH", "g": "TH", "initial_state": "SHKV"}
_KEPT = 32
"""The backward pass of the reference keeps the states before every so many positions."""


def gated_delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    *,
    offsets: Tensor,
    scale: float | None = None,
    reverse: bool = False,
    initial_state: Tensor | None = None,
    return_final_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""A matrix of associations per head, in which each token overwrites what its keys stood for.

    .. math::
        S_{t,0} = e^{g_t} S_{t-1,n}, \qquad
        S_{t,j} = (I - \beta_{tj} k_{tj} k_{tj}^\top)\, S_{t,j-1} + \beta_{tj} k_{tj} v_{tj}^\top, \qquad
        o_t = c\, S_{t,n}^\top q_t

    for each head on its own, with :math:`S \in \mathbb{R}^{K \times V}` and ``n`` steps per token. For keys of length
    1, a step is a generalised Householder matrix: it forgets along the key for :math:`\beta = 1`, reflects for
    :math:`\beta = 2`, and eigenvalues below zero, :math:`\beta > 1`, are what it takes to follow permutations
    (Grazzi et al., "Unlocking state-tracking in linear RNNs through negative eigenvalues", 2025). One step without
    ``g`` is DeltaNet (Schlag et al., "Linear transformers are secretly fast weight programmers", 2021,
    https://arxiv.org/abs/2102.11174), with ``g`` Gated DeltaNet (Yang et al., 2025, https://arxiv.org/abs/2412.06464),
    and several are DeltaProduct (Siems et al., 2025, https://arxiv.org/abs/2502.10297).

    Args:
        q: What is asked of the states of ``T`` tokens, ``[T, H, K]``.
        k: Keys, ``[T, n, H, K]``, or ``[T, H, K]`` for one step. Taken as they are: layers give them length 1.
        v: What shall be found at them, ``[T, n, H, V]`` or ``[T, H, V]``.
        beta: How much of it is written, ``[T, n, H]`` or ``[T, H]``; steps expand nothing for
            :math:`0 \leq \beta \lVert k \rVert^2 \leq 2`.
        g: Logarithm of what is left of the state before the first step of a token, ``[T, H]``, in a stable model not
            above 0. Others are taken as they are: the state then grows; minus infinity forgets all. None: 0.
        offsets: Boundaries of the ``S`` sequences, int32 or int64 ``[S + 1]``, from 0 to ``T``; a sequence may be
            empty. As the ``ptr`` of a ``Batch``.
        scale: :math:`c`. None: :math:`K^{-1/2}`.
        reverse: Whether tokens are read from the end of each sequence to its beginning, each with its steps in the same
            order. Row ``t`` of the result still belongs to token ``t``.
        initial_state: State before the first token that is read, ``[S, H, K, V]``. None: zero.
        return_final_state: Whether to return the state after the last token that is read as well.

    Returns:
        ``[T, H, V]``; with ``return_final_state`` also ``[S, H, K, V]`` (of an empty sequence, its initial state).
        Differentiable once in every tensor but ``offsets``. bfloat16 is computed in float32 throughout, and so are the
        states. A NaN spreads to the rest of its head of its sequence (one in ``v``: of that column; one in ``q``:
        nowhere but to its own row), and to nothing else.

    Raises:
        DtypeError: If tensors have other dtypes than ``q``; ``beta``, ``g`` and states may be float32 beside bfloat16.
        ShapeError: If shapes do not fit together.
        IndexRangeError: If ``offsets`` do not start at 0, decrease, or do not end at ``T``.
        ConfigError: If an option is no bool, or ``scale`` no number.

    Determinism: bitwise, for any number of threads; a sequence gives the same bits alone and among others (without the
    kernel, bits may depend on how many there are).
    Complexity: ``O(T n H K V)`` time. Heads of sequences are what runs side by side; without the kernel, which only
    the CPU has so far, position by position: as many steps as the longest sequence has tokens. Memory beside inputs
    and results: nothing forward; backward, for each thread, the states before every 32nd token of one head of one
    sequence, and those of 32 tokens.
    """
    given = {"q": q, "k": k, "v": v, "beta": beta} | present(g=g, initial_state=initial_state)
    check_flag("reverse", reverse)
    check_flag("return_final_state", return_final_state)
    for name, value in given.items():
        check_float(name, value)
    check_tensor("offsets", offsets)
    if k.dim() == 3 and v.dim() == 3 and beta.dim() == 2:
        given |= {"k": k.unsqueeze(1), "v": v.unsqueeze(1), "beta": beta.unsqueeze(1)}
    offsets = check_offsets(offsets, _checked_shapes(given, offsets))
    check_same_device(**given, offsets=offsets)
    check_dtypes(given, _PER_TOKEN, "q")
    dtype = q.dtype
    factor = float(max(q.size(2), 1)) ** -0.5 if scale is None else check_number("scale", scale)
    if dtype == torch.bfloat16:
        given = {name: value.float() for name, value in given.items()}
    out, final_state = torch.ops.gnnkit.gated_delta(
        *(given.get(name) for name in _SHAPES), offsets, factor, reverse, return_final_state
    )
    out = out.to(dtype)
    return (out, final_state) if return_final_state else out


def _checked_shapes(given: dict[str, Tensor], offsets: Tensor) -> int:
    """The number of tokens; raises ShapeError where shapes do not fit together."""
    q, k, v = given["q"], given["k"], given["v"]
    if q.dim() != 3 or k.dim() != 4 or v.dim() != 4 or k.size(1) == 0:
        shapes = ", ".join(f"{name} {describe(given[name])}" for name in ("q", "k", "v", "beta"))
        raise ShapeError(
            "q must have shape [T, H, K], k [T, n, H, K], v [T, n, H, V] and beta [T, n, H] with n at least 1, or all "
            f"of k, v and beta one dimension less, got {shapes}"
        )
    sizes = {"T": q.size(0), "n": k.size(1), "H": q.size(1), "K": q.size(2), "V": v.size(3)}
    sizes["S"] = max(offsets.numel() - 1, 0)
    check_shapes(given, _SHAPES, sizes, f"q {list(q.shape)}, k {list(k.shape)} and v {list(v.shape)}")
    return q.size(0)


class _Reading(NamedTuple):
    """In which order tokens are read."""

    order: Tensor
    """The sequences, the longest first, so that those that go on are always the first ones, ``[S]``."""
    tokens: list[Tensor]
    """By position: the token that each sequence has there, in that order."""

    @classmethod
    def of(cls, offsets: Tensor, reverse: bool) -> "_Reading":
        order = offsets.diff().argsort(descending=True, stable=True)
        lengths = offsets.diff()[order].tolist()
        first, step = (offsets[1:][order] - 1, -1) if reverse else (offsets[:-1][order], 1)
        tokens, going_on = [], len(lengths)
        for position in range(lengths[0] if lengths else 0):
            while lengths[going_on - 1] <= position:
                going_on -= 1
            tokens.append(first[:going_on] + step * position)
        return cls(order, tokens)


class _Inputs(NamedTuple):
    """What the recurrence is given, in float64."""

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    decay: Tensor
    """``[T, H, 1, 1]``."""
    scale: float

    @classmethod
    def of(cls, q, k, v, beta, g, scale: float) -> "_Inputs":
        q, k, v, beta, g = map(in_float64, (q, k, v, beta, g))
        decay = q.new_ones(q.shape[:2]) if g is None else g.exp()
        return cls(q, k, v, beta, decay[..., None, None], scale)


def _read(state: Tensor, key: Tensor) -> Tensor:
    """``state^T key``: from ``[B, H, K, V]`` and ``[B, H, K]`` to ``[B, H, V]``."""
    return (key.unsqueeze(-2) @ state).squeeze(-2)


def _outer(key: Tensor, value: Tensor) -> Tensor:
    return key.unsqueeze(-1) * value.unsqueeze(-2)


def _start(inputs: _Inputs, initial: Tensor | None, reading: _Reading) -> Tensor:
    """The states before the first token, in the order of reading, ``[S, H, K, V]``."""
    if initial is not None:
        return in_float64(initial)[reading.order]
    (_, heads, keys), values = inputs.q.shape, inputs.v.size(3)
    return inputs.q.new_zeros((reading.order.size(0), heads, keys, values))


def _steps(inputs: _Inputs, state: Tensor, tokens: Tensor) -> list[Tensor]:
    """The states of the sequences that have such tokens before each step, and after the last one."""
    states = [inputs.decay[tokens] * state[: tokens.size(0)]]
    for step in range(inputs.k.size(1)):
        key = inputs.k[tokens, step]
        error = inputs.v[tokens, step] - _read(states[-1], key)
        states.append(states[-1] + _outer(key, inputs.beta[tokens, step].unsqueeze(-1) * error))
    return states


def _moved_on(state: Tensor, moved: Tensor) -> Tensor:
    """All states, of which the first ones have moved."""
    return torch.cat([moved, state[moved.size(0) :]])


def _in_given_order(state: Tensor, reading: _Reading) -> Tensor:
    return torch.empty_like(state).index_copy(0, reading.order, state)


def reference(
    q, k, v, beta, g, initial_state, offsets, scale: float, reverse: bool, keep_final: bool
) -> tuple[Tensor, Tensor]:
    """Position by position, all sequences side by side."""
    inputs, reading = _Inputs.of(q, k, v, beta, g, scale), _Reading.of(offsets, reverse)
    state = _start(inputs, initial_state, reading)
    out = inputs.q.new_empty((q.size(0), *v.shape[2:]))
    for tokens in reading.tokens:
        moved = _steps(inputs, state, tokens)[-1]
        out[tokens] = scale * _read(moved, inputs.q[tokens])
        state = _moved_on(state, moved)
    final = _in_given_order(state, reading) if keep_final else state[:0]
    return out.to(q.dtype), final.to(q.dtype).contiguous()


def backward_reference(
    grad, grad_final, q, k, v, beta, g, initial_state, offsets, scale: float, reverse: bool
) -> tuple[Tensor, ...]:
    """Backwards through the states, which are made again from those before every 32nd position."""
    inputs, reading = _Inputs.of(q, k, v, beta, g, scale), _Reading.of(offsets, reverse)
    grad, grad_final = in_float64(grad), in_float64(grad_final)
    state = _start(inputs, initial_state, reading)
    chunks = [reading.tokens[first : first + _KEPT] for first in range(0, len(reading.tokens), _KEPT)]
    kept = []
    for chunk in chunks:
        kept.append(state)
        for tokens in chunk:
            state = _moved_on(state, _steps(inputs, state, tokens)[-1])
    flow = torch.zeros_like(state) if grad_final is None else grad_final[reading.order]
    grads = inputs._replace(
        **{name: torch.zeros_like(getattr(inputs, name)) for name in ("q", "k", "v", "beta", "decay")}
    )
    for chunk, state in zip(reversed(chunks), reversed(kept), strict=True):
        replayed = []
        for tokens in chunk:
            replayed.append(_steps(inputs, state, tokens))
            state = _moved_on(state, replayed[-1][-1])
        for tokens, states in zip(reversed(chunk), reversed(replayed), strict=True):
            flow = _moved_on(flow, _back(inputs, grads, grad, tokens, states, flow[: tokens.size(0)]))
    absent = grad.new_empty(0)
    found = (
        grads.q, grads.k, grads.v, grads.beta,
        absent.reshape(0, q.size(1)) if g is None else grads.decay[..., 0, 0],
        flow[:0] if initial_state is None else _in_given_order(flow, reading),
    )  # fmt: skip
    return tuple(value.to(q.dtype).contiguous() for value in found)


def _back(inputs: _Inputs, grads: _Inputs, grad: Tensor, tokens: Tensor, states: list[Tensor], flow: Tensor) -> Tensor:
    """From the gradient to the states after tokens to that before them; writes those of their inputs.

    That of ``decay`` becomes the gradient to its logarithm.
    """
    upstream = inputs.scale * grad[tokens]
    grads.q[tokens] = (states[-1] @ upstream.unsqueeze(-1)).squeeze(-1)
    flow = flow + _outer(inputs.q[tokens], upstream)
    for step in reversed(range(inputs.k.size(1))):
        key, beta, before = inputs.k[tokens, step], inputs.beta[tokens, step].unsqueeze(-1), states[step]
        error, to_written = inputs.v[tokens, step] - _read(before, key), _read(flow, key)
        to_error = beta * to_written
        to_key = flow @ (beta * error).unsqueeze(-1) - before @ to_error.unsqueeze(-1)
        grads.k[tokens, step] = to_key.squeeze(-1)
        grads.v[tokens, step] = to_error
        grads.beta[tokens, step] = (to_written * error).sum(-1)
        flow = flow - _outer(key, to_error)
    grads.decay[tokens] = (flow * states[0]).sum((-2, -1), keepdim=True)
    return inputs.decay[tokens] * flow


def _fake(q, k, v, beta, g, initial_state, offsets, scale, reverse, keep_final) -> tuple[Tensor, Tensor]:
    (tokens, heads, keys), values = q.shape, v.size(3)
    sequences = offsets.size(0) - 1 if keep_final else 0
    return q.new_empty((tokens, heads, values)), q.new_empty((sequences, heads, keys, values))


def _backward_fake(grad, grad_final, q, k, v, beta, g, initial_state, offsets, scale, reverse) -> tuple[Tensor, ...]:
    (tokens, heads, keys), values = q.shape, v.size(3)
    return (
        *(value.new_empty(value.shape) for value in (q, k, v, beta)),
        q.new_empty((0 if g is None else tokens, heads)),
        q.new_empty((0 if initial_state is None else offsets.size(0) - 1, heads, keys, values)),
    )


def _save(ctx, inputs, output) -> None:
    *tensors, scale, reverse, keep_final = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)
    ctx.scale, ctx.reverse, ctx.keep_final = scale, reverse, keep_final


def _backward(ctx, grad, grad_final):
    q, k, v, beta, g, initial_state, offsets = ctx.saved_tensors
    if grad is None and grad_final is None:
        return (None,) * 10
    grad = q.new_zeros((q.size(0), *v.shape[2:])) if grad is None else grad
    grad_final = grad_final if ctx.keep_final else None
    grads = torch.ops.gnnkit.gated_delta_backward(
        grad, grad_final, q, k, v, beta, g, initial_state, offsets, ctx.scale, ctx.reverse
    )
    present = (True,) * 4 + (g is not None, initial_state is not None)
    wanted = zip(grads, present, ctx.needs_input_grad[:6], strict=True)
    return (*(value if given and needed else None for value, given, needed in wanted), *(None,) * 4)


_INPUTS = (
    "Tensor q, Tensor k, Tensor v, Tensor beta, Tensor? g, Tensor? initial_state, Tensor offsets, float scale, "
    "bool reverse"
)

define(
    f"gated_delta({_INPUTS}, bool keep_final) -> (Tensor, Tensor)",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
define(
    f"gated_delta_backward(Tensor grad, Tensor? grad_final, {_INPUTS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=backward_reference,
    fake=_backward_fake,
)
