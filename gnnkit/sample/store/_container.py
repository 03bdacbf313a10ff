"""One file for several arrays that are mapped to memory, not read: what all of this package keeps on disk.

A file begins with a magic word, the length of a JSON header (8 bytes, little-endian) and its SHA-256; the header says
the kind of the file, what it is about, and of each array the name, dtype, shape, place and SHA-256. The arrays follow,
raw, little-endian, each from a multiple of 4096 bytes on. A file gets its name only when it is complete and on disk.
"""

import hashlib
import json
import mmap
import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from gnnkit._files import atomic_writer, bytes_of
from gnnkit.errors import ConfigError, DataError
from gnnkit.ops.gather_rows import PAGE

_MAGIC = b"gnnkit store 1\n\0"
_LENGTH = struct.Struct("<Q")
_HASH_BYTES = 32
_JSON_AT = len(_MAGIC) + _LENGTH.size + _HASH_BYTES
# Arrays begin here; the header is written last, when their sizes are known.
_ROOM = 4 * PAGE
_COPIED = 2**24


def name_of(dtype: torch.dtype) -> str:
    """``"float32"`` and so on."""
    return str(dtype).removeprefix("torch.")


DTYPES = {
    name_of(dtype): dtype
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8)
}


@dataclass
class Array:
    """Where an array is in a file."""

    name: str
    dtype: str
    shape: list[int]
    start: int
    sha256: str = ""

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return prod(self.shape) * DTYPES[self.dtype].itemsize


