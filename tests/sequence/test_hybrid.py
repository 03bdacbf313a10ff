"""Stacks of blocks against their formula."""

import pytest
import torch

from gnnkit.errors import ConfigError
from gnnkit.nn import GraphNorm
from gnnkit.sequence import Attention, Hybrid, Mamba
from tests.tolerances import assert_close

LENGTHS = [6, 0, 1, 4]
OFFSETS = torch.tensor([0, *LENGTHS]).cumsum(0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("norm", ["none", "layer", "batch", "graph"])
def test_each_block_has_a_residual_and_a_normalisation_before_it(norm, reverse):
    parts = [Mamba(8, state_dim=4).double(), Attention(8).double(), Mamba(8, state_dim=4).double()]
    stack = Hybrid(parts, norm=norm).double()
    x = expected = torch.randn(11, 8, dtype=torch.float64)
    for part in parts:
        before = expected
        if norm in ("layer", "batch"):
            dim = 1 if norm == "layer" else 0
            mean, variance = before.mean(dim, keepdim=True), before.var(dim, keepdim=True, unbiased=False)
            before = (before - mean) / (variance + 1e-5).sqrt()
        elif norm == "graph":
            before = torch.cat([GraphNorm(8).double()(rows) for rows in before.split(LENGTHS)])
        expected = expected + part(before, OFFSETS, reverse=reverse)
    assert_close(stack(x, OFFSETS, reverse=reverse), expected)


def test_each_normalisation_has_its_own_weights():
    stack = Hybrid([Attention(8), Attention(8)])
    assert len([name for name, _ in stack.named_parameters() if name.startswith("norms.")]) == 4
    shared = Attention(8)
    count = sum(parameter.numel() for parameter in shared.parameters())
    assert sum(value.numel() for value in Hybrid([shared, shared], norm="none").parameters()) == count


def test_dropout_leaves_the_residual():
    stack = Hybrid([Attention(8)], dropout=0.5)
    x = torch.randn(11, 8)
    change = stack(x, OFFSETS) - x
    assert ((change == 0).double().mean() - 0.5).abs() < 0.2
    whole = stack.eval()(x, OFFSETS) - x
    assert_close(change, torch.where(change == 0, 0.0, 2 * whole))


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match="got no block"):
        Hybrid([])
    with pytest.raises(ConfigError, match=r"blocks of one width, got \[8, 4\]"):
        Hybrid([Attention(8), Attention(4)])
    with pytest.raises(ConfigError, match="norm must be one of"):
        Hybrid([Attention(8)], norm="rms")
    with pytest.raises(ConfigError, match="dropout must lie in"):
        Hybrid([Attention(8)], dropout=1.0)
