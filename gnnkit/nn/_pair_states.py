"""The states of attended pairs in GRIT, and their logits, a block of pairs at a time."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gnnkit.ops._checks import values_readable

_BLOCK_ENTRIES = 2**17
"""Entries of a block of states on a CPU: the dozen passes over them then stay in cache."""
_BLOCK_ENTRIES_ELSEWHERE = 2**25


def pair_states(
    query: Tensor, key: Tensor, pair: Tensor, weight: Tensor, bias: Tensor, vector: Tensor, edge_index: Tensor
) -> tuple[Tensor, Tensor]:
    r"""States of pairs, :math:`r_p = \mathrm{relu}(\rho((q_i + k_j) \odot W_w e_p) + W_b e_p)`, and their logits.

    :math:`\rho(z) = \mathrm{sign}(z) |z|^{1/2}`, whose derivative is taken as 0 at 0. The two maps have biases.

    Args:
        query: ``[N, d]``.
        key: ``[N, d]``.
        pair: ``e``, ``[P, c]``.
        weight: :math:`W_w` over :math:`W_b`, ``[2 d, c]``.
        bias: Of both, ``[2 d]``.
        vector: One per head, ``[H, d / H]``; its product with a head's part of the states is the logit.
        edge_index: Sources ``j`` and destinations ``i``, ``[2, P]``.

    Returns:
        States ``[P, d]`` and logits ``[P, H]``. Differentiable once in all but ``edge_index``.

    Determinism: bitwise, forward and backward.
    Complexity: ``O(P d c)`` time. No temporary of the size of the states: what the gradient needs is computed anew.
    """
    dtype = query.dtype
    for other in (key, pair, weight):
        dtype = torch.promote_types(dtype, other.dtype)
    given = (value.to(dtype) for value in (query, key, pair, weight, bias, vector))
    states, logits = _PairStates.apply(*given, edge_index)
    return states, logits


class _PairStates(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        pair: Tensor,
        weight: Tensor,
        bias: Tensor,
        vector: Tensor,
        edge_index: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(query, key, pair, weight, bias, vector, edge_index)
        states = pair.new_empty((pair.size(0), query.size(1)))
        logits = pair.new_empty((pair.size(0), vector.size(0)))
        diagonal = _block_diagonal(vector)
        with torch.autocast(pair.device.type, enabled=False):
            for begin, end in _blocks(pair, query.size(1)):
                source, destination = edge_index[:, begin:end]
                summed = query.index_select(0, destination) + key.index_select(0, source)
                scale, offset = torch.addmm(bias, pair[begin:end], weight.t()).chunk(2, dim=1)
                out = _signed_root(summed.mul_(scale)).add_(offset).relu_()
                states[begin:end] = out
                torch.mm(out, diagonal, out=logits[begin:end])
        return states, logits

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return _backward(ctx, *grad_outputs)


@once_differentiable
def _backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
    with torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):
        return (*_gradients(*ctx.saved_tensors, *grad_outputs), None)


def _gradients(
    query: Tensor,
    key: Tensor,
    pair: Tensor,
    weight: Tensor,
    bias: Tensor,
    vector: Tensor,
    edge_index: Tensor,
    grad_states: Tensor,
    grad_logits: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients to the first six, from those to the states and the logits."""
    width = query.size(1)
    grad_query, grad_key = torch.zeros_like(query), torch.zeros_like(key)
    grad_pair = torch.empty_like(pair)
    grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    diagonal = _block_diagonal(vector)
    grad_diagonal = torch.zeros_like(diagonal)
    for begin, end in _blocks(pair, width):
        source, destination = edge_index[:, begin:end]
        rows = pair[begin:end]
        summed = query.index_select(0, destination) + key.index_select(0, source)
        scale, offset = torch.addmm(bias, rows, weight.t()).chunk(2, dim=1)
        root = _signed_root(summed * scale)
        states = (root + offset).relu_()
        grad_diagonal.addmm_(states.t(), grad_logits[begin:end])
        both = pair.new_empty((end - begin, 2 * width))
        grad_scale, grad_offset = both.chunk(2, dim=1)
        grad = torch.addmm(grad_states[begin:end], grad_logits[begin:end], diagonal.t())
        grad_offset.copy_(grad.mul_(states > 0))
        # The derivative of the signed root is 1 / (2 |root|).
        slope = root.abs_().mul_(2).reciprocal_()
        grad.mul_(slope.masked_fill_(slope == torch.inf, 0.0))
        torch.mul(grad, summed, out=grad_scale)
        grad.mul_(scale)
        _add_rows(grad_query, destination, grad)
        _add_rows(grad_key, source, grad)
        torch.mm(both, weight, out=grad_pair[begin:end])
        grad_weight.addmm_(both.t(), rows)
        grad_bias.add_(both.sum(0))
    by_head = grad_diagonal.unflatten(0, vector.shape)
    grad_vector = by_head.diagonal(dim1=0, dim2=2).t().contiguous()
    return grad_query, grad_key, grad_pair, grad_weight, grad_bias, grad_vector


def _signed_root(value: Tensor) -> Tensor:
    return value.abs().sqrt_().copysign_(value)


def _block_diagonal(vector: Tensor) -> Tensor:
    """``[H, D]`` to ``[H D, H]``, so that one product serves all heads."""
    eye = torch.eye(vector.size(0), dtype=vector.dtype, device=vector.device).unsqueeze(1)
    return (vector.unsqueeze(-1) * eye).reshape(-1, vector.size(0))


def _add_rows(out: Tensor, index: Tensor, rows: Tensor) -> None:
    if out.device.type == "cpu":
        out.index_add_(0, index, rows)
    else:
        # index_add uses atomics on accelerators; index_put with accumulation sorts first.
        out.index_put_((index.long(),), rows, accumulate=True)


def _blocks(pair: Tensor, width: int) -> list[tuple[int, int]]:
    entries = _BLOCK_ENTRIES if values_readable(pair) else _BLOCK_ENTRIES_ELSEWHERE
    step = max(1, entries // width)
    return [(begin, min(begin + step, pair.size(0))) for begin in range(0, pair.size(0), step)]