@dataclass
class Writer:
    """A file while it is written; made by :func:`writing`."""

    file: IO[bytes]
    about: dict[str, Any]
    arrays: list[Array] = field(default_factory=list)
    end: int = _ROOM
    _placed: dict[str, Tensor] = field(default_factory=dict)
    _memory: list[mmap.mmap] = field(default_factory=list)

    def append(self, name: str, chunks: Iterator[Tensor], dtype: torch.dtype, row: Sequence[int]) -> int:
        """Writes an array chunk by chunk along its first dimension.

        Returns:
            Its number of rows.
        """
        digest, count, start = hashlib.sha256(), 0, self._next_page()
        for chunk in chunks:
            content = bytes_of(chunk)
            _write_at(self.file, self.end, content)
            digest.update(content)
            self.end += len(content)
            count += chunk.size(0)
        self.arrays.append(Array(name, name_of(dtype), [count, *row], start, digest.hexdigest()))
        return count

    def place(self, name: str, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        """An array that is filled in any order: a tensor whose memory is that of the file, all zero at first.

        The room on disk is taken now: a full disk is an error here, not a crash when the tensor is written to.
        """
        array = Array(name, name_of(dtype), list(shape), self._next_page())
        self.arrays.append(array)
        self.end += array.num_bytes
        if array.num_bytes == 0:
            return torch.empty(array.shape, dtype=dtype)
        _reserve(self.file, array.start, array.num_bytes)
        memory = mmap.mmap(self.file.fileno(), self.end, access=mmap.ACCESS_WRITE)
        self._memory.append(memory)
        self._placed[name] = _view(torch.frombuffer(memory, dtype=torch.uint8), array)
        return self._placed[name]

    def finish(self, kind: str) -> None:
        """Writes the header."""
        for memory in self._memory:
            memory.flush()
        for array in self.arrays:
            array.sha256 = array.sha256 or sha256_of(self._placed.get(array.name))
        header = {"kind": kind, "about": self.about, "arrays": [vars(array) for array in self.arrays], "end": self.end}
        text = json.dumps(header, sort_keys=True).encode()
        if _JSON_AT + len(text) > _ROOM:
            raise ConfigError(f"what describes the file takes {len(text)} bytes, more than there is room for, {_ROOM}")
        _write_at(self.file, 0, _MAGIC + _LENGTH.pack(len(text)) + hashlib.sha256(text).digest() + text)
        os.truncate(self.file.fileno(), self.end)

    def _next_page(self) -> int:
        self.end = -(-self.end // PAGE) * PAGE
        return self.end


@contextmanager
def writing(path: Path, kind: str, about: Mapping[str, Any]) -> Iterator[Writer]:
    """Opens a file for writing; it takes its name when the block ends without an error, and else leaves nothing behind.

    Raises:
        DataError: If the system cannot write it, such as where the disk is full.
    """
    _check_byte_order()
    of_caller = False  # whose errors are not about this file
    try:
        with atomic_writer(path) as file:
            writer, of_caller = Writer(file, dict(about)), True
            yield writer
            of_caller = False
            writer.finish(kind)
    except OSError as error:
        if of_caller and not isinstance(error, _WriteError):
            raise
        raise DataError(
            f"{path} could not be written ({error}); nothing of it is left, and a file that had the name before is "
            "still there. Free some space, or name another folder"
        ) from error


class Mapped:
    """A file whose arrays are mapped to memory: the system reads what is touched, and may drop it again.

    Args:
        path: The file. It must not be changed in place while it is mapped; replacing it is safe.
        kind: What it must be.

    Raises:
        DataError: If it is missing, truncated, damaged, or of another kind.
    """

    def __init__(self, path: str | Path, kind: str) -> None:
        _check_byte_order()
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                header, self.content = _read_header(file, self.path, kind)
                # Of its own for each process: whoever writes to a tensor changes neither the file nor others.
                self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except FileNotFoundError:
            raise DataError(f"there is no file {self.path}; write it first") from None
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error}") from error
        self.about: dict[str, Any] = header["about"]
        self._arrays = {array["name"]: Array(**array) for array in header["arrays"]}
        self._bytes = torch.frombuffer(self._memory, dtype=torch.uint8)

    def __contains__(self, name: str) -> bool:
        """Whether there is such an array."""
        return name in self._arrays

    def tensor(self, name: str) -> Tensor:
        """An array; nothing of it is read yet."""
        return _view(self._bytes, self._arrays[name])

    def random(self, name: str) -> None:
        """Says that an array will be read here and there, so that what is next to it shall not be read with it."""
        array = self._arrays[name]
        if hasattr(mmap, "MADV_RANDOM") and array.num_bytes > 0 and array.start % mmap.PAGESIZE == 0:
            self._memory.madvise(mmap.MADV_RANDOM, array.start, array.num_bytes)

    def verify(self) -> None:
        """Reads all of the file and compares it with what was written.

        Raises:
            DataError: If an array is not what it was.
        """
        for name, array in self._arrays.items():
            if sha256_of(self.tensor(name)) != array.sha256:
                raise DataError(f"{self.path} is damaged: {name} is not what was written; write the file anew")


def rows_at_once(row_bytes: int) -> int:
    """How many rows of a size make some megabytes; at least one."""
    return max(_COPIED // max(row_bytes, 1), 1)


def chunks_of(tensor: Tensor) -> Iterator[Tensor]:
    """Parts along the first dimension of at most some megabytes each (or one row)."""
    step = rows_at_once(prod(tensor.shape[1:]) * tensor.element_size())
    for begin in range(0, tensor.size(0), step):
        yield tensor[begin : begin + step]


def sha256_of(tensor: Tensor | None) -> str:
    """SHA-256 of the memory of a tensor, read part by part."""
    digest = hashlib.sha256()
    for chunk in () if tensor is None else chunks_of(tensor):
        digest.update(bytes_of(chunk))
    return digest.hexdigest()


class _WriteError(OSError):
    """The system has refused to write to the file."""


def _write_at(file: IO[bytes], place: int, content: Any) -> None:
    try:
        _write(file, place, content)
    except OSError as error:
        raise _WriteError(*error.args) from error


def _write(file: IO[bytes], place: int, content: Any) -> None:
    file.seek(place)
    file.write(content)
    file.flush()


def _reserve(file: IO[bytes], start: int, count: int) -> None:
    """Takes room on disk, so that nothing that is written there later can fail for want of it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), start, count)
        except OSError as error:
            raise _WriteError(*error.args) from error
        return
    zeros = bytes(min(count, _COPIED))
    for place in range(start, start + count, _COPIED):
        _write_at(file, place, zeros[: start + count - place])


def _check_byte_order() -> None:
    if sys.byteorder != "little":
        raise DataError("stores are little-endian files, and this machine is not")


def _read_header(file: IO[bytes], path: Path, kind: str) -> tuple[dict[str, Any], str]:
    """The header of a file, and the SHA-256 of it, which those of the arrays are part of."""
    size, start = os.fstat(file.fileno()).st_size, file.read(_ROOM)
    if not start.startswith(_MAGIC):
        raise DataError(f"{path} is no file of gnnkit.sample.store")
    try:
        (length,) = _LENGTH.unpack_from(start, len(_MAGIC))
        wanted, text = start[_JSON_AT - _HASH_BYTES : _JSON_AT], start[_JSON_AT : _JSON_AT + length]
        intact = hashlib.sha256(text).digest() == wanted
        header = json.loads(text) if intact else {}
    except (struct.error, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); write it anew") from error
    if not intact:
        raise DataError(f"{path} is damaged: its header is not what was written; write it anew")
    if header["kind"] != kind:
        raise DataError(f"{path} holds a {header['kind']}, not a {kind}")
    if size != header["end"]:
        raise DataError(
            f"{path} has {size} bytes, but {header['end']} were written: it is truncated or overwritten. Write it anew"
        )
    return header, hashlib.sha256(text).hexdigest()


def _view(memory: Tensor, array: Array) -> Tensor:
    part = memory[array.start : array.start + array.num_bytes]
    return part.view(DTYPES[array.dtype]).reshape(array.shape)
