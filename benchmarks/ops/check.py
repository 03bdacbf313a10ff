"""Is the result right? Asked of every candidate before it is timed."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.ops import reference
from benchmarks.ops.entry import Call, OpBenchmark, Pass
from benchmarks.ops.workload import Data

# Step of the directional derivative, in units in which every gradient has the length one: small, since there are kinks
# and curvature, yet its effect is far above the rounding errors of float64.
STEP = 1e-7


class MismatchError(Exception):
    """A candidate's result is wrong."""


@dataclass
class Answer:
    """What a candidate gives in one pass, in the common form."""

    out: Tensor
    gradients: dict[str, Tensor]


def upstream(out: Tensor) -> Tensor:
    """The gradient that arrives at a result: the same for all candidates."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(out.shape, generator=generator, dtype=out.dtype) - 0.5


def answer(call: Call, chosen: Pass) -> Answer:
    """Runs a candidate once."""
    wanted = call.wanted(chosen)
    for name, leaf in call.leaves.items():
        leaf.requires_grad_(name in wanted)
    with torch.set_grad_enabled(bool(wanted)):
        out = call.result(call.run())
    if not wanted:
        return Answer(out, {})
    found = torch.autograd.grad(out, list(wanted.values()), upstream(out))
    named = dict(zip(wanted, found, strict=True))
    restored = {name: call.restore.get(name, lambda value: value)(value) for name, value in named.items()}
    return Answer(out.detach(), restored)


class Checker:
    """Compares candidates on one workload with the reference, and their gradients with each other's too."""

    def __init__(self, op: OpBenchmark, data: Data, leaves: Mapping[str, Tensor]) -> None:
        """``leaves`` are those of gnnkit's call, in the common order."""
        self.op, self.data = op, data
        self.leaves = {name: leaf.detach() for name, leaf in leaves.items()}
        self._expected: Tensor | None = None
        self._first: dict[tuple[str, ...], Answer] = {}

    def check(self, name: str, given: Answer) -> None:
        """Raises MismatchError where a result or gradient is wrong."""
        expected = self._reference(given.out)
        self._compare(f"the result of {name}", given.out, expected, self.op.tolerance)
        if not given.gradients:
            return
        key = tuple(given.gradients)
        if self.op.by_chance or key not in self._first:
            self._check_slope(name, given, expected)
            self._first.setdefault(key, given)
        else:
            first = self._first[key]
            for leaf in self._telling(given):
                what = f"the gradient of {name} to {leaf}"
                self._compare(what, given.gradients[leaf], first.gradients[leaf], self.op.gradient_tolerance)

    def _reference(self, out: Tensor) -> Tensor:
        if self.op.by_chance:
            return self.op.reference(self.data, self.leaves, out)
        if self._expected is None:
            self._expected = self.op.reference(self.data, self.leaves, None)
        return self._expected

    def _check_slope(self, name: str, given: Answer, expected: Tensor) -> None:
        """The gradients along a random direction, against the slope of the reference in float64.

        One number for all elements: a wrong row among a hundred thousand changes it by a thousandth of what it is.
        """
        generator = torch.Generator().manual_seed(2)
        moved, slope, count = dict(self.leaves), 0.0, 0
        for leaf in self._telling(given):
            gradient = given.gradients[leaf]
            length = gradient.double().norm().item()
            if length == 0.0:
                continue
            direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64) / length
            slope += (gradient.double() * direction).sum().item()
            moved[leaf] = self.leaves[leaf].double() + STEP * direction
            count += 1
        change = self.op.reference(self.data, moved, given.out) - expected
        error = abs(slope - (change * upstream(given.out).double()).sum().item() / STEP) / max(count, 1) ** 0.5
        if not error <= self.op.gradient_tolerance:
            raise MismatchError(
                f"the gradients of {name} are wrong: along a random direction they differ from the slope of the "
                f"float64 reference by {error:.1e} of their length, {self.op.gradient_tolerance:.0e} is allowed"
            )

    def _telling(self, given: Answer) -> list[str]:
        return [leaf for leaf in given.gradients if leaf not in self.op.vanishing]

    def _compare(self, what: str, actual: Tensor, expected: Tensor, tolerance: float) -> None:
        if actual.shape != expected.shape:
            raise MismatchError(f"{what} has shape {tuple(actual.shape)}, expected {tuple(expected.shape)}")
        error = largest_error(actual, expected)
        if not error <= tolerance:  # also where it is NaN
            raise MismatchError(f"{what} is wrong by {error:.1e}, {tolerance:.0e} is allowed")


def largest_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, in units of the largest value of its row plus the root mean square of all values."""
    if expected.numel() == 0:
        return 0.0
    actual, expected = (value.detach().reshape(len(value), -1) for value in (actual, expected))
    everywhere = expected.double().square().mean().sqrt().item() if expected.numel() < 1 << 22 else _rms(expected)
    worst = torch.zeros((), dtype=torch.float64)
    for part in reference.blocks(*expected.shape):
        wanted = expected[part].double()
        scale = wanted.abs().amax(1, keepdim=True) + everywhere
        # Where all is zero, so must the result be.
        error = (actual[part].double() - wanted).abs() / scale.clamp(min=torch.finfo(torch.float64).tiny)
        worst = torch.maximum(worst, torch.where(error.isnan(), torch.inf, error).max())
    return worst.item()


def _rms(value: Tensor) -> float:
    total = sum(float(value[part].double().square().sum()) for part in reference.blocks(*value.shape))
    return (total / value.numel()) ** 0.5


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
