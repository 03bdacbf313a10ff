"""Rows that kernels cut into pieces: many of them side by side, and of every length around where they are cut."""

import numpy as np
import pytest
import torch

from gnnkit import Graph, ops
from tests.ops.cases import reduce_by, softmax_by
from tests.tolerances import assert_close

# The CUDA kernels cut rows of more than 256 positions, at multiples of 256.
LENGTHS = (0, 257, 256, 0, 0, 700, 255, 1, 512, 1025, 3, 258, 2, 511, 513, 0)


@pytest.fixture(scope="module")
def groups():
    return np.repeat(np.arange(len(LENGTHS)), LENGTHS)


@pytest.fixture(scope="module")
def graph(groups):
    rng = np.random.default_rng(3)
    edges = np.stack([rng.integers(0, 50, len(groups)), groups])[:, rng.permutation(len(groups))]
    return Graph.from_edge_index(torch.from_numpy(edges), num_src=50, num_dst=len(LENGTHS))


def ptr():
    return torch.tensor([0, *np.cumsum(LENGTHS)])


@pytest.mark.parametrize("width", [1, 3, 4, 40, 132])
@pytest.mark.parametrize("reduce", ["sum", "mean", "min", "max"])
def test_segments(groups, reduce, width):
    src = torch.randn(len(groups), width, dtype=torch.float64)
    expected = reduce_by(groups, src.numpy(), len(LENGTHS), reduce)
    assert_close(ops.segment_reduce(src, ptr(), reduce), torch.from_numpy(expected))


@pytest.mark.parametrize("width", [1, 3, 40])
def test_softmax_and_its_gradient(groups, width):
    src = torch.randn(len(groups), width, dtype=torch.float64, requires_grad=True)
    out = ops.segment_softmax(src, ptr())
    assert_close(out, torch.from_numpy(softmax_by(groups, src.detach().numpy(), len(LENGTHS))))
    upstream = torch.randn_like(out)
    (grad,) = torch.autograd.grad(out, src, upstream)
    weight, wanted = out.detach().numpy(), upstream.numpy()
    inner = reduce_by(groups, weight * wanted, len(LENGTHS), "sum")
    assert_close(grad, torch.from_numpy(weight * (wanted - inner[groups])))


def test_softmax_where_pieces_are_masked():
    src = torch.full((900, 1), -torch.inf)
    src[700:] = 0.0
    out = ops.segment_softmax(src, torch.tensor([0, 900]))
    assert_close(out, torch.cat([torch.zeros(700, 1), torch.full((200, 1), 1 / 200)]))
    assert bool((ops.segment_softmax(src[:700], torch.tensor([0, 700])) == 0).all())


@pytest.mark.parametrize("heads", [0, 1, 4, 12])
def test_products_and_their_gradients(graph, heads):
    x = torch.randn(50, 12, 3, dtype=torch.float64, requires_grad=True)
    x_used = x.reshape(50, heads, -1) if heads > 1 else x
    shape = (graph.num_edges, heads) if heads > 1 else (graph.num_edges,)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    out = ops.spmm(graph, x_used, weight if heads else None)
    src, dst = graph.edge_index
    rows = x_used[src] * (weight.reshape(*shape, *(1,) * (x_used.dim() - len(shape))) if heads else 1)
    expected = torch.zeros_like(out).index_add(0, dst, rows)
    assert_close(out, expected)
    inputs = (x, weight) if heads else (x,)
    upstream = torch.randn_like(out)
    for actual, wanted in zip(
        torch.autograd.grad(out, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        assert_close(actual, wanted)


@pytest.mark.parametrize("reduce", ["min", "max"])
@pytest.mark.parametrize("at", [(5, 300), (256, 512), (255, 256), (600, 699)])
def test_extremum_takes_the_first_of_equals_and_the_first_nan(reduce, at):
    first, second = at
    low, high = (1.0, -1.0) if reduce == "min" else (-1.0, 1.0)
    bounds = torch.tensor([0, 700])
    for value in (high, torch.nan):
        src = torch.full((700, 1), low)
        src[[first, second]] = value
        out, arg = torch.ops.gnnkit.segment_extremum(src, bounds, None, reduce == "max")
        assert_close(out, torch.tensor([[value]]))
        assert arg.item() == first


def test_same_bits_twice(groups, graph):
    src, x, weight = torch.randn(len(groups), 7), torch.randn(50, 33), torch.randn(graph.num_edges)
    for call in (
        lambda: ops.segment_reduce(src, ptr(), "sum"),
        lambda: ops.spmm(graph, x, weight),
        lambda: ops.segment_softmax(src, ptr()),
    ):
        assert torch.equal(call(), call())


def test_where_memory_begins_does_not_change_a_sum(graph):
    """A slice that wide loads cannot read gives the bits of its copy."""
    memory = torch.randn(50 * 32 + 1)
    unaligned = memory[1:].reshape(50, 32)
    weight = torch.randn(graph.num_edges)
    assert unaligned.is_contiguous()
    assert torch.equal(ops.spmm(graph, unaligned, weight), ops.spmm(graph, unaligned.clone(), weight))
    ends = torch.randn(len(LENGTHS), 32)
    assert torch.equal(ops.sddmm(graph, ends, unaligned), ops.sddmm(graph, ends, unaligned.clone()))
