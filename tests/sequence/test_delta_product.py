"""DeltaProduct against a plain loop over tokens, heads and steps."""

import copy

import pytest
import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.sequence import DeltaProduct

OFFSETS = torch.tensor([0, 0, 1, 9, 9, 14])
SETTINGS = [
    {"num_heads": 2},
    {"num_heads": 2, "num_steps": 1, "gate": False},
    {"num_heads": 3, "num_steps": 3, "head_dim": 5, "negative_eigenvalues": False, "conv_width": 2},
    {"num_heads": 1, "conv_width": 1, "gate": False},
]


def made(dim: int = 8, **settings) -> DeltaProduct:
    torch.manual_seed(0)
    block = DeltaProduct(dim, **settings).double()
    with torch.no_grad():
        # Far enough from where they begin that each of them shows.
        block.norm.weight.uniform_(0.5, 2.0)
        block.in_proj.weight.mul_(2.0)
        if block.dt_bias is not None:
            block.dt_bias.uniform_(-2.0, 0.0)
    return block


def tokens(count: int = 14, dim: int = 8) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def convolved(rows: Tensor, weight: Tensor) -> Tensor:
    width, out = weight.size(1), torch.zeros_like(rows)
    for token in range(len(rows)):
        for back in range(min(width, token + 1)):
            out[token] = out[token] + weight[:, width - 1 - back] * rows[token - back]
    return out * out.sigmoid()


def looped(block: DeltaProduct, x: Tensor) -> Tensor:
    """One sequence: states of each head as matrices, steps as whole matrices ``I - beta k k^T``."""
    heads, steps, width = block.num_heads, block.num_steps, block.head_dim
    inner = heads * width
    rows = x @ block.in_proj.weight.T
    channels = (1 + 2 * steps) * inner
    qkv = convolved(rows[:, :channels], block.conv1d.weight[:, 0])
    z, beta = rows[:, channels : channels + inner], rows[:, channels + inner : channels + inner + steps * heads]
    beta = beta.sigmoid() * (2.0 if block.negative_eigenvalues else 1.0)
    results = []
    for head in range(heads):
        state, reads = torch.zeros(width, width, dtype=x.dtype), []
        for token in range(len(x)):
            if block.A_log is not None and block.dt_bias is not None:
                rate = rows[token, channels + inner + steps * heads + head] + block.dt_bias[head]
                state = (-block.A_log[head].exp() * (1 + rate.exp()).log()).exp() * state
            own = qkv[token].reshape(1 + 2 * steps, heads, width)[:, head]
            for step in range(steps):
                key, value, b = own[1 + step], own[1 + steps + step], beta[token, step * heads + head]
                key = key / (key.square().sum() + 1e-6).sqrt()
                state = state - b * torch.outer(key, key) @ state + b * torch.outer(key, value)
            query = own[0] / (own[0].square().sum() + 1e-6).sqrt()
            read = state.T @ query / width**0.5
            reads.append(read / (read.square().mean() + 1e-5).sqrt() * block.norm.weight)
        results.append(torch.stack(reads))
    gated = torch.cat(results, dim=1) * z * z.sigmoid()
    return gated @ block.out_proj.weight.T


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_equals_a_plain_loop_with_gradients(settings: dict, reverse: bool):
    block, x = made(**settings), tokens().requires_grad_()
    out = block(x, OFFSETS, reverse=reverse)
    parts = []
    for begin, end in zip(OFFSETS[:-1].tolist(), OFFSETS[1:].tolist(), strict=True):
        if begin < end:
            own = x[begin:end].flip(0) if reverse else x[begin:end]
            parts.append(looped(block, own).flip(0) if reverse else looped(block, own))
    expected = torch.cat(parts)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12)
    wanted = [x, *block.parameters()]
    found, oracle = (torch.autograd.grad(value.square().sum(), wanted) for value in (out, expected))
    for one, other in zip(found, oracle, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_nothing_crosses_a_boundary_or_comes_from_later_tokens():
    block, x = made(num_heads=2), tokens()
    out = block(x, OFFSETS)
    changed = x.clone()
    changed[5] += 1.0
    differs = (block(changed, OFFSETS) != out).any(dim=1)
    assert differs.nonzero().flatten().tolist() == [5, 6, 7, 8]
    differs = (block(changed, OFFSETS, reverse=True) != block(x, OFFSETS, reverse=True)).any(dim=1)
    assert differs.nonzero().flatten().tolist() == [1, 2, 3, 4, 5]


def test_reverse_is_the_block_on_the_reversed_sequence():
    block, x = made(num_heads=2), tokens()
    whole = torch.tensor([0, 14])
    torch.testing.assert_close(block(x.flip(0), whole, reverse=True).flip(0), block(x, whole), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("gate", [False, True])
def test_nothing_explodes_over_long_sequences(gate: bool):
    block, x = made(num_heads=2, gate=gate).float(), tokens(3000).float().requires_grad_()
    out = block(x, torch.tensor([0, 3000]))
    (grad,) = torch.autograd.grad(out.square().sum(), x)
    assert out.isfinite().all()
    assert grad.isfinite().all()
    assert float(out.detach().abs().max()) < 100


def test_tokens_of_zeros_have_gradients():
    """Keys have no length there."""
    block, x = made(num_heads=2), torch.zeros(6, 8, dtype=torch.float64, requires_grad=True)
    out = block(x, torch.tensor([0, 6]))
    assert torch.equal(out, torch.zeros_like(out))
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert grad.isfinite().all()


def test_bfloat16_and_autocast():
    block, x = made(num_heads=2).float(), tokens().float()
    expected = block(x, OFFSETS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = block(x, OFFSETS)
    narrow = copy.deepcopy(block).bfloat16()(x.bfloat16(), OFFSETS)
    for out in (cast, narrow):
        assert out.dtype == torch.bfloat16
        assert float((out.detach().float() - expected.detach()).abs().max()) < 0.1 * float(
            expected.detach().abs().max()
        )


def test_what_must_not_decay_is_marked_and_the_gate_is_an_option():
    block = copy.deepcopy(DeltaProduct(8))
    marked = [name for name, value in block.named_parameters() if getattr(value, "no_weight_decay", False)]
    assert marked == ["A_log", "dt_bias"]
    assert block.A_log is not None
    assert block.dt_bias is not None
    assert bool(((block.A_log.exp() >= 1) & (block.A_log.exp() <= 16)).all())
    widths = torch.nn.functional.softplus(block.dt_bias)
    assert bool(((widths > 0.99e-3) & (widths < 0.101)).all())
    names = [name for name, _ in DeltaProduct(8, gate=False).named_parameters()]
    assert names == ["in_proj.weight", "conv1d.weight", "norm.weight", "out_proj.weight"]
    assert "num_steps=2" in repr(block)


BAD = [
    ({"dim": 0}, "dim must be an integer of at least 1"),
    ({"dim": 9}, "num_heads must divide dim where head_dim is None, got dim=9, num_heads=4"),
    ({"num_steps": 0}, "num_steps must be an integer of at least 1"),
    ({"num_heads": 2.0}, "num_heads must be an integer"),
    ({"head_dim": 0}, "head_dim must be an integer of at least 1"),
    ({"conv_width": 0}, "conv_width must be an integer of at least 1"),
    ({"gate": "silu"}, "gate must be True or False"),
    ({"negative_eigenvalues": 1}, "negative_eigenvalues must be True or False"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_are_named(settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        DeltaProduct(**{"dim": 8, **settings})
