"""What the table of operators is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import erf
from torch import Tensor

from tests.ops.samples import Sample

Arrays = dict[str, np.ndarray]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class OpCase:
    """One operator as a user calls it.

    Attributes:
        name: What to print.
        call: The public function applied to a sample and its floating tensors.
        shapes: Shapes of those tensors, by name.
        oracle: The same result from NumPy in float64, by another route.
        twice_differentiable: Whether ``gradgradcheck`` applies.
        smooth: False where finite differences meet a kink or a tie, so that inputs must be kept apart.
    """

    name: str
    call: Callable[[Sample, Tensors], Tensor]
    shapes: Callable[[Sample], dict[str, tuple[int, ...]]]
    oracle: Callable[[Sample, Arrays], np.ndarray]
    twice_differentiable: bool = True
    smooth: bool = field(default=True)


ACTIVATIONS = {
    "none": lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "gelu": lambda v: v * (1 + erf(v / np.sqrt(2))) / 2,
    "silu": lambda v: v / (1 + np.exp(-v)),
}
