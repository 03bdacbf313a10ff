"""State space duality, float32, forward and backward, against a loop over tokens with autograd and the reference."""

import torch
from torch import Tensor

from benchmarks.measure import report
from benchmarks.packed import LOOP, both_ways, check, gradients, slower
from gnnkit import ops
from gnnkit.ops._ssd_reference import backward_reference, reference

SEQUENCES, LENGTH, HEADS, WIDTH, STATES = 32, 150, 2, 64, 64
OURS, REFERENCE = "gnnkit.ops.ssd", "reference in chunks"


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


def main() -> None:
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
    check({OURS: results[OURS], REFERENCE: reference(*plain, keep_final=False)[0]}, results[LOOP].flatten(0, 1))
    forward = {OURS: ours, REFERENCE: lambda: reference(*plain, keep_final=False), LOOP: lambda: loop(*padded)}
    grad = torch.ones(tokens, HEADS, WIDTH)
    backward = gradients(results, {OURS: packed, LOOP: padded})
    backward |= {REFERENCE: lambda: backward_reference(grad, None, *plain)}
    times = both_ways(forward, backward)
    ratios = {
        f"{peer}, {part}": value for peer in (LOOP, REFERENCE) for part, value in slower(times, peer, OURS).items()
    }
    title = f"State space duality, {SEQUENCES} sequences of {LENGTH} tokens, {HEADS} heads of {WIDTH}, {STATES} states"
    report("ssd", {"title": title, "times": times, "ratios": ratios})


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
