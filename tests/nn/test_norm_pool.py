"""Norms against PyTorch Geometric, readouts against loops over graphs."""

from collections.abc import Callable

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnkit import nn
from gnnkit.errors import ConfigError, IndexRangeError, ShapeError

SIZES = [3, 0, 5, 1, 4]
PTR = torch.tensor([0, 3, 3, 8, 9, 13])
BATCH = torch.repeat_interleave(torch.tensor(SIZES))

NORMS: dict[str, tuple[Callable[[], torch.nn.Module], Callable[[], torch.nn.Module]]] = {
    "graph": (lambda: nn.GraphNorm(6), lambda: pyg.GraphNorm(6)),
    "pair": (lambda: nn.PairNorm(scale=2.0), lambda: pyg.PairNorm(scale=2.0)),
    "pair_individually": (
        lambda: nn.PairNorm(scale_individually=True),
        lambda: pyg.PairNorm(scale_individually=True),
    ),
    "layer_graph": (lambda: nn.LayerNorm(6), lambda: pyg.LayerNorm(6)),
    "layer_node": (lambda: nn.LayerNorm(6, mode="node"), lambda: pyg.LayerNorm(6, mode="node")),
    "layer_plain": (lambda: nn.LayerNorm(6, affine=False), lambda: pyg_layer_norm_without_weights()),
}


def pyg_layer_norm_without_weights() -> torch.nn.Module:
    norm = pyg.LayerNorm(6)
    norm.weight = norm.bias = None
    return norm


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("one_graph", [False, True])
def test_norms_are_those_of_pyg(name: str, one_graph: bool):
    ours, theirs = (make().double() for make in NORMS[name])
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(13, 6, dtype=torch.float64, requires_grad=True)
    batch = torch.zeros_like(BATCH) if one_graph else BATCH
    out, expected = ours(x, None if one_graph else PTR), theirs(x, batch)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(out)
    wanted = [x, *ours.parameters()]
    reference = [x, *theirs.parameters()]
    for mine, other in zip(
        torch.autograd.grad(out, wanted, upstream), torch.autograd.grad(expected, reference, upstream), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_norms_refuse_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"\[N, 6\]"):
        nn.GraphNorm(6)(torch.randn(3, 5))
    with pytest.raises(IndexRangeError, match="end at the number of rows"):
        nn.GraphNorm(6)(torch.randn(3, 6), PTR)
    with pytest.raises(ConfigError, match="mode must be"):
        nn.LayerNorm(6, mode="edge")


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_pool_reduces_each_graph(reduce: str):
    x = torch.randn(13, 2, 3, dtype=torch.float64, requires_grad=True)
    by_graph = {"sum": Tensor.sum, "mean": Tensor.mean, "max": Tensor.amax, "min": Tensor.amin}[reduce]
    parts = x.split(SIZES)
    expected = torch.stack([by_graph(part, 0) if len(part) else torch.zeros(2, 3).double() for part in parts])
    torch.testing.assert_close(nn.pool(x, ptr=PTR, reduce=reduce), expected)
    torch.testing.assert_close(nn.pool(x, BATCH, num_graphs=5, reduce=reduce), expected)
    torch.testing.assert_close(nn.pool(x, BATCH.int(), reduce=reduce), expected)
    torch.testing.assert_close(nn.pool(x, reduce=reduce), by_graph(x, 0).unsqueeze(0))
    assert torch.autograd.gradcheck(lambda x: nn.pool(x, ptr=PTR, reduce=reduce), (x,))


def test_pool_keeps_empty_graphs():
    assert nn.pool(torch.ones(2, 1), torch.tensor([1, 1]), num_graphs=4).flatten().tolist() == [0, 1, 0, 0]
    assert nn.pool(torch.ones(0, 3), torch.empty(0, dtype=torch.int64), num_graphs=2).tolist() == [[0] * 3] * 2
    assert nn.pool(torch.ones(0, 3), torch.empty(0, dtype=torch.int64)).shape == (0, 3)


def test_root_pool_picks_the_roots():
    x = torch.arange(13.0).unsqueeze(1).requires_grad_()
    mask = torch.zeros(13, dtype=torch.bool)
    mask[[2, 3, 8, 12]] = True
    ptr = torch.tensor([0, 3, 8, 9, 13])
    out = nn.root_pool(x, mask, ptr=ptr)
    assert out.flatten().tolist() == [2, 3, 8, 12]
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad.flatten() == 1, mask)
    compiled = torch.compile(nn.root_pool, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x.detach(), mask, ptr=ptr), out.detach())


def test_root_pool_refuses_missing_and_double_roots():
    ptr = torch.tensor([0, 2, 4])
    for roots, message in (([0], "graph 1 has 0"), ([0, 1, 3], "graph 0 has 2"), ([2], "graph 0 has 0")):
        mask = torch.zeros(4, dtype=torch.bool)
        mask[roots] = True
        with pytest.raises(IndexRangeError, match=message):
            nn.root_pool(torch.ones(4, 1), mask, ptr=ptr)
    with pytest.raises(ShapeError, match="bool"):
        nn.root_pool(torch.ones(4, 1), torch.zeros(4), ptr=ptr)


def test_pool_refuses_what_does_not_fit():
    x = torch.ones(3, 1)
    with pytest.raises(IndexRangeError, match=r"batch\[0\] = 1 and batch\[1\] = 0"):
        nn.pool(x, torch.tensor([1, 0, 1]))
    with pytest.raises(IndexRangeError, match="num_graphs = 2"):
        nn.pool(x, torch.tensor([0, 1, 2]), num_graphs=2)
    with pytest.raises(IndexRangeError, match="from -1"):
        nn.pool(x, torch.tensor([-1, 0, 0]), num_graphs=2)
    with pytest.raises(ShapeError, match="one row per node"):
        nn.pool(x, torch.tensor([0, 1]))
    with pytest.raises(ShapeError, match="not both"):
        nn.pool(x, torch.tensor([0, 0, 0]), ptr=torch.tensor([0, 3]))
    with pytest.raises(ConfigError, match="reduce must be"):
        nn.pool(x, reduce="median")
