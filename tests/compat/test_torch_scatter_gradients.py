"""Gradients of the drop-in: finite differences, chosen elements, half precision, and through ``out``."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gnnkit.compat import torch_scatter as ts

SHAPES = [((7,), 0, (7,)), ((7, 2), 0, (7,)), ((2, 6), 1, (2, 6)), ((2, 5, 2), 1, (2, 5)), ((2, 4, 2), -2, (4,))]
shapes = pytest.mark.parametrize(("shape", "dim", "index_shape"), SHAPES, ids=str)
NAMES = [
    f"scatter_{name}" for name in ("sum", "mul", "mean", "min", "max", "softmax", "log_softmax", "logsumexp", "std")
]


def apart(shape, seed=0):
    """Random numbers at least 0.05 apart: finite differences meet no tie."""
    count = int(torch.tensor(shape).prod())
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).double()
    return ((order + 0.5) / count * 4 - 2.03).reshape(shape).requires_grad_()


def random_index(shape):
    index = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(1))
    return torch.where(index == 1, 2, index)


def first(result):
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("name", NAMES)
@shapes
def test_scatter(name, shape, dim, index_shape):
    index = random_index(index_shape)

    def call(src):
        out = first(getattr(ts, name)(src, index, dim, dim_size=5))
        return out

    assert gradcheck(call, (apart(shape),))
    if name != "scatter_std":
        assert gradgradcheck(call, (apart(shape),))


@pytest.mark.parametrize("name", ["sum", "mul", "mean", "min", "max", "logsumexp"])
def test_through_out(name):
    index = random_index((7,))

    def call(src, start):
        out = start.clone()
        assert first(getattr(ts, f"scatter_{name}")(src, index, 0, out=out)) is out
        return out

    assert gradcheck(call, (apart((7, 2)), apart((5, 2), seed=3)))


@pytest.mark.parametrize("name", ["sum", "mean", "min", "max"])
@pytest.mark.parametrize("lead", [(), (2,)], ids=str)
def test_segments(name, lead):
    indptr = torch.tensor([0, 2, 2, 5, 6]) if not lead else torch.tensor([[0, 2, 2, 5, 6], [1, 1, 3, 3, 5]])
    index = random_index((*lead, 6)).sort(-1).values
    src = apart((*lead, 6, 2))
    for call in (
        lambda x: ts.segment_csr(x, indptr, reduce=name),
        lambda x: ts.segment_coo(x, index, dim_size=5, reduce=name),
        lambda x: ts.segment_coo(x, index, out=x.new_full((*lead, 5, 2), 0.11), reduce=name),
        lambda x: ts.segment_csr(x, indptr, out=x.new_zeros(*lead, 4, 2), reduce=name),
    ):
        assert gradcheck(call, (src,))


def test_gather():
    indptr, index = torch.tensor([[0, 2, 2, 5], [0, 0, 4, 5]]), random_index((2, 6))
    for call, src in (
        (lambda x: ts.gather_csr(x, indptr), apart((2, 3, 2))),
        (lambda x: ts.gather_csr(x, indptr, out=x.new_zeros(2, 5, 2)), apart((2, 3, 2))),
        (lambda x: ts.gather_coo(x, index), apart((2, 4, 2))),
        (lambda x: ts.gather_coo(x, index[0]), apart((4, 2))),
    ):
        assert gradcheck(call, (src,))
        assert gradgradcheck(call, (src,))


def test_extremum_goes_to_the_first_of_equals():
    src = torch.tensor([1.0, 1.0, 0.5, 2.0, 2.0], requires_grad=True)
    index = torch.tensor([0, 0, 0, 2, 2])
    out, position = ts.scatter_max(src, index)
    assert position.tolist() == [0, 5, 3]
    assert not position.requires_grad
    assert torch.autograd.grad(out.sum(), src)[0].tolist() == [1, 0, 0, 1, 0]
    start = torch.tensor([1.0, 7.0, 1.0], requires_grad=True)
    out, position = ts.scatter_max(src, index, out=start.clone())
    assert position.tolist() == [5, 5, 3]
    src_grad, start_grad = torch.autograd.grad(out.sum(), (src, start))
    assert (src_grad.tolist(), start_grad.tolist()) == ([0, 0, 0, 1, 0], [1, 1, 0])


def test_product_of_zeros():
    src = torch.tensor([0.0, 2, 0, 3, 0, 0, 5], requires_grad=True)
    out = ts.scatter_mul(src, torch.tensor([0, 0, 1, 1, 2, 2, 2]))
    assert torch.autograd.grad(out.sum(), src)[0].tolist() == [2, 0, 3, 0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_half_precision(name, dtype):
    index, weight = random_index((9,)), torch.arange(1.0, 10.0)
    found = []
    for wanted in (torch.float32, dtype):
        src = (torch.arange(9) * 5 % 9 / 4 - 1).to(wanted).requires_grad_()
        out = first(getattr(ts, name)(src, index, dim_size=9))
        assert out.dtype == wanted
        found.append(torch.autograd.grad(out, src, weight.to(wanted))[0].float())
    torch.testing.assert_close(found[1], found[0], rtol=0.03, atol=0.15)


def test_gradients_that_are_nothing_are_zero():
    index = torch.tensor([0, 1, 1, 3])
    src = torch.tensor([1.0, 2.0, 2.0, -torch.inf], requires_grad=True)
    for out in (ts.scatter_std(src[:3], index[:3]), ts.scatter_logsumexp(src, index, dim_size=6)[:3]):
        assert torch.autograd.grad(out.sum(), src)[0].isfinite().all()
