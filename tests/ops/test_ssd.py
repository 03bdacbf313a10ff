"""State space duality against closed forms, the selective scan, dense attention, and a plain recurrence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import _backend, ops
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.ops import _ssd_reference
from tests.ops import published_scan
from tests.ops.kernels import EMULATED

# There is no kernel for a GPU, so that an emulation of one has none either.
needs_kernel = pytest.mark.skipif(not _backend.is_active() or EMULATED, reason="no library with this kernel is loaded")


def recurrence(x, delta, A, B, C, D=None, *, initial=None, reverse=False) -> tuple[Tensor, Tensor]:
    """One sequence, token by token, with autograd."""
    heads, width = x.shape[1:]
    B, C = (value.repeat_interleave(heads // value.size(1), dim=1) for value in (B, C))
    state = x.new_zeros(heads, width, B.size(2)) if initial is None else initial
    rows: dict[int, Tensor] = {}
    for token in reversed(range(len(x))) if reverse else range(len(x)):
        entering = (delta[token][:, None] * x[token])[:, :, None] * B[token][:, None, :]
        state = (delta[token] * A).exp()[:, None, None] * state + entering
        y = (state * C[token][:, None, :]).sum(-1)
        rows[token] = y if D is None else y + D[:, None] * x[token]
    return torch.stack([rows[token] for token in range(len(x))]), state


def made(
    tokens: int, heads: int, width: int, groups: int, states: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> dict:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "x": normal(tokens, heads, width),
        "delta": normal(tokens, heads).abs(),
        "A": -normal(heads).abs() - 0.05,
        "B": normal(tokens, groups, states),
        "C": normal(tokens, groups, states),
        "D": normal(heads),
    }


def part(inputs: dict, tokens: slice) -> dict:
    return {name: value if name in "AD" else value[tokens] for name, value in inputs.items()}


def scan(inputs: dict, lengths: list[int], **options) -> Tensor:
    out = ops.ssd(**inputs, offsets=torch.tensor([0, *lengths]).cumsum(0), **options)
    assert isinstance(out, Tensor)
    return out


def test_constant_input_has_the_closed_form():
    one = torch.ones(12, 1, 1, dtype=torch.float64)
    out = scan({"x": one, "delta": math.log(2) * one[:, 0], "A": -one[0, 0], "B": one, "C": one}, [12])
    expected = [math.log(2) * (2 - 2.0 ** (1 - token)) for token in range(1, 13)]
    torch.testing.assert_close(out[:, 0, 0], torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0)


def test_published_gradient_of_the_selective_scan_to_ten_digits():
    """Its two states are two heads here, of one state each and with groups of their own."""
    u, delta, A, B, C = published_scan.inputs()
    out, state = ops.ssd(
        u.expand(3, 2).unsqueeze(2), delta.expand(3, 2), A, B.unsqueeze(2), C.unsqueeze(2),
        offsets=torch.tensor([0, 3]), return_final_state=True,
    )  # fmt: skip
    grads = torch.autograd.grad(out.sum(), (u, delta, A, B, C))
    published_scan.assert_published(out.sum(1), state, grads)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("heads", "width", "groups", "states"), [(1, 1, 1, 1), (4, 8, 2, 5), (2, 64, 1, 16), (3, 45, 3, 17)]
)
def test_everything_equals_autograd_through_the_recurrence(heads, width, groups, states, reverse):
    lengths = [0, 1, 70, 0, 33, 2]
    inputs = {name: value.requires_grad_() for name, value in made(sum(lengths), heads, width, groups, states).items()}
    generator = torch.Generator().manual_seed(1)
    shape = (len(lengths), heads, width, states)
    initial = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    out, final = ops.ssd(**inputs, offsets=offsets, reverse=reverse, initial_state=initial, return_final_state=True)
    parts = []
    for sequence, length in enumerate(lengths):
        own = part(inputs, slice(int(offsets[sequence]), int(offsets[sequence + 1])))
        if length == 0:
            parts.append((own["x"], initial[sequence]))
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


@pytest.mark.parametrize("softplus", [False, True])
def test_equals_the_selective_scan_with_one_rate_for_all_states(softplus: bool):
    heads, width, states, lengths = 3, 5, 7, [40, 0, 9, 80]
    inputs = {name: value.requires_grad_() for name, value in made(sum(lengths), heads, width, 1, states).items()}
    bias = torch.linspace(-1, 1, heads, dtype=torch.float64).requires_grad_()
    out = scan(inputs, lengths, delta_bias=bias, delta_softplus=softplus)
    expanded = ops.selective_scan(
        inputs["x"].flatten(1), inputs["delta"].repeat_interleave(width, 1),
        inputs["A"].repeat_interleave(width).unsqueeze(1).expand(-1, states), inputs["B"][:, 0], inputs["C"][:, 0],
        inputs["D"].repeat_interleave(width), offsets=torch.tensor([0, *lengths]).cumsum(0),
        delta_bias=bias.repeat_interleave(width), delta_softplus=softplus,
    )  # fmt: skip
    assert isinstance(expanded, Tensor)
    torch.testing.assert_close(out.flatten(1), expanded, rtol=1e-11, atol=1e-12)
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(expanded.shape)
    wanted = [*inputs.values(), bias]
    found = torch.autograd.grad((out.flatten(1) * weights).sum(), wanted)
    for one, other in zip(found, torch.autograd.grad((expanded * weights).sum(), wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_is_attention_masked_by_products_of_decays():
    tokens, heads, groups = 90, 4, 2
    inputs = made(tokens, heads, 6, groups, 5)
    passed = (inputs["delta"] * inputs["A"]).cumsum(0).T
    mask = (passed.unsqueeze(2) - passed.unsqueeze(1)).exp().tril()
    scores = torch.einsum("ign,jgn->gij", inputs["C"], inputs["B"]).repeat_interleave(heads // groups, 0)
    expected = torch.einsum("hij,jhp->ihp", scores * mask, inputs["delta"].unsqueeze(2) * inputs["x"])
    expected = expected + inputs["D"].unsqueeze(1) * inputs["x"]
    torch.testing.assert_close(scan(inputs, [tokens]), expected, rtol=1e-11, atol=1e-11)


def test_the_size_of_the_published_listing_in_float32():
    inputs = made(2048, 2, 64, 1, 64)
    expected, _ = recurrence(**inputs)
    out = scan({name: value.float() for name, value in inputs.items()}, [2048])
    torch.testing.assert_close(out.double(), expected, rtol=6e-4, atol=2e-3)


@pytest.mark.parametrize("chunk_size", [1, 3, 64, 10**30])
def test_the_length_of_chunks_moves_rounding_errors_only(chunk_size: int):
    lengths = [70, 0, 1, 200]
    inputs = {name: value.requires_grad_() for name, value in made(sum(lengths), 2, 3, 1, 4).items()}
    chunked = scan(inputs, lengths, chunk_size=chunk_size)
    whole = scan(inputs, lengths)
    torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)
    found, expected = (torch.autograd.grad(out.square().sum(), list(inputs.values())) for out in (chunked, whole))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_products_in_float32_as_on_accelerators(monkeypatch):
    monkeypatch.setattr(_ssd_reference, "_wide", lambda value: value)
    lengths = [100, 1, 300]
    values = list(made(sum(lengths), 4, 16, 2, 8).values())
    wide = [*values, torch.zeros(4, dtype=torch.float64), torch.ones(3, 4, 16, 8, dtype=torch.float64)]
    narrow = [value.float() for value in wide]
    options = (torch.tensor([0, *lengths]).cumsum(0), False, False, 64)
    found = _ssd_reference.reference(*narrow, *options, True)
    expected = _ssd_reference.reference(*wide, *options, True)
    found += _ssd_reference.backward_reference(*found, *narrow, *options)
    expected += _ssd_reference.backward_reference(*expected, *wide, *options)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=2e-6 * float(other.abs().max()))


@needs_kernel
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 80), min_size=1, max_size=6), st.integers(1, 40), st.booleans())
def test_a_sequence_gives_the_same_bits_alone_and_among_others(lengths: list[int], width: int, reverse: bool):
    inputs = made(sum(lengths), 2, width, 1, 5, dtype=torch.float32)
    tokens = [inputs[name].requires_grad_() for name in ("x", "delta", "B", "C")]
    out = scan(inputs, lengths, reverse=reverse)
    grads = torch.autograd.grad(out.sum(), tokens)
    begin = 0
    for length in lengths:
        own = slice(begin, begin + length)
        alone = scan(part(inputs, own), [length], reverse=reverse)
        assert torch.equal(alone, out[own])
        for one, other in zip(torch.autograd.grad(alone.sum(), tokens), grads, strict=True):
            assert torch.equal(one[own], other[own])
        begin += length


def test_reverse_is_the_scan_of_the_reversed_sequence():
    inputs = made(50, 4, 7, 2, 3)
    turned = {name: value if name in "AD" else value.flip(0) for name, value in inputs.items()}
    torch.testing.assert_close(scan(turned, [50], reverse=True), scan(inputs, [50]).flip(0), rtol=1e-14, atol=1e-14)
    lengths = [20, 0, 30]
    ends = torch.cat([torch.arange(20).flip(0), torch.arange(20, 50).flip(0)])
    turned = {name: value if name in "AD" else value[ends] for name, value in inputs.items()}
    found = scan(turned, lengths, reverse=True)[ends]
    torch.testing.assert_close(found, scan(inputs, lengths), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 31, 32, 50])
def test_a_carried_state_joins_two_halves(cut: int, reverse: bool):
    inputs = made(50, 2, 7, 1, 4)
    halves = [(slice(0, cut), cut), (slice(cut, None), 50 - cut)]
    earlier, later = reversed(halves) if reverse else halves
    begun, state = ops.ssd(
        **part(inputs, earlier[0]), offsets=torch.tensor([0, earlier[1]]), reverse=reverse, return_final_state=True
    )
    rest = scan(part(inputs, later[0]), [later[1]], reverse=reverse, initial_state=state)
    joined = torch.cat([rest, begun] if reverse else [begun, rest])
    whole = scan(inputs, [50], reverse=reverse)
    torch.testing.assert_close(joined, whole, rtol=1e-13, atol=1e-13)
    if _backend.is_active() and not EMULATED:
        assert torch.equal(joined, whole)


def test_no_steps_leave_what_an_input_adds_and_infinite_rates_forget():
    inputs = made(20, 2, 3, 1, 4)
    skipped = inputs["D"].unsqueeze(1) * inputs["x"]
    torch.testing.assert_close(scan(inputs | {"delta": torch.zeros_like(inputs["delta"])}, [20]), skipped)
    forgetful = scan(inputs | {"A": torch.full((2,), -torch.inf, dtype=torch.float64)}, [20])
    own = (inputs["B"] * inputs["C"]).sum(2, keepdim=True)
    torch.testing.assert_close(forgetful, inputs["delta"].unsqueeze(2) * inputs["x"] * own + skipped)


def test_softplus_is_that_of_torch_from_tiny_to_huge():
    raw = torch.cat([torch.linspace(-90, 90, 2001), torch.tensor([-1e-6, 0.0, 1e-6, 20.0, 20.1, 1e4])])
    ones = torch.ones(raw.numel(), 1, 1)
    inputs = {"x": ones, "delta": raw[:, None], "A": -torch.ones(1), "B": ones, "C": ones}
    out = scan(inputs, [1] * raw.numel(), delta_softplus=True)
    expected = torch.nn.functional.softplus(raw.double())
    torch.testing.assert_close(out[:, 0, 0].double(), expected, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("rate", [-300.0, -16.0, -1e-4])
def test_long_sequences_of_large_steps_stay_finite(rate: float):
    """Where products of decays underflow, a formulation by differences of logarithms or division is lost."""
    inputs = made(1500, 1, 2, 1, 3) | {"A": torch.tensor([rate], dtype=torch.float64)}
    expected, _ = recurrence(**inputs)
    torch.testing.assert_close(scan(inputs, [1500]), expected, rtol=1e-9, atol=1e-11)


def test_negative_steps_are_taken_as_they_are():
    inputs = made(20, 2, 3, 1, 4)
    inputs["delta"] = -0.1 * inputs["delta"]
    torch.testing.assert_close(scan(inputs, [20]), recurrence(**inputs)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [4, 64])
@pytest.mark.parametrize("softplus", [False, True])
def test_a_nan_step_reaches_the_rest_of_its_head_and_sequence_alone(softplus: bool, chunk_size: int):
    inputs = made(60, 2, 3, 1, 4)
    options = {"delta_softplus": softplus, "chunk_size": chunk_size}
    clean = scan(inputs, [20, 20, 20], **options)
    inputs["delta"][25, 1] = torch.nan
    out = scan(inputs, [20, 20, 20], **options)
    hit = torch.zeros(60, 2, 3, dtype=torch.bool)
    hit[25:40, 1] = True
    assert torch.equal(out.isnan(), hit)
    assert torch.equal(out[~hit], clean[~hit])


def test_bfloat16_is_computed_in_float32():
    inputs = made(40, 2, 5, 1, 4, dtype=torch.bfloat16)
    out = scan(inputs, [40])
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, scan({name: value.float() for name, value in inputs.items()}, [40]).bfloat16())
    assert torch.equal(out, scan(inputs | {"A": inputs["A"].float(), "D": inputs["D"].float()}, [40]))


def test_one_token_and_no_tokens():
    inputs = made(1, 2, 3, 1, 2)
    torch.testing.assert_close(scan(inputs, [1]), recurrence(**inputs)[0])
    empty = {name: value.requires_grad_() for name, value in made(0, 2, 3, 1, 2).items()}
    initial = torch.ones(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    out, state = ops.ssd(**empty, offsets=torch.tensor([0, 0, 0]), initial_state=initial, return_final_state=True)
    assert out.shape == (0, 2, 3)
    assert torch.equal(state, initial)
    *zeros, one = torch.autograd.grad(out.sum() + state.sum(), [*empty.values(), initial])
    assert all(bool((value == 0).all()) for value in zeros)
    assert torch.equal(one, torch.ones_like(initial))
    assert scan(empty, []).shape == (0, 2, 3)


BAD = [
    ({"offsets": torch.tensor([0, 4])}, IndexRangeError, "cover all of them; they run from 0 to 4"),
    ({"offsets": torch.tensor([1, 5])}, IndexRangeError, "run from 1 to 5"),
    ({"offsets": torch.tensor([0, 3, 2, 5])}, IndexRangeError, r"offsets\[1\] = 3 and offsets\[2\] = 2"),
    ({"offsets": torch.tensor([0.0, 5.0])}, DtypeError, "int32 or int64"),
    ({"offsets": torch.tensor([], dtype=torch.int64)}, ShapeError, r"\[S \+ 1\]"),
    ({"offsets": None}, ShapeError, "offsets must be a torch.Tensor"),
    ({"x": None}, DtypeError, "x must be a torch.Tensor"),
    ({"x": torch.zeros(5, 12)}, ShapeError, r"x must have shape \[T, H, P\]"),
    ({"B": torch.zeros(5, 3, 2)}, ShapeError, "G groups that divide the 4 heads"),
    ({"B": torch.zeros(5, 0, 2)}, ShapeError, "G groups that divide the 4 heads"),
    ({"B": torch.zeros(5, 2, 0)}, ShapeError, "N at least 1"),
    ({"C": torch.zeros(5, 1, 2)}, ShapeError, r"C must have shape \[T, G, N\] = \[5, 2, 2\]"),
    ({"A": torch.zeros(4, 2)}, ShapeError, r"A must have shape \[H\] = \[4\]"),
    ({"delta": torch.zeros(5, 3)}, ShapeError, r"delta must have shape \[T, H\] = \[5, 4\]"),
    ({"initial_state": torch.zeros(2, 4, 3, 2)}, ShapeError, r"\[S, H, P, N\] = \[1, 4, 3, 2\]"),
    ({"C": torch.zeros(5, 2, 2, dtype=torch.float64)}, DtypeError, "C must be torch.float32 as x is"),
    ({"x": torch.zeros(5, 4, 3, dtype=torch.int64)}, DtypeError, "x must be float32, float64 or bfloat16"),
    ({"reverse": 1}, ConfigError, "reverse must be True or False"),
    ({"chunk_size": 0}, ConfigError, "chunk_size must be an integer of at least 1"),
]


@pytest.mark.parametrize(("changed", "error", "message"), BAD)
def test_bad_input_is_named(changed: dict, error: type[Exception], message: str):
    inputs = made(5, 4, 3, 2, 2, dtype=torch.float32)
    arguments = {**inputs, "offsets": torch.tensor([0, 5])} | changed
    with pytest.raises(error, match=message):
        ops.ssd(**arguments)
