"""State space duality (Mamba-2) over packed sequences."""

import torch
from torch import Tensor

from gnnkit.errors import ShapeError
from gnnkit.ops._checks import check_count, check_flag, check_float, check_same_device, check_tensor, describe
from gnnkit.ops._library import define
from gnnkit.ops._packed import check_dtypes, check_offsets, check_shapes, present
from gnnkit.ops._ssd_reference import backward_reference, reference

_PER_TOKEN = ("x", "delta", "B", "C")
_SHAPES = {
    "x": "THP", "delta": "TH", "A": "H", "B": "TGN", "C": "TGN", "D": "H", "delta_bias": "H", "initial_state": "SHPN",
}  # fmt: skip
# An operator takes integers of 64 bits, and no chunk is longer than all tokens.
_LONGEST_CHUNK = 2**31


def ssd(
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    offsets: Tensor,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
    chunk_size: int = 64,
    initial_state: Tensor | None = None,
    return_final_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""The recurrence of Mamba-2, over sequences that lie one after the other without padding.

    .. math::
        h_t = e^{\delta_t A} h_{t-1} + \delta_t\, x_t B_t^\top, \qquad
        y_t = h_t C_t + D x_t

    for each head on its own, with a state :math:`h \in \mathbb{R}^{P \times N}`, one rate ``A`` for all of it,
    :math:`\delta = \Delta + b`, or :math:`\log(1 + e^{\Delta + b})` with ``delta_softplus`` (the argument itself above
    20). It is :func:`selective_scan` with a constant rate over the state, and as well attention without a softmax,
    :math:`y = (C B^\top \odot L)\, \delta x`, masked by the products of decays :math:`L`. Dao and Gu, "Transformers are
    SSMs: generalized models and efficient algorithms through structured state space duality", 2024,
    https://arxiv.org/abs/2405.21060.

    Args:
        x: Inputs of ``T`` tokens in ``H`` heads of width ``P``, ``[T, H, P]``.
        delta: Step widths :math:`\Delta`, ``[T, H]``. Negative ones (without softplus) are taken as they are: the state
            then grows. A NaN makes the rest of its head of its sequence NaN, and nothing else.
        A: Rates, ``[H]``, negative in a stable model.
        B: How inputs enter the state, ``[T, G, N]``; ``H / G`` heads that follow one another share a group.
        C: How the state is read, ``[T, G, N]``.
        D: What an input adds to its own output, ``[H]``. None: nothing.
        offsets: Boundaries of the ``S`` sequences, int32 or int64 ``[S + 1]``, from 0 to ``T``; a sequence may be
            empty. As the ``ptr`` of a ``Batch``.
        delta_bias: ``b``, ``[H]``. None: zero.
        delta_softplus: Whether step widths pass through the softplus function.
        reverse: Whether each sequence is read from its end to its beginning. Nothing is moved: row ``t`` of the result
            still belongs to token ``t``.
        chunk_size: Tokens that dense products take at once where no kernel runs, at most; it only moves rounding
            errors. The CPU kernel has no use for it.
        initial_state: State before the first token that is read, ``[S, H, P, N]``. None: zero.
        return_final_state: Whether to return the state after the last token that is read as well.

    Returns:
        ``[T, H, P]``; with ``return_final_state`` also ``[S, H, P, N]`` (of an empty sequence, its initial state).
        Differentiable once in every tensor but ``offsets``. bfloat16 is computed in float32 throughout, and so are
        the states.

    Raises:
        DtypeError: If tensors have other dtypes than ``x``; parameters and states may be float32 beside bfloat16.
        ShapeError: If shapes do not fit together, or groups do not divide the heads.
        IndexRangeError: If ``offsets`` do not start at 0, decrease, or do not end at ``T``.
        ConfigError: If an option is no bool, or ``chunk_size`` no integer of at least 1.

    Determinism: bitwise, for any number of threads; a sequence gives the same bits alone and among others (without the
    kernel, bits depend on the number of all tokens).
    Complexity: ``O(T H P N)`` time. Memory beside inputs and results: nothing forward; backward ``O(L P N / 32)`` for
    each thread (states before every 32nd token of the longest sequence, of ``L`` tokens) and ``O(T H N)`` (gradients
    of ``B`` and ``C`` by head). Without the kernel ``O(T H (Q (N + P) + P N))`` time and ``O(T H (Q + P N / Q))``
    memory for chunks of ``Q`` tokens: ``chunk_size``, or the mean sequence where that is shorter. On an accelerator
    these products run in the dtype given, without waiting for it.
    """
    given = {"x": x, "delta": delta, "A": A, "B": B, "C": C}
    given |= present(D=D, delta_bias=delta_bias, initial_state=initial_state)
    check_flag("delta_softplus", delta_softplus)
    check_flag("reverse", reverse)
    check_flag("return_final_state", return_final_state)
    chunk_size = min(check_count("chunk_size", chunk_size, 1), _LONGEST_CHUNK)
    for name, value in given.items():
        check_float(name, value)
    offsets = check_offsets(offsets, _checked_shapes(given, offsets))
    check_same_device(**given, offsets=offsets)
    check_dtypes(given, _PER_TOKEN, "x")
    dtype = x.dtype
    if dtype == torch.bfloat16:
        given = {name: value.float() for name, value in given.items()}
    out, final_state = torch.ops.gnnkit.ssd(
        *(given.get(name) for name in _SHAPES), offsets, delta_softplus, reverse, chunk_size, return_final_state
    )
    out = out.to(dtype)
    return (out, final_state) if return_final_state else out


def _checked_shapes(given: dict[str, Tensor], offsets: Tensor) -> int:
    """The number of tokens; raises ShapeError where shapes do not fit together."""
    x, b = given["x"], given["B"]
    if x.dim() != 3 or b.dim() != 3:
        raise ShapeError(f"x must have shape [T, H, P] and B [T, G, N], got {describe(x)} and {describe(b)}")
    (tokens, heads, width), (groups, states) = x.shape, b.shape[1:]
    if groups == 0 or states == 0 or heads % groups != 0:
        raise ShapeError(
            f"B must have shape [T, G, N] with N at least 1 and G groups that divide the {heads} heads of x, "
            f"got {describe(b)}"
        )
    check_tensor("offsets", offsets)
    sizes = {"T": tokens, "H": heads, "P": width, "G": groups, "N": states, "S": max(offsets.numel() - 1, 0)}
    check_shapes(given, _SHAPES, sizes, f"x {list(x.shape)} and B {list(b.shape)}")
    return tokens


def _fake(x, delta, A, B, C, D, delta_bias, initial_state, offsets, softplus, reverse, chunk_size, keep_final):
    sequences = offsets.size(0) - 1 if keep_final else 0
    return x.new_empty(x.shape), x.new_empty((sequences, *x.shape[1:], B.size(2)))


def _backward_fake(
    grad, grad_final, x, delta, A, B, C, D, delta_bias, initial_state, offsets, softplus, reverse, chunk_size
) -> tuple[Tensor, ...]:
    return (
        *(value.new_empty(value.shape) for value in (x, delta, A, B, C)),
        *(x.new_empty((0,) if value is None else value.shape) for value in (D, delta_bias)),
        x.new_empty((0 if initial_state is None else offsets.size(0) - 1, *x.shape[1:], B.size(2))),
    )


def _save(ctx, inputs, output) -> None:
    *tensors, ctx.softplus, ctx.reverse, ctx.chunk_size, ctx.keep_final = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad, grad_final):
    x, *others, offsets = ctx.saved_tensors
    if grad is None and grad_final is None:
        return (None,) * 13
    grad = torch.zeros_like(x) if grad is None else grad
    grad_final = grad_final if ctx.keep_final else None
    grads = torch.ops.gnnkit.ssd_backward(
        grad, grad_final, x, *others, offsets, ctx.softplus, ctx.reverse, ctx.chunk_size
    )
    wanted = zip(grads, (x, *others), ctx.needs_input_grad[:8], strict=True)
    return (*(value if given is not None and needed else None for value, given, needed in wanted), *(None,) * 5)


_INPUTS = (
    "Tensor x, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? delta_bias, Tensor? initial_state, "
    "Tensor offsets, bool delta_softplus, bool reverse, int chunk_size"
)

define(
    f"ssd({_INPUTS}, bool keep_final) -> (Tensor, Tensor)",
    reference=reference,
    fake=_fake,
    backward=_backward,
    save=_save,
)
define(
    f"ssd_backward(Tensor grad, Tensor? grad_final, {_INPUTS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=backward_reference,
    fake=_backward_fake,
)
