"""Mamba against a loop over sequences and tokens, and the modules of its authors."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gnnkit.errors import ConfigError
from gnnkit.sequence import Mamba
from gnnkit.sequence.blocks import mamba
from tests.ops.kernels import needs_kernels
from tests.tolerances import assert_close

LENGTHS = [7, 0, 1, 40, 3]
OFFSETS = torch.tensor([0, *LENGTHS]).cumsum(0)


def by_definition(block: Mamba, x: Tensor) -> Tensor:
    """One sequence, token by token."""
    weights = block.state_dict(keep_vars=True)
    inner, states = weights["A_log"].shape
    rank, width = weights["dt_proj.weight"].size(1), weights["conv1d.weight"].size(2)
    window = [torch.zeros(inner, dtype=x.dtype)] * width
    state = torch.zeros(inner, states, dtype=x.dtype)
    rows = []
    for token in x:
        entered = weights["in_proj.weight"] @ token
        window = [*window[1:], entered[:inner]]
        taps = weights["conv1d.weight"][:, 0]
        u = weights["conv1d.bias"] + sum(taps[:, tap] * value for tap, value in enumerate(window))
        u = u / (1 + (-u).exp())
        made = weights["x_proj.weight"] @ u
        delta = (1 + (weights["dt_proj.weight"] @ made[:rank] + weights["dt_proj.bias"]).exp()).log()
        enters, reads = made[rank : rank + states], made[rank + states :]
        decay = (delta[:, None] * -weights["A_log"].exp()).exp()
        state = decay * state + (delta * u)[:, None] * enters
        gate = entered[inner:]
        y = (state @ reads + weights["D"] * u) * gate / (1 + (-gate).exp())
        rows.append(weights["out_proj.weight"] @ y)
    return torch.stack(rows) if rows else x


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("options", [{}, {"state_dim": 3, "conv_width": 2, "expand": 1, "dt_rank": 5}])
def test_each_sequence_is_its_recurrence(options, reverse):
    block = Mamba(6, **options).double()
    x = torch.randn(sum(LENGTHS), 6, dtype=torch.float64, requires_grad=True)
    out = block(x, OFFSETS, reverse=reverse)
    parts = [part.flip(0) if reverse else part for part in x.split(LENGTHS)]
    results = [by_definition(block, part) for part in parts]
    expected = torch.cat([part.flip(0) if reverse else part for part in results])
    assert_close(out, expected)
    upstream, wanted = torch.randn_like(out), [x, *block.parameters()]
    ours = torch.autograd.grad(out, wanted, upstream)
    theirs = torch.autograd.grad(expected, wanted, upstream)
    for own, other in zip(ours, theirs, strict=True):
        assert_close(own, other)


def rowwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A matrix product whose bits do not depend on the number of rows, which those of a library may."""
    out = torch.cat([(row * weight).sum(1, keepdim=True).T for row in x]) if len(x) > 0 else x @ weight.T
    return out if bias is None else out + bias


@needs_kernels
@pytest.mark.parametrize("reverse", [False, True])
def test_packed_is_each_sequence_alone_bitwise(monkeypatch, reverse):
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda self, x: rowwise(x, self.weight, self.bias))
    monkeypatch.setattr(mamba, "linear", rowwise)
    block = Mamba(48)
    x = torch.randn(sum(LENGTHS), 48)
    alone = [block(part, torch.tensor([0, len(part)]), reverse=reverse) for part in x.split(LENGTHS)]
    assert torch.equal(block(x, OFFSETS, reverse=reverse), torch.cat(alone))


def test_padding_before_a_sequence_would_matter():
    # Why there is none: a row of zeros is not neutral where the convolution has a bias.
    block, x = Mamba(6, dt_min=0.5, dt_max=1.0).double(), torch.randn(5, 6, dtype=torch.float64)
    padded = torch.cat([x, torch.zeros(2, 6, dtype=torch.float64)])
    whole = block(padded, torch.tensor([0, 7]), reverse=True)[:5]
    assert (whole - block(x, torch.tensor([0, 5]), reverse=True)).abs().max() > 1e-6
    assert_close(block(padded, torch.tensor([0, 5, 7]), reverse=True)[:5], block(x, torch.tensor([0, 5]), reverse=True))


@pytest.mark.parametrize(("dim", "options"), [(96, {"expand": 1}), (64, {}), (20, {"state_dim": 8, "conv_width": 3})])
def test_parameters_have_the_names_and_shapes_of_mamba_ssm(dim, options):
    block = Mamba(dim, **options)
    inner = options.get("expand", 2) * dim
    states, width, rank = options.get("state_dim", 16), options.get("conv_width", 4), math.ceil(dim / 16)
    assert {name: tuple(value.shape) for name, value in block.state_dict().items()} == {
        "A_log": (inner, states),
        "D": (inner,),
        "in_proj.weight": (2 * inner, dim),
        "conv1d.weight": (inner, 1, width),
        "conv1d.bias": (inner,),
        "x_proj.weight": (rank + 2 * states, inner),
        "dt_proj.weight": (inner, rank),
        "dt_proj.bias": (inner,),
        "out_proj.weight": (dim, inner),
    }


def test_what_it_begins_with():
    block = Mamba(256, dt_min=0.01, dt_max=0.2)
    rates = torch.arange(1.0, 17).expand(512, 16)
    torch.testing.assert_close(block.A_log.exp(), rates)
    assert (block.D == 1).all()
    steps, weight = functional.softplus(block.dt_proj.bias), block.dt_proj.weight.detach()
    assert ((steps >= 0.01 * 0.9999) & (steps <= 0.2 * 1.0001)).all()
    # The middle of the logarithms, where the middle of a uniform distribution would be 0.105.
    assert 0.03 < steps.median() < 0.065
    assert weight.abs().max() <= 16**-0.5
    assert weight.std().item() == pytest.approx(16**-0.5 / 3**0.5, rel=0.05)
    least = functional.softplus(Mamba(64, dt_min=1e-7, dt_max=1e-6).dt_proj.bias)
    torch.testing.assert_close(least, torch.full_like(least, 1e-4), rtol=1e-3, atol=0.0)


def test_what_must_not_decay_is_marked_also_on_copies():
    for block in (Mamba(4), copy.deepcopy(Mamba(4)), Mamba(4).double()):
        marked = {name for name, value in block.named_parameters() if getattr(value, "no_weight_decay", False)}
        assert marked == {"A_log", "D", "dt_proj.bias"}


def test_it_compiles_to_one_graph():
    block = Mamba(8, state_dim=4)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True, dynamic=True)
    for lengths in ([5, 0, 3], [1, 9, 2, 4]):
        x = torch.randn(sum(lengths), 8, requires_grad=True)
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        out, expected = (call(x, offsets, reverse=True) for call in (compiled, block))
        torch.testing.assert_close(out, expected)
        wanted = [x, *block.parameters()]
        ours, theirs = (torch.autograd.grad(value.square().sum(), wanted) for value in (out, expected))
        for own, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own, other)


@pytest.mark.parametrize(
    "options",
    [
        {"dim": 0},
        {"state_dim": 0},
        {"conv_width": 0},
        {"expand": 0},
        {"expand": 1.5},
        {"dt_rank": 0},
        {"dt_min": 0.0},
        {"dt_min": 0.2},
        {"dt_max": math.inf},
        {"dt_max": math.nan},
        {"dt_min": "small"},
    ],
)
def test_bad_settings_are_named(options):
    with pytest.raises(ConfigError):
        Mamba(**{"dim": 4, **options})
