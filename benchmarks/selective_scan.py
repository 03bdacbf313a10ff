"""Selective scan, float32, forward and backward, against a plain loop over tokens with autograd."""

import torch
from torch import Tensor

from benchmarks.measure import (
    MEMORY_METHOD,
    extra_memory,
    interleaved,
    milliseconds,
    ratio,
    report,
    summary,
    within_budget,
)
from gnnkit import ops

LENGTH, CHANNELS, STATES = 150, 96, 16
LONG = (10_000, 100_000, 1_000_000)
OURS, LOOP = "gnnkit.ops.selective_scan", "loop over tokens, autograd"


def loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """What users of a CPU run without a kernel: all decays and inputs at once, ``[batch, D, L, N]``, then L steps."""
    decays = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    inputs = torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    state, rows = torch.zeros_like(decays[:, :, 0]), []
    for token in range(u.size(2)):
        state = decays[:, :, token] * state + inputs[:, :, token]
        rows.append(torch.einsum("bdn,bn->bd", state, C[:, :, token]))
    return torch.stack(rows, dim=2) + u * D[:, None]


def batch(sequences: int, *, with_loop: bool) -> None:
    """One batch of sequences of equal length."""
    tokens = sequences * LENGTH
    u, delta = torch.randn(tokens, CHANNELS), torch.rand(tokens, CHANNELS)
    A, D = -torch.rand(CHANNELS, STATES), torch.randn(CHANNELS)
    B, C = torch.randn(tokens, STATES), torch.randn(tokens, STATES)
    packed = [value.requires_grad_() for value in (u, delta, A, B, C, D)]
    padded = [
        value if value.size(0) != tokens
        else value.detach().reshape(sequences, LENGTH, -1).transpose(1, 2).contiguous().requires_grad_()
        for value in packed
    ]  # fmt: skip
    offsets = torch.arange(0, tokens + 1, LENGTH)

    def ours() -> Tensor:
        found = ops.selective_scan(*packed, offsets=offsets)
        assert isinstance(found, Tensor)
        return found

    results = {OURS: ours()} | ({LOOP: loop(*padded)} if with_loop else {})
    if with_loop:
        expected = results[LOOP].transpose(1, 2).reshape(tokens, CHANNELS)
        error = float(((results[OURS] - expected).abs().max() / expected.abs().max()).detach())
        if error > 1e-5:
            raise SystemExit(f"the results differ by {error:.1e}: nothing is timed")
    forward = {OURS: ours} | ({LOOP: lambda: loop(*padded)} if with_loop else {})
    inputs = {OURS: packed, LOOP: padded}
    # The same graph of autograd again and again, so that the backward pass alone is timed.
    backward = {
        name: lambda out=out, name=name: milliseconds(
            lambda: torch.autograd.grad(out, inputs[name], torch.ones_like(out), retain_graph=True)
        )
        for name, out in results.items()
    }
    times = {f"{name}, forward": value for name, value in interleaved(forward, 7).items()}
    taken = within_budget(backward, seconds=5.0, at_least=3)
    times |= {f"{name}, backward": summary(values) for name, values in taken.items()}
    ratios = {}
    if with_loop:
        ratios = {part: ratio(times, f"{LOOP}, {part}", f"{OURS}, {part}") for part in ("forward", "backward")}
    title = f"Selective scan, {sequences} sequences of {LENGTH} tokens, {CHANNELS} channels, {STATES} states"
    report(f"selective-scan-{sequences}", {"title": title, "times": times, "ratios": ratios})


def long_sequences() -> None:
    """One sequence of growing length: time per token, and the memory of the backward pass."""
    times, ratios = {}, {}
    for tokens in LONG:
        u, delta = torch.randn(tokens, CHANNELS), torch.rand(tokens, CHANNELS)
        A = -torch.rand(CHANNELS, STATES)
        B, C = torch.randn(tokens, STATES), torch.randn(tokens, STATES)
        inputs = [value.requires_grad_() for value in (u, delta, A, B, C)]
        offsets = torch.tensor([0, tokens])

        def forward(inputs: list[Tensor] = inputs, offsets: Tensor = offsets) -> Tensor:
            found = ops.selective_scan(*inputs, offsets=offsets)  # type: ignore[arg-type]
            assert isinstance(found, Tensor)
            return found

        out = forward()
        grad = torch.ones_like(out)

        def backward(out: Tensor = out, inputs: list[Tensor] = inputs, grad: Tensor = grad) -> tuple[Tensor, ...]:
            return torch.autograd.grad(out, inputs, grad, retain_graph=True)

        for part, run in (("forward", forward), ("backward", backward)):
            name = f"{tokens:,} tokens, {part}"
            taken = within_budget({name: lambda run=run: milliseconds(run)}, seconds=3.0, at_least=3)
            times[name] = summary(taken[name])
            ratios[f"{name}, microseconds per token"] = round(1e3 * times[name]["median_ms"] / tokens, 3)
        all_states = 4 * tokens * CHANNELS * STATES / 1e6
        gradients = 4 * tokens * 2 * (CHANNELS + STATES) / 1e6
        extra = extra_memory(backward)
        if extra is not None:
            # What is left beside the gradients themselves, against a tensor of tokens by channels by states.
            ratios[f"{tokens:,} tokens, backward, memory beside gradients / all states"] = round(
                (extra - gradients) / all_states, 3
            )
    title = f"Selective scan, one sequence, {CHANNELS} channels, {STATES} states"
    report("selective-scan-long", {"title": title, "times": times, "ratios": ratios, "memory": MEMORY_METHOD})


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    batch(32, with_loop=True)
    batch(128, with_loop=False)
    long_sequences()
