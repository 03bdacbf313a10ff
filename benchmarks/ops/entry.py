"""What one line of the table says: how an operator is called here and by its peers, and on what it is measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import gnnkit
from benchmarks.ops.workload import Data, Workload

OURS = "gnnkit"


@dataclass(frozen=True)
class Pass:
    """What of a call is timed.

    Attributes:
        name: As it is printed.
        gradients: Names of the leaves to which gradients are taken; empty: the forward pass alone.
        with_forward: Whether the forward pass is timed too, where gradients are taken.
    """

    name: str
    gradients: tuple[str, ...] = ()
    with_forward: bool = True


FORWARD = Pass("forward")


def backward(*gradients: str) -> Pass:
    """The backward pass alone."""
    return Pass(f"backward to {', '.join(gradients)}", gradients, with_forward=False)


def forward_and_backward(*gradients: str) -> Pass:
    """Both passes; without names, to all leaves, as in a step of training."""
    return Pass("forward and backward", gradients or ("*",))


def same(value: Any) -> Any:
    """Nothing needs to be done to a result or gradient."""
    return value


@dataclass(frozen=True)
class Call:
    """An operator bound to its inputs.

    Attributes:
        run: The call that is timed.
        leaves: Floating-point inputs by names that all candidates share; those of a pass get gradients.
        result: Brings what ``run`` returns into the form of the reference. Not timed.
        restore: Brings the gradient to a leaf into the common order. Not timed.
    """

    run: Callable[[], Any]
    leaves: Mapping[str, Tensor] = field(default_factory=dict)
    result: Callable[[Any], Tensor] = same
    restore: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)

    def wanted(self, chosen: Pass) -> dict[str, Tensor]:
        """The leaves to which the pass takes gradients."""
        names = tuple(self.leaves) if chosen.gradients == ("*",) else chosen.gradients
        return {name: self.leaves[name] for name in names}

    def prepare(self, chosen: Pass, upstream: Tensor | None) -> Callable[[], Any]:
        """The function to time; a backward pass alone has its forward pass done here."""
        wanted = self.wanted(chosen)
        for name, leaf in self.leaves.items():
            leaf.requires_grad_(name in wanted)
        if not wanted:
            return self._forward
        leaves = list(wanted.values())
        if chosen.with_forward:
            return lambda: torch.autograd.grad(self.run(), leaves, upstream)
        out = self.run()
        return lambda: torch.autograd.grad(out, leaves, upstream, retain_graph=True)

    def _forward(self) -> Any:
        with torch.no_grad():
            return self.run()


Build = Callable[[Data], Call]
Leaves = dict[str, Tensor]


@dataclass(frozen=True)
class Peer:
    """A way to compute the same without gnnkit.

    Attributes:
        name: As it is printed.
        package: What must be importable.
        build: Makes the call.
        temporaries: Arrays of edges times features that it holds at once; where they would not fit, it is left out.
        passes: Names of the passes that it can do. None: all.
    """

    name: str
    package: str
    build: Build
    temporaries: float = 0.0
    passes: tuple[str, ...] | None = None


# Terms of a hub's sum that cancel leave their rounding errors: float32 sums are off by up to 2e-5, ours and torch's.
CANCELLING_SUM = 3e-5


@dataclass(frozen=True)
class OpBenchmark:
    """One operator of the table.

    Attributes:
        name: Unique name, by which ``--op`` finds it.
        title: What it computes, in words.
        needs: Names under ``gnnkit`` without which there is nothing to measure, such as ``"ops.spmm"``.
        ours: Makes the call of gnnkit.
        peers: Other ways to compute it.
        reference: The result in float64 from the data and float64 leaves, by code that is neither ours nor a peer's.
        main: Passes measured on every workload.
        more: Passes measured on ``detailed`` only.
        workloads: Where it is measured.
        detailed: Where all passes are measured.
        ours_only: Workloads on which peers are not run, since they would take most of the time.
        tolerance: Largest error of a result, in units of the largest value of its row plus the root mean square of all.
        gradient_tolerance: The same for gradients.
        vanishing: Leaves whose gradients (all but) cancel in exact arithmetic; what is left of them in float32 are
            rounding errors, which nothing can equal.
        by_chance: Whether the result depends on random numbers, which the reference reads off it.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    ours: Build
    peers: tuple[Peer, ...]
    reference: Callable[..., Tensor]
    main: tuple[Pass, ...]
    workloads: tuple[Workload, ...]
    more: tuple[Pass, ...] = ()
    detailed: tuple[Workload, ...] = (Workload("power-law", 1_600_000, 64),)
    ours_only: tuple[Workload, ...] = ()
    tolerance: float = 1e-5
    gradient_tolerance: float = 1e-4
    vanishing: tuple[str, ...] = ()
    by_chance: bool = False

    def passes(self, workload: Workload) -> tuple[Pass, ...]:
        """What is measured on one workload."""
        return self.main + (self.more if workload in self.detailed else ())

    def missing(self) -> str | None:
        """The first name that this gnnkit lacks, or None."""
        for dotted in self.needs:
            found: Any = gnnkit
            for part in dotted.split("."):
                found = getattr(found, part, None)
            if found is None:
                return f"gnnkit.{dotted}"
        return None
