import pytest
import torch

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.ops.dropout import philox


def philox_block(counter, key):
    """Philox4x32-10 in Python integers, after the paper."""
    counter, key = list(counter), list(key)
    for _ in range(10):
        product0, product1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (product1 >> 32) ^ counter[1] ^ key[0],
            product1 & 0xFFFFFFFF,
            (product0 >> 32) ^ counter[3] ^ key[1],
            product0 & 0xFFFFFFFF,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def test_generator_gives_the_known_answers_of_its_authors():
    assert philox_block([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 0xFFFFFFFF
    assert philox_block([ones] * 4, [ones] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**62 + 12345])
def test_reference_generator_lays_out_whole_blocks(seed):
    numbers = philox(torch.tensor([seed]), 150)
    key = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    for position in (0, 1, 15, 16, 47, 63, 64, 99, 149):
        block = philox_block([position // 64 * 16 + position % 16, 0, 0, 0], key)
        assert numbers[position] == block[position % 64 // 16]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (7, 5), (64,), (3, 1025), (300, 65), (2, 3, 4), (20000, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_mask_is_the_same_wherever_it_is_made(dtype, shape, bias):
    ones = torch.ones(shape, dtype=dtype)
    zero = torch.zeros(shape[-1:], dtype=dtype) if bias else None
    out = ops.dropout_epilogue(ones, zero, p=0.3, seed=99)
    keep = philox(torch.tensor([99]), ones.numel()) >= round(0.3 * 2**32)
    assert torch.equal(out != 0, keep.reshape(shape))
    kept = out[keep.reshape(shape)].double()
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 0.7), rtol=4e-3, atol=0)


def test_rate_and_independence_of_seeds():
    ones = torch.ones(1000, 500)
    first, second = (ops.dropout_epilogue(ones, p=0.25, seed=seed) != 0 for seed in (1, 2))
    # Four standard deviations of a binomial of half a million draws.
    assert abs(first.float().mean() - 0.75) < 4 * (0.25 * 0.75 / 5e5) ** 0.5
    assert abs((first & second).float().mean() - 0.5625) < 4 * (0.5625 * 0.4375 / 5e5) ** 0.5


def test_gradient_uses_the_same_mask():
    x = torch.randn(40, 33, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(33, dtype=torch.float64, requires_grad=True)
    residual = torch.randn(40, 33, dtype=torch.float64, requires_grad=True)
    for act in ("none", "relu", "gelu", "silu"):
        assert torch.autograd.gradcheck(
            lambda x, b, r, act=act: ops.dropout_epilogue(x, b, r, 0.4, 5, act), (x, bias, residual)
        )


def test_extreme_rates():
    x, residual = torch.randn(5, 6), torch.randn(5, 6)
    assert torch.equal(ops.dropout_epilogue(x, None, residual, 1.0, 3), residual)
    assert torch.equal(ops.dropout_epilogue(x, p=0.0, seed=3), x)


def test_seed_as_tensor_and_as_integer_agree():
    x = torch.randn(50, 7)
    for seed in (5, -1, 2**63 - 1):
        as_tensor = ops.dropout_epilogue(x, p=0.5, seed=torch.tensor([seed]))
        assert torch.equal(ops.dropout_epilogue(x, p=0.5, seed=seed), as_tensor)
    assert torch.equal(ops.dropout_epilogue(x, p=0.5, seed=2**64 + 5), ops.dropout_epilogue(x, p=0.5, seed=5))


@pytest.mark.parametrize("value", [-200.0, -88.5, -30.0, -5.0, -0.0, 0.0, 1e-30, 5.0, 30.0, 88.5, 200.0])
@pytest.mark.parametrize("act", ["relu", "gelu", "silu"])
def test_activations_at_the_ends_of_the_range(value, act):
    x = torch.full((70,), value, requires_grad=True)
    out = ops.dropout_epilogue(x, act=act)
    (grad,) = torch.autograd.grad(out.sum(), x)
    wide = x.detach().double().requires_grad_()
    expected = getattr(torch.nn.functional, act)(wide)
    (expected_grad,) = torch.autograd.grad(expected.sum(), wide)
    torch.testing.assert_close(out.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grad.double(), expected_grad, rtol=1e-6, atol=1e-6)


def test_infinities_and_nan_pass_through():
    x = torch.tensor([float("inf"), float("nan"), float("-inf")])
    for act in ("none", "relu", "gelu", "silu"):
        out = ops.dropout_epilogue(x, act=act)
        assert out[1].isnan()
        if act != "gelu":  # torch's own is NaN at infinity
            assert out[0] == torch.inf


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"p": 1.5}, ConfigError, "probability"),
        ({"p": float("nan")}, ConfigError, "probability"),
        ({"act": "swish"}, ConfigError, "relu"),
        ({"bias": torch.zeros(3)}, ShapeError, r"bias must have shape \[4\]"),
        ({"residual": torch.zeros(4)}, ShapeError, "residual must have the shape of x"),
        ({"bias": torch.zeros(4, dtype=torch.float64)}, ShapeError, "one dtype"),
        ({"seed": torch.zeros(2, dtype=torch.int64)}, ShapeError, "one element"),
    ],
)
def test_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        ops.dropout_epilogue(torch.zeros(5, 4), **arguments)
