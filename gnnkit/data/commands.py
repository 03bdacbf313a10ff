"""What ``gnnkit data list | get | verify`` do; they return plain data, and printing is the command line's business."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnkit.data import hypergcn, hypergraphs, links, nodes
from gnnkit.data.checks import differences
from gnnkit.data.dataset_card import Card, DataFile, card, names
from gnnkit.data.download import choose, find, obtain
from gnnkit.data.files import check_file, data_root
from gnnkit.data.loading import load
from gnnkit.errors import DataError


@dataclass(frozen=True)
class DatasetSummary:
    """One line of ``gnnkit data list``.

    Attributes:
        name: Name for :func:`gnnkit.data.load`, or, where ``graphs`` is None and there are files, for
            :func:`gnnkit.data.load_hypergraph`, :func:`gnnkit.data.load_nodes` or :func:`gnnkit.data.load_links`.
        title: Name for people.
        task: Kind of prediction.
        metric: How it is scored.
        graphs: Number of graphs; None if it depends on options, or the dataset is one graph or hypergraph.
        official: False if any file in use, or that would be used, is not the published one.
        status: ``generated``, ``files present``, or ``N of M files missing``.
        options: Options of a generated dataset with their defaults.
    """

    name: str
    title: str
    task: str
    metric: str
    graphs: int | None
    official: bool
    status: str
    options: dict[str, Any]

    def __str__(self) -> str:
        origin = "" if self.official else ", not official"
        options = f" [{', '.join(f'{key}={value}' for key, value in self.options.items())}]" if self.options else ""
        return f"{self.name:<22} {self.title} ({self.task}, {self.metric}; {self.status}{origin}){options}"


class DatasetList(list[DatasetSummary]):
    """Summaries of all datasets; as text, one line each."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


@dataclass(frozen=True)
class FileCheck:
    """One raw file: where it is (or should be), and what is wrong with it, if anything.

    Attributes:
        path: Path relative to the data root.
        ok: Whether it is there with the right size and SHA-256.
        official: Whether it is the published file.
        message: Where it was found, or what is wrong.
    """

    path: str
    ok: bool
    official: bool
    message: str

    def __str__(self) -> str:
        origin = "" if self.official else " (not the official file)"
        return f"{'ok ' if self.ok else 'BAD'}  {self.path}{origin}: {self.message}"


@dataclass(frozen=True)
class Verification:
    """Result of :func:`verify` or :func:`get`.

    Attributes:
        name: The dataset.
        files: One entry per raw file.
        statistics: What the processed graphs hold; empty if they were not processed.
        problems: What is wrong with the graphs, in words.
        notes: What a user should know before quoting a number.
    """

    name: str
    files: tuple[FileCheck, ...]
    statistics: dict[str, Any]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that was checked is as the card states."""
        return all(check.ok for check in self.files) and not self.problems

    def __str__(self) -> str:
        lines = [f"{self.name}: {'ok' if self.ok else 'NOT OK'}"]
        lines += [f"  {check}" for check in self.files]
        lines += [f"  {key}: {value}" for key, value in self.statistics.items()]
        lines += [f"  problem: {problem}" for problem in self.problems]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def list_datasets(root: str | Path | None = None) -> DatasetList:
    """All datasets with their state on this machine. Files are looked for, not read."""
    folder = None if root is None else Path(root)
    return DatasetList(_summary(card(name), folder) for name in names())


def _summary(found: Card, root: Path | None) -> DatasetSummary:
    files = _in_use(found, root)
    missing = sum(find(file, root) is None for file in files)
    status = "generated" if not files else f"{missing} of {len(files)} files missing" if missing else "files present"
    return DatasetSummary(
        name=found.name,
        title=found.title,
        task=found.task,
        metric=found.metric,
        graphs=None if not found.files else found.statistics.get("graphs"),
        official=all(file.official for file in files),
        status=status,
        options=dict(found.options),
    )


def _in_use(found: Card, root: Path | None) -> list[DataFile]:
    files = [choose(found, role, root) for role in found.roles]
    return [file for file in files if file.required]


def get(name: str, *, root: str | Path | None = None, progress: bool = True) -> Verification:
    """Fetches the raw files of a dataset if they are missing, verifies them, and processes them into the cache.

    Raises:
        ConfigError: If there is no such dataset.
        DataError: If a file is missing and cannot be fetched, or is wrong.
    """
    found = card(name)
    folder = None if root is None else Path(root)
    roles = [file.role for file in _in_use(found, folder)]
    located = obtain(found, roles, root=folder, progress=progress)
    statistics, notes = _processed(found, folder, progress)
    checks = tuple(FileCheck(entry.file.path, True, entry.file.official, str(entry.path)) for entry in located.values())
    return Verification(name, checks, statistics, (), notes)


def _processed(found: Card, root: Path | None, progress: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Statistics and notes of what the files of a dataset hold."""
    if found.source == hypergcn.SOURCE:
        return hypergcn.statistics(hypergraphs.process(found, root, progress=progress)), found.notes
    if found.source in nodes.SOURCES:
        dataset = nodes.read_nodes(found, root=root, progress=progress)
    elif found.source == links.SOURCE:
        dataset = links.read_links(found, root=root, progress=progress)
    else:
        dataset = load(found.name, root=root, progress=progress)
    return dataset.statistics(), dataset.notes


def verify(name: str, *, root: str | Path | None = None, progress: bool = False) -> Verification:
    """Checks every raw file against its size and SHA-256, and the processed graphs against the card's statistics.

    Nothing is fetched. The graphs are checked only if all files are right.

    Raises:
        ConfigError: If there is no such dataset.
    """
    found = card(name)
    folder = None if root is None else Path(root)
    checks = tuple(_check(file, folder) for file in _in_use(found, folder))
    if not all(check.ok for check in checks):
        return Verification(name, checks, {}, (), found.notes)
    try:
        statistics, notes = _processed(found, folder, progress)
    except DataError as error:
        return Verification(name, checks, {}, (str(error),), found.notes)
    return Verification(name, checks, statistics, tuple(differences(found.statistics, statistics)), notes)


def _check(file: DataFile, root: Path | None) -> FileCheck:
    path = find(file, root)
    if path is None:
        expected = f"missing; expected {(root or data_root()) / file.path}, {file.size} bytes, sha256 {file.sha256}"
        return FileCheck(file.path, False, file.official, expected)
    try:
        check_file(path, size=file.size, sha256=file.sha256)
    except DataError as error:
        return FileCheck(file.path, False, file.official, str(error))
    return FileCheck(file.path, True, file.official, str(path))
