"""Every function of the drop-in against an oracle, over dtypes, dimensions, shapes of indices and ``out``."""

import numpy as np
import pytest
import torch

from gnnkit.compat import torch_scatter as ts
from gnnkit.compat.torch_scatter import _rows
from gnnkit.compat.torch_scatter._groups import group
from gnnkit.errors import DeviceError, DtypeError, GnnkitError, IndexRangeError, ShapeError
from tests.compat import scatter_oracle as oracle
from tests.tolerances import assert_close

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
DTYPES = [*FLOATS, torch.int64, torch.int32, torch.int8, torch.uint8]
REDUCTIONS = ["sum", "add", "mul", "mean", "min", "max"]
# Shape of src, dim, shape of the index: vectors, full, filled up behind, expandable, repeated, empty.
SHAPES = [
    ((7,), 0, (7,)),
    ((7, 3), 0, (7,)),
    ((3, 7), -1, (7,)),
    ((3, 7), 1, (3, 7)),
    ((3, 7), 0, (3, 7)),
    ((2, 6, 3), 1, (6,)),
    ((2, 6, 3), 1, (2, 6)),
    ((2, 6, 3), -2, (1, 6, 1)),
    ((2, 6, 3), 1, (2, 6, 1)),
    ((2, 6, 3), 1, (1, 6, 3)),
    ((2, 6, 3), -1, (2, 1, 3)),
    ((2, 6, 3), 0, (2, 6, 3)),
    ((2, 3, 4, 2), 2, (2, 1, 4)),
    ((5, 2), 0, (1,)),
    ((0,), 0, (0,)),
    ((0, 3), 0, (0,)),
    ((3, 0), 1, (3, 0)),
    ((4, 0), 0, (4,)),
    ((0, 4), 1, (0, 4)),
]
shapes = pytest.mark.parametrize(("shape", "dim", "index_shape"), SHAPES, ids=str)


def values(shape, dtype, seed=0):
    """Few different numbers, so that there are ties, all of them exact in every dtype, and their products too."""
    rng = np.random.default_rng(seed)
    low = 1 if dtype == torch.uint8 else -2
    return torch.from_numpy(rng.integers(low, 3, shape)).to(dtype) / (1 if not dtype.is_floating_point else 2)


def make(shape, dtype, index_shape, num_groups=4, seed=0, index_dtype=torch.int64):
    src = values(shape, dtype, seed).to(dtype)
    index = np.random.default_rng(seed + 1).integers(0, num_groups, index_shape)
    # Group 1 stays empty.
    return src, torch.from_numpy(np.where(index == 1, 2, index)).to(index_dtype)


def as_array(tensor):
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.long().numpy()


def expect(src, index, dim, reduce, size, out=None):
    dim %= src.dim()
    shape = (*src.shape[:dim], size, *src.shape[dim + 1 :])
    found = oracle.members(as_array(src), index.numpy(), dim)
    start = None if out is None else as_array(out)
    return oracle.reduce_members(found, shape, src.size(dim), reduce, not src.is_floating_point(), start)


def check(actual, expected, dtype):
    assert actual.dtype == dtype
    assert actual.is_contiguous()
    if dtype.is_floating_point:
        assert_close(actual, torch.from_numpy(expected), dtype)
    else:
        assert actual.tolist() == expected.tolist()


def call(name, *args, **kwargs):
    result = getattr(ts, name)(*args, **kwargs)
    return result if isinstance(result, tuple) else (result, None)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@shapes
def test_scatter(reduce, shape, dim, index_shape):
    for dtype in DTYPES:
        src, index = make(shape, dtype, index_shape)
        size = int(index.max()) + 1 if index.numel() and src.size(dim) else 0
        for dim_size in (None, 6):
            actual, position = call(f"scatter_{reduce}", src, index, dim, dim_size=dim_size)
            expected, where = expect(src, index, dim, reduce, size if dim_size is None else dim_size)
            check(actual, expected, dtype)
            assert torch.equal(ts.scatter(src, index, dim, dim_size=dim_size, reduce=reduce), actual)
            if position is not None:
                assert position.dtype == torch.int64
                assert position.tolist() == where.tolist()


