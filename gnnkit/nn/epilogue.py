"""What follows an aggregation: bias, activation, dropout and residual."""

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.ops.dropout import Activation


def epilogue(
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    dropout: float,
    activation: Activation,
    training: bool,
) -> Tensor:
    """``dropout(activation(x + bias)) + residual`` in one pass.

    Args:
        x: ``[N, F]``.
        bias: ``[F]``, or None.
        residual: ``[N, F]``, or None.
        dropout: Probability of dropping an entry, in ``[0, 1)``.
        activation: ``"none"``, ``"relu"``, ``"gelu"`` or ``"silu"``.
        training: Whether entries are dropped at all.

    Returns:
        ``[N, F]``.

    Determinism: bitwise for a given state of torch's global generator, from which one seed is drawn per call that
    drops entries.
    """
    # Under autocast a matrix product comes out narrower than what is added to it: as in torch, the wider dtype wins.
    dtype = x.dtype
    for other in (bias, residual):
        dtype = dtype if other is None else torch.promote_types(dtype, other.dtype)
    x, bias, residual = x.to(dtype), _cast(bias, dtype), _cast(residual, dtype)
    if dropout > 0 and training:
        seed = torch.randint(0, 2**63 - 1, (1,), device=x.device)
        return ops.dropout_epilogue(x, bias, residual, p=dropout, seed=seed, act=activation)
    return ops.dropout_epilogue(x, bias, residual, p=0.0, seed=0, act=activation)


def _cast(value: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if value is None else value.to(dtype)
