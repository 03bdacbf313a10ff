"""What benchmarks of recurrences on packed sequences share: batches against a loop over tokens, long sequences."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import MEMORY_METHOD, extra_memory, interleaved, milliseconds, ratio, summary, within_budget

LONG = (10_000, 100_000, 1_000_000)
LOOP = "loop over tokens, autograd"
PARTS = ("forward", "backward")


def check(results: Mapping[str, Tensor], expected: Tensor) -> None:
    """Ends the program where a result is not that of the loop."""
    for name, found in results.items():
        error = float(((found - expected).abs().max() / expected.abs().max()).detach())
        if error > 1e-5:
            raise SystemExit(f"{name} and the loop differ by {error:.1e}: nothing is timed")


def gradients(results: Mapping[str, Tensor], inputs: Mapping[str, list[Tensor]]) -> dict[str, Callable[[], object]]:
    """The same graph of autograd again and again, so that the backward pass alone is timed."""
    return {
        name: lambda out=out, name=name: torch.autograd.grad(out, inputs[name], torch.ones_like(out), retain_graph=True)
        for name, out in results.items()
    }


def both_ways(
    forward: Mapping[str, Callable[[], object]], backward: Mapping[str, Callable[[], object]]
) -> dict[str, dict[str, float]]:
    """Times of both passes of all candidates, in turns."""
    times = {f"{name}, forward": value for name, value in interleaved(forward, 7).items()}
    runs = {name: partial(milliseconds, run) for name, run in backward.items()}
    taken = within_budget(runs, seconds=5.0, at_least=3)
    return times | {f"{name}, backward": summary(values) for name, values in taken.items()}


def slower(times: dict[str, dict[str, float]], peer: str, ours: str) -> dict[str, float]:
    """How many times longer the peer takes, by pass."""
    return {part: ratio(times, f"{peer}, {part}", f"{ours}, {part}") for part in PARTS}


def long_sequences(
    make: Callable[[int], list[Tensor]], scan: Callable[[list[Tensor], Tensor], Tensor], state_size: int
) -> dict[str, Any]:
    """One sequence of growing length: time per token, and the memory of the backward pass.

    Args:
        make: Inputs of a number of tokens.
        scan: The recurrence on inputs and offsets.
        state_size: Numbers in the state after one token.
    """
    times, ratios = {}, {}
    for tokens in LONG:
        inputs, offsets = make(tokens), torch.tensor([0, tokens])
        out = scan(inputs, offsets)
        backward = partial(torch.autograd.grad, out, inputs, torch.ones_like(out), retain_graph=True)
        for part, run in zip(PARTS, (partial(scan, inputs, offsets), backward), strict=True):
            name = f"{tokens:,} tokens, {part}"
            taken = within_budget({name: partial(milliseconds, run)}, seconds=3.0, at_least=3)
            times[name] = summary(taken[name])
            ratios[f"{name}, microseconds per token"] = round(1e3 * times[name]["median_ms"] / tokens, 3)
        extra = extra_memory(backward)
        if extra is not None:
            # What is left beside the gradients themselves, against the states of all tokens.
            beside = extra - sum(4 * value.numel() for value in inputs) / 1e6
            ratios[f"{tokens:,} tokens, backward, memory beside gradients / all states"] = round(
                beside / (4 * tokens * state_size / 1e6), 3
            )
    return {"times": times, "ratios": ratios, "memory": MEMORY_METHOD}
