"""What holds for every operator that is called raw: threads, tracing, and how results are compared."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from tests.ops.kernels import EMULATED
from tests.tolerances import assert_close

runs_kernels = pytest.mark.skipif(EMULATED, reason="no kernels of a GPU for these")

T = TypeVar("T")


def as_tuple(found: Any) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)


def agree(found: Any, wanted: Any) -> bool:
    """Whether two results are the same, bit for bit."""
    pairs = zip(as_tuple(found), as_tuple(wanted), strict=True)
    return all(one.dtype == two.dtype and torch.equal(one, two) for one, two in pairs)


def check_close(found: Any, wanted: Any) -> None:
    """Floating-point numbers agree up to rounding, and all others bit for bit."""
    for one, two in zip(as_tuple(found), as_tuple(wanted), strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        if two.is_floating_point():
            assert_close(one, two)
        else:
            assert torch.equal(one, two)


def at_threads(count: int, call: Callable[[], T]) -> T:
    """What a call gives at a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return call()
    finally:
        torch.set_num_threads(before)


def check_threads(call: Callable[[], Any]) -> None:
    """A call gives the same bits for any number of threads."""
    wanted = at_threads(1, call)
    for threads in (2, 3):
        assert agree(at_threads(threads, call), wanted)


def check_traceable(name: str, arguments: tuple, others: Iterable[tuple], *, result: int = 0) -> None:
    """An operator passes ``opcheck``, and compiles with dynamic shapes; the sum of one of its results is compared."""
    operator = getattr(torch.ops.gnnkit, name)
    torch.compiler.reset()  # the function below is compiled anew for each operator, which torch does a few times only
    torch.library.opcheck(operator.default, arguments)
    compiled = torch.compile(
        lambda *given: as_tuple(operator(*given))[result].sum(), backend="aot_eager", fullgraph=True, dynamic=True
    )
    for other in others:
        assert compiled(*other) == as_tuple(operator(*other))[result].sum()
