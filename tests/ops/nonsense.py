"""Calls of raw operators with arguments that nobody should give: they may raise, and must not crash or hang."""

from collections.abc import Callable, Container, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.mutations import mutated
from tests.ops.recorder import as_tuple


def nonsense(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test 60 times, each with other ``data`` to draw from."""
    test = given(st.data())(test)
    test = settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )(test)
    # torch says once per process that these kinds of tensors may change.
    for message in ("The PyTorch API of nested tensors", "Sparse CSR tensor support"):
        test = pytest.mark.filterwarnings(f"ignore:{message}:UserWarning")(test)
    return test


def call_with_nonsense(data: Any, name: str, arguments: Sequence[Any], *, capped: Container[int] = ()) -> None:
    """Calls an operator with one or two of its arguments replaced.

    ``capped``: places of integers that say how long it goes on, which are held to 100.
    """
    wrong = list(arguments)
    for place in data.draw(st.lists(st.integers(0, len(wrong) - 1), min_size=1, max_size=2, unique=True)):
        wrong[place] = data.draw(mutated(wrong[place]))
        if place in capped and isinstance(wrong[place], int):
            wrong[place] = min(wrong[place], 100)
    try:
        found = getattr(torch.ops.gnnkit, name)(*wrong)
    except Exception:
        return
    assert all(isinstance(value, Tensor) for value in as_tuple(found))
