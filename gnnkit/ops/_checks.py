"""Checks of tensor arguments, shared by the public functions.

Shapes, dtypes and devices are checked always. Values are checked outside of ``torch.compile`` and on the CPU only,
where reading them costs no synchronisation; the CPU kernels repeat these checks, so that no call reads out of bounds.
Nothing else may be assumed of an argument: each check stands on its own whatever it is given.
"""

import operator

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DeviceError, DtypeError, IndexRangeError, ShapeError

FLOAT_DTYPES = (torch.float32, torch.float64, torch.bfloat16)
INDEX_DTYPES = (torch.int32, torch.int64)
_INT32_MAX = 2**31 - 1
# One more boundary than this must still be a size.
_LARGEST_SIZE = 2**63 - 2


def describe(tensor: Tensor) -> str:
    """Shape, dtype and device in one phrase, for error messages."""
    return f"shape {tuple(tensor.shape)}, {tensor.dtype}, on {tensor.device}"


def check_tensor(name: str, value: object) -> None:
    """Raises DtypeError where ``value`` is not a dense tensor."""
    if not isinstance(value, Tensor):
        raise DtypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}; convert it with torch.as_tensor")
    if value.layout != torch.strided or value.is_nested:
        kind = "nested" if value.is_nested else f"of layout {value.layout}"
        raise DtypeError(f"{name} must be a dense tensor, got one that is {kind}; convert it with {name}.to_dense()")


def check_graphs(**graphs: object) -> None:
    """Raises DtypeError where an argument is not a graph."""
    from gnnkit.graph import Graph  # that module needs this one

    for name, graph in graphs.items():
        if not isinstance(graph, Graph):
            raise DtypeError(
                f"{name} must be a gnnkit.Graph, got {type(graph).__name__}; make one with Graph.from_edge_index"
            )


def check_integer(name: str, value: object) -> int:
    """``value`` as an int, also while traced; raises ShapeError where it is none."""
    if isinstance(value, (int, torch.SymInt)):
        return value  # type: ignore[return-value]
    if isinstance(value, Tensor) or not hasattr(value, "__index__"):
        raise ShapeError(f"{name} must be an integer, got {type(value).__name__}; convert it with int(...)")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:  # an array of several
        raise ShapeError(f"{name} must be an integer: {error}") from error


def check_size(name: str, value: object) -> int:
    """``value`` as an int that is not negative; raises ShapeError where it is none."""
    size = check_integer(name, value)
    if size < 0:
        raise ShapeError(f"{name} must not be negative, got {size}")
    if size > _LARGEST_SIZE:
        raise ShapeError(f"{name} must fit in 64 bits, got {size}")
    return size


def check_count(name: str, value: object, least: int) -> int:
    """``value`` itself; raises ConfigError where it is no integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be an integer of at least {least}, got {value!r}")
    return value


def check_seed(value: object) -> int:
    """``value`` itself; raises ConfigError where it is no integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"seed must be an integer, got {value!r}")
    return value


def check_number(name: str, value: object) -> float:
    """``value`` as a float; raises ConfigError where it is no real number."""
    if isinstance(value, (float, torch.SymFloat)):  # also while traced, where nothing else may be asked of it
        return value  # type: ignore[return-value]
    if isinstance(value, Tensor) or not hasattr(value, "__float__"):
        raise ConfigError(f"{name} must be a real number, got {type(value).__name__}; convert it with float(...)")
    try:
        return float(value)  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError) as error:
        raise ConfigError(f"{name} must be a real number: {error}") from error


def check_float(name: str, value: Tensor) -> None:
    """Raises DtypeError where ``value`` is not a tensor of a supported floating dtype."""
    check_tensor(name, value)
    if value.dtype not in FLOAT_DTYPES:
        raise DtypeError(
            f"{name} must be float32, float64 or bfloat16, got {describe(value)}; convert it with {name}.float()"
        )


def check_index(name: str, value: Tensor, *, dim: int = 1) -> None:
    """Raises where ``value`` is not an int32 or int64 tensor of ``dim`` dimensions."""
    check_tensor(name, value)
    if value.dtype not in INDEX_DTYPES:
        raise DtypeError(f"{name} must be int32 or int64, got {describe(value)}; convert it with {name}.long()")
    if value.dim() != dim:
        raise ShapeError(f"{name} must have {dim} dimension(s), got {describe(value)}")
    if value.dtype == torch.int32 and value.size(-1) > _INT32_MAX:
        raise ShapeError(f"{name} has too many entries for int32 positions, got {describe(value)}; use int64")


