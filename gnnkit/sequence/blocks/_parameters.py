"""Parameters of state spaces: which must not decay, how step widths are drawn, and dtypes in which they are used."""

import math

import torch
from torch import Tensor

_LEAST_STEP = 1e-4


class UndecayedParameter(torch.nn.Parameter):
    """A parameter that weight decay leaves alone, which ``gnnkit.experiment`` honours.

    The mark belongs to the class, since ``copy.deepcopy`` of a parameter loses what has been set on it.
    """

    no_weight_decay = True


def log_uniform(count: int, low: float, high: float) -> Tensor:
    """Numbers between ``low`` and ``high`` whose logarithms are uniform, ``[count]``."""
    return (math.log(low) + torch.rand(count) * (math.log(high) - math.log(low))).exp()


def step_biases(count: int, dt_min: float, dt_max: float) -> Tensor:
    """Biases, ``[count]``, of log-uniform steps ``log(1 + exp(bias))`` in ``[dt_min, dt_max]``, but at least 1e-4."""
    steps = log_uniform(count, dt_min, dt_max).clamp(min=_LEAST_STEP)
    return steps + (-(-steps).expm1()).log()


def decay_rates(log: Tensor) -> Tensor:
    """``-exp(log)``, in float32 at least: large rates would lose digits in bfloat16."""
    return -log.to(torch.promote_types(log.dtype, torch.float32)).exp()


def taps(conv: torch.nn.Conv1d, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Weight ``[D, K]`` and bias of a convolution of each channel; under autocast, tokens are narrower than these."""
    return conv.weight.squeeze(1).to(dtype), None if conv.bias is None else conv.bias.to(dtype)
