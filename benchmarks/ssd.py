"""State space duality, float32, forward and backward, against a plain loop over tokens with autograd and the reference.

    python -m benchmarks.ssd [--write]

``--write`` puts the figures into ``results/speed/ssd.json``: on a machine with nothing else to do.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.measure import interleaved, milliseconds, ratio, report, show, summary, within_budget
from gnnkit import ops
from gnnkit.ops._ssd_reference import backward_reference, reference

SEQUENCES, LENGTH, HEADS, WIDTH, STATES = 32, 150, 2, 64, 64
OURS, REFERENCE, LOOP = "gnnkit.ops.ssd", "reference in chunks", "loop over tokens, autograd"


def loop(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """One step of whole tensors for each token of all sequences: ``x`` is ``[batch, L, H, P]``, one group."""
    decays = torch.exp(delta * A)
    inputs = delta.unsqueeze(-1) * x
    state, rows = x.new_zeros(x.size(0), x.size(2), x.size(3), B.size(-1)), []
    for token in range(x.size(1)):
        entering = torch.einsum("bhp,bn->bhpn", inputs[:, token], B[:, token])
        state = decays[:, token, :, None, None] * state + entering
        rows.append(torch.einsum("bhpn,bn->bhp", state, C[:, token]))
    return torch.stack(rows, dim=1) + x * D[:, None]


def measured() -> dict:
    """Times of all three, in turns; ends the program where results differ."""
    tokens = SEQUENCES * LENGTH
    A, D = -torch.rand(HEADS), torch.randn(HEADS)
    x, delta = torch.randn(tokens, HEADS, WIDTH), torch.rand(tokens, HEADS)
    B, C = torch.randn(tokens, 1, STATES), torch.randn(tokens, 1, STATES)
    packed = [value.requires_grad_() for value in (x, delta, A, B, C, D)]
    rows = (x, delta, B.squeeze(1), C.squeeze(1))
    x_, delta_, b_, c_ = (value.detach().unflatten(0, (SEQUENCES, LENGTH)).requires_grad_() for value in rows)
    padded = [x_, delta_, A, b_, c_, D]
    offsets = torch.arange(0, tokens + 1, LENGTH)
    plain = [*(value.detach() for value in packed), None, None, offsets, False, False, 64]

    def ours() -> Tensor:
        found = ops.ssd(*packed, offsets=offsets)
        assert isinstance(found, Tensor)
        return found

    results = {OURS: ours(), LOOP: loop(*padded)}
    expected = results[LOOP].flatten(0, 1)
    for name, found in ((OURS, results[OURS]), (REFERENCE, reference(*plain, keep_final=False)[0])):
        error = float(((found - expected).abs().max() / expected.abs().max()).detach())
        if error > 1e-5:
            raise SystemExit(f"{name} and the loop differ by {error:.1e}: nothing is timed")
    forward = {OURS: ours, REFERENCE: lambda: reference(*plain, keep_final=False), LOOP: lambda: loop(*padded)}
    inputs, grad = {OURS: packed, LOOP: padded}, torch.ones(tokens, HEADS, WIDTH)
    # The same graph of autograd again and again, so that the backward pass alone is timed.
    backward: dict[str, Callable[[], float]] = {
        name: lambda out=out, name=name: milliseconds(
            lambda: torch.autograd.grad(out, inputs[name], torch.ones_like(out), retain_graph=True)
        )
        for name, out in results.items()
    }
    backward |= {REFERENCE: lambda: milliseconds(lambda: backward_reference(grad, None, *plain))}
    times = {f"{name}, forward": value for name, value in interleaved(forward, 7).items()}
    taken = within_budget(backward, seconds=5.0, at_least=3)
    times |= {f"{name}, backward": summary(values) for name, values in taken.items()}
    ratios = {
        f"{peer}, {part}": ratio(times, f"{peer}, {part}", f"{OURS}, {part}")
        for peer in (LOOP, REFERENCE)
        for part in ("forward", "backward")
    }
    title = f"State space duality, {SEQUENCES} sequences of {LENGTH} tokens, {HEADS} heads of {WIDTH}, {STATES} states"
    return {"title": title, "times": times, "ratios": ratios}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write results/speed/ssd.json")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    result = measured()
    if options.write:
        report("ssd", result)
    else:
        show(result)