@pytest.mark.parametrize("reduce", REDUCTIONS)
@shapes
def test_scatter_out(reduce, shape, dim, index_shape):
    for dtype in DTYPES:
        src, index = make(shape, dtype, index_shape)
        sizes = list(shape)
        sizes[dim] = 5
        out = values(tuple(sizes), dtype, seed=7).to(dtype)
        expected, where = expect(src, index, dim, reduce, 5, out)
        actual, position = call(f"scatter_{reduce}", src, index, dim, out=out, dim_size=99)
        assert actual is out
        check(out, expected, dtype)
        if position is not None:
            assert position.tolist() == where.tolist()


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_indices_of_both_types_and_expanded_ones(reduce):
    src, index = make((4, 9), torch.float32, (9,))
    expected, where = call(f"scatter_{reduce}", src, index, 1)
    for other in (index.int(), index.expand(4, 9), index.repeat(4, 1), index.repeat(4, 1).int(), index[None]):
        actual, position = call(f"scatter_{reduce}", src, other, 1)
        torch.testing.assert_close(actual, expected)
        assert position is None or torch.equal(position, where)


@pytest.mark.parametrize("reduce", [name for name in REDUCTIONS if name != "mul"])
@pytest.mark.parametrize(
    ("shape", "index_shape"),
    [((9,), (9,)), ((9, 3), (9,)), ((2, 9), (2, 9)), ((2, 9, 3), (1, 9)), ((2, 9, 3), (2, 9)), ((0, 3), (0,))],
    ids=str,
)
def test_segment_coo(reduce, shape, index_shape):
    for dtype in DTYPES:
        src, index = make(shape, dtype, index_shape)
        index, dim = index.sort(-1).values, len(index_shape) - 1
        size = int(index.max()) + 1 if index.numel() else 0
        sizes = list(shape)
        sizes[dim] = 6
        for dim_size, out in ((None, None), (6, None), (None, values(tuple(sizes), dtype, seed=3).to(dtype))):
            groups = size if dim_size is None and out is None else 6
            # A leading index of one is filled up by broadcasting, as the oracle does.
            expected, where = expect(src, index, dim, reduce, groups, out)
            actual, position = call(f"segment_{reduce}_coo", src, index, out=out, dim_size=dim_size)
            assert out is None or actual is out
            check(actual, expected, dtype)
            if out is None:
                assert torch.equal(ts.segment_coo(src, index.int(), dim_size=dim_size, reduce=reduce), actual)
            if position is not None:
                assert position.tolist() == where.tolist()


@pytest.mark.parametrize("reduce", [name for name in REDUCTIONS if name != "mul"])
@pytest.mark.parametrize(
    ("shape", "indptr"),
    [
        ((6,), [0, 2, 2, 5, 6]),
        ((6, 3), [0, 2, 2, 5, 6]),
        ((6, 3), [1, 2, 2, 5]),
        ((6, 3), [0]),
        ((6, 3), []),
        ((0, 3), [0, 0]),
        ((2, 6), [[0, 2, 2, 5, 6]]),
        ((2, 6, 3), [[0, 2, 2, 5, 6], [0, 0, 1, 3, 6]]),
        ((2, 6, 3), [[1, 2, 2, 5], [0, 0, 4, 4]]),
        ((2, 2, 6), [[[0, 1, 6]], [[0, 3, 6]]]),
        ((2, 6), [[], []]),
    ],
    ids=str,
)
def test_segment_csr(reduce, shape, indptr):
    indptr = torch.tensor(indptr, dtype=torch.int64)
    for dtype in DTYPES:
        src = values(shape, dtype).to(dtype)
        dim = indptr.dim() - 1
        sizes = list(shape)
        sizes[dim] = max(indptr.size(-1) - 1, 0)
        found = oracle.csr_members(as_array(src), indptr.numpy(), dim)
        integer = not dtype.is_floating_point
        expected, where = oracle.reduce_members(found, tuple(sizes), src.size(dim), reduce, integer)
        actual, position = call(f"segment_{reduce}_csr", src, indptr)
        check(actual, expected, dtype)
        assert torch.equal(ts.segment_csr(src, indptr.int(), reduce=reduce), actual)
        out = torch.full(sizes, 3, dtype=dtype)
        assert ts.segment_csr(src, indptr, out=out, reduce=reduce) is out
        assert torch.equal(out, actual)
        if position is not None:
            assert position.tolist() == where.tolist()


def test_gather():
    for dtype in DTYPES:
        src = values((2, 4, 3), dtype).to(dtype)
        indptr = torch.tensor([[0, 2, 2, 5, 6], [0, 0, 1, 3, 6]])
        index = torch.stack([torch.repeat_interleave(torch.arange(4), row.diff()) for row in indptr])
        expected = torch.stack([rows[where] for rows, where in zip(src, index, strict=True)])
        for gather, by in ((ts.gather_csr, indptr), (ts.gather_coo, index)):
            assert torch.equal(gather(src, by), expected)
            out = torch.zeros_like(expected)
            assert gather(src, by, out) is out
            assert torch.equal(out, expected)
        assert torch.equal(ts.gather_csr(src[0], indptr[0].int()), expected[0])
        assert torch.equal(ts.gather_coo(src[0], torch.tensor([3, 0, 3])), src[0][[3, 0, 3]])
        assert torch.equal(ts.gather_coo(src, index[:1]), src[:, index[0]])
        assert ts.gather_coo(src, torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0, 3)
        assert ts.gather_csr(src[0, :0], torch.tensor([0])).shape == (0, 3)