def check_same_device(**tensors: Tensor | None) -> None:
    """Raises DeviceError where the given tensors live on more than one device."""
    devices = {name: value.device for name, value in tensors.items() if value is not None}
    if len(set(devices.values())) > 1:
        found = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise DeviceError(f"all tensors must be on one device, got {found}; move them with .to(device)")


def check_same_dtype(**tensors: Tensor | None) -> None:
    """Raises DtypeError where the given tensors have more than one dtype."""
    dtypes = {name: value.dtype for name, value in tensors.items() if value is not None}
    if len(set(dtypes.values())) > 1:
        found = ", ".join(f"{name} is {dtype}" for name, dtype in dtypes.items())
        raise DtypeError(f"all tensors must have one dtype, got {found}; convert them with .to(dtype)")


def check_ratio(name: str, value: object) -> float:
    """``value`` as a float; raises ConfigError where it is no number in [0, 1]."""
    ratio = check_number(name, value)
    if not 0.0 <= ratio <= 1.0:
        raise ConfigError(f"{name} must lie in [0, 1], got {ratio}")
    return ratio


def check_has_values(**tensors: Tensor) -> None:
    """Raises DeviceError where a tensor is on the meta device, for results whose size depends on values."""
    for name, tensor in tensors.items():
        if tensor.device.type == "meta":
            raise DeviceError(
                f"{name} must hold values, since the size of the result depends on them, got a meta tensor"
            )


def check_flag(name: str, value: object) -> None:
    """Raises ConfigError where ``value`` is not a bool."""
    if not isinstance(value, (bool, torch.SymBool)):
        raise ConfigError(f"{name} must be True or False, got {value!r}")


def values_readable(tensor: Tensor) -> bool:
    """Whether reading values of ``tensor`` is free of synchronisation and allowed (not while tracing)."""
    return not torch.compiler.is_compiling() and tensor.device.type == "cpu"


def check_segments(ptr: Tensor, num_rows: int) -> None:
    """Raises where ``ptr`` is not a non-decreasing vector of boundaries from 0 to ``num_rows``."""
    check_index("ptr", ptr)
    if ptr.numel() == 0:
        raise ShapeError("ptr must hold at least one boundary (S + 1 of them for S segments), got an empty tensor")
    if not values_readable(ptr):
        return
    first, last = int(ptr[0]), int(ptr[-1])
    if first != 0 or last != num_rows:
        raise IndexRangeError(
            f"ptr must start at 0 and end at the number of rows, {num_rows}; it starts at {first} and ends at {last}"
        )
    steps = ptr.diff()
    if bool((steps < 0).any()):
        where = int((steps < 0).nonzero()[0])
        raise IndexRangeError(
            f"ptr must not decrease, but ptr[{where}] = {int(ptr[where])} and ptr[{where + 1}] = {int(ptr[where + 1])}"
        )


def check_index_range(name: str, index: Tensor, size: int, what: str) -> None:
    """Raises IndexRangeError, naming the first offender, where ``index`` leaves ``[0, size)``."""
    if index.numel() == 0 or not values_readable(index):
        return
    low, high = (int(bound) for bound in index.aminmax())
    if low >= 0 and high < size:
        return
    # A size may lie outside of what int32 can be compared with.
    where = int(((index < 0) | (index.long() >= size)).nonzero()[0, 0])
    valid = f"[0, {size - 1}]" if size > 0 else "empty"
    raise IndexRangeError(
        f"{name} must lie in {valid} for {what} = {size}, got values in [{low}, {high}]; "
        f"the first one outside is {name}[{where}] = {int(index[where])}. Check {what}, or remap the indices"
    )


def check_reduce(reduce: object, allowed: tuple[str, ...] = ("sum", "mean", "min", "max")) -> None:
    """Raises ShapeError where ``reduce`` names no known reduction."""
    check_choice("reduce", reduce, allowed)


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises ShapeError where ``value`` is none of the names allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise ShapeError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
