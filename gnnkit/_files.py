"""How a file is written so that it is never half there, and the bytes and checksums of tensors that are in it."""

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import torch
from torch import Tensor


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside ``path``; it takes the name ``path`` only when the block ends without an error.

    The bytes are on disk (fsync) before the rename, so that neither an exception nor a crash leaves a half-written
    file under the final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a whole file, or nothing; see :func:`atomic_writer`."""
    with atomic_writer(path) as file:
        file.write(content)


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a tensor, as what files and checksums take; through bytes, because NumPy has no bfloat16."""
    return flat_bytes(tensor).numpy().data


def flat_bytes(tensor: Tensor) -> Tensor:
    """The memory of a tensor, uint8 ``[n]``."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, whatever their order."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}\n".encode())
        digest.update(bytes_of(tensors[key]))
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
