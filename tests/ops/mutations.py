"""What the fuzz tests do to the arguments of a call: other layouts, extreme values, plain nonsense."""

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Graph

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
]
EXTREME_FLOATS = [float("inf"), float("-inf"), float("nan"), 1e-40, -0.0, 1e4, -1e4]
EXTREME_INDICES = [-1, -2, 5, 99, 2**31 - 1, -(2**31)]
EXTREME_LONGS = [*EXTREME_INDICES, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63)]
# Large enough that no machine has the memory, so that nothing is really allocated.
SIZES = [-1, -(2**63), 0, 1, 2, 7, 2**40, 2**62, 2**63 - 1, 2**63, 2**70]
NO_TENSORS = [None, 3, 2.5, "sum", [1.0, 2.0], (), np.zeros((3, 2)), object()]
NO_INTEGERS = [None, 2.0, float("nan"), "3", [1], np.int64(2), np.array([1, 2]), torch.tensor(2), True]
NO_NUMBERS = [None, "1", [1.0], 2**2000, 1j, np.float32(0.5), np.zeros(3), torch.tensor(0.5), float("nan"), -3.0, True]
NO_NAMES = [None, "", "SUM", "prod", "mul", 1, ["sum"], b"sum", np.array(["sum", "max"]), torch.zeros(3)]
NO_GRAPHS = [None, "graph", 3, torch.tensor([[0, 1], [1, 0]]), (torch.tensor([0, 0]), torch.tensor([]), None)]


def _strided(value: Tensor) -> Tensor:
    return value.repeat_interleave(2, dim=-1)[..., ::2] if value.dim() else value


def _offset(value: Tensor) -> Tensor:
    """The last part of a larger allocation, so that it starts where no vector would."""
    buffer = torch.zeros(value.numel() + 1, dtype=value.dtype)
    buffer[1:] = value.flatten()
    return buffer[1:].reshape(value.shape)


def _column_major(value: Tensor) -> Tensor:
    return value.transpose(0, -1).contiguous().transpose(0, -1) if value.dim() > 1 else value


def _repeated(value: Tensor) -> Tensor:
    return value[:1].expand_as(value) if value.dim() and value.size(0) else value


def _negated_view(value: Tensor) -> Tensor:
    """A tensor that holds the negative of its values and a mark that says so."""
    if value.dtype not in (torch.float32, torch.float64):
        return value
    return torch.complex(torch.zeros_like(value), -value).conj().imag


def _nested(value: Tensor) -> Tensor:
    return torch.nested.nested_tensor([value.detach()]) if value.is_floating_point() else value


LAYOUTS = {
    "strided": _strided,
    "offset": _offset,
    "column-major": _column_major,
    "repeated": _repeated,
    "negated": _negated_view,
    "parameter": lambda value: value.detach().clone().requires_grad_() if value.is_floating_point() else value,
}
SHAPES = {
    "scalar": lambda value: value.flatten()[0] if value.numel() else torch.zeros((), dtype=value.dtype),
    "unsqueezed": lambda value: value.unsqueeze(0),
    "column": lambda value: value.unsqueeze(-1),
    "flat": lambda value: value.flatten(),
    "turned": lambda value: value.transpose(0, -1) if value.dim() > 1 else value,
    "row-less": lambda value: value[:-1] if value.dim() else value,
    "row-more": lambda value: torch.cat([value, value[:1]]) if value.dim() else value,
    "column-less": lambda value: value[..., :-1] if value.dim() else value,
    "no-rows": lambda value: value[:0] if value.dim() else value,
    "no-columns": lambda value: value[..., :0] if value.dim() else value,
    "two-dimensional-nothing": lambda value: value.new_zeros((value.size(0) if value.dim() else 1, 0)),
    "huge-nothing": lambda value: value.new_zeros((0, 2**40)),
    "huge-view": lambda value: value.new_zeros(1).expand(2, 2**40),
    "meta": lambda value: value.to("meta"),
    "sparse": lambda value: value.detach().to_sparse() if value.dim() else value,
    "nested": _nested,
}


@st.composite
def extreme_values(draw, value: Tensor) -> Tensor:
    """The same tensor with one value, or all of them, at the ends of what its dtype holds."""
    if value.numel() == 0 or value.dtype not in (torch.int32, torch.int64, torch.float32, torch.float64):
        return value
    pool = EXTREME_FLOATS if value.is_floating_point() else EXTREME_INDICES
    chosen = draw(st.sampled_from(EXTREME_LONGS if value.dtype == torch.int64 else pool))
    changed = value.detach().clone(memory_format=torch.contiguous_format)
    flat = changed.view(-1)
    if draw(st.booleans()):
        flat[draw(st.integers(0, flat.numel() - 1))] = chosen
    else:
        flat.fill_(chosen)
    return changed.requires_grad_(value.requires_grad)


@st.composite
def mutated(draw, value):
    """Something else in the place of ``value``; now and then it is still valid."""
    if isinstance(value, Tensor):
        kind = draw(st.sampled_from(["layout", "layout", "values", "values", "shape", "shape", "dtype", "nonsense"]))
        if kind == "layout":
            return LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))](value)
        if kind == "values":
            return draw(extreme_values(value))
        if kind == "shape":
            return SHAPES[draw(st.sampled_from(list(SHAPES)))](value)
        if kind == "dtype":
            return value.detach().to(draw(st.sampled_from(DTYPES)))
        return draw(st.sampled_from(NO_TENSORS))
    if isinstance(value, Graph):
        return draw(st.sampled_from([*NO_GRAPHS, value.transpose(), value.to("meta")]))
    if isinstance(value, str):
        return draw(st.sampled_from(NO_NAMES))
    if isinstance(value, bool) or value is None:
        return draw(st.sampled_from([True, False, None, 3, "yes", torch.zeros(2)]))
    if isinstance(value, int):
        return draw(st.sampled_from(SIZES + NO_INTEGERS))
    return draw(st.sampled_from(NO_NUMBERS))
