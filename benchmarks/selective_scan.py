"""Selective scan, float32, forward and backward, against a plain loop over tokens with autograd."""

import torch
from torch import Tensor

from benchmarks.measure import report
from benchmarks.packed import LOOP, both_ways, check, gradients, long_sequences, slower
from gnnkit import ops

LENGTH, CHANNELS, STATES = 150, 96, 16
OURS = "gnnkit.ops.selective_scan"


def loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """What users of a CPU run without a kernel: all decays and inputs at once, ``[batch, D, L, N]``, then L steps."""
    decays = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    inputs = torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    state, rows = torch.zeros_like(decays[:, :, 0]), []
    for token in range(u.size(2)):
        state = decays[:, :, token] * state + inputs[:, :, token]
        rows.append(torch.einsum("bdn,bn->bd", state, C[:, :, token]))
    return torch.stack(rows, dim=2) + u * D[:, None]


def ours(inputs: list[Tensor], offsets: Tensor) -> Tensor:
    found = ops.selective_scan(*inputs, offsets=offsets)  # type: ignore[arg-type]
    assert isinstance(found, Tensor)
    return found


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
    forward = {OURS: lambda: ours(packed, offsets)} | ({LOOP: lambda: loop(*padded)} if with_loop else {})
    results = {name: run() for name, run in forward.items()}
    if with_loop:
        check({OURS: results[OURS]}, results[LOOP].transpose(1, 2).reshape(tokens, CHANNELS))
    times = both_ways(forward, gradients(results, {OURS: packed, LOOP: padded}))
    ratios = slower(times, LOOP, OURS) if with_loop else {}
    title = f"Selective scan, {sequences} sequences of {LENGTH} tokens, {CHANNELS} channels, {STATES} states"
    report(f"selective-scan-{sequences}", {"title": title, "times": times, "ratios": ratios})


def made(tokens: int) -> list[Tensor]:
    """u, delta, A, B and C."""
    u, delta = torch.randn(tokens, CHANNELS), torch.rand(tokens, CHANNELS)
    A = -torch.rand(CHANNELS, STATES)
    B, C = torch.randn(tokens, STATES), torch.randn(tokens, STATES)
    return [value.requires_grad_() for value in (u, delta, A, B, C)]


def one_sequence() -> None:
    title = f"Selective scan, one sequence, {CHANNELS} channels, {STATES} states"
    report("selective-scan-long", {"title": title, **long_sequences(made, ours, CHANNELS * STATES)})


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    batch(32, with_loop=True)
    batch(128, with_loop=False)
    one_sequence()
