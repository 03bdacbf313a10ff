"""S4D against its recurrence token by token, in both of its forms."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.sequence import S4D
from gnnkit.sequence.blocks import _diagonal
from tests.sequence.token_cases import boundaries
from tests.tolerances import assert_close

DIM = 5
LENGTHS = [7, 0, 1, 150, 64, 65, 3, 0]


def made(**options) -> S4D:
    return S4D(DIM, **{"state_dim": 6, **options}).double()


def in_mode(block: S4D, mode: str) -> S4D:
    other = copy.copy(block)
    other.mode = mode
    return other


def by_definition(block: S4D, x: Tensor) -> Tensor:
    """One sequence, token by token, in complex arithmetic."""
    weights = block.state_dict(keep_vars=True)
    rate = -weights["kernel.log_A_real"].exp() + 1j * weights["kernel.A_imag"]
    decay = (weights["kernel.log_dt"].exp()[:, None] * rate).exp()
    enters, reads = (decay - 1) / rate, torch.view_as_complex(weights["kernel.C"])
    state, rows = torch.zeros_like(decay), []
    for u in x:
        state = decay * state + enters * u[:, None]
        y = 2 * (reads * state).sum(1).real + weights["D"] * u
        y = y * (1 + torch.erf(y / 2**0.5)) / 2
        first, gate = (weights["output_linear.0.weight"][:, :, 0] @ y + weights["output_linear.0.bias"]).chunk(2)
        rows.append(first / (1 + (-gate).exp()))
    return torch.stack(rows) if rows else x


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("init", ["lin", "inv"])
@pytest.mark.parametrize("mode", ["fft", "recurrent"])
def test_each_sequence_is_its_recurrence(mode, init, reverse):
    block = made(mode=mode, init=init)
    x = torch.randn(sum(LENGTHS), DIM, dtype=torch.float64, requires_grad=True)
    out = block(x, boundaries(LENGTHS), reverse=reverse)
    parts = [part.flip(0) if reverse else part for part in x.split(LENGTHS)]
    results = [by_definition(block, part) for part in parts]
    expected = torch.cat([part.flip(0) if reverse else part for part in results])
    assert_close(out, expected)
    upstream, wanted = torch.randn_like(out), [x, *block.parameters()]
    ours = torch.autograd.grad(out, wanted, upstream)
    theirs = torch.autograd.grad(expected, wanted, upstream)
    for own, other in zip(ours, theirs, strict=True):
        assert_close(own, other)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(0, 40) | st.integers(100, 300), min_size=1, max_size=6), reverse=st.booleans())
def test_modes_agree(lengths: list[int], reverse: bool):
    block, offsets = made(), boundaries(lengths)
    x = torch.randn(sum(lengths), DIM, dtype=torch.float64)
    fft, recurrent, auto = (in_mode(block, mode)(x, offsets, reverse=reverse) for mode in ("fft", "recurrent", "auto"))
    torch.testing.assert_close(fft, recurrent, rtol=1e-10, atol=1e-12)
    assert torch.equal(auto, fft) or torch.equal(auto, recurrent)


def test_modes_agree_on_one_long_sequence_of_a_slow_system():
    block, offsets = made(dt_min=1e-4, dt_max=1e-3), torch.tensor([0, 5000])
    x = torch.randn(5000, DIM, dtype=torch.float64)
    fft, recurrent = (in_mode(block, mode)(x, offsets) for mode in ("fft", "recurrent"))
    torch.testing.assert_close(fft, recurrent, rtol=1e-10, atol=1e-11)


def test_the_kernel_is_the_closed_form_of_a_leaky_integrator():
    # A = -1/2, C = 1: K_j = 2 (1 - e^(-d/2)) / (1/2) e^(-j d/2).
    step = torch.tensor([0.1, 0.7], dtype=torch.float64)
    one = torch.ones(2, 1, dtype=torch.complex128)
    system = _diagonal.Diagonal.zero_order_hold(step, -0.5 * one, one)
    place = torch.arange(11)
    expected = 4 * (1 - (-step / 2).exp())[:, None] * (-step[:, None] / 2 * place).exp()
    assert_close(system.kernel(11, torch.float64), expected)
    for length in range(10):
        assert_close(system.kernel(length, torch.float64), expected[:, :length])


def test_auto_takes_transforms_for_lengths_between():
    x = torch.randn(8192, DIM)
    for lengths, expected in (
        ([8, 9], _diagonal.recur),
        ([64], _diagonal.recur),
        ([65], _diagonal.convolve),
        ([4096, 4096], _diagonal.convolve),
        ([8000], _diagonal.recur),
        ([0], _diagonal.recur),
    ):
        assert _diagonal.faster(x[: sum(lengths)], boundaries(lengths)) is expected


@pytest.mark.parametrize("lengths", [[1] * 500 + [900], [33] * 40, [2**k + 1 for k in range(9)]])
def test_padding_for_transforms_at_most_doubles_the_tokens(monkeypatch, lengths):
    sizes, filtered = [], _diagonal._filtered

    def spy(x, kernel, size):
        sizes.append(x.size(0))
        return filtered(x, kernel, size)

    monkeypatch.setattr(_diagonal, "_filtered", spy)
    made(mode="fft")(torch.randn(sum(lengths), DIM, dtype=torch.float64), boundaries(lengths))
    assert sum(lengths) <= sum(sizes) < 2 * sum(lengths)
    assert len(sizes) <= math.ceil(math.log2(max(lengths))) + 1


@pytest.mark.parametrize("mode", ["fft", "recurrent"])
def test_a_token_sees_nothing_after_it(mode):
    block, x = made(mode=mode), torch.randn(200, DIM, dtype=torch.float64)
    changed = x.clone()
    changed[130:] = torch.randn(70, DIM, dtype=torch.float64)
    offsets = torch.tensor([0, 200])
    assert_close(block(changed, offsets)[:130], block(x, offsets)[:130])
    assert (block(changed, offsets)[131:] - block(x, offsets)[131:]).abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["fft", "recurrent"])
def test_gradients_are_derivatives(mode):
    block = S4D(2, state_dim=4, mode=mode).double()
    names, values = zip(*block.named_parameters(), strict=True)
    x = torch.randn(22, 2, dtype=torch.float64, requires_grad=True)

    def call(x, *parameters):
        return torch.func.functional_call(
            block, dict(zip(names, parameters, strict=True)), (x, torch.tensor([0, 18, 20, 22]))
        )

    assert torch.autograd.gradcheck(call, (x, *values), fast_mode=True)


def test_parameters_have_the_names_and_shapes_of_the_authors():
    block = S4D(12, state_dim=8)
    assert {name: tuple(value.shape) for name, value in block.state_dict().items()} == {
        "D": (12,),
        "kernel.C": (12, 4, 2),
        "kernel.log_dt": (12,),
        "kernel.log_A_real": (12, 4),
        "kernel.A_imag": (12, 4),
        "output_linear.0.weight": (24, 12, 1),
        "output_linear.0.bias": (24,),
    }
    marked = {name for name, value in block.named_parameters() if getattr(value, "no_weight_decay", False)}
    assert marked == {"kernel.log_dt", "kernel.log_A_real", "kernel.A_imag"}


def test_what_it_begins_with():
    block = S4D(300, state_dim=8, dt_min=0.01, dt_max=0.2)
    kernel = block.kernel
    torch.testing.assert_close(kernel.log_A_real.exp(), torch.full((300, 4), 0.5))
    torch.testing.assert_close(kernel.A_imag, math.pi * torch.arange(4.0).expand(300, 4))
    inverse = torch.tensor([56.0, 40 / 3, 4.8, 8 / 7]) / math.pi
    torch.testing.assert_close(S4D(3, state_dim=8, init="inv").kernel.A_imag, inverse.expand(3, 4))
    steps = kernel.log_dt.exp()
    assert ((steps >= 0.01 * 0.9999) & (steps <= 0.2 * 1.0001)).all()
    assert 0.03 < steps.median() < 0.065
    assert torch.view_as_complex(kernel.C.detach()).abs().square().mean().item() == pytest.approx(1.0, abs=0.15)


# Dynamo makes an instance of every autograd.Function that it traces.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_it_compiles_to_one_graph_as_a_recurrence():
    block = S4D(4, state_dim=4).double()
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    x, offsets = torch.randn(210, 4, dtype=torch.float64, requires_grad=True), torch.tensor([0, 140, 140, 210])
    assert _diagonal.faster(x, offsets) is _diagonal.convolve
    out, expected = (call(x, offsets, reverse=True) for call in (compiled, block))
    assert_close(out, expected)
    wanted = [x, *block.parameters()]
    ours, theirs = (torch.autograd.grad(value.square().sum(), wanted) for value in (out, expected))
    for own, other in zip(ours, theirs, strict=True):
        assert_close(own, other)


@pytest.mark.parametrize(
    "options",
    [
        {"dim": 0},
        {"state_dim": 0},
        {"state_dim": 5},
        {"state_dim": 4.0},
        {"init": "legs"},
        {"mode": "scan"},
        {"dt_min": -1.0},
        {"dt_min": 0.5},
    ],
)
def test_bad_settings_are_named(options):
    with pytest.raises(ConfigError):
        S4D(**{"dim": 4, **options})
