"""Selective scan, float32, forward and backward, against a plain loop over tokens with autograd."""

import torch
from torch import Tensor

from benchmarks.measure import interleaved, milliseconds, ratio, report, summary, within_budget
from gnnkit import ops

LENGTH, CHANNELS, STATES = 150, 96, 16
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


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    batch(32, with_loop=True)
    batch(128, with_loop=False)
