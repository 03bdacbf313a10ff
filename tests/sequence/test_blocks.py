"""What every block owes its caller: nothing crosses sequences, reverse is reverse, all parameters learn."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.sequence import S4D, Attention, Bidirectional, DeltaProduct, Hybrid, Mamba, Mamba2
from tests.tolerances import assert_close

DIM = 8
LENGTHS = [5, 0, 1, 70, 16, 2, 0]
OFFSETS = torch.tensor([0, *LENGTHS]).cumsum(0)

BLOCKS: dict[str, Callable[[], Any]] = {
    "mamba": lambda: Mamba(DIM, state_dim=4),
    "mamba2": lambda: Mamba2(DIM, state_dim=4, head_dim=4, chunk_size=8),
    "delta_product": lambda: DeltaProduct(DIM, num_heads=2),
    "delta_product_without_gate": lambda: DeltaProduct(DIM, num_heads=2, num_steps=1, gate=False),
    "s4d_auto": lambda: S4D(DIM, state_dim=6),
    "s4d_fft": lambda: S4D(DIM, state_dim=6, mode="fft"),
    "s4d_recurrent": lambda: S4D(DIM, state_dim=6, mode="recurrent"),
    "attention": lambda: Attention(DIM, num_heads=2),
    "hybrid": lambda: Hybrid([Mamba(DIM, state_dim=4), S4D(DIM, state_dim=4), Attention(DIM)]),
    "hybrid_by_sequence": lambda: Hybrid([Mamba(DIM), Mamba(DIM)], norm="graph"),
    "sum": lambda: Bidirectional(Mamba(DIM, state_dim=4), S4D(DIM, state_dim=4)),
    "concat": lambda: Bidirectional(Mamba(DIM, state_dim=4), merge="concat"),
    "gate": lambda: Bidirectional(Mamba(DIM, state_dim=4), Mamba(DIM, state_dim=4), merge="gate"),
}


@pytest.fixture(params=BLOCKS)
def block(request: pytest.FixtureRequest) -> Any:
    return BLOCKS[request.param]().double()


def tokens(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(sum(LENGTHS), DIM, dtype=dtype)


def turned(x: Tensor) -> Tensor:
    return torch.cat([part.flip(0) for part in x.split(LENGTHS)])


@pytest.mark.parametrize("reverse", [False, True])
def test_packed_is_each_sequence_alone(block, reverse):
    x = tokens()
    alone = [block(part, torch.tensor([0, len(part)]), reverse=reverse) for part in x.split(LENGTHS)]
    out = block(x, OFFSETS, reverse=reverse)
    torch.testing.assert_close(out, torch.cat(alone), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block(x, OFFSETS.int(), reverse=reverse), out, rtol=0, atol=0)


def test_to_read_the_other_way_a_sequence_that_is_turned_around_changes_nothing(block):
    x = tokens()
    assert_close(turned(block(turned(x), OFFSETS, reverse=True)), block(x, OFFSETS))


def test_a_sequence_sees_no_other(block):
    x = tokens()
    out = block(x, OFFSETS)
    poisoned = x.clone()
    poisoned[: OFFSETS[3]] = torch.nan
    poisoned[OFFSETS[4] :] = torch.nan
    rows = slice(int(OFFSETS[3]), int(OFFSETS[4]))
    assert_close(block(poisoned, OFFSETS)[rows], out[rows])


def test_every_parameter_learns(block):
    x = tokens().requires_grad_()
    out = block(x, OFFSETS)
    (out * torch.randn_like(out)).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).any(dim=1).all()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_training_repeats_bitwise(block):
    results = []
    x = tokens().requires_grad_()
    for _ in range(2):
        out = block(x, OFFSETS)
        wanted = [x, *block.parameters()]
        results.append([out, *torch.autograd.grad(out.square().sum(), wanted)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("offsets", [[0], [0, 0, 0]])
@pytest.mark.parametrize("reverse", [False, True])
def test_no_tokens(block, offsets, reverse):
    x = torch.empty(0, DIM, dtype=torch.float64, requires_grad=True)
    out = block(x, torch.tensor(offsets), reverse=reverse)
    assert out.shape == (0, DIM)
    out.sum().backward()
    assert x.grad is not None


def test_one_token(block):
    x = tokens()[:1]
    ahead, back = (block(x, torch.tensor([0, 1]), reverse=reverse) for reverse in (False, True))
    if not isinstance(block, Bidirectional) or block.merge == "sum":
        assert_close(ahead, back)
    assert ahead.isfinite().all()


def test_low_precision_comes_close(block):
    block.float()
    x = tokens(torch.float32)
    exact = block(x, OFFSETS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = block(x, OFFSETS)
        low.float().sum().backward()
    torch.testing.assert_close(low.float(), exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(block.bfloat16()(x.bfloat16(), OFFSETS).float(), exact, rtol=0.06, atol=0.06)


def test_float32_is_float64_rounded(block):
    x = tokens()
    exact = block(x, OFFSETS)
    torch.testing.assert_close(block.float()(x.float(), OFFSETS).double(), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("nan_filled_memory")
def test_memory_that_is_not_zero_does_not_show(block):
    out = block(tokens(), OFFSETS)
    assert out.isfinite().all()


def test_bad_input_is_named(block):
    x, name = tokens(), type(block).__name__
    with pytest.raises(ShapeError, match=rf"{name} needs x of shape \[T, 8\]"):
        block(x[:, :3], OFFSETS)
    with pytest.raises(ShapeError, match="needs x of shape"):
        block(x[0], OFFSETS)
    with pytest.raises(DtypeError, match="float32, float64 or bfloat16"):
        block(x.long(), OFFSETS)
    with pytest.raises(DtypeError, match=r"must be a torch\.Tensor"):
        block(x.tolist(), OFFSETS)
    with pytest.raises(DtypeError, match="offsets must be int32 or int64"):
        block(x, OFFSETS.double())
    with pytest.raises(ShapeError, match=r"shape \[S \+ 1\]"):
        block(x, OFFSETS[:0])
    with pytest.raises(IndexRangeError, match="so that sequences cover all"):
        block(x, OFFSETS[:-3])
    with pytest.raises(IndexRangeError, match="must not decrease"):
        block(x, torch.tensor([0, 9, 5, sum(LENGTHS)]))
    with pytest.raises(ConfigError, match="reverse must be True or False"):
        block(x, OFFSETS, reverse=1)
