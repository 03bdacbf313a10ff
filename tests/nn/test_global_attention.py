"""Attention within graphs: against torch's own module on each graph alone, and what no batch may change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.errors import ConfigError, IndexRangeError, ShapeError
from gnnkit.nn import GlobalAttention, GraphBlocks, global_attention

DIM, HEADS = 12, 3
SIZES = (5, 0, 1, 70, 70, 64, 3, 130, 63, 0)


def boundaries(sizes: tuple[int, ...] | list[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


def layer(dtype: torch.dtype = torch.float64, **options) -> GlobalAttention:
    attention = GlobalAttention(DIM, HEADS, **options).to(dtype)
    if attention.in_proj_bias is not None:
        torch.nn.init.normal_(attention.in_proj_bias)
        torch.nn.init.normal_(attention.out_proj.bias)
    return attention


def by_definition(attention: GlobalAttention, x: Tensor) -> Tensor:
    """One graph: the formula, head by head."""
    q, k, v = (x @ part.T for part in attention.in_proj_weight.chunk(3))
    if attention.in_proj_bias is not None:
        q, k, v = (y + b for y, b in zip((q, k, v), attention.in_proj_bias.chunk(3), strict=True))
    width, out = DIM // HEADS, []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        out.append(torch.softmax(q[:, part] @ k[:, part].T / width**0.5, dim=1) @ v[:, part])
    return attention.out_proj(torch.cat(out, dim=1))


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_its_definition_on_each_graph(bias: bool):
    attention, ptr = layer(bias=bias), boundaries(SIZES)
    x = torch.randn(int(ptr[-1]), DIM, dtype=torch.float64, requires_grad=True)
    out = attention(x, ptr)
    expected = torch.cat([by_definition(attention, part) for part in x.split(SIZES)])
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(out)
    wanted = [x, *attention.parameters()]
    ours = torch.autograd.grad(out, wanted, upstream)
    theirs = torch.autograd.grad(expected, wanted, upstream)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("bias", [True, False])
def test_state_dicts_are_those_of_torch(bias: bool):
    ours, theirs = layer(bias=bias), torch.nn.MultiheadAttention(DIM, HEADS, bias=bias, batch_first=True).double()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    other = layer(bias=bias)
    other.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(sum(SIZES), DIM, dtype=torch.float64)
    mask = torch.arange(max(SIZES)) >= torch.tensor(SIZES).unsqueeze(1)
    padded = torch.zeros(len(SIZES), max(SIZES), DIM, dtype=torch.float64)
    padded[~mask] = x
    kept = torch.tensor(SIZES) > 0  # torch gives NaN to a graph without nodes
    expected = theirs(padded[kept], padded[kept], padded[kept], key_padding_mask=mask[kept], need_weights=False)[0]
    torch.testing.assert_close(other(x, boundaries(SIZES)), expected[~mask[kept]])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(0, 9), max_size=6), dense_size=st.integers(1, 9))
def test_where_the_dense_product_begins_does_not_matter(sizes: list[int], dense_size: int):
    attention, ptr = layer(), boundaries(sizes)
    x = torch.randn(sum(sizes), DIM, dtype=torch.float64)
    expected = attention(x, ptr)
    before = global_attention._DENSE_SIZE
    try:
        global_attention._DENSE_SIZE = dense_size
        blocks = GraphBlocks.of(ptr)
        for size, pairs, dense in zip(*blocks, strict=True):
            assert dense == 0 if pairs is not None else dense >= dense_size
            assert size == pairs.num_nodes if pairs is not None else size % dense == 0
        torch.testing.assert_close(attention(x, blocks=blocks), expected)
    finally:
        global_attention._DENSE_SIZE = before


def test_a_node_sees_no_other_graph():
    attention, ptr = layer(torch.float32), boundaries(SIZES)
    x = torch.randn(int(ptr[-1]), DIM)
    out = attention(x, ptr)
    for graph in range(len(SIZES)):
        poisoned = x.clone()
        poisoned[: ptr[graph]] = torch.nan
        poisoned[ptr[graph + 1] :] = torch.nan
        rows = slice(int(ptr[graph]), int(ptr[graph + 1]))
        assert torch.equal(attention(poisoned, ptr)[rows], out[rows])


def test_a_permutation_of_the_nodes_permutes_the_result():
    attention = layer()
    for size in (10, 100):
        x, perm = torch.randn(size, DIM, dtype=torch.float64), torch.randperm(size)
        torch.testing.assert_close(attention(x[perm]), attention(x)[perm])


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_training_repeats_bitwise(dropout: float):
    attention, ptr = layer(torch.float32, dropout=dropout), boundaries(SIZES)
    x = torch.randn(int(ptr[-1]), DIM)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        attention.zero_grad()
        out = attention(x, ptr)
        out.square().sum().backward()
        results.append([out, *(parameter.grad.clone() for parameter in attention.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_dropout_keeps_the_mean_and_stops_in_evaluation():
    for size in (8, 80):
        attention = layer(dropout=0.3)
        x = torch.randn(size, DIM, dtype=torch.float64)
        with torch.no_grad():
            mean = torch.stack([attention(x) for _ in range(600)]).mean(0)
            attention.eval()
            torch.testing.assert_close(mean, attention(x), rtol=0.0, atol=0.15)
            assert torch.equal(attention(x), attention(x))


def test_gradients_are_derivatives():
    attention, ptr = layer(), boundaries((2, 0, 1, 4))
    x = torch.randn(7, DIM, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: attention(value, ptr), (x,))


def test_no_graphs_and_no_nodes():
    attention = layer()
    empty = torch.empty(0, DIM, dtype=torch.float64)
    for ptr in (torch.tensor([0]), torch.tensor([0, 0, 0]), None):
        out = attention(empty, ptr)
        assert out.shape == (0, DIM)
        out.sum().backward()


def test_bfloat16_and_autocast_come_close():
    attention, ptr = layer(torch.float32), boundaries(SIZES)
    x = torch.randn(int(ptr[-1]), DIM)
    exact = attention(x, ptr)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = attention(x, ptr)
    torch.testing.assert_close(low.float(), exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(attention.bfloat16()(x.bfloat16(), ptr).float(), exact, rtol=0.05, atol=0.05)


def test_bad_input_is_named():
    for options in ({"dim": 10}, {"num_heads": 0}, {"dim": 0}, {"dropout": 1.0}, {"dropout": -0.1}):
        with pytest.raises(ConfigError):
            GlobalAttention(**{"dim": DIM, "num_heads": HEADS, **options})
    attention, x = layer(), torch.randn(4, DIM, dtype=torch.float64)
    with pytest.raises(ShapeError, match=r"x of shape \[N, 12\]"):
        attention(x[:, :3])
    with pytest.raises(IndexRangeError, match="number of rows, 4"):
        attention(x, torch.tensor([0, 3]))
    with pytest.raises(IndexRangeError, match="must not decrease"):
        attention(x, torch.tensor([0, 3, 2, 4]))
    with pytest.raises(ShapeError, match="have 3 in all"):
        attention(x, blocks=GraphBlocks.of(torch.tensor([0, 3])))
    with pytest.raises(ShapeError, match="at least one boundary"):
        GraphBlocks.of(torch.empty(0, dtype=torch.int64))
