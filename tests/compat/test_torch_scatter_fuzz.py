"""Thrown at the drop-in: valid calls must equal the oracle, malformed ones must raise an error of gnnkit.

``GNNKIT_FUZZ_EXAMPLES`` sets the number of calls per test (default 200, twice that for malformed ones).
"""

import os

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnnkit.compat import torch_scatter as ts
from gnnkit.errors import GnnkitError
from tests.compat import scatter_oracle as oracle
from tests.tolerances import assert_close

bounded = settings(
    max_examples=int(os.environ.get("GNNKIT_FUZZ_EXAMPLES", "200")),
    deadline=None,
    derandomize=True,
    database=None,
    # One run fixes the seed and blocks the network once for all its examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
REDUCTIONS = ["sum", "mul", "mean", "min", "max"]
sizes = st.lists(st.integers(0, 4), min_size=1, max_size=3)
dtypes = st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32])


def numbers(shape, dtype, seed):
    drawn = np.random.default_rng(seed).integers(-2, 3, shape)
    return torch.from_numpy(np.asarray(drawn)).to(dtype)


def as_array(tensor):
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.long().numpy()


def check(actual, expected):
    if actual.is_floating_point():
        assert_close(actual, torch.from_numpy(expected))
    else:
        assert actual.tolist() == expected.tolist()


@bounded
@given(st.data(), sizes, dtypes, st.sampled_from(REDUCTIONS), st.integers(0, 2**31), st.booleans())
def test_valid_scatter(data, shape, dtype, reduce, seed, with_out):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    axis = dim % len(shape)
    kept = data.draw(st.integers(axis + 1, len(shape)))
    index_shape = [data.draw(st.sampled_from([1, size])) if d != axis else size for d, size in enumerate(shape[:kept])]
    if data.draw(st.booleans()):
        index_shape = [shape[axis]]
    if len(index_shape) == 1 and axis > 0:
        index_shape = [shape[axis]]
    index = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, index_shape))
    index = index.to(data.draw(st.sampled_from([torch.int32, torch.int64])))
    src, size = numbers(shape, dtype, seed), 4 + seed % 2
    target = (*shape[:axis], size, *shape[axis + 1 :])
    out = numbers(target, dtype, seed + 1) if with_out else None
    found = oracle.members(as_array(src), index.numpy(), axis)
    start = None if out is None else as_array(out)
    integer = not dtype.is_floating_point
    expected, where = oracle.reduce_members(found, target, shape[axis], reduce, integer, start)
    actual = getattr(ts, f"scatter_{reduce}")(src, index, dim, out, None if with_out else size)
    if reduce in ("min", "max"):
        assert actual[1].tolist() == where.tolist()
        actual = actual[0]
    assert out is None or actual is out
    check(actual, expected)


@bounded
@given(sizes, dtypes, st.sampled_from(["sum", "mean", "min", "max"]), st.integers(0, 2**31), st.data())
def test_valid_segments(shape, dtype, reduce, seed, data):
    dim = data.draw(st.integers(0, len(shape) - 1))
    lead = [data.draw(st.sampled_from([1, size])) for size in shape[:dim]]
    rng, src, integer = np.random.default_rng(seed), numbers(shape, dtype, seed), not dtype.is_floating_point
    indptr = np.sort(rng.integers(0, shape[dim] + 1, (*lead, data.draw(st.integers(1, 5)))), -1)
    target = (*shape[:dim], indptr.shape[-1] - 1, *shape[dim + 1 :])
    found = oracle.csr_members(as_array(src), indptr, dim)
    expected, _ = oracle.reduce_members(found, target, shape[dim], reduce, integer)
    check(ts.segment_csr(src, torch.from_numpy(indptr), reduce=reduce), expected)
    index = np.sort(rng.integers(0, 4, (*lead, shape[dim])), -1)
    target = (*shape[:dim], 4, *shape[dim + 1 :])
    found = oracle.members(as_array(src), index.reshape(*index.shape, *(1,) * (len(shape) - dim - 1)), dim)
    expected, _ = oracle.reduce_members(found, target, shape[dim], reduce, integer)
    check(ts.segment_coo(src, torch.from_numpy(index), dim_size=4, reduce=reduce), expected)


anything = st.one_of(st.none(), st.integers(-3, 5), st.floats(), st.text(max_size=3), st.just([1, 2]))
any_dtype = st.sampled_from(
    [torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64]
)


@st.composite
def any_tensor(draw):
    """Small, of any dtype and layout, with values from ordinary to extreme."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = draw(any_dtype)
    extreme = [0, 1, 1, 2, 3, -1, 2**42, 2**62, -(2**63), 2**63 - 1]
    choices = extreme if draw(st.booleans()) else [0, 1, 1, 2]
    drawn = np.random.default_rng(draw(st.integers(0, 1000))).choice(np.array(choices, dtype=object), shape)
    value = torch.tensor(np.asarray(drawn).astype(np.int64)).to(dtype)
    change = draw(st.sampled_from(["", "", "", "transpose", "expand", "sparse", "meta"]))
    if change == "transpose" and value.dim() > 1:
        return value.transpose(0, -1)
    if change == "expand" and value.dim() > 0:
        return value[:1].expand(4, *value.shape[1:]) if value.size(0) else value
    if change == "sparse" and value.dim() > 0:
        return value.to_sparse()
    return value.to("meta") if change == "meta" else value


FUNCTIONS = [name for name in ts.__all__ if not name.startswith("__")]


@settings(bounded, max_examples=2 * bounded.max_examples)
@given(
    st.sampled_from(FUNCTIONS),
    st.one_of(any_tensor(), any_tensor(), any_tensor(), anything),
    st.one_of(any_tensor(), any_tensor(), any_tensor(), anything),
    st.one_of(st.integers(-3, 3), anything),
    st.one_of(st.none(), st.none(), any_tensor(), anything),
    st.one_of(st.none(), st.integers(-2, 6), st.integers(2**41, 2**70), anything),
)
def test_malformed(name, src, index, dim, out, dim_size):
    arguments = {}
    if name.startswith("scatter") or name == "broadcast":
        arguments["dim"] = dim
    if name != "broadcast" and "softmax" not in name:
        arguments["out"] = out
    if name.startswith("scatter") or (name.endswith("coo") and name != "gather_coo"):
        arguments["dim_size"] = dim_size
    try:
        result = getattr(ts, name)(src, index, **arguments)
    except GnnkitError:
        return
    for value in result if isinstance(result, tuple) else (result,):
        assert isinstance(value, torch.Tensor)
