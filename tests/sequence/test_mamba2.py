"""The block of Mamba-2 against a loop over tokens, and what every block must hold."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from gnnkit.errors import ConfigError
from gnnkit.sequence import Mamba2
from gnnkit.sequence.blocks.mamba2 import GatedRMSNorm

LENGTHS = [5, 0, 1, 17, 30]


def block(**options) -> Mamba2:
    made = Mamba2(12, **{"state_dim": 6, "head_dim": 4, "chunk_size": 8} | options).double()
    with torch.no_grad():
        # Not as they begin, where every head and channel is alike.
        for parameter in (made.D, made.norm.weight):
            parameter.uniform_(0.5, 1.5)
    return made


def tokens(lengths: list[int] = LENGTHS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(sum(lengths), 12, generator=generator, dtype=torch.float64)
    return x, torch.tensor([0, *lengths]).cumsum(0)


def by_token(block: Mamba2, sequence: Tensor) -> Tensor:
    """One sequence, one token, one head at a time."""
    heads, width, states, groups = block.A_log.numel(), block.head_dim, block.state_dim, block.num_groups
    inner = heads * width
    projected = sequence @ block.in_proj.weight.T
    gate, mixed, delta = projected[:, :inner], projected[:, inner:-heads], projected[:, -heads:]
    taps = block.conv1d.weight[:, 0]
    assert block.conv1d.bias is not None
    state = [torch.zeros(width, states, dtype=sequence.dtype) for _ in range(heads)]
    rows = []
    for token in range(len(sequence)):
        convolved = block.conv1d.bias
        for back in range(min(taps.size(1), token + 1)):
            convolved = convolved + taps[:, -1 - back] * mixed[token - back]
        convolved = convolved * convolved.sigmoid()
        outs = []
        for head in range(heads):
            group = head // (heads // groups)
            x = convolved[head * width : (head + 1) * width]
            b = convolved[inner + group * states : inner + (group + 1) * states]
            c = convolved[inner + (groups + group) * states : inner + (groups + group + 1) * states]
            step = softplus(delta[token, head] + block.dt_bias[head])
            decay = torch.exp(-step * block.A_log[head].exp())
            state[head] = decay * state[head] + step * torch.outer(x, b)
            outs.append(state[head] @ c + block.D[head] * x)
        gated = torch.cat(outs) * gate[token] * gate[token].sigmoid()
        parts = [part / (part.square().mean() + 1e-5).sqrt() for part in gated.chunk(groups)]
        rows.append(block.out_proj.weight @ (torch.cat(parts) * block.norm.weight))
    return torch.stack(rows) if rows else sequence[:0]


@pytest.mark.parametrize("options", [{}, {"num_groups": 2}, {"conv_width": 1, "expand": 1}, {"head_dim": 24}])
def test_equals_a_loop_over_tokens_with_all_gradients(options: dict):
    made = block(**options)
    x, offsets = tokens()
    x.requires_grad_()
    out = made(x, offsets)
    expected = torch.cat([by_token(made, sequence) for sequence in x.split(LENGTHS)])
    torch.testing.assert_close(out, expected, rtol=1e-11, atol=1e-12)
    wanted = [x, *made.parameters()]
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape)
    found, oracle = (torch.autograd.grad((value * weights).sum(), wanted) for value in (out, expected))
    for one, other in zip(found, oracle, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("reverse", [False, True])
def test_sequences_do_not_see_each_other(reverse: bool):
    made = block()
    x, offsets = tokens()
    packed = made(x, offsets, reverse=reverse)
    alone = [made(part, torch.tensor([0, len(part)]), reverse=reverse) for part in x.split(LENGTHS)]
    torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-12, atol=1e-13)
    changed = x.clone()
    changed[:5] = torch.nan
    assert torch.equal(made(changed, offsets, reverse=reverse)[5:], packed[5:])


def test_reverse_reads_from_the_end():
    made = block()
    x, offsets = tokens()
    turned = torch.cat([part.flip(0) for part in x.split(LENGTHS)])
    expected = torch.cat([part.flip(0) for part in made(turned, offsets).split(LENGTHS)])
    found = made(x, offsets, reverse=True)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(found, made(x, offsets))


def test_a_token_changes_only_what_is_read_after_it():
    made = block()
    x, offsets = tokens([20])
    changed = x.clone()
    changed[8] += 1
    moved = (made(changed, offsets) - made(x, offsets)).abs().amax(1) > 0
    assert torch.equal(moved, torch.arange(20) >= 8)


def test_begins_as_the_authors_do():
    made = Mamba2(512, head_dim=4)
    rates, steps = made.A_log.exp(), softplus(made.dt_bias)
    assert len(rates) == 256
    assert 1 <= rates.min() < 3
    assert 14 < rates.max() <= 16
    assert 1e-3 * 0.999 <= steps.min() < 2e-3
    assert 0.05 < steps.max() <= 0.1 * 1.001
    # Spread evenly on a logarithmic scale: the median is the geometric mean of the ends.
    assert 0.7e-2 < steps.median() < 1.4e-2
    assert bool((made.D == 1).all())
    assert bool((softplus(Mamba2(32, head_dim=4, dt_min=1e-6, dt_max=1e-6).dt_bias) > 0.99e-4).all())


def test_what_must_not_decay_is_marked_also_on_copies():
    for made in (Mamba2(4, head_dim=2), copy.deepcopy(Mamba2(4, head_dim=2)), block()):
        undecayed = {name for name, value in made.named_parameters() if getattr(value, "no_weight_decay", False)}
        assert undecayed == {"A_log", "D", "dt_bias"}


def test_names_and_shapes_of_the_authors_state_dict():
    shapes = {name: tuple(value.shape) for name, value in Mamba2(96, num_groups=3).state_dict().items()}
    mixed = 192 + 2 * 3 * 64
    assert shapes == {
        "in_proj.weight": (192 + mixed + 3, 96),
        "conv1d.weight": (mixed, 1, 4),
        "conv1d.bias": (mixed,),
        "dt_bias": (3,),
        "A_log": (3,),
        "D": (3,),
        "norm.weight": (192,),
        "out_proj.weight": (96, 192),
    }


def test_reset_draws_all_weights_again():
    made = block()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.reset_parameters()
    assert not any(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_bfloat16_and_autocast_stay_close_to_float32():
    made = block().float()
    x, offsets = tokens()
    expected = made(x.float(), offsets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = made(x.float(), offsets)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), expected, rtol=0.05, atol=0.05)
    narrow = made.bfloat16()(x.bfloat16(), offsets)
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), expected, rtol=0.05, atol=0.05)


def test_compiles_whole():
    made = block()
    x, offsets = tokens()
    compiled = torch.compile(made, backend="aot_eager", fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(x, offsets), made(x, offsets), rtol=1e-12, atol=1e-13)


def test_the_norm_is_that_of_torch_on_gated_features():
    generator = torch.Generator().manual_seed(0)
    x, z = torch.randn(2, 7, 6, generator=generator, dtype=torch.float64)
    whole = torch.nn.RMSNorm(6, eps=1e-5).double()
    gated = x * torch.nn.functional.silu(z)
    torch.testing.assert_close(GatedRMSNorm(6).double()(x, z), whole(gated))
    parts = torch.cat([torch.nn.RMSNorm(3, eps=1e-5).double()(part) for part in gated.chunk(2, dim=1)], dim=1)
    torch.testing.assert_close(GatedRMSNorm(6, num_groups=2).double()(x, z), parts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim must be an integer of at least 1"),
        ({"state_dim": 2.0}, "state_dim must be an integer"),
        ({"head_dim": 5}, "head_dim must divide the inner width expand \\* dim = 24, got 5"),
        ({"head_dim": 8, "num_groups": 2}, "num_groups must divide the number of heads, .* = 3, got 2"),
        ({"conv_width": 0}, "conv_width"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"dt_min": 0.0}, "0 < dt_min <= dt_max"),
        ({"dt_min": 0.2, "dt_max": 0.1}, "0 < dt_min <= dt_max"),
        ({"dt_max": math.nan}, "0 < dt_min <= dt_max"),
    ],
)
def test_bad_settings_are_named(options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        Mamba2(**{"dim": 12, "head_dim": 4} | options)
