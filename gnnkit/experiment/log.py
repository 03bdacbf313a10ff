"""The run's log: one JSON object a line, one line a step and an epoch."""

import json
import os
from pathlib import Path
from typing import Any


class JsonLog:
    """An append-only JSONL file that can be cut back to an earlier length, so that a resumed run doubles no line.

    A line is handed to the operating system when it is written and so outlives a killed process; ``sync`` makes it
    outlive a power cut.
    """

    def __init__(self, path: Path, *, length: int = 0) -> None:
        """Opens the log and cuts it to ``length`` bytes (0: a new log)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._file = path.open("r+b")
        self._file.truncate(min(length, path.stat().st_size))
        self._file.seek(0, os.SEEK_END)

    def write(self, event: str, **values: Any) -> None:
        """Writes one line."""
        line = json.dumps({"event": event, **values}, allow_nan=False, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def sync(self) -> int:
        """Forces the log to the disk and returns its length in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a log, in order; a last line that was cut off is left out."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]
