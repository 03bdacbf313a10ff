"""The gated delta rule, float32, forward and backward, against a plain loop over tokens with autograd."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.measure import report
from benchmarks.packed import LOOP, both_ways, check, gradients, long_sequences, slower
from gnnkit import ops

LENGTH, HEADS, KEYS, VALUES = 150, 3, 32, 32
OURS = "gnnkit.ops.gated_delta"


def loop(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Tensor:
    """What users of a CPU run without a kernel: all sequences side by side, ``[batch, L, ...]``, step by step."""
    state = q.new_zeros(q.size(0), q.size(2), q.size(3), v.size(4))
    rows = []
    for token in range(q.size(1)):
        state = g[:, token].exp()[..., None, None] * state
        for step in range(k.size(2)):
            key = k[:, token, step]
            error = v[:, token, step] - torch.einsum("bhkv,bhk->bhv", state, key)
            state = state + torch.einsum("bhk,bhv->bhkv", key, beta[:, token, step, :, None] * error)
        rows.append(KEYS**-0.5 * torch.einsum("bhkv,bhk->bhv", state, q[:, token]))
    return torch.stack(rows, dim=1)


def inputs(tokens: int, steps: int) -> list[Tensor]:
    """q, k, v, beta and g of packed tokens."""
    made = [
        torch.randn(tokens, HEADS, KEYS),
        normalize(torch.randn(tokens, steps, HEADS, KEYS), dim=-1),
        torch.randn(tokens, steps, HEADS, VALUES),
        2 * torch.rand(tokens, steps, HEADS),
        -0.1 * torch.rand(tokens, HEADS),
    ]
    return [value.requires_grad_() for value in made]


def ours(packed: list[Tensor], offsets: Tensor) -> Tensor:
    found = ops.gated_delta(*packed, offsets=offsets)  # type: ignore[arg-type]
    assert isinstance(found, Tensor)
    return found


def batch(sequences: int, steps: int, *, with_loop: bool) -> None:
    """One batch of sequences of equal length."""
    packed, offsets = inputs(sequences * LENGTH, steps), torch.arange(0, sequences * LENGTH + 1, LENGTH)
    padded = [value.detach().unflatten(0, (sequences, LENGTH)).requires_grad_() for value in packed]
    forward = {OURS: lambda: ours(packed, offsets)} | ({LOOP: lambda: loop(*padded)} if with_loop else {})
    results = {name: run() for name, run in forward.items()}
    if with_loop:
        check({OURS: results[OURS]}, results[LOOP].flatten(0, 1))
    times = both_ways(forward, gradients(results, {OURS: packed, LOOP: padded}))
    ratios = slower(times, LOOP, OURS) if with_loop else {}
    title = f"Gated delta rule, {sequences} sequences of {LENGTH} tokens, {HEADS} heads of {KEYS} by {VALUES}"
    title += f", {steps} step{'s' if steps > 1 else ''} per token"
    report(f"gated-delta-{sequences}-{steps}", {"title": title, "times": times, "ratios": ratios})


def one_sequence() -> None:
    title = f"Gated delta rule, one sequence, {HEADS} heads of {KEYS} by {VALUES}"
    found = long_sequences(lambda tokens: inputs(tokens, 1), ours, HEADS * KEYS * VALUES)
    report("gated-delta-long", {"title": title, **found})


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    batch(32, 1, with_loop=True)
    batch(32, 2, with_loop=True)
    batch(128, 2, with_loop=False)
    one_sequence()
