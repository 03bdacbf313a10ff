"""Graphs on their way from one process to another."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_ALIGNMENT = 64


class _Place(NamedTuple):
    """Where the bytes of a tensor are."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class _Kept:
    """Stands for an attribute that a transform has left alone, which the sender still has."""


class Parcel:
    """Graphs that are cheap to pickle: torch takes 100 microseconds for each small tensor, this takes a few.

    The bytes of all tensors stand in one block. Between threads, where nothing is pickled, the graphs stay what they
    are.

    Args:
        graphs: What is sent.
        given: What they were made of, one for one: what they share with it is not sent back; see :meth:`with_given`.
    """

    def __init__(self, graphs: Sequence[Any], given: Sequence[Any] | None = None) -> None:
        self.graphs = list(graphs)
        self._given = given

    def with_given(self, given: Sequence[Any]) -> list[Any]:
        """The graphs, with what was not sent back taken from those that they were made of."""
        for data, original in zip(self.graphs, given, strict=True):
            for key, value in data.to_dict().items():
                if value is _Kept:
                    data[key] = original[key]
        return self.graphs

    def __getstate__(self) -> tuple[list[Any], bytes]:
        """The graphs with places instead of tensors, and the bytes."""
        graphs, block = [], bytearray()
        for number, data in enumerate(self.graphs):
            emptied = data.__copy__()
            given = {} if self._given is None else self._given[number].to_dict()
            for key, value in data.to_dict().items():
                if _is_plain(value) and given.get(key) is value and version(value) == 0:
                    # Neither replaced nor written into since it arrived.
                    emptied[key] = _Kept
                elif _is_plain(value):
                    emptied[key] = _Place(len(block), value.dtype, tuple(value.shape))
                    block += value.contiguous().reshape(-1).view(torch.uint8).numpy().data
                    block += bytes(-len(block) % _ALIGNMENT)
            graphs.append(emptied)
        return graphs, bytes(block)

    def __setstate__(self, state: tuple[list[Any], bytes]) -> None:
        """Puts the tensors back."""
        self.graphs, content = state
        self._given = None
        block = bytearray(content)
        for data in self.graphs:
            for key, value in data.to_dict().items():
                if type(value) is _Place:
                    data[key] = _tensor(block, value)


def version(value: Tensor) -> int | None:
    """How often the tensor was written into; None where torch does not count it."""
    return None if value.is_inference() else value._version


def _is_plain(value: Any) -> bool:
    return (
        type(value) is Tensor
        and value.device.type == "cpu"
        and value.layout is torch.strided
        and not (value.requires_grad or value.is_quantized or value.is_conj() or value.is_neg())
    )


def _tensor(block: bytearray, place: _Place) -> Tensor:
    count = 1
    for size in place.shape:
        count *= size
    if count == 0:
        return torch.empty(place.shape, dtype=place.dtype)
    return torch.frombuffer(block, dtype=place.dtype, count=count, offset=place.start).reshape(place.shape)
