"""The gated delta rule, float32, forward and backward, against a plain loop over tokens with autograd."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

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

LENGTH, HEADS, KEYS, VALUES = 150, 3, 32, 32
LONG = (10_000, 100_000, 1_000_000)
OURS, LOOP = "gnnkit.ops.gated_delta", "loop over tokens, autograd"


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
        expected = results[LOOP].flatten(0, 1)
        error = float(((results[OURS] - expected).abs().max() / expected.abs().max()).detach())
        if error > 1e-5:
            raise SystemExit(f"the results differ by {error:.1e}: nothing is timed")
    given = {OURS: packed, LOOP: padded}
    # The same graph of autograd again and again, so that the backward pass alone is timed.
    backward = {
        name: lambda out=out, name=name: milliseconds(
            lambda: torch.autograd.grad(out, given[name], torch.ones_like(out), retain_graph=True)
        )
        for name, out in results.items()
    }
    times = {f"{name}, forward": value for name, value in interleaved(forward, 7).items()}
    taken = within_budget(backward, seconds=5.0, at_least=3)
    times |= {f"{name}, backward": summary(values) for name, values in taken.items()}
    ratios = {}
    if with_loop:
        ratios = {part: ratio(times, f"{LOOP}, {part}", f"{OURS}, {part}") for part in ("forward", "backward")}
    title = f"Gated delta rule, {sequences} sequences of {LENGTH} tokens, {HEADS} heads of {KEYS} by {VALUES}"
    title += f", {steps} step{'s' if steps > 1 else ''} per token"
    report(f"gated-delta-{sequences}-{steps}", {"title": title, "times": times, "ratios": ratios})


def long_sequences() -> None:
    """One sequence of growing length: time per token, and the memory of the backward pass."""
    times, ratios = {}, {}
    for tokens in LONG:
        packed, offsets = inputs(tokens, 1), torch.tensor([0, tokens])
        out = ours(packed, offsets)
        grad = torch.ones_like(out)

        def forward(packed: list[Tensor] = packed, offsets: Tensor = offsets) -> Tensor:
            return ours(packed, offsets)

        def backward(out: Tensor = out, packed: list[Tensor] = packed, grad: Tensor = grad) -> tuple[Tensor, ...]:
            return torch.autograd.grad(out, packed, grad, retain_graph=True)

        for part, run in (("forward", forward), ("backward", backward)):
            name = f"{tokens:,} tokens, {part}"
            taken = within_budget({name: lambda run=run: milliseconds(run)}, seconds=3.0, at_least=3)
            times[name] = summary(taken[name])
            ratios[f"{name}, microseconds per token"] = round(1e3 * times[name]["median_ms"] / tokens, 3)
        all_states = 4 * tokens * HEADS * KEYS * VALUES / 1e6
        gradients = sum(4 * value.numel() for value in packed) / 1e6
        extra = extra_memory(backward)
        if extra is not None:
            # What is left beside the gradients themselves, against the states of all tokens.
            ratios[f"{tokens:,} tokens, backward, memory beside gradients / all states"] = round(
                (extra - gradients) / all_states, 3
            )
    title = f"Gated delta rule, one sequence, {HEADS} heads of {KEYS} by {VALUES}"
    report("gated-delta-long", {"title": title, "times": times, "ratios": ratios, "memory": MEMORY_METHOD})


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    batch(32, 1, with_loop=True)
    batch(32, 2, with_loop=True)
    batch(128, 2, with_loop=False)
    long_sequences()
