"""Parameters of state spaces: which must not decay, and how step widths are drawn."""

import math

import torch
from torch import Tensor


class UndecayedParameter(torch.nn.Parameter):
    """A parameter that weight decay leaves alone, which ``gnnkit.experiment`` honours.

    The mark belongs to the class, since ``copy.deepcopy`` of a parameter loses what has been set on it.
    """

    no_weight_decay = True


def log_uniform(count: int, low: float, high: float) -> Tensor:
    """Numbers between ``low`` and ``high`` whose logarithms are uniform, ``[count]``."""
    return (math.log(low) + torch.rand(count) * (math.log(high) - math.log(low))).exp()


def inverse_softplus(value: Tensor) -> Tensor:
    """The ``x`` whose ``log(1 + exp(x))`` is ``value``, for positive values."""
    return value + (-(-value).expm1()).log()
