"""Finding raw files, and fetching those that are missing."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from gnnkit._files import atomic_writer
from gnnkit.data.columns import DatasetInfo
from gnnkit.data.dataset_card import Card, DataFile
from gnnkit.data.files import cache_root, check_file, data_root, is_writable, logger
from gnnkit.errors import DataError

_BLOCK = 1 << 18
_TIMEOUT_SECONDS = 60
_MAX_ARCHIVE_BYTES = 1 << 32


@dataclass(frozen=True)
class Located:
    """A raw file that is there: what the card says of it, and where it is."""

    file: DataFile
    path: Path


def search_folders(root: Path | None = None) -> list[Path]:
    """Folders in which a raw file may lie: the data root, and where downloads go if that is read-only."""
    return [root or data_root(), cache_root() / "raw"]


def find(file: DataFile, root: Path | None = None) -> Path | None:
    """Path of a raw file, or None if it is in none of the folders. Its content is not looked at."""
    for folder in search_folders(root):
        if (folder / file.path).is_file():
            return folder / file.path
    return None


def choose(card: Card, role: str, root: Path | None = None) -> DataFile:
    """The file that plays a role: the first alternative that is there, else the first."""
    candidates = card.candidates(role)
    for file in candidates:
        if find(file, root) is not None:
            return file
    return candidates[0]


def obtain(card: Card, roles: Iterable[str], *, root: Path | None = None, progress: bool = False) -> dict[str, Located]:
    """Finds the raw files of a dataset, downloads what is missing, and verifies size and SHA-256 of every one.

    A download goes to the data root, or under ``cache_root()/raw`` if that is read-only, and takes its name only
    after its checksum was right. With ``GNNKIT_OFFLINE=1`` nothing is fetched.

    Args:
        card: The dataset.
        roles: Files to obtain.
        root: Data root; default :func:`gnnkit.data.data_root`.
        progress: Show progress bars.

    Raises:
        DataError: If a file is there but wrong, or missing and cannot be fetched; the message says which file goes
            where, with size and SHA-256.
    """
    chosen = {role: choose(card, role, root) for role in roles}
    missing = [file for file in chosen.values() if find(file, root) is None]
    if missing:
        reasons = _fetch(missing, _destination(root), progress)
        still_missing = [file for file in missing if find(file, root) is None]
        if still_missing:
            raise DataError(missing_message(card, still_missing, reasons, root))
    located: dict[str, Located] = {}
    for role, file in chosen.items():
        path = find(file, root)
        if path is None:
            raise DataError(f"{file.path} disappeared while {card.name} was being read")
        check_file(path, size=file.size, sha256=file.sha256)
        located[role] = Located(file, path)
    return located


def describe(found: Card, located: Mapping[str, Located], options: Mapping[str, Any]) -> DatasetInfo:
    """What is known of a dataset before its files are read."""
    files = [entry.file for entry in located.values()]
    substitutes = [f"not official: {file.path}. {file.note}".strip() for file in files if not file.official]
    return DatasetInfo(
        name=found.name,
        task=found.task,
        metric=found.metric,
        num_outputs=found.num_outputs,
        checksums={file.path: file.sha256 for file in files},
        official=not substitutes,
        notes=(*found.notes, *substitutes),
        options=dict(options),
    )


def missing_message(card: Card, missing: list[DataFile], reasons: list[str], root: Path | None = None) -> str:
    """Which files to put where, with size and checksum, and why they could not be fetched."""
    folder = root or data_root()
    lines = [f"{card.name}: {len(missing)} raw file(s) are missing. Place them by hand:"]
    for file in missing:
        others = [other.path for other in card.candidates(file.role) if other != file]
        instead = f" (or, instead, {folder / others[0]})" if others else ""
        lines.append(f"  {folder / file.path}{instead}: {file.size} bytes, sha256 {file.sha256}")
        for url in file.urls:
            lines.append(f"    from {url}{f', member {file.member}' if file.member else ''}")
        if not file.urls:
            lines.append(f"    no address is known. {file.note}".rstrip())
    lines += [f"Not fetched: {reason}" for reason in reasons]
    lines.append("Another folder can be named with GNNKIT_DATA.")
    return "\n".join(lines)


def _destination(root: Path | None) -> Path:
    first, second = search_folders(root)
    if is_writable(first):
        return first
    logger.info("%s is read-only; downloads go to %s", first, second)
    return second


def _fetch(files: list[DataFile], folder: Path, progress: bool) -> list[str]:
    if os.environ.get("GNNKIT_OFFLINE", "") not in ("", "0"):
        return ["GNNKIT_OFFLINE is set"]
    reasons: list[str] = []
    # Members of one archive share its download.
    groups: dict[tuple[tuple[str, ...], bool], list[DataFile]] = {}
    for file in files:
        groups.setdefault((file.urls, bool(file.member)), []).append(file)
    for (urls, archived), group in groups.items():
        if not urls:
            reasons += [f"{file.path}: no address is known" for file in group]
            continue
        failed: list[str] = []
        for url in urls:
            try:
                if archived:
                    _fetch_members(url, group, folder, progress)
                else:
                    for file in group:
                        _fetch_file(url, file, folder, progress)
                break
            except (OSError, URLError, ValueError, zipfile.BadZipFile, KeyError) as error:
                # DataError is a ValueError: a wrong checksum is a reason to try the next address.
                failed.append(f"{url}: {error}")
        else:
            reasons += failed
    return reasons


def _fetch_file(url: str, file: DataFile, folder: Path, progress: bool) -> None:
    digest = hashlib.sha256()
    with atomic_writer(folder / file.path) as target:
        size = _download(url, target, file.size, progress, digest.update)
        _check_content(url, file, size, digest.hexdigest())


def _fetch_members(url: str, files: list[DataFile], folder: Path, progress: bool) -> None:
    with TemporaryFile() as archive:
        _download(url, archive, _MAX_ARCHIVE_BYTES, progress)
        archive.seek(0)
        with zipfile.ZipFile(archive) as members:
            for file in files:
                # One byte more than expected is enough to see that it is another file.
                with members.open(file.member) as member:
                    content = member.read(file.size + 1)
                _check_content(f"{url}, {file.member}", file, len(content), hashlib.sha256(content).hexdigest())
                with atomic_writer(folder / file.path) as target:
                    target.write(content)


def _check_content(where: str, file: DataFile, size: int, sha256: str) -> None:
    if (size, sha256) != (file.size, file.sha256):
        raise DataError(
            f"{where} is not the file on the dataset card: expected {file.size} bytes with sha256 {file.sha256}, "
            f"got {size} bytes with sha256 {sha256}"
        )


def _ignore(block: bytes) -> None:
    pass


def _download(
    url: str, target: IO[bytes], limit: int, progress: bool, update: Callable[[bytes], None] = _ignore
) -> int:
    from tqdm import tqdm

    size = 0
    request = Request(url, headers={"User-Agent": "gnnkit"})
    with urlopen(request, timeout=_TIMEOUT_SECONDS) as source:
        length = source.headers.get("Content-Length")
        total = int(length) if length else None
        bar = tqdm(total=total, desc=url.rsplit("/", 1)[-1], unit="B", unit_scale=True, disable=not progress)
        with bar:
            while block := source.read(_BLOCK):
                size += len(block)
                if size > limit:
                    raise DataError(f"{url} is larger than the {limit} bytes expected")
                target.write(block)
                update(block)
                bar.update(len(block))
    return size
