"""The published gradient of a selective scan over three tokens, of one channel and two states."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1).requires_grad_()


def inputs() -> tuple[Tensor, ...]:
    """``u``, ``delta``, ``A`` of the two states, ``B`` and ``C``."""
    A = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    B = torch.tensor([[1.0, 0], [1, 1], [0, 2]], dtype=torch.float64, requires_grad=True)
    C = torch.tensor([[1.0, 1], [1, 0], [2, 1]], dtype=torch.float64, requires_grad=True)
    return column(1, 2, 3), column(0.5, 1, 0.25), A, B, C


def assert_published(out: Tensor, state: Tensor, grads: Sequence[Any]) -> None:
    """Compares to ten digits; ``grads``: of the sum of ``out`` by the five inputs."""
    expected = [
        (out, [0.5, 2.1839397205857214, 6.114769248571077]),
        (state, [1.700853964572905, 2.713061319425267]),
        (grads[0], [0.9704445174459113, 3.164132225855443, 0.5]),
        (grads[1], [1.9408890348918226, 5.857819934264975, 0.1721694320036562]),
        (grads[2], [1.3208714997323638, 0.3032653298563167]),
    ]
    for found, numbers in expected:
        wanted = torch.tensor(numbers, dtype=torch.float64)
        torch.testing.assert_close(found.flatten(), wanted, rtol=1e-10, atol=1e-12)
    rounded = [
        (grads[3], [0.9704445, 0.5410425, 5.1152031, 1.2130613, 1.5, 0.75]),
        (grads[4], [0.5, 0, 2.1839397, 2, 1.7008540, 2.7130613]),
    ]
    for found, numbers in rounded:
        torch.testing.assert_close(found.flatten(), torch.tensor(numbers, dtype=torch.float64), rtol=0, atol=5e-8)
