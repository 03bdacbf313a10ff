"""Where data lives, and how a file is checked."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gnnkit.errors import DataError

logger = logging.getLogger("gnnkit.data")


def data_root() -> Path:
    """Folder of the raw files: ``GNNKIT_DATA``, or ``data`` under the user cache folder. It may be read-only."""
    return _folder_from("GNNKIT_DATA") or _user_cache() / "data"


def cache_root() -> Path:
    """Folder of everything that gnnkit computes from raw files: ``GNNKIT_CACHE``, or the user cache folder."""
    return _folder_from("GNNKIT_CACHE") or _user_cache()


def _folder_from(variable: str) -> Path | None:
    value = os.environ.get(variable, "")
    return Path(value).expanduser() if value else None


def _user_cache() -> Path:
    return (_folder_from("XDG_CACHE_HOME") or Path.home() / ".cache") / "gnnkit"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def check_file(path: Path, *, size: int, sha256: str) -> None:
    """Compares a file with the size (bytes) and SHA-256 it should have.

    Raises:
        DataError: If the file is missing or differs; the message holds both values.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected a file of {size} bytes with sha256 {sha256}")
    actual_size = path.stat().st_size
    actual = sha256_of(path)
    if actual_size == size and actual == sha256:
        return
    hint = "it looks truncated" if actual_size < size else "it is another version, or damaged"
    raise DataError(
        f"{path} is not the file that the dataset card names ({hint}): "
        f"expected {size} bytes with sha256 {sha256}, got {actual_size} bytes with sha256 {actual}. "
        "Delete it and fetch it again."
    )


def is_writable(folder: Path) -> bool:
    """Whether files can be made under ``folder``, which need not exist yet."""
    while not folder.exists():
        if folder == folder.parent:
            return False
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lets one process at a time into the block, so that ranks of one job do not all process the same dataset.

    The lock is advisory and ends with its process. Where the platform or file system has none the block is entered at
    once: the work is then done twice, and atomic writes keep the result right.
    """
    with ExitStack() as stack:
        try:
            import fcntl

            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a"))
            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError) as error:
            logger.debug("no lock on %s: %s", path, error)
        yield
