"""What every operator must pass: oracle, reference, gradients, tracing, repeat, poisoned memory, opcheck."""

import os
import subprocess
import sys

import pytest
import torch

from gnnkit.ops._library import references
from tests.ops.cases import CASES, OpCase, tensors
from tests.ops.kernels import needs_kernels
from tests.ops.recorder import Recorder, as_tuple
from tests.ops.samples import STRUCTURES, sample
from tests.tolerances import assert_close

all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
NOT_DIFFERENTIABLE = {
    "sort_index",
    "dropout_epilogue_backward",
    "attention_backward_dst",
    "attention_backward_src",
    "gated_aggregate_backward_dst",
    "gated_aggregate_backward_src",
    "selective_scan_backward",
    "causal_conv1d_backward",
    "ssd_backward",
    "gated_delta_backward",
}


def run(case: OpCase, structure: str, dtype=torch.float64, index_dtype=torch.int64, *, backward: bool = True):
    """Result and gradients of one call."""
    chosen = sample(structure, index_dtype)
    inputs = tensors(case, chosen, dtype, requires_grad=backward)
    out = case.call(chosen, inputs)
    if not backward:
        return [out]
    weights = torch.linspace(-1, 1, max(out.numel(), 1), dtype=torch.float64)[: out.numel()].reshape(out.shape)
    grads = torch.autograd.grad(out, list(inputs.values()), weights.to(out), allow_unused=True)
    return [out.detach(), *grads]


@all_cases
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(
    ("dtype", "index_dtype"),
    [
        (torch.float64, torch.int64),
        (torch.float64, torch.int32),
        (torch.float32, torch.int64),
        (torch.float32, torch.int32),
        (torch.bfloat16, torch.int64),
    ],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
def test_equals_oracle(case, structure, dtype, index_dtype):
    chosen = sample(structure, index_dtype)
    inputs = tensors(case, chosen, dtype)
    out = case.call(chosen, inputs)
    expected = case.oracle(chosen, {name: value.double().cpu().numpy() for name, value in inputs.items()})
    assert out.dtype == dtype
    assert out.is_contiguous()
    # Rounding grows with the number of terms: a hub sums 257 products in float32.
    assert_close(out, torch.from_numpy(expected), dtype)


@all_cases
@pytest.mark.parametrize("structure", STRUCTURES)
def test_kernels_equal_references(case, structure):
    """Forward and backward, operator by operator; trivially so where no library is loaded."""
    with Recorder() as recorder:
        run(case, structure)
    assert recorder.calls
    for func, args, result in recorder.calls:
        expected = references[func._schema.name.removeprefix("gnnkit::")](*args)
        for actual, wanted in zip(as_tuple(result), as_tuple(expected), strict=True):
            assert actual.dtype == wanted.dtype
            assert_close(actual, wanted, torch.float64)


@all_cases
@pytest.mark.parametrize("structure", ["nothing", "no-edges", "one-loop", "doubled-edges", "isolated-tail"])
def test_gradients(case, structure):
    chosen = sample(structure)
    inputs = tensors(case, chosen, torch.float64, requires_grad=True)

    def call(*values):
        return case.call(chosen, dict(zip(inputs, values, strict=True)))

    assert torch.autograd.gradcheck(call, tuple(inputs.values()))
    if case.twice_differentiable:
        assert torch.autograd.gradgradcheck(call, tuple(inputs.values()))


@all_cases
@pytest.mark.parametrize("structure", ["isolated-tail", "no-edges"])
def test_opcheck(case, structure):
    with Recorder() as recorder:
        run(case, structure)
    for func, args, _ in recorder.calls:
        name = func._schema.name.removeprefix("gnnkit::")
        fresh = tuple(_with_gradient(value, name not in NOT_DIFFERENTIABLE) for value in args)
        torch.library.opcheck(func, fresh)


@all_cases
def test_compiles_whole_and_dynamic(case):
    def loss(inputs, chosen):
        return case.call(chosen, inputs).square().sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=True)
    for structure in ("isolated-tail", "odd"):
        chosen = sample(structure)
        inputs = tensors(case, chosen, torch.float64, requires_grad=True)
        compiled_grads = torch.autograd.grad(compiled(inputs, chosen), list(inputs.values()))
        eager_grads = torch.autograd.grad(loss(inputs, sample(structure)), list(inputs.values()))
        for actual, expected in zip(compiled_grads, eager_grads, strict=True):
            assert_close(actual, expected)


@all_cases
@pytest.mark.parametrize("structure", ["hub", "odd", "many"])
def test_same_bits_twice_and_for_any_number_of_threads(case, structure):
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            results.append(run(case, structure, torch.float32))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert torch.equal(first, second)


@all_cases
@pytest.mark.parametrize("structure", STRUCTURES)
def test_reads_nothing_it_did_not_write(case, structure, nan_filled_memory):
    for value in run(case, structure, torch.float32):
        assert not value.isnan().any()


@all_cases
def test_takes_strided_inputs(case):
    chosen = sample("odd")
    inputs = tensors(case, chosen, torch.float64)
    strided = {name: value.repeat_interleave(2, dim=-1)[..., ::2] for name, value in inputs.items()}
    assert all(not value.is_contiguous() for value in strided.values() if value.numel() > 1)
    assert torch.equal(case.call(chosen, strided), case.call(chosen, inputs))


@needs_kernels
@pytest.mark.slow
@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_other_instruction_sets(isa):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", __file__]
    command += ["-k", "(test_equals_oracle or test_kernels) and (odd or hub or bipartite)"]
    environment = os.environ | {"GNNKIT_CPU_ISA": isa}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout


def _with_gradient(value, differentiable: bool):
    if not isinstance(value, torch.Tensor):
        return value
    fresh = value.detach().clone()
    return fresh.requires_grad_(differentiable and fresh.is_floating_point())