@shapes
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_composite(shape, dim, index_shape, dtype):
    src, index = make(shape, dtype, index_shape)
    index = index.expand(src.shape) if index.numel() == 1 else index
    axis, array = dim % len(shape), as_array(src)
    sizes = (*shape[:axis], 5, *shape[axis + 1 :])
    found = oracle.members(array, index.numpy(), axis)
    soft = oracle.softmax(array, index.numpy(), axis)
    check(ts.scatter_softmax(src, index, dim), soft, dtype)
    check(ts.scatter_log_softmax(src, index, dim, eps=0.0), np.log(soft), dtype)
    check(
        ts.scatter_logsumexp(src, index, dim, dim_size=5, eps=0.0), oracle.composite(found, sizes, "logsumexp"), dtype
    )
    check(ts.scatter_std(src, index, dim, dim_size=5), oracle.composite(found, sizes, "std"), dtype)
    biased = ts.scatter_std(src, index, dim, dim_size=5, unbiased=False)
    check(biased, oracle.composite(found, sizes, "population"), dtype)
    out = values(sizes, dtype, seed=9).to(dtype)
    expected = oracle.composite(found, sizes, "logsumexp", as_array(out))
    assert ts.scatter_logsumexp(src, index, dim, out=out, eps=0.0) is out
    check(out, expected, dtype)


def test_documented_examples():
    src = torch.tensor([[2, 0, 1, 4, 3], [0, 2, 1, 3, 4]])
    index = torch.tensor([[4, 5, 4, 2, 3], [0, 0, 2, 2, 1]])
    out, position = ts.scatter_max(src, index, dim=-1)
    assert out.tolist() == [[0, 0, 4, 3, 2, 0], [2, 4, 3, 0, 0, 0]]
    assert position.tolist() == [[5, 5, 3, 4, 0, 1], [1, 4, 3, 5, 5, 5]]
    src, index = torch.ones(10, 6, 64), torch.tensor([0, 1, 0, 1, 2, 1])
    assert ts.scatter(src, index, dim=1, reduce="sum").shape == (10, 3, 64)
    assert ts.scatter(src, index, dim=1, reduce="sum")[0, :, 0].tolist() == [2, 3, 1]
    index = torch.tensor([0, 0, 1, 1, 1, 2])[None]
    assert ts.segment_coo(src, index, reduce="sum")[0, :, 0].tolist() == [2, 3, 1]
    indptr = torch.tensor([0, 2, 5, 6])[None]
    assert torch.equal(ts.segment_csr(src, indptr, reduce="sum"), ts.segment_coo(src, index, reduce="sum"))
    assert torch.equal(
        ts.gather_csr(ts.segment_csr(src, indptr), indptr), ts.gather_coo(ts.segment_csr(src, indptr), index)
    )


def test_extreme_values():
    large = 2**60
    src, index = torch.tensor([large, large + 1, -large]), torch.tensor([0, 0, 1])
    assert ts.scatter_max(src, index)[0].tolist() == [large + 1, -large]
    low = torch.tensor([torch.iinfo(torch.int64).min, 0])
    assert ts.scatter_max(low, torch.tensor([0, 1]))[0].tolist() == low.tolist()
    infinite = torch.tensor([-torch.inf, torch.nan, 1.0, -torch.inf])
    out, position = ts.scatter_max(infinite, torch.tensor([0, 1, 1, 2]))
    assert out[0] == out[2] == -torch.inf
    assert out[1].isnan()
    assert position.tolist() == [0, 1, 3]
    assert ts.scatter_mean(torch.tensor([-3, 0, 5]), torch.tensor([0, 0, 1])).tolist() == [-2, 5]
    index = torch.tensor([0, 0, 2])
    assert ts.scatter_logsumexp(torch.tensor([-torch.inf] * 3), index).tolist() == [-torch.inf, 0, -torch.inf]
    assert ts.scatter_logsumexp(torch.tensor([torch.inf, 0.0, 1e30]), index).tolist() == [
        torch.inf,
        0,
        float(torch.tensor(1e30)),
    ]
    assert ts.scatter_softmax(torch.tensor([-torch.inf] * 3), index).tolist() == [0, 0, 0]
    assert ts.scatter_std(torch.tensor([1, 3, 5]), index).tolist() == pytest.approx([2**0.5, 0, 0], rel=1e-5)


