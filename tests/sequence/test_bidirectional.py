"""Both directions against blocks that only ever read forwards, on sequences that are turned around."""

import pytest
import torch
from torch import Tensor

from gnnkit.errors import ConfigError
from gnnkit.sequence import S4D, Attention, Bidirectional, Mamba
from tests.tolerances import assert_close

LENGTHS = [6, 0, 1, 30, 4]
OFFSETS = torch.tensor([0, *LENGTHS]).cumsum(0)


def turned(x: Tensor) -> Tensor:
    return torch.cat([part.flip(0) for part in x.split(LENGTHS)])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("merge", ["sum", "concat", "gate"])
def test_it_is_two_passes_over_sequences_and_their_mirror_images(merge, shared, reverse):
    ahead = Mamba(6, state_dim=4).double()
    back = ahead if shared else S4D(6, state_dim=4).double()
    block = Bidirectional(ahead, None if shared else back, merge=merge).double()
    x = torch.randn(41, 6, dtype=torch.float64)
    given = turned(x) if reverse else x
    a, b = ahead(given, OFFSETS), turned(back(turned(given), OFFSETS))
    if merge == "sum":
        expected = a + b
    else:
        weight, bias = block.mix.weight, block.mix.bias
        mixed = a @ weight[:, :6].T + b @ weight[:, 6:].T + bias
        gate = 1 / (1 + (-mixed).exp())
        expected = mixed if merge == "concat" else gate * a + (1 - gate) * b
    assert_close(block(x, OFFSETS, reverse=reverse), turned(expected) if reverse else expected)


def test_every_token_sees_every_token_of_its_sequence_and_no_other():
    block = Bidirectional(Mamba(6, dt_min=0.1)).double()
    x = torch.randn(41, 6, dtype=torch.float64, requires_grad=True)
    out = block(x, OFFSETS)
    reached = torch.stack([torch.autograd.grad(row.sum(), x, retain_graph=True)[0].abs().sum(1) > 0 for row in out])
    assert torch.equal(reached, torch.block_diag(*(torch.ones(n, n) for n in LENGTHS if n > 0)).bool())


def test_shared_weights_are_there_once():
    def count(block):
        return sum(parameter.numel() for parameter in block.parameters())

    assert count(Bidirectional(Mamba(6))) == count(Mamba(6))
    assert count(Bidirectional(Mamba(6), Mamba(6))) == 2 * count(Mamba(6))
    assert list(Bidirectional(Mamba(6)).state_dict()) == [f"forward_block.{name}" for name in Mamba(6).state_dict()]


def test_nested_directions_read_both_ways():
    inner = Bidirectional(Mamba(6, state_dim=4)).double()
    x = torch.randn(41, 6, dtype=torch.float64)
    # Summed with shared weights, it is its own mirror image.
    assert_close(Bidirectional(inner)(x, OFFSETS), 2 * inner(x, OFFSETS))


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match=r"blocks of one width, got \[8, 4\]"):
        Bidirectional(Attention(8), Attention(4))
    with pytest.raises(ConfigError, match="merge must be one of sum, concat, gate"):
        Bidirectional(Attention(8), merge="mean")
