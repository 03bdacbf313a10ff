"""The selective scan against closed forms, the published gradient, and a plain recurrence with autograd."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.ops.selective_scan import blocked_scan
from tests.ops import published_scan
from tests.ops.kernels import EMULATED, needs_kernels


def recurrence(u, delta, A, B, C, D=None, z=None, *, initial=None, reverse=False) -> tuple[Tensor, Tensor]:
    """One sequence, token by token, with autograd."""
    state = torch.zeros_like(A) if initial is None else initial
    rows: dict[int, Tensor] = {}
    for token in reversed(range(len(u))) if reverse else range(len(u)):
        state = (delta[token][:, None] * A).exp() * state + (delta[token] * u[token])[:, None] * B[token]
        y = state @ C[token]
        y = y if D is None else y + D * u[token]
        rows[token] = y if z is None else y * z[token] * z[token].sigmoid()
    return torch.stack([rows[token] for token in range(len(u))]), state


def made(tokens: int, channels: int, states: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "u": normal(tokens, channels),
        "delta": normal(tokens, channels).abs(),
        "A": -normal(channels, states).abs() - 0.05,
        "B": normal(tokens, states),
        "C": normal(tokens, states),
        "D": normal(channels),
        "z": normal(tokens, channels),
    }


def scan(inputs: dict, lengths: list[int], **options) -> Tensor:
    out = ops.selective_scan(**inputs, offsets=torch.tensor([0, *lengths]).cumsum(0), **options)
    assert isinstance(out, Tensor)
    return out


def test_constant_input_has_the_closed_form():
    one = torch.ones(12, 1, dtype=torch.float64)
    out = scan({"u": one, "delta": math.log(2) * one, "A": -one[:1], "B": one, "C": one}, [12])
    expected = [math.log(2) * (2 - 2.0 ** (1 - token)) for token in range(1, 13)]
    torch.testing.assert_close(out[:, 0], torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0)


def test_a_state_without_input_decays_by_the_exponential_everywhere():
    # One state for each value: what is left of 1 after one step of width 1.
    rate = torch.cat([torch.linspace(-90, 90, 40_001), torch.tensor([-math.inf, -1e30, -1e5, 1e5, 1e30, math.inf])])
    rate = torch.cat([rate, torch.tensor([math.nan, 0.0, -0.0])])[:, None]
    zero, one = torch.zeros(1, len(rate)), torch.ones(1, len(rate))
    options = {"offsets": torch.tensor([0, 1]), "initial_state": one.reshape(1, -1, 1)}
    out = ops.selective_scan(zero, one, rate, torch.zeros(1, 1), torch.ones(1, 1), **options)
    assert isinstance(out, Tensor)
    expected = rate.double().exp().float().reshape(1, -1)
    # What is below the smallest normal number may count as zero, and infinity may begin at e^88.
    subject = (expected >= 2e-38) & (expected <= 1.6e38)
    torch.testing.assert_close(out[subject], expected[subject], rtol=3e-7, atol=0)
    assert bool((out[expected < 1e-38] <= 1e-38).all())
    assert bool((out[expected > 3.4e38] == math.inf).all())
    assert torch.equal(out.isnan(), expected.isnan())


def test_published_gradient_to_ten_digits():
    u, delta, A, B, C = published_scan.inputs()
    out, state = ops.selective_scan(u, delta, A[None], B, C, offsets=torch.tensor([0, 3]), return_final_state=True)
    published_scan.assert_published(out, state, torch.autograd.grad(out.sum(), (u, delta, A, B, C)))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("channels", "states"), [(1, 1), (4, 8), (32, 16), (45, 3)])
def test_everything_equals_autograd_through_the_recurrence(channels: int, states: int, reverse: bool):
    lengths = [0, 1, 70, 0, 33, 2]
    total = sum(lengths)
    inputs = {name: value.requires_grad_() for name, value in made(total, channels, states).items()}
    generator = torch.Generator().manual_seed(1)
    initial = torch.randn(len(lengths), channels, states, generator=generator, dtype=torch.float64).requires_grad_()
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    out, final = ops.selective_scan(
        **inputs, offsets=offsets, reverse=reverse, initial_state=initial, return_final_state=True
    )
    parts = []
    for sequence, length in enumerate(lengths):
        tokens = slice(int(offsets[sequence]), int(offsets[sequence + 1]))
        own = {name: value if name in "AD" else value[tokens] for name, value in inputs.items()}
        if length == 0:
            parts.append((inputs["u"][tokens], initial[sequence]))
        else:
            parts.append(recurrence(**own, initial=initial[sequence], reverse=reverse))
    expected, expected_final = torch.cat([part[0] for part in parts]), torch.stack([part[1] for part in parts])
    torch.testing.assert_close(out, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(final, expected_final, rtol=1e-11, atol=1e-12)
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape)
    wanted = [*inputs.values(), initial]
    found = torch.autograd.grad((out * weights).sum() + final.square().sum(), wanted)
    oracle = torch.autograd.grad((expected * weights).sum() + expected_final.square().sum(), wanted)
    for one, other in zip(found, oracle, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("length", [128, 256, 512, 1024])
def test_the_grid_of_the_authors_within_their_tolerance(length: int):
    inputs = {name: value.requires_grad_() for name, value in made(2 * length, 4, 8, dtype=torch.float32).items()}
    out = scan(inputs, [length, length])
    halves = [slice(0, length), slice(length, None)]
    expected = torch.cat([
        recurrence(**{name: value if name in "AD" else value[half] for name, value in inputs.items()})[0]
        for half in halves
    ])  # fmt: skip
    torch.testing.assert_close(out, expected, rtol=6e-4, atol=2e-3)


@needs_kernels
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 80), min_size=1, max_size=6), st.integers(1, 40), st.booleans())
def test_a_sequence_gives_the_same_bits_alone_and_among_others(lengths: list[int], channels: int, reverse: bool):
    inputs = made(sum(lengths), channels, 5, dtype=torch.float32)
    out = scan(inputs, lengths, reverse=reverse)
    begin = 0
    for length in lengths:
        own = {name: value if name in "AD" else value[begin : begin + length] for name, value in inputs.items()}
        assert torch.equal(scan(own, [length], reverse=reverse), out[begin : begin + length])
        begin += length


def test_reverse_is_the_scan_of_the_reversed_sequence():
    inputs = made(50, 7, 4)
    turned = {name: value if name in "AD" else value.flip(0) for name, value in inputs.items()}
    assert torch.equal(scan(turned, [50], reverse=True), scan(inputs, [50]).flip(0))
    assert torch.equal(scan(turned, [50]).flip(0), scan(inputs, [50], reverse=True))


@needs_kernels
@pytest.mark.parametrize("cut", [0, 1, 31, 32, 50])
def test_a_carried_state_joins_two_halves(cut: int):
    inputs = made(50, 7, 4)
    first, second = (
        {name: value if name in "AD" else value[part] for name, value in inputs.items()}
        for part in (slice(0, cut), slice(cut, None))
    )
    begun, state = ops.selective_scan(**first, offsets=torch.tensor([0, cut]), return_final_state=True)
    rest = scan(second, [50 - cut], initial_state=state)
    joined, whole = torch.cat([begun, rest]), scan(inputs, [50])
    if EMULATED:
        # Chunks that are passed side by side begin elsewhere, and round differently.
        torch.testing.assert_close(joined, whole, rtol=1e-13, atol=1e-13)
    else:
        assert torch.equal(joined, whole)


def test_no_steps_leave_what_an_input_adds_and_infinite_rates_forget():
    inputs = made(20, 3, 4)
    del inputs["z"]
    still = scan(inputs | {"delta": torch.zeros(20, 3, dtype=torch.float64)}, [20])
    torch.testing.assert_close(still, inputs["D"] * inputs["u"])
    forgetful = scan(inputs | {"A": torch.full((3, 4), -torch.inf, dtype=torch.float64)}, [20])
    expected = inputs["delta"] * inputs["u"] * (inputs["B"] * inputs["C"]).sum(1, keepdim=True)
    torch.testing.assert_close(forgetful, expected + inputs["D"] * inputs["u"])


def test_softplus_is_that_of_torch_from_tiny_to_huge():
    raw = torch.cat([torch.linspace(-90, 90, 2001), torch.tensor([-1e-6, 0.0, 1e-6, 20.0, 20.1, 1e4])])
    ones = torch.ones(raw.numel(), 1)
    inputs = {"u": ones, "delta": raw[:, None], "A": -torch.ones(1, 1), "B": ones, "C": ones}
    out = scan(inputs, [1] * raw.numel(), delta_softplus=True)
    expected = torch.nn.functional.softplus(raw.double())
    torch.testing.assert_close(out[:, 0].double(), expected, rtol=1e-6, atol=1e-37)


def test_long_sequences_of_large_steps_stay_finite():
    """Where products of decays underflow, a formulation by logarithms or division is lost."""
    inputs = made(3000, 2, 3)
    inputs["A"] = torch.tensor([[-16.0, -300.0, -1e-4]] * 2, dtype=torch.float64)
    expected, _ = recurrence(**inputs)
    torch.testing.assert_close(scan(inputs, [3000]), expected, rtol=1e-9, atol=1e-11)


def test_negative_steps_are_taken_as_they_are():
    inputs = made(20, 3, 4)
    inputs["delta"] = -0.1 * inputs["delta"]
    torch.testing.assert_close(scan(inputs, [20]), recurrence(**inputs)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("softplus", [False, True])
def test_a_nan_step_reaches_the_rest_of_its_channel_and_sequence_alone(softplus: bool):
    inputs = made(60, 3, 4)
    clean = scan(inputs, [20, 20, 20], delta_softplus=softplus)
    inputs["delta"][25, 1] = torch.nan
    out = scan(inputs, [20, 20, 20], delta_softplus=softplus)
    hit = torch.zeros(60, 3, dtype=torch.bool)
    hit[25:40, 1] = True
    assert torch.equal(out.isnan(), hit)
    assert torch.equal(out[~hit], clean[~hit])


def test_bfloat16_is_computed_in_float32():
    inputs = made(40, 5, 4, dtype=torch.bfloat16)
    out = scan(inputs, [40])
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, scan({name: value.float() for name, value in inputs.items()}, [40]).bfloat16())
    mixed = inputs | {"A": inputs["A"].float(), "D": inputs["D"].float()}
    assert torch.equal(out, scan(mixed, [40]))


def test_one_token_and_no_tokens():
    inputs = made(1, 3, 2)
    torch.testing.assert_close(scan(inputs, [1]), recurrence(**inputs)[0])
    empty = made(0, 3, 2)
    out, state = ops.selective_scan(**empty, offsets=torch.tensor([0, 0, 0]), return_final_state=True)
    assert out.shape == (0, 3)
    assert torch.equal(state, torch.zeros(2, 3, 2, dtype=torch.float64))
    assert scan(empty, []).shape == (0, 3)


@pytest.mark.parametrize("tokens", [0, 1, 2, 3, 4, 5, 16, 17, 100])
def test_the_blocked_scan_of_the_reference_is_a_scan(tokens: int):
    generator = torch.Generator().manual_seed(tokens)
    decay, enters = torch.rand(2, tokens, 3, generator=generator, dtype=torch.float64)
    state, expected = torch.zeros(3, dtype=torch.float64), []
    for a, x in zip(decay, enters, strict=True):
        state = a * state + x
        expected.append(state)
    found = blocked_scan(decay, enters)
    torch.testing.assert_close(found, torch.stack(expected) if expected else enters, rtol=1e-13, atol=1e-13)


BAD = [
    ({"offsets": torch.tensor([0, 4])}, IndexRangeError, "cover all of them; they run from 0 to 4"),
    ({"offsets": torch.tensor([1, 5])}, IndexRangeError, "run from 1 to 5"),
    ({"offsets": torch.tensor([0, 3, 2, 5])}, IndexRangeError, r"offsets\[1\] = 3 and offsets\[2\] = 2"),
    ({"offsets": torch.tensor([0.0, 5.0])}, DtypeError, "int32 or int64"),
    ({"offsets": torch.tensor([], dtype=torch.int64)}, ShapeError, r"\[S \+ 1\]"),
    ({"offsets": None}, ShapeError, "offsets must be a torch.Tensor"),
    ({"u": None}, DtypeError, "u must be a torch.Tensor"),
    ({"u": torch.zeros(5, 3, 2)}, ShapeError, r"u must have shape \[T, D\]"),
    ({"A": torch.zeros(4, 2)}, ShapeError, r"A must have shape \[D, N\] = \[3, 2\]"),
    ({"B": torch.zeros(5, 3)}, ShapeError, r"B must have shape \[T, N\] = \[5, 2\]"),
    ({"z": torch.zeros(4, 3)}, ShapeError, r"z must have shape \[T, D\] = \[5, 3\]"),
    ({"initial_state": torch.zeros(2, 3, 2)}, ShapeError, r"\[S, D, N\] = \[1, 3, 2\]"),
    ({"C": torch.zeros(5, 2, dtype=torch.float64)}, DtypeError, "C must be torch.float32 as u is"),
    ({"u": torch.zeros(5, 3, dtype=torch.int64)}, DtypeError, "u must be float32, float64 or bfloat16"),
    ({"reverse": 1}, ConfigError, "reverse must be True or False"),
]


@pytest.mark.parametrize(("changed", "error", "message"), BAD)
def test_bad_input_is_named(changed: dict, error: type[Exception], message: str):
    inputs = made(5, 3, 2, dtype=torch.float32)
    arguments = {**inputs, "offsets": torch.tensor([0, 5])} | changed
    with pytest.raises(error, match=message):
        ops.selective_scan(**arguments)