def test_std_adds_squares_to_out():
    src, index, out = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1]), torch.tensor([7.0, 4.0])
    assert ts.scatter_std(src, index, out=out).tolist() == pytest.approx([3, 2], rel=1e-5)
    assert out.tolist() == [9, 4]


def test_product_by_doubling():
    """What runs where PyTorch's own product is not deterministic."""
    src, index = make((50, 3), torch.float64, (50,), seed=4)
    for rows, size in ((src, 6), (src[:0], 2)):
        groups = group(tuple(rows.shape), index[: len(rows)], 0, size, length=len(rows))
        assert torch.equal(_rows.product_by_doubling(rows, groups), _rows.product(rows, groups))


@pytest.mark.parametrize("index_shape", [(5000,), (5000, 17)], ids=str)
def test_same_bits_for_any_number_of_threads(two_threads, index_shape):
    src, index = torch.randn(5000, 17), torch.randint(0, 97, index_shape)
    names = [f"scatter_{reduce}" for reduce in REDUCTIONS] + ["scatter_softmax", "scatter_logsumexp", "scatter_std"]
    several = [call(name, src, index, 0)[0] for name in names]
    torch.set_num_threads(1)
    assert all(torch.equal(call(name, src, index, 0)[0], found) for name, found in zip(names, several, strict=True))


def test_fresh_memory_is_never_read(nan_filled_memory):
    src, index = torch.ones(2, 5, 3), torch.tensor([[0, 3, 3, 3, 5]])
    for name in ("sum", "mean", "min", "max"):
        assert call(f"scatter_{name}", src, index, 1, dim_size=9)[0].isfinite().all()
        assert ts.segment_coo(src, index, dim_size=9, reduce=name).isfinite().all()
        assert ts.segment_csr(src, torch.tensor([[1, 2, 2, 4]]), reduce=name).isfinite().all()
    for function in (ts.scatter_mul, ts.scatter_std, ts.scatter_logsumexp):
        assert function(src, index[0], 1, dim_size=9).isfinite().all()
    assert ts.gather_csr(src, torch.tensor([[0, 1, 1, 1, 2, 4]])).isfinite().all()


def test_compiles():
    src, index = torch.randn(9, 4), torch.tensor([0, 2, 2, 1, 0, 4, 4, 4, 0])
    for name in ("scatter_sum", "scatter_mean", "scatter_max", "scatter_softmax", "scatter_logsumexp", "scatter_std"):
        compiled = torch.compile(
            lambda s, i, name=name: call(name, s, i, 0, dim_size=5)[0], backend="aot_eager", fullgraph=True
        )
        torch.testing.assert_close(compiled(src, index), call(name, src, index, 0, dim_size=5)[0])


