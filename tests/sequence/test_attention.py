"""Attention as a block against torch's own on each sequence."""

import pytest
import torch

from gnnkit.errors import ConfigError
from gnnkit.sequence import Attention
from tests.tolerances import assert_close


@pytest.mark.parametrize("reverse", [False, True])
def test_it_is_attention_on_each_sequence_and_sees_no_order(reverse):
    lengths = [6, 0, 1, 80]
    block = Attention(12, num_heads=3).double()
    oracle = torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    oracle.load_state_dict(block.attention.state_dict())
    x = torch.randn(87, 12, dtype=torch.float64)
    expected = [oracle(part, part, part, need_weights=False)[0] for part in x.split(lengths) if len(part) > 0]
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    assert_close(block(x, offsets, reverse=reverse), torch.cat(expected))


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match="multiple of num_heads"):
        Attention(10)
    with pytest.raises(ConfigError, match="dropout must lie in"):
        Attention(8, dropout=1.5)
