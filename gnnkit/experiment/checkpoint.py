"""Checkpoints that are whole or absent, and that know when they are damaged."""

import hashlib
import io
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gnnkit._files import write_atomic
from gnnkit.errors import DataError

_MAGIC = b"gnnkit-checkpoint-1\n"
_HEADER = re.compile(re.escape(_MAGIC) + rb"([0-9a-f]{64})\n(\d{20})\n")
_NAME = re.compile(r"step-(\d{12})\.ckpt")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes one checkpoint atomically: a magic line, SHA-256 and length of the rest, then ``torch.save`` of the state.

    Args:
        path: The file.
        state: Tensors, numbers, strings, ``None``, and lists and dictionaries of these.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    header = _MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + f"{len(payload):020d}\n".encode()
    write_atomic(path, header + payload)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads one checkpoint; nothing in it is executed (``weights_only=True``).

    Raises:
        DataError: If the file is missing, is no checkpoint, is truncated, or its checksum does not match.
    """
    remedy = "delete it to go on from an older checkpoint or, where there is none, start again with --restart"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no checkpoint {path}") from None
    header = _HEADER.match(content)
    if header is None:
        raise DataError(f"{path} is not a gnnkit checkpoint, or was cut off in its header; {remedy}")
    payload, length = content[header.end() :], int(header[2])
    if len(payload) != length:
        raise DataError(f"{path} is truncated: expected {length} bytes, found {len(payload)}; {remedy}")
    if hashlib.sha256(payload).hexdigest().encode() != header[1]:
        raise DataError(f"{path} is corrupted: its checksum does not match its content; {remedy}")
    try:
        return torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        # Torch's own message advises to load the file unsafely.
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it names {named[1]}" if named else "it is no archive of tensors"
        raise DataError(f"{path} holds what gnnkit does not write and will not read: {what}; {remedy}") from None


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run, named by the number of steps done; the newest ``keep`` of them stay.

    A checkpoint never takes the place of another, so that a damaged one leaves the one before it to fall back on.
    """

    folder: Path
    keep: int = 2

    def paths(self) -> list[Path]:
        """The checkpoints, newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Writes the checkpoint of ``step`` and removes the oldest beyond ``keep``."""
        path = self.folder / f"step-{step:012d}.ckpt"
        save_checkpoint(path, state)
        for old in self.paths()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def load(self) -> tuple[dict[str, Any], list[str]] | None:
        """The newest readable checkpoint and, for each newer one that was passed over, why; ``None`` if there is none.

        Raises:
            DataError: If there are checkpoints and none can be read.
        """
        problems: list[str] = []
        for path in self.paths():
            try:
                return load_checkpoint(path), problems
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise DataError("no checkpoint of this run can be read:\n  " + "\n  ".join(problems))
        return None

    def clear(self) -> None:
        """Removes all checkpoints."""
        for path in self.paths():
            path.unlink(missing_ok=True)