X, INDEX, P = torch.ones(3, 2), torch.tensor([0, 1, 1]), torch.tensor([0, 1, 3])


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (lambda: ts.scatter_sum(X, INDEX - 1, 0), IndexRangeError, r"index\[0\] = -1"),
        (lambda: ts.scatter_sum(X, -INDEX - 1, 0), IndexRangeError, "-1"),
        (lambda: ts.scatter_sum(X, INDEX, 0, dim_size=1), IndexRangeError, r"index\[1\] = 1"),
        (lambda: ts.scatter_sum(X, INDEX.expand(2, 3).T.clone(), 0, dim_size=1), IndexRangeError, r"index\[2\] = 1"),
        (lambda: ts.scatter_sum(X, INDEX, 1), ShapeError, "expandable"),
        (lambda: ts.scatter_sum(X, INDEX[:2], 0), ShapeError, "expandable"),
        (lambda: ts.scatter_sum(X, INDEX[:, None, None], 0), ShapeError, r"at most 2 dimension"),
        (lambda: ts.scatter_sum(X, INDEX, 2), IndexRangeError, "dim must lie"),
        (lambda: ts.scatter_sum(X, INDEX, 0.0), DtypeError, "dim must be an integer"),
        (lambda: ts.scatter_sum(X, INDEX.float(), 0), DtypeError, r"index\.long\(\)"),
        (lambda: ts.scatter_sum(X.bool(), INDEX, 0), DtypeError, "uint8"),
        (lambda: ts.scatter_sum(X.cfloat(), INDEX, 0), DtypeError, "floating or integer"),
        (lambda: ts.scatter_sum(X.to_sparse(), INDEX, 0), DtypeError, "dense"),
        (lambda: ts.scatter_sum([1.0], INDEX, 0), DtypeError, "as_tensor"),
        (lambda: ts.scatter_sum(X.sum(), INDEX), ShapeError, "scalar"),
        (lambda: ts.scatter_sum(X, INDEX.to("meta"), 0), DeviceError, "one device"),
        (lambda: ts.scatter_sum(X, INDEX, 0, dim_size=-1), ShapeError, "negative"),
        (lambda: ts.scatter_sum(X, INDEX, 0, dim_size="2"), DtypeError, "dim_size must be an integer"),
        (lambda: ts.scatter_sum(X, INDEX * 2**61, 0), ShapeError, "fits nowhere"),
        (lambda: ts.scatter_sum(X, INDEX, 0, dim_size=2**80), ShapeError, "fits nowhere"),
        (lambda: ts.scatter(X, INDEX, 0, reduce="median"), ShapeError, "one of sum"),
        (lambda: ts.scatter_sum(X, INDEX, 0, out=torch.zeros(2, 3)), ShapeError, r"out must have shape \(2, 2\)"),
        (lambda: ts.scatter_sum(X, INDEX, 0, out=torch.zeros(2)), ShapeError, "as many dimensions"),
        (lambda: ts.scatter_sum(X, INDEX, 0, out=torch.zeros(1, 2)), IndexRangeError, "dim_size = 1"),
        (lambda: ts.scatter_sum(X, INDEX, 0, out=torch.zeros(2, 2).double()), DtypeError, "dtype of src"),
        (lambda: ts.scatter_sum(X, INDEX, 0, out=torch.zeros(2, 1).expand(2, 2)), ShapeError, r"clone\(\)"),
        (lambda: ts.scatter_sum(X, INDEX, 0, out=torch.zeros(2, 2, requires_grad=True)), ShapeError, "leaf"),
        (lambda: ts.scatter_softmax(X.long(), INDEX, 0), DtypeError, "floating"),
        (lambda: ts.scatter_logsumexp(X.long(), INDEX, 0), DtypeError, "floating"),
        (lambda: ts.segment_coo(X, INDEX.flip(0)), IndexRangeError, "ascend"),
        (lambda: ts.segment_coo(X, INDEX[:, None, None]), ShapeError, "1 to 2"),
        (lambda: ts.segment_coo(X, INDEX[0]), ShapeError, "1 to 2"),
        (lambda: ts.segment_coo(X, INDEX, out=torch.zeros(3)), ShapeError, "as many dimensions"),
        (lambda: ts.segment_coo(X, INDEX, reduce="mul"), ShapeError, "one of sum"),
        (lambda: ts.segment_csr(X, P + 1), IndexRangeError, r"\[0, 3\]"),
        (lambda: ts.segment_csr(X, P.flip(0)), IndexRangeError, "decrease"),
        (lambda: ts.segment_csr(X, P[None]), IndexRangeError, r"\[0, 2\]"),
        (lambda: ts.segment_csr(X, P.expand(2, 3)), GnnkitError, "indptr"),
        (lambda: ts.segment_csr(X, P.float()), DtypeError, "int32 or int64"),
        (lambda: ts.segment_csr(X, P, out=torch.zeros(3, 2)), ShapeError, r"\(2, 2\)"),
        (lambda: ts.gather_csr(X, P), ShapeError, "2 elements along dim 0"),
        (lambda: ts.gather_csr(X[:2], P + 1), IndexRangeError, "start at 0"),
        (lambda: ts.gather_csr(X[:2], torch.tensor([0, 3, -1])), GnnkitError, "indptr"),
        (lambda: ts.gather_csr(X[:2], P * 2**60), ShapeError, "fits nowhere"),
        (lambda: ts.gather_coo(X, INDEX + 2), IndexRangeError, r"index\[1\] = 3"),
        (lambda: ts.gather_coo(X, INDEX - 1), IndexRangeError, "-1"),
        (lambda: ts.broadcast(INDEX, X, 1), ShapeError, "expandable"),
    ],
)
def test_bad_input_is_named(bad, error, words):
    with pytest.raises(error, match=words):
        bad()


def test_broadcast():
    assert ts.broadcast(torch.arange(3), torch.zeros(2, 3, 4), 1)[1, 2, 3] == 2
    assert ts.broadcast(torch.arange(6).reshape(2, 3), torch.zeros(2, 3, 4), -2)[1, 2].tolist() == [5] * 4
